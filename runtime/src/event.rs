//! What happens, as typed values. The terminal, JSON output and the record are three readers of the same events.

use std::fmt::Debug;
use std::time::Duration;

use samebundle_spec::Digest;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A named step of a longer operation begins, e.g. "verify".
    Step {
        /// The step, an imperative verb with its object.
        name: String,
    },
    /// Bytes moved.
    Transfer {
        /// The content.
        digest: Digest,
        /// Bytes that are through.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// How far a whole copy is.
    Moved {
        /// Bytes that are there.
        done: u64,
        /// All bytes.
        total: u64,
        /// Bytes a second of late; none before that is known.
        per_second: Option<u64>,
        /// How long it will take at that rate.
        left: Option<Duration>,
    },
    /// A registry is asked again after a wait.
    Waiting {
        /// The registry and repository.
        place: String,
        /// What was wrong.
        why: String,
        /// How long.
        wait: Duration,
    },
    /// Something the user should know that is no error, said once.
    Notice {
        /// A sentence.
        text: String,
    },
    /// A line of the program's own log below a warning, for whoever asked for it.
    Log {
        /// `info`, `debug` or `trace`.
        level: String,
        /// The module that logged it.
        target: String,
        /// The message with its fields.
        text: String,
    },
    /// A task was started.
    TaskStarted {
        /// Name of the task, with its parents' separated by '/'.
        task: String,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// A line that a task printed.
    TaskLog {
        /// Name of the task.
        task: String,
        /// The line without its line end; bytes that are not UTF-8 are replaced.
        line: String,
        /// Whether it came by standard error.
        stderr: bool,
    },
    /// A task ended.
    TaskFinished {
        /// Name of the task.
        task: String,
        /// What came of it, in one word: succeeded, failed, cancelled, skipped.
        status: String,
        /// How long it took.
        took: Duration,
    },
}

/// Takes events. Must not block.
pub trait Events: Debug + Send + Sync {
    /// Takes one event.
    fn emit(&self, event: Event);
}

/// Takes events and forgets them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Events for Silent {
    fn emit(&self, _event: Event) {}
}
