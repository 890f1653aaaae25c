//! A tracking server of MLflow, by its REST interface (`/api/2.0/mlflow`), as its own client speaks it.
//!
//! A run is known there by the tag `samebundle.run`. Tags of the names `samebundle.*` hold what MLflow has no field for; the
//! whole record is an artifact beside them. The last thing that is written is the tag `samebundle.content`: a run without it
//! is not there completely.

mod api;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use samebundle_registry::remote::web::WebService;
use samebundle_spec::record::{Number, Run, RunStatus, Verification};
use samebundle_spec::{Digest, Timestamp};
use serde_json::Value;

use super::files::{self, RunFiles};
use super::{MetadataError, Sent, SentState, Sink, Subject};
use api::{Api, Found, Metric, Pair};

/// Longest name of a parameter, metric or tag, bytes (MLflow's `MAX_ENTITY_KEY_LENGTH`).
const KEY_BYTES: usize = 250;
/// Longest value of a parameter, bytes (MLflow's `MAX_PARAM_VAL_LENGTH`); a longer one it would cut without a word.
const PARAMETER_BYTES: usize = 6_000;
/// Longest value of a tag, bytes: that of MLflow 2, the smallest that is in use.
const TAG_BYTES: usize = 5_000;
/// The tag that names a run.
const RUN: &str = "samebundle.run";
/// The tag that is written last: what the run there was made of.
const CONTENT: &str = "samebundle.content";
/// The tag with the number of files that were sent.
const FILES: &str = "samebundle.files";

/// A tracking server.
#[derive(Debug)]
pub struct Mlflow {
    api: Api,
    /// The ids of the experiments that were looked up, by name.
    experiments: tokio::sync::Mutex<BTreeMap<String, String>>,
}

impl Mlflow {
    /// Sends runs to this server.
    pub fn new(service: WebService) -> Self {
        let api = Api { service };
        Self {
            api,
            experiments: tokio::sync::Mutex::default(),
        }
    }

    /// Finds the run that has this id in its tag, or makes it.
    async fn find_or_create(&self, run: &Run, tags: &[Pair]) -> Result<(Found, SentState), MetadataError> {
        let mut experiments = self.experiments.lock().await;
        let experiment = match experiments.get(&run.bundle) {
            Some(known) => known.clone(),
            None => {
                let found = self.api.experiment(&run.bundle).await?;
                experiments.insert(run.bundle.clone(), found.clone());
                found
            }
        };
        drop(experiments);
        let filter = format!("tags.`{RUN}` = '{}'", run.id);
        if let Some(found) = self.api.find(&experiment, &filter).await? {
            return Ok((found, SentState::Completed));
        }
        let name = format!("{} {}", run.bundle, run.id);
        let created = self
            .api
            .create(&experiment, &name, milliseconds(run.started), tags)
            .await?;
        Ok((created, SentState::New))
    }

    /// Sends the files that are not there with the same size, and returns how many these were, and their bytes.
    async fn send_files(
        &self,
        subject: &Subject,
        found: &Found,
        state: SentState,
        files: &RunFiles,
        left: &mut Vec<String>,
    ) -> Result<(u64, u64), MetadataError> {
        let Some(folder) = found.artifacts() else {
            left.push(format!(
                "files were not sent: this server keeps them at {} and takes none itself; start it with --serve-artifacts",
                found.artifact_uri
            ));
            return Ok((0, 0));
        };
        let mut there = BTreeMap::new();
        if state != SentState::New {
            let names = files.files.iter().filter_map(|file| file.name.rsplit_once('/'));
            let folders: BTreeSet<&str> = names
                .map(|(folder, _)| folder)
                .chain(std::iter::once(""))
                .collect();
            for folder in folders {
                there.extend(self.api.artifacts(&found.id, folder).await?);
            }
        }
        let (mut count, mut bytes) = (0, 0);
        for file in &files.files {
            if there.get(&file.name) == Some(&file.size) {
                continue;
            }
            subject.check()?;
            self.api
                .upload(&format!("{folder}/{}", file.name), &file.path, file.size)
                .await?;
            count += 1;
            bytes += file.size;
        }
        Ok((count, bytes))
    }
}

