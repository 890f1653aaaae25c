//! `diff`: in what runs differ, from what went in to what came out.
//!
//! What went in and came out is compared by the records: values by value, artifacts by digest, and artifacts that are only
//! metadata by that. Bundles are opened if they differ and are in the store. What cannot be compared is said, and no runs are
//! called equal because of something that was not looked at.

mod bundles;
mod code;

use std::collections::{BTreeMap, BTreeSet};

use samebundle_spec::record::{Run, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use code::CodeDifference;

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
    pub outputs: Vec<Difference>,
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

/// A metric that is not the same in all runs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MetricDifference {
    /// Its name.
    #[serde(flatten)]
    pub name: MetricName,
    /// What it is in each run.
    pub values: Vec<Option<f64>>,
    /// How much it is more in the last run than in the first; none if one of them has no such metric.
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
        metrics: metrics(&summaries)?,
        outputs: outputs.differences,
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
    differences(runs, |run| {
        let images = run.tasks.iter();
        let images = images.filter_map(|task| Some((task.name.clone(), json!(task.image?))));
        images.collect()
    })
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

fn metrics(runs: &[RunSummary]) -> Result<Vec<MetricDifference>, VerbError> {
    let all = metric_names(runs, &[])?.into_iter().map(|name| {
        let values: Vec<Option<f64>> = runs
            .iter()
            .map(|run| run.metrics.get(&name.name).copied())
            .collect();
        let ends = values
            .first()
            .copied()
            .flatten()
            .zip(values.last().copied().flatten());
        MetricDifference {
            difference: ends.map(|(first, last)| last - first),
            name,
            values,
        }
    });
    let differs = |one: &MetricDifference| one.values.windows(2).any(|pair| pair[0] != pair[1]);
    Ok(all.filter(differs).collect())
}

/// The outputs of runs, as far as they can be compared.
struct Outputs {
    all: BTreeSet<String>,
    differences: Vec<Difference>,
}

impl Outputs {
    fn of(runs: &[Run]) -> Self {
        let names = runs.iter().flat_map(|run| run.distinct_outputs().into_keys());
        Self {
            all: names.collect(),
            differences: differences(runs, |run| {
                let outputs = run.distinct_outputs().into_iter();
                outputs
                    .map(|(name, output)| (name, output.comparable()))
                    .collect()
            }),
        }
    }

    /// Tells whether all outputs are the same. Runs that did not end well have fewer of them, so that nothing can be told.
    fn equal(&self, runs: &[RunSummary], notes: &mut Vec<String>) -> Option<bool> {
        let unfinished = runs.iter().filter(|run| run.status != RunStatus::Succeeded);
        let before = notes.len();
        for run in unfinished {
            notes.push(format!(
                "run {} is {}, so that it has not all of its outputs",
                run.short,
                run.status.word()
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
