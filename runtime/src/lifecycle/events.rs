//! Sends events of a run to two readers: whoever watches, and the run's log.

use std::sync::Arc;

use crate::driver::LogSink;
use crate::event::{Event, Events};
use crate::record::{LogLine, RunHandle};

/// Writes task output to the run's log and passes everything on.
#[derive(Debug)]
pub(crate) struct Recorded {
    next: Arc<dyn Events>,
    run: Arc<RunHandle>,
}

impl Recorded {
    pub(crate) fn new(next: Arc<dyn Events>, run: Arc<RunHandle>) -> Self {
        Self { next, run }
    }
}

impl Events for Recorded {
    fn emit(&self, event: Event) {
        if let Event::TaskLog { task, line, stderr } = &event {
            self.run.log(&LogLine {
                task: task.clone(),
                line: line.clone(),
                stderr: *stderr,
            });
        }
        self.next.emit(event);
    }
}

/// Turns the lines of one container into events.
pub(crate) struct TaskLog<'a> {
    pub(crate) task: &'a str,
    pub(crate) events: &'a dyn Events,
}

impl LogSink for TaskLog<'_> {
    fn line(&self, line: &str, stderr: bool) {
        self.events.emit(Event::TaskLog {
            task: self.task.to_owned(),
            line: line.to_owned(),
            stderr,
        });
    }
}
