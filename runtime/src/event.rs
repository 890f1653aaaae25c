//! What a command is doing, as typed values for whoever watches.
//!
//! Two things are told apart. An [`Event`] is emitted and forgotten: a step, the progress of a copy, a notice. What happens in
//! a run is appended to the run's log (`record`) as a `RunEvent`; whoever watches is given it after that.

use std::fmt::Debug;
use std::time::Duration;

use samebundle_spec::Digest;
use samebundle_spec::record::{LogLine, RunEvent};

/// Something that happened and is not kept.
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
}

/// What was appended in the folder of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Logged<'a> {
    /// An event of the run.
    Event(&'a RunEvent),
    /// A line that one of its tasks printed.
    Line(&'a LogLine),
}

/// Takes events. Must not block.
pub trait Events: Debug + Send + Sync {
    /// Takes one event.
    fn emit(&self, event: Event);

    /// Takes what a run of this process appended to its log, in that order. Whoever does not watch runs leaves it out.
    fn logged(&self, _logged: Logged<'_>) {}
}

/// Takes events and forgets them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Events for Silent {
    fn emit(&self, _event: Event) {}
}
