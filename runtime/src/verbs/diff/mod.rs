//! `diff`: in what runs differ, from what went in to what came out.
//!
//! What went in and came out is compared by the records: values by value, artifacts by digest, and artifacts that are only
//! metadata by that. Bundles are opened if they differ and are in the store. What cannot be compared is said, and no runs are
//! called equal because of something that was not looked at.

mod bundles;
mod code;

use std::collections::{BTreeMap, BTreeSet};

use samebundle_spec::Digest;
use samebundle_spec::record::{Metrics, Number, OutputRecord, Run, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use code::CodeDifference;

use super::outputs::Shown;
use super::runs::{MetricName, metric_names};
use super::summary::RunSummary;
use super::{Site, VerbError};
use crate::record::Runs;

/// Asks in what runs differ.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiffRequest {
    /// At least two runs, each by its id, the beginning or end of it, `last`, or an installation for its last run.
    pub runs: Vec<String>,
}

/// In what runs differ. Every list holds only what is not the same in all of them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiffReport {
    /// The runs in the order in which they were asked for; the values below stand in that order.
    pub runs: Vec<RunSummary>,
    /// Whether all of them gave the same outputs; none if that cannot be told.
    pub equal: Option<bool>,
    /// How many outputs were compared.
    pub compared: usize,
    /// The bundle: its name, version, digest and action.
    pub bundle: Vec<Difference>,
    /// The parameters.
    pub parameters: Vec<Difference>,
    /// The images of tasks, by the digests of their manifests.
    pub images: Vec<Difference>,
    /// The packages that the bundles carry, and what components install.
    pub packages: Vec<Difference>,
    /// The components of the pipelines, each run against the first.
    pub code: Vec<CodeDifference>,
    /// The data that the bundles carry or point at, by digest.
    pub data: Vec<Difference>,
    /// Where it ran.
    pub environment: Vec<Difference>,
    /// What came of the runs and of their tasks.
    pub status: Vec<Difference>,
    /// What was measured.
    pub metrics: Vec<MetricDifference>,
    /// What came out.
    pub outputs: Vec<OutputDifference>,
    /// Tasks that did the same in several runs and did not give the same outputs.
    pub not_deterministic: Vec<String>,
    /// What could not be compared, a sentence each.
    pub notes: Vec<String>,
}

/// Something that is not the same in all runs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// What differs.
    pub name: String,
    /// What it is in each run; none where the run has no such thing.
    pub values: Vec<Option<Value>>,
}

/// An output that is not the same in all runs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OutputDifference {
    /// What of it is not the same: a value, digests, or what was said of an artifact.
    #[serde(flatten)]
    pub difference: Difference,
    /// The output of each run as it is shown.
    #[serde(skip)]
    pub shown: Vec<Option<Vec<Shown>>>,
}

/// A metric that is not the same in all runs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MetricDifference {
    /// Its name.
    #[serde(flatten)]
    pub name: MetricName,
    /// What it is in each run.
    pub values: Vec<Option<Number>>,
    /// How much it is more in the last run than in the first; none if one of them has no such metric, or no such number.
    pub difference: Option<f64>,
}