#[async_trait]
impl Sink for Mlflow {
    async fn send(&self, subject: &Subject) -> Result<Sent, MetadataError> {
        let run = &subject.run;
        let mut left = Vec::new();
        let parameters = parameters(run, &mut left);
        let metrics = metrics(run, &mut left);
        let mut tags = tags(subject, &mut left);
        let content = content(run);
        let files = files::collect(run, &subject.folder, &subject.scratch)?;
        tags.extend(logged_tables(&files));
        left.extend(files.absent.iter().cloned());
        let (found, state) = self.find_or_create(run, &tags).await?;
        let same = found.tags.get(CONTENT) == Some(&content);
        let held = found.tags.get(FILES).and_then(|count| count.parse().ok());
        if same && held.is_some_and(|held: usize| held >= files.files.len()) {
            return Ok(Sent {
                state: SentState::Already,
                count: 0,
                bytes: 0,
                left,
            });
        }
        subject.check()?;
        for (name, value) in &found.parameters {
            if parameters
                .iter()
                .any(|pair| pair.key == *name && pair.value != *value)
            {
                left.push(format!(
                    "parameter {name} has another value there, and MLflow changes none"
                ));
            }
        }
        let new = |pair: &&Pair, known: &BTreeMap<String, String>| known.get(&pair.key) != Some(&pair.value);
        let parameters = parameters
            .iter()
            .filter(|pair| !found.parameters.contains_key(&pair.key));
        let tags = tags.iter().filter(|pair| new(pair, &found.tags));
        let metrics = metrics.iter().filter(|metric| {
            !found
                .metrics
                .get(&metric.key)
                .is_some_and(|there| is_there(metric.value, *there))
        });
        self.api
            .log(&found.id, parameters.collect(), metrics.collect(), tags.collect())
            .await?;
        let (count, bytes) = self.send_files(subject, &found, state, &files, &mut left).await?;
        let ended = run.finished.unwrap_or(run.started);
        self.api
            .end(&found.id, status(run.status), milliseconds(ended))
            .await?;
        if found.artifacts().is_some() {
            let last = [
                Pair::new(FILES, files.files.len().to_string()),
                Pair::new(CONTENT, content),
            ];
            self.api
                .log(&found.id, Vec::new(), Vec::new(), last.iter().collect())
                .await?;
        }
        Ok(Sent {
            state,
            count,
            bytes,
            left,
        })
    }
}

/// Tells whether a number is there already. MLflow's store keeps an infinite one as the largest that it has.
fn is_there(number: Number, there: Number) -> bool {
    let kept = if number.0.is_nan() {
        number.0
    } else {
        number.0.clamp(f64::MIN, f64::MAX)
    };
    there == number || there == Number(kept)
}

/// What the run is made of wherever it is kept: its record without what an import changes.
fn content(run: &Run) -> String {
    let mut run = run.clone();
    run.installation = "run".parse().unwrap_or(run.installation);
    run.imported_with = None;
    run.files_removed = None;
    let bytes = serde_json::to_vec(&run).unwrap_or_default();
    Digest::sha256(&bytes).to_string()
}

fn milliseconds(time: Timestamp) -> i64 {
    let since = SystemTime::from(time).duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// MLflow's word for how a run ended.
fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running | RunStatus::Suspended => "RUNNING",
        RunStatus::Succeeded | RunStatus::Skipped => "FINISHED",
        RunStatus::Failed => "FAILED",
        RunStatus::Cancelled | RunStatus::Interrupted => "KILLED",
    }
}

/// Tells whether MLflow takes a name: it may hold letters, digits, and `_ - . : / ` and spaces, and must be a clean path.
fn fits(key: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "_-.: /".contains(c);
    let clean = key
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..");
    key.len() <= KEY_BYTES && key.chars().all(plain) && clean
}

/// The parameters, as text. What MLflow does not take is in the record beside, and is said.
fn parameters(run: &Run, left: &mut Vec<String>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (name, parameter) in &run.parameters {
        let value = match &parameter.value {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "***".to_owned(),
        };
        if fits(name) && value.len() <= PARAMETER_BYTES {
            pairs.push(Pair::new(name, value));
        } else {
            left.push(format!(
                "parameter {name} is in samebundle/run.json only: MLflow takes names of {KEY_BYTES} plain characters and \
                 values of {PARAMETER_BYTES} bytes"
            ));
        }
    }
    pairs
}

