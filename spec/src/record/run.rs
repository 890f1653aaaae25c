//! One run of a program or one action of a bundle: what went in, what was done, what came out.
//!
//! The record is the fold of the run's log ([`super::RunEvent`]), and says what upkeep did to it since. A run is also a CNAB claim and result (cnab-spec 400),
//! written beside it; this document holds what those have no field for: tasks, images, inputs and outputs by digest.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Format, RunId, SignedApproval, TaskQuestion, Verification};
use crate::{BundleName, Digest, Timestamp, Version};

/// The record of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Format of this document.
    pub format: Format,
    /// The run's id, a ULID; also the id of its CNAB claim.
    pub id: RunId,
    /// The installation that ran.
    pub installation: BundleName,
    /// What ran: `run` for a program, otherwise the CNAB action.
    pub action: String,
    /// Name of the bundle.
    pub bundle: String,
    /// Version of the bundle.
    pub version: Version,
    /// Digest of the bundle's index.
    pub bundle_digest: Digest,
    /// Why the bundle was trusted when it ran.
    pub verification: Verification,
    /// The driver that ran it.
    pub driver: String,
    /// Every parameter with its resolved value and who set it.
    pub parameters: BTreeMap<String, ParameterRecord>,
    /// What came of it.
    pub status: RunStatus,
    /// Why it failed, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it began, RFC 3339 in UTC.
    pub started: Timestamp,
    /// When it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// The tasks, in the order in which they began.
    #[serde(default)]
    pub tasks: Vec<TaskRecord>,
    /// The program's outputs.
    #[serde(default)]
    pub outputs: BTreeMap<String, OutputRecord>,
    /// When the files of its outputs were removed to free space; absent while they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_removed: Option<Timestamp>,
    /// Where the record came from, if it was imported: the file's bundle digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_with: Option<Digest>,
    /// Where tasks are in the list, while events are taken in.
    #[serde(skip)]
    pub places: Places,
}

/// The places of tasks by their names: thousands of them would be searched for with each event otherwise. It is no part of what a
/// record says.
#[derive(Clone, Debug, Default)]
pub struct Places(pub(super) HashMap<String, usize>);

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A parameter of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ParameterRecord {
    /// The value; absent for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Who set it.
    pub set_by: SetBy,
    /// Whether the bundle marks it as sensitive; then the value is not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// Who set a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SetBy {
    /// The bundle: it is the parameter's default.
    Default,
    /// The installation, for all its runs.
    Installation,
    /// The run itself.
    Run,
}

impl SetBy {
    /// The word used in documents and on the terminal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Installation => "installation",
            Self::Run => "run",
        }
    }
}

/// What came of a run or a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// It is going on, or its process was killed and nobody has looked since.
    Running,
    /// It did what it should.
    Succeeded,
    /// The bundle's own work failed.
    Failed,
    /// The user interrupted it.
    Cancelled,
    /// It was not started, because something before it failed or a condition was false.
    Skipped,
    /// Its process was killed; found and resolved by a later start.
    Interrupted,
    /// It waits for a person; no process does it meanwhile.
    Suspended,
}

impl RunStatus {
    /// Tells whether more is to come of it: a process does it, or it waits for a person.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Suspended)
    }

    /// The word used in documents and on the terminal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Interrupted => "interrupted",
            Self::Suspended => "suspended",
        }
    }
}

/// One task of a pipeline's run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    /// Name of the task, with its parents' separated by `/`.
    pub name: String,
    /// What came of it.
    pub status: RunStatus,
    /// How often it was started; 0 also if its result was taken over.
    pub attempts: u32,
    /// Manifest digest of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// How many items a loop has; absent for what is no loop, and in the records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// When it began first, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// Exit code of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it failed or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Inputs by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, OutputRecord>,
    /// Outputs by name.
    #[serde(default)]
    pub outputs: BTreeMap<String, OutputRecord>,
    /// What it asks a person; absent if it asks nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<TaskQuestion>,
    /// What persons decided about it, in the order in which they did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<SignedApproval>,
    /// Digest of all that the outputs may depend on; absent if that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<Digest>,
    /// The task whose result was taken over; absent if this one was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<TakenFrom>,
}

/// A task of another run whose result was taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TakenFrom {
    /// The run.
    pub run: RunId,
    /// Name of the task in it.
    pub task: String,
}

impl TaskRecord {
    /// The record of a task of which nothing happened yet.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            status: RunStatus::Running,
            attempts: 0,
            image: None,
            items: None,
            started: None,
            finished: None,
            exit_code: None,
            message: None,
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            question: None,
            decisions: Vec::new(),
            cache_key: None,
            taken_from: None,
        }
    }
}

/// A value that went in or came out: a parameter as it is, artifacts by digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OutputRecord {
    /// A parameter.
    Value(Value),
    /// Artifacts; most names have exactly one.
    Artifacts(Vec<ArtifactRecord>),
}

impl OutputRecord {
    /// Its artifacts; a parameter has none.
    pub fn artifacts(&self) -> &[ArtifactRecord] {
        match self {
            Self::Value(_) => &[],
            Self::Artifacts(artifacts) => artifacts,
        }
    }

    /// What of it must be the same in another run: the value; the digests of artifacts; the metadata and the address where there is no file; the
    /// metadata where it is what was measured.
    pub fn comparable(&self) -> Value {
        let artifact = |one: &ArtifactRecord| match one.digest {
            Some(digest) if one.metrics().is_none() && !one.folder => json!(digest),
            Some(digest) if one.metrics().is_none() => json!({"folder": digest}),
            Some(digest) => json!({"digest": digest, "metadata": one.metadata}),
            None => match &one.uri {
                Some(uri) => json!({"metadata": one.metadata, "uri": uri}),
                None => json!({"metadata": one.metadata}),
            },
        };
        match self {
            Self::Value(value) => value.clone(),
            Self::Artifacts(artifacts) => match artifacts.as_slice() {
                [one] => artifact(one),
                many => many.iter().map(artifact).collect(),
            },
        }
    }

    /// Its artifacts under the name of the output; those of a list have their numbers.
    pub fn named_artifacts(&self, name: &str) -> impl Iterator<Item = (String, &ArtifactRecord)> {
        let artifacts = self.artifacts();
        artifacts.iter().enumerate().map(move |(number, artifact)| {
            let name = match artifacts.len() {
                1 => name.to_owned(),
                _ => format!("{name}-{number}"),
            };
            (name, artifact)
        })
    }
}

/// An artifact by digest. The content of its file is under `outputs/` of the run, if it was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ArtifactRecord {
    /// The schema title, e.g. `system.Model`.
    pub artifact_type: String,
    /// Digest of the file, or of the deterministic listing of a folder; absent if nothing was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Whether it is a folder: a file whose text is the listing of a folder has the same digest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folder: bool,
    /// Bytes in all.
    pub size: u64,
    /// Path below the run's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The address that it came from or is at, without credentials; absent if a task wrote it here, at the place of that path
    /// below `/samebundle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// What the component said about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
}

/// A line that a task printed, as `log.jsonl` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct LogLine {
    /// Name of the task.
    pub task: String,
    /// The line without its line end; bytes that are not UTF-8 are replaced.
    pub line: String,
    /// Whether it came by standard error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stderr: bool,
    /// When it was read, RFC 3339 in UTC; absent in the logs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}