/// Says in what runs differ.
///
/// # Errors
/// If there are not two different runs of these names, or a record cannot be read.
pub async fn diff(site: &Site, request: &DiffRequest) -> Result<DiffReport, VerbError> {
    let home = Runs::new(site.home());
    let mut ids = Vec::new();
    for text in &request.runs {
        let id = home.find_id(text)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.len() < 2 {
        return Err(VerbError::Usage(
            "name at least two different runs; `runs` lists them".to_owned(),
        ));
    }
    let runs: Vec<Run> = ids.iter().map(|id| home.get(id)).collect::<Result<_, _>>()?;
    let short = home.short_ids()?;
    let now = site.context.clock.now();
    let summaries = runs.iter().map(|run| {
        let short = short.get(&run.id).cloned();
        RunSummary::of(run, short.unwrap_or_else(|| run.id.to_string()), now)
    });
    let summaries: Vec<RunSummary> = summaries.collect();
    let mut notes = Vec::new();
    let outputs = Outputs::of(&runs);
    let equal = outputs.equal(&summaries, &mut notes);
    let parameters = parameters(&runs, &mut notes);
    let bundles = bundles::compare(site, &summaries, &mut notes).await?;
    Ok(DiffReport {
        equal,
        compared: outputs.all.len(),
        bundle: bundle(&runs),
        parameters,
        images: images(&runs),
        packages: bundles.packages,
        code: bundles.code,
        data: bundles.data,
        environment: differences(&runs, |run| [("driver".to_owned(), json!(run.driver))].into()),
        status: status(&runs),
        metrics: metrics(&summaries),
        outputs: outputs.differences,
        not_deterministic: not_deterministic(&runs),
        runs: summaries,
        notes,
    })
}

/// Compares what each run has by name.
fn differences<T>(runs: &[T], of: impl Fn(&T) -> BTreeMap<String, Value>) -> Vec<Difference> {
    let all: Vec<BTreeMap<String, Value>> = runs.iter().map(of).collect();
    let names: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let differences = names.into_iter().map(|name| Difference {
        name: name.clone(),
        values: all.iter().map(|one| one.get(name).cloned()).collect(),
    });
    differences
        .filter(|one| one.values.windows(2).any(|pair| pair[0] != pair[1]))
        .collect()
}

fn bundle(runs: &[Run]) -> Vec<Difference> {
    differences(runs, |run| {
        let fields = [
            ("name", json!(run.bundle)),
            ("version", json!(run.version)),
            ("digest", json!(run.bundle_digest)),
            ("action", json!(run.action)),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into()
    })
}

fn parameters(runs: &[Run], notes: &mut Vec<String>) -> Vec<Difference> {
    let secret = runs.iter().flat_map(|run| {
        let secret = run.parameters.iter().filter(|(_, one)| one.secret);
        secret.map(|(name, _)| name)
    });
    for name in secret.collect::<BTreeSet<_>>() {
        notes.push(format!(
            "the parameter {name} is secret, and its values are not kept"
        ));
    }
    differences(runs, |run| {
        let values = run.parameters.iter();
        let values = values.filter_map(|(name, one)| Some((name.clone(), one.value.clone()?)));
        values.collect()
    })
}

fn images(runs: &[Run]) -> Vec<Difference> {
    let mut all = differences(runs, |run| {
        let images = run.tasks.iter();
        let images = images.filter_map(|task| Some((task.name.clone(), json!(task.image?))));
        images.collect()
    });
    // A task that did not begin has no image, which says nothing about the image; its status is compared below.
    all.retain(|one| {
        let there: Vec<&Value> = one.values.iter().flatten().collect();
        there.windows(2).any(|pair| pair[0] != pair[1])
    });
    all
}

fn status(runs: &[Run]) -> Vec<Difference> {
    let mut all = differences(runs, |run| [("run".to_owned(), json!(run.status))].into());
    all.extend(differences(runs, |run| {
        let tasks = run.tasks.iter();
        let tasks = tasks.map(|task| (format!("task {}", task.name), json!(task.status)));
        tasks.collect()
    }));
    all
}

/// Finds tasks whose outputs differ although all is equal that they may depend on. One whose result was taken over was not done.
fn not_deterministic(runs: &[Run]) -> Vec<String> {
    let mut first: BTreeMap<Digest, BTreeMap<&String, Value>> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for task in runs.iter().flat_map(|run| &run.tasks) {
        let done = task.status == RunStatus::Succeeded && task.taken_from.is_none();
        let Some(key) = task.cache_key.filter(|_| done) else {
            continue;
        };
        let outputs = task
            .outputs
            .iter()
            .map(|(name, output)| (name, output.comparable()));
        let outputs: BTreeMap<_, _> = outputs.collect();
        if *first.entry(key).or_insert_with(|| outputs.clone()) != outputs {
            found.insert(task.name.clone());
        }
    }
    found.into_iter().collect()
}

fn metrics(runs: &[RunSummary]) -> Vec<MetricDifference> {
    let all = metric_names(runs, &[]).into_iter().map(|name| {
        let values: Vec<Option<Number>> = runs
            .iter()
            .map(|run| run.metrics.get(&name.name).copied())
            .collect();
        let ends = values
            .first()
            .copied()
            .flatten()
            .zip(values.last().copied().flatten());
        MetricDifference {
            difference: ends
                .map(|(first, last)| last.0 - first.0)
                .filter(|more| more.is_finite()),
            name,
            values,
        }
    });
    let differs = |one: &MetricDifference| one.values.windows(2).any(|pair| pair[0] != pair[1]);
    all.filter(differs).collect()
}

/// Leaves out the numbers and words of an artifact that are the same in all runs.
fn leave_what_differs(shown: &mut [Option<Vec<Shown>>]) {
    let said = |shown: &Option<Vec<Shown>>| match shown.as_deref() {
        Some([Shown::Artifact(one)]) => match &one.metrics {
            Some(Metrics::Scalars(scalars)) => Some((scalars.clone(), one.remarks.clone())),
            _ => None,
        },
        _ => None,
    };
    let Some(all) = shown.iter().map(said).collect::<Option<Vec<_>>>() else {
        return;
    };
    for one in shown.iter_mut().flatten().flatten() {
        let Shown::Artifact(one) = one else { continue };
        if let Some(Metrics::Scalars(scalars)) = &mut one.metrics {
            scalars.retain(|name, number| all.iter().any(|(scalars, _)| scalars.get(name) != Some(number)));
        }
        one.remarks
            .retain(|remark| all.iter().any(|(_, remarks)| !remarks.contains(remark)));
    }
}

/// How a run ended, as the verb of a sentence.
fn ended(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "goes on",
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "was cancelled",
        RunStatus::Skipped => "was skipped",
        RunStatus::Interrupted => "was interrupted",
        RunStatus::Suspended => "waits for a person",
    }
}

/// The outputs of runs, as far as they can be compared.
struct Outputs {
    all: BTreeSet<String>,
    differences: Vec<OutputDifference>,
}

impl Outputs {
    fn of(runs: &[Run]) -> Self {
        let of_runs: Vec<BTreeMap<String, &OutputRecord>> = runs.iter().map(Run::distinct_outputs).collect();
        let differences = differences(&of_runs, |outputs| {
            let outputs = outputs.iter();
            outputs
                .map(|(name, output)| (name.clone(), output.comparable()))
                .collect()
        });
        let shown = |difference: Difference| {
            let outputs = of_runs.iter().map(|outputs| outputs.get(&difference.name));
            let mut shown: Vec<_> = outputs
                .map(|output| output.map(|output| Shown::of(output)))
                .collect();
            leave_what_differs(&mut shown);
            OutputDifference { difference, shown }
        };
        Self {
            all: of_runs
                .iter()
                .flat_map(|outputs| outputs.keys().cloned())
                .collect(),
            differences: differences.into_iter().map(shown).collect(),
        }
    }

    /// Tells whether all outputs are the same. Runs that did not end well have fewer of them, so that nothing can be told.
    fn equal(&self, runs: &[RunSummary], notes: &mut Vec<String>) -> Option<bool> {
        let unfinished = runs.iter().filter(|run| run.status != RunStatus::Succeeded);
        let before = notes.len();
        for run in unfinished {
            notes.push(format!(
                "run {} {}, so that some of its outputs may be missing",
                run.short,
                ended(run.status)
            ));
        }
        if self.all.is_empty() {
            notes.push("the runs have no outputs".to_owned());
        }
        match (self.differences.is_empty(), notes.len() > before) {
            (true, true) => None,
            (same, _) => Some(same),
        }
    }
}

#[cfg(test)]
mod tests;
