//! The log of a run (`spec/510-run-log.md`): typed events, one a line of `events.jsonl`, in the order in which they happened.
//!
//! The log is what is written while a run goes on; the record ([`Run`]), the CNAB claim and result, and what a person sees
//! are folds over it. This module has the events and the fold to the record; both are pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Format, OutputRecord, ParameterRecord, Places, ReadError, Run, RunId, RunStatus, SignedApproval,
    TakenFrom, TaskQuestion, TaskRecord, Verification,
};
use crate::{BundleName, Digest, Timestamp, Version, json, limits};

/// One event of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct RunEvent {
    /// Number of the event in its run, from 1 and without a gap.
    pub sequence: u64,
    /// When it was appended, RFC 3339 in UTC.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: RunEventKind,
}

/// What happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RunEventKind {
    /// The run began; always the first event, and only that.
    RunStarted(Box<RunStarted>),
    /// An attempt of a task began.
    TaskStarted(TaskStarted),
    /// An attempt of a task ended, or a task was skipped.
    TaskFinished(TaskFinished),
    /// A task asks a person and waits.
    TaskSuspended(TaskSuspended),
    /// A person decided about a task that waits.
    TaskDecided(TaskDecided),
    /// The run ended, or stopped; always the last event, unless the run went on or a person decided about a task of it.
    RunFinished(RunFinished),
    /// Another process went on with a run that had been interrupted, or waited for a person.
    RunResumed,
    /// An event of a newer minor, which changes nothing that is known here.
    #[serde(other)]
    #[cfg_attr(any(test, feature = "schema"), schemars(skip))]
    Unknown,
}

/// What runs, with what, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunStarted {
    /// Format of the log.
    pub format: Format,
    /// The run's id.
    pub id: RunId,
    /// The installation that runs.
    pub installation: BundleName,
    /// What runs: `run` for a program, otherwise the CNAB action.
    pub action: String,
    /// Name of the bundle.
    pub bundle: String,
    /// Version of the bundle.
    pub version: Version,
    /// Digest of the bundle's index.
    pub bundle_digest: Digest,
    /// Why the bundle is trusted.
    pub verification: Verification,
    /// The driver that runs it.
    pub driver: String,
    /// Every parameter with its resolved value and who set it.
    pub parameters: BTreeMap<String, ParameterRecord>,
}

/// An attempt of a task began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskStarted {
    /// Name of the task, with its parents' separated by `/`.
    pub task: String,
    /// The attempt, from 1; 0 if nothing was started, because the result of a former run was taken over.
    pub attempt: u32,
    /// Manifest digest of its image; absent for a nested DAG.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// How many items a loop has; absent for what is no loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// How many attempts there are at most; absent if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// Inputs by name: parameters by value, artifacts by digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, OutputRecord>,
}

/// An attempt of a task ended, or a task was skipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskFinished {
    /// Name of the task, with its parents' separated by `/`.
    pub task: String,
    /// The attempt, from 1; 0 for a task that was not started.
    pub attempt: u32,
    /// What came of it.
    pub status: RunStatus,
    /// When the first attempt began; absent for a task that was not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Exit code of the attempt's container, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Whether the task is tried again; then this is not the task's end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub will_retry: bool,
    /// Why it failed, with the last lines that it printed, or why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Outputs by name: parameters by value, artifacts by digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, OutputRecord>,
    /// Digest of all that the outputs may depend on; absent if that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<Digest>,
    /// The task whose result was taken over; absent if this one was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<TakenFrom>,
}

/// A task asks a person and waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskSuspended {
    /// Name of the task, with its parents' separated by `/`.
    pub task: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// What it asks.
    pub question: TaskQuestion,
}

/// A person decided about a task that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskDecided {
    /// Name of the task, with its parents' separated by `/`.
    pub task: String,
    /// What the person signed.
    pub decision: SignedApproval,
}

/// The run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunFinished {
    /// What came of it.
    pub status: RunStatus,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The program's outputs by name: parameters by value, artifacts by digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, OutputRecord>,
    /// Id of the CNAB result.
    pub result: RunId,
}

impl RunStarted {
    /// The first event of a run whose record is all that there is.
    pub fn of(run: &Run) -> Self {
        Self {
            format: run.format,
            id: run.id.clone(),
            installation: run.installation.clone(),
            action: run.action.clone(),
            bundle: run.bundle.clone(),
            version: run.version.clone(),
            bundle_digest: run.bundle_digest,
            verification: run.verification.clone(),
            driver: run.driver.clone(),
            parameters: run.parameters.clone(),
        }
    }
}

impl RunEvent {
    /// Reads the line of the event that follows number `before`, which is 0 before the first.
    ///
    /// # Errors
    /// [`ReadError::Format`] if it is the first and the log is of another major; otherwise why it is damaged.
    pub fn parse(before: u64, line: &[u8]) -> Result<Self, ReadError> {
        let event: Self = match before {
            0 => super::parse(line, limits::RUN_BYTES)?,
            _ => json::from_slice_wide(line, limits::RUN_BYTES)?,
        };
        match event.sequence == before + 1 {
            true => Ok(event),
            false => Err(ReadError::Sequence {
                found: event.sequence,
                wanted: before + 1,
            }),
        }
    }

    /// Writes the event as a line with its end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("maps with string keys serialize");
        line.push(b'\n');
        line
    }
}

