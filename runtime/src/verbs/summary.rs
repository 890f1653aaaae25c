//! A run in short: what went in, what was measured, and what came out by digest. It is a fold of the run's record.

use std::collections::BTreeMap;
use std::time::SystemTime;

use samebundle_spec::record::{
    ArtifactRecord, Number, OutputRecord, Run, RunId, RunStatus, SetBy, TakenFrom, TaskRecord,
};
use samebundle_spec::{BundleName, Digest, Timestamp, Version};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A run in short.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// Its id.
    pub id: RunId,
    /// The end of its id, as long as is needed in this home.
    pub short: String,
    /// The installation that ran.
    pub installation: BundleName,
    /// Name of the bundle.
    pub bundle: String,
    /// Version of the bundle.
    pub version: Version,
    /// Digest of the bundle's index.
    pub bundle_digest: Digest,
    /// What ran: `run` for a program, otherwise the CNAB action.
    pub action: String,
    /// The driver that ran it.
    pub driver: String,
    /// What came of it.
    pub status: RunStatus,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// How long it took, or has taken until now.
    pub seconds: f64,
    /// Every parameter with its value; a secret has none.
    pub parameters: BTreeMap<String, Value>,
    /// The parameters that are not the defaults of the bundle.
    pub changed: Vec<String>,
    /// The numbers that were measured, by `TASK.ARTIFACT.METRIC` or `TASK.OUTPUT`.
    pub metrics: BTreeMap<String, Number>,
    /// What came out: values as they are, artifacts by digest.
    pub outputs: BTreeMap<String, OutputSummary>,
    /// When the files of its outputs were removed; absent while they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_removed: Option<Timestamp>,
    /// The bundle with which it was imported; absent if it ran here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_with: Option<Digest>,
}

/// An output in short.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OutputSummary {
    /// A value.
    Value(Value),
    /// Artifacts by digest; none of one that has only metadata.
    Digests(Vec<Option<Digest>>),
}

impl From<&OutputRecord> for OutputSummary {
    fn from(record: &OutputRecord) -> Self {
        match record {
            OutputRecord::Value(value) => Self::Value(value.clone()),
            OutputRecord::Artifacts(artifacts) => {
                let digests = artifacts.iter().map(|one: &ArtifactRecord| one.digest);
                Self::Digests(digests.collect())
            }
        }
    }
}

impl RunSummary {
    /// Folds a record. `now` ends what still goes on.
    pub(super) fn of(run: &Run, short: String, now: SystemTime) -> Self {
        let values = run.parameters.iter();
        let values = values.map(|(name, one)| (name.clone(), one.value.clone().unwrap_or_default()));
        let changed = run
            .parameters
            .iter()
            .filter(|(_, one)| one.set_by != SetBy::Default);
        let outputs = run.distinct_outputs().into_iter();
        Self {
            id: run.id.clone(),
            short,
            installation: run.installation.clone(),
            bundle: run.bundle.clone(),
            version: run.version.clone(),
            bundle_digest: run.bundle_digest,
            action: run.action.clone(),
            driver: run.driver.clone(),
            status: run.status,
            message: run.message.clone(),
            started: run.started,
            finished: run.finished,
            seconds: seconds(run.started, run.finished.unwrap_or(now.into())),
            parameters: values.collect(),
            changed: changed.map(|(name, _)| name.clone()).collect(),
            metrics: run.scalars(),
            outputs: outputs.map(|(name, output)| (name, output.into())).collect(),
            files_removed: run.files_removed,
            imported_with: run.imported_with,
        }
    }
}

/// The seconds between two times; none if the second is earlier.
fn seconds(started: Timestamp, finished: Timestamp) -> f64 {
    finished.since(started).as_secs_f64()
}

/// A task in short.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSummary {
    /// Its name, with its parents' separated by `/`.
    pub name: String,
    /// What came of it.
    pub status: RunStatus,
    /// How often it was started.
    pub attempts: u32,
    /// How many items a loop has; absent for what is no loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// How long it took, with all attempts; absent if it did not begin or has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Exit code of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The task whose result was taken over; absent if this one was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<TakenFrom>,
}

impl From<&TaskRecord> for TaskSummary {
    fn from(task: &TaskRecord) -> Self {
        let times = task.started.zip(task.finished);
        Self {
            name: task.name.clone(),
            status: task.status,
            attempts: task.attempts,
            items: task.items,
            seconds: times.map(|(started, finished)| seconds(started, finished)),
            exit_code: task.exit_code,
            taken_from: task.taken_from.clone(),
        }
    }
}
