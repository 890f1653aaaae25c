//! What is remembered of tasks while they run.

use std::time::SystemTime;

use samebundle_spec::Timestamp;
use samebundle_spec::record::{RunStatus, TaskRecord};

/// Records of tasks in the order in which they began, and why the first one failed.
#[derive(Debug, Default)]
pub(super) struct Records {
    tasks: Vec<TaskRecord>,
    message: Option<String>,
}

impl Records {
    /// Returns the record of a task, made if it is the first time.
    pub(super) fn task(&mut self, path: &str) -> &mut TaskRecord {
        let index = self
            .tasks
            .iter()
            .position(|task| task.name == path)
            .unwrap_or_else(|| {
                self.tasks.push(TaskRecord {
                    name: path.to_owned(),
                    status: RunStatus::Running,
                    attempts: 0,
                    image: None,
                    started: None,
                    finished: None,
                    exit_code: None,
                    inputs: Default::default(),
                    outputs: Default::default(),
                });
                self.tasks.len() - 1
            });
        &mut self.tasks[index]
    }

    /// Notes that a task began.
    pub(super) fn begin(&mut self, path: &str, now: SystemTime) {
        let task = self.task(path);
        task.attempts += 1;
        task.status = RunStatus::Running;
        task.started
            .get_or_insert_with(|| Timestamp::from(now).to_string());
    }

    /// Notes how a task ended.
    pub(super) fn end(&mut self, path: &str, status: RunStatus, now: SystemTime) {
        let task = self.task(path);
        task.status = status;
        task.finished = Some(Timestamp::from(now).to_string());
    }

    /// Notes why the run fails. The first reason counts.
    pub(super) fn fail(&mut self, message: String) {
        self.message.get_or_insert(message);
    }

    /// Returns the records, skipped tasks last, and why the run failed.
    pub(super) fn finish(mut self) -> (Vec<TaskRecord>, Option<String>) {
        self.tasks.sort_by_key(|task| task.status == RunStatus::Skipped);
        (self.tasks, self.message)
    }
}