impl Run {
    /// Begins the record with the first event of a log; none if it is another event.
    pub fn begin(first: &RunEvent) -> Option<Self> {
        let RunEventKind::RunStarted(started) = &first.kind else {
            return None;
        };
        let started = (**started).clone();
        Some(Self {
            format: started.format,
            id: started.id,
            installation: started.installation,
            action: started.action,
            bundle: started.bundle,
            version: started.version,
            bundle_digest: started.bundle_digest,
            verification: started.verification,
            driver: started.driver,
            parameters: started.parameters,
            status: RunStatus::Running,
            message: None,
            started: first.time,
            finished: None,
            tasks: Vec::new(),
            outputs: BTreeMap::new(),
            files_removed: None,
            imported_with: None,
            places: Places::default(),
        })
    }

    /// Takes the next event into the record. The message is that of the first task that failed until the run ends.
    pub fn apply(&mut self, event: &RunEvent) {
        match &event.kind {
            RunEventKind::RunStarted(_) | RunEventKind::Unknown => {}
            RunEventKind::TaskStarted(started) => self.task_started(started, event.time),
            RunEventKind::TaskFinished(finished) => self.task_finished(finished, event.time),
            RunEventKind::TaskSuspended(suspended) => self.task_suspended(suspended),
            RunEventKind::TaskDecided(decided) => {
                let task = self.tasks.iter_mut().find(|task| task.name == decided.task);
                if let Some(task) = task {
                    task.decisions.push(decided.decision.clone());
                }
            }
            RunEventKind::RunResumed => self.resumed(),
            RunEventKind::RunFinished(finished) => self.run_finished(finished, event.time),
        }
    }

    /// What was skipped stands last. What is still open when the run stops waits as the run does, or was interrupted.
    fn run_finished(&mut self, finished: &RunFinished, time: Timestamp) {
        self.status = finished.status;
        self.message.clone_from(&finished.message);
        self.outputs.clone_from(&finished.outputs);
        self.finished = Some(time);
        let open = match finished.status {
            RunStatus::Suspended => RunStatus::Suspended,
            _ => RunStatus::Interrupted,
        };
        for task in &mut self.tasks {
            // A question outlives its process, and ends with its run.
            let asks = task.status == RunStatus::Suspended && finished.status != RunStatus::Interrupted;
            if task.status == RunStatus::Running || asks {
                task.status = open;
            }
        }
        self.tasks.sort_by_key(|task| task.status == RunStatus::Skipped);
        self.places = Places::default();
    }

    /// The end that was recorded is none: the run goes on, and so do the tasks that were interrupted.
    fn resumed(&mut self) {
        self.status = RunStatus::Running;
        self.message = None;
        self.finished = None;
        self.outputs.clear();
        for task in &mut self.tasks {
            match task.status {
                RunStatus::Interrupted => task.status = RunStatus::Running,
                // A DAG that waited because of a task in it goes on; a task that asks waits until it is decided.
                RunStatus::Suspended if task.question.is_none() => task.status = RunStatus::Running,
                RunStatus::Failed if self.message.is_none() => self.message.clone_from(&task.message),
                _ => {}
            }
        }
    }

    fn task_started(&mut self, started: &TaskStarted, time: Timestamp) {
        let task = self.task(&started.task);
        task.status = RunStatus::Running;
        task.attempts = started.attempt;
        task.image = started.image;
        task.items = started.items;
        task.started.get_or_insert(time);
        task.finished = None;
        task.exit_code = None;
        task.question = None;
        task.decisions.clear();
        task.inputs.clone_from(&started.inputs);
    }

    fn task_suspended(&mut self, suspended: &TaskSuspended) {
        let task = self.task(&suspended.task);
        task.status = RunStatus::Suspended;
        task.question = Some(suspended.question.clone());
        task.decisions.clear();
    }

    fn task_finished(&mut self, finished: &TaskFinished, time: Timestamp) {
        let task = self.task(&finished.task);
        task.exit_code = finished.exit_code;
        if finished.will_retry {
            return;
        }
        task.status = finished.status;
        task.finished = finished.started.map(|_| time);
        task.outputs.clone_from(&finished.outputs);
        task.message.clone_from(&finished.message);
        task.cache_key = finished.cache_key;
        task.taken_from.clone_from(&finished.taken_from);
        if finished.status == RunStatus::Failed && self.message.is_none() {
            self.message.clone_from(&finished.message);
        }
    }

    /// Returns the record of a task, made if it is the first time.
    fn task(&mut self, name: &str) -> &mut TaskRecord {
        let known = self.places.0.get(name).copied();
        let index = match known.filter(|index| self.tasks.get(*index).is_some_and(|task| task.name == name)) {
            Some(index) => index,
            None => self.place(name),
        };
        &mut self.tasks[index]
    }

    /// Finds a task after the list was changed by something else than this fold, or makes it.
    fn place(&mut self, name: &str) -> usize {
        if self.places.0.len() != self.tasks.len() || self.places.0.contains_key(name) {
            let names = self.tasks.iter().enumerate();
            self.places.0 = names.map(|(index, task)| (task.name.clone(), index)).collect();
        }
        *self.places.0.entry(name.to_owned()).or_insert_with(|| {
            self.tasks.push(TaskRecord::new(name));
            self.tasks.len() - 1
        })
    }
}

#[cfg(test)]
mod tests;
