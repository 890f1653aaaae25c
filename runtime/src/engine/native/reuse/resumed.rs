//! What a run did before its process was killed or stopped to wait for a person, from its log.
//!
//! Nested DAGs and loops are walked again, because what they produce follows from their tasks. What the log has of them
//! already is not appended again. A task that starts once more begins everything in it anew: the log has no start of a DAG
//! that only goes on.

use std::collections::BTreeMap;

use samebundle_spec::Timestamp;
use samebundle_spec::record::{
    Run, RunEvent, RunEventKind, SignedApproval, TaskFinished, TaskQuestion, TaskRecord,
};

/// What became of the tasks of a run until its process was killed.
#[derive(Clone, Debug, Default)]
pub struct Resumed {
    tasks: BTreeMap<String, Past>,
}

/// What became of a task.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Past {
    /// The number of its last attempt; 0 if it has not begun.
    pub(in super::super) attempts: u32,
    /// How many attempts failed and were to be followed by another.
    pub(in super::super) failures: u32,
    /// Whether the last attempt has not ended.
    pub(in super::super) open: bool,
    /// When the first attempt began.
    pub(in super::super) started: Option<Timestamp>,
    /// What its last attempt asks a person.
    pub(in super::super) question: Option<TaskQuestion>,
    /// What persons decided about that.
    pub(in super::super) decisions: Vec<SignedApproval>,
    /// How it ended.
    pub(in super::super) end: Option<TaskFinished>,
}

impl Past {
    fn of(task: &TaskRecord) -> Self {
        Self {
            attempts: task.attempts,
            failures: 0,
            open: false,
            started: task.started,
            question: None,
            decisions: Vec::new(),
            end: Some(TaskFinished {
                task: task.name.clone(),
                attempt: task.attempts,
                status: task.status,
                started: task.started,
                exit_code: task.exit_code,
                will_retry: false,
                message: task.message.clone(),
                outputs: task.outputs.clone(),
                cache_key: task.cache_key,
                taken_from: task.taken_from.clone(),
            }),
        }
    }

    /// Returns the number of the next attempt. A DAG that had not ended, or whose end is looked at again, goes on in its last.
    pub(in super::super) fn next(&self, goes_on: bool) -> u32 {
        let ended = !self.open && self.end.is_none();
        match goes_on && !ended && self.attempts > 0 {
            true => self.attempts,
            false => self.attempts + 1,
        }
    }
}

impl Resumed {
    /// Folds the events of a log.
    pub fn of(events: impl IntoIterator<Item = RunEvent>) -> Self {
        let mut resumed = Self::default();
        for event in events {
            resumed.apply(event);
        }
        resumed
    }

    /// Takes what a record says, for which there may be no log.
    pub(in super::super) fn of_record(run: &Run) -> Self {
        let tasks = run.tasks.iter().map(|task| (task.name.clone(), Past::of(task)));
        Self {
            tasks: tasks.collect(),
        }
    }

    fn apply(&mut self, event: RunEvent) {
        match event.kind {
            RunEventKind::TaskStarted(started) => {
                self.begins_anew(&started.task);
                let past = self.tasks.entry(started.task).or_default();
                past.attempts = started.attempt;
                past.started.get_or_insert(event.time);
                past.open = true;
                past.question = None;
                past.decisions.clear();
                past.end = None;
            }
            RunEventKind::TaskSuspended(suspended) => {
                let past = self.tasks.entry(suspended.task).or_default();
                past.question = Some(suspended.question);
                past.decisions.clear();
            }
            RunEventKind::TaskDecided(decided) => {
                let past = self.tasks.entry(decided.task).or_default();
                past.decisions.push(decided.decision);
            }
            RunEventKind::TaskFinished(finished) => {
                let past = self.tasks.entry(finished.task.clone()).or_default();
                past.open = false;
                past.failures += u32::from(finished.will_retry);
                past.end = (!finished.will_retry).then_some(finished);
            }
            _ => {}
        }
    }

    /// Forgets what became of the tasks within one.
    pub(in super::super) fn begins_anew(&mut self, path: &str) {
        let within = format!("{path}/");
        let inner = self.tasks.range(within.clone()..);
        let inner = inner.take_while(|(name, _)| name.starts_with(&within));
        let inner: Vec<String> = inner.map(|(name, _)| name.clone()).collect();
        inner.iter().for_each(|name| drop(self.tasks.remove(name)));
    }

    /// Returns what became of a task; none if nothing happened of it.
    pub(in super::super) fn past(&self, path: &str) -> Option<Past> {
        self.tasks.get(path).cloned()
    }

    /// Tells whether the log has this end of a task already, in which outputs are as the log shows them.
    pub(in super::super) fn has(&self, end: &TaskFinished) -> bool {
        let past = self.tasks.get(&end.task).and_then(|past| past.end.as_ref());
        past.is_some_and(|past| (past.status, &past.outputs) == (end.status, &end.outputs))
    }
}