/// The scalars, each with the time at which its task ended.
fn metrics(run: &Run, left: &mut Vec<String>) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for (name, value) in run.scalars() {
        let task = run.tasks.iter().filter(|task| {
            name.strip_prefix(task.name.as_str())
                .is_some_and(|rest| rest.starts_with('.'))
        });
        let task = task.max_by_key(|task| task.name.len());
        let time = task
            .and_then(|task| task.finished)
            .or(run.finished)
            .unwrap_or(run.started);
        match fits(&name) {
            true => metrics.push(Metric {
                key: name,
                value,
                timestamp: milliseconds(time),
                step: 0,
            }),
            false => left.push(format!(
                "metric {name} is in samebundle/run.json only: MLflow takes names of {KEY_BYTES} plain characters"
            )),
        }
    }
    metrics
}

fn tags(subject: &Subject, left: &mut Vec<String>) -> Vec<Pair> {
    let run = &subject.run;
    let mut tags = vec![
        Pair::new(RUN, run.id.to_string()),
        Pair::new("samebundle.action", run.action.clone()),
        Pair::new("samebundle.bundle", run.bundle.clone()),
        Pair::new("samebundle.version", run.version.to_string()),
        Pair::new("samebundle.bundle_digest", run.bundle_digest.to_string()),
        Pair::new("samebundle.driver", run.driver.clone()),
        Pair::new("samebundle.status", run.status.word().to_owned()),
        Pair::new("samebundle.started", run.started.to_string()),
        Pair::new("mlflow.source.name", format!("{}:{}", run.bundle, run.version)),
        Pair::new("mlflow.source.type", "PROJECT".to_owned()),
    ];
    let finished = run.finished.map(|time| time.to_string());
    tags.extend(finished.map(|time| Pair::new("samebundle.finished", time)));
    tags.extend(
        subject
            .user
            .as_ref()
            .map(|user| Pair::new("mlflow.user", user.clone())),
    );
    match &run.verification {
        Verification::Signature {
            keys,
            scope,
            sequence,
        } => {
            tags.push(Pair::new("samebundle.signer", keys.join(", ")));
            tags.push(Pair::new("samebundle.signer.scope", scope.clone()));
            tags.push(Pair::new("samebundle.signer.sequence", sequence.to_string()));
        }
        Verification::Consent { reason } => tags.push(Pair::new("samebundle.consent", reason.clone())),
    }
    let set: BTreeMap<&String, &str> = run
        .parameters
        .iter()
        .map(|(name, parameter)| (name, parameter.set_by.word()))
        .collect();
    let set = serde_json::to_string(&set).unwrap_or_default();
    tags.push(Pair::new("samebundle.parameters_set_by", set));
    if let Some(message) = &run.message {
        tags.push(Pair::new("samebundle.message", message.clone()));
        tags.push(Pair::new("mlflow.note.content", format!("```\n{message}\n```")));
    }
    for tag in &mut tags {
        if tag.value.len() > TAG_BYTES {
            let end = (0..=TAG_BYTES - 4)
                .rev()
                .find(|at| tag.value.is_char_boundary(*at));
            tag.value.truncate(end.unwrap_or(0));
            tag.value.push('…');
            left.push(format!(
                "tag {} is cut to the {TAG_BYTES} bytes that MLflow takes; samebundle/run.json has it whole",
                tag.key
            ));
        }
    }
    tags
}

/// The tag by which MLflow's page finds tables among the files.
fn logged_tables(files: &RunFiles) -> Option<Pair> {
    // MLflow's client looks for an entry as text, as Python writes it.
    let tables = files.tables.iter().map(|path| {
        format!(
            "{{\"path\": {}, \"type\": \"table\"}}",
            Value::from(path.as_str())
        )
    });
    let tables: Vec<String> = tables.collect();
    let text = format!("[{}]", tables.join(", "));
    let fits = !tables.is_empty() && text.len() <= TAG_BYTES;
    fits.then(|| Pair::new("mlflow.loggedArtifacts", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_mlflow_takes() {
        for good in [
            "lr",
            "train.metrics.accuracy",
            "a/b",
            "with space",
            "größe",
            "a:b-c_d",
        ] {
            assert!(fits(good), "{good}");
        }
        for bad in ["", "/a", "a//b", "a/../b", "./a", "a#b", "a\nb", "a(b)"] {
            assert!(!fits(bad), "{bad}");
        }
        assert!(!fits(&"a".repeat(251)));
    }
}
