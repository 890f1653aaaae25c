//! What a command is doing, as typed values for those who watch it.
//!
//! There are two kinds. An [`Event`] is emitted and not kept: a step, the progress of a copy, a notice. A `RunEvent`
//! says what happened in a run: it is appended to the run's log (`record`) first, and then given to those who watch.

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
    /// Bytes of a blob or manifest were copied.
    Transfer {
        /// The blob or manifest.
        digest: Digest,
        /// Bytes that were copied.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// How far a whole copy is.
    Moved {
        /// Bytes that have arrived.
        done: u64,
        /// All bytes.
        total: u64,
        /// The recent rate, bytes a second; none before it is known.
        per_second: Option<u64>,
        /// How long the rest takes at that rate.
        left: Option<Duration>,
    },
    /// How far a longer step is.
    Working(Working),
    /// A registry is asked again after a wait.
    Waiting {
        /// The registry and repository.
        place: String,
        /// What was wrong.
        why: String,
        /// How long.
        wait: Duration,
    },
    /// Something that the user should know and that is no error. It is emitted once.
    Notice {
        /// A sentence.
        text: String,
    },
    /// A line of the program's own log that is less than a warning. Users see it if they ask for it.
    Log {
        /// `info`, `debug` or `trace`.
        level: String,
        /// The module that logged it.
        target: String,
        /// The message with its fields.
        text: String,
    },
}

/// How far a longer step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Working {
    /// The step, an imperative verb with its object.
    pub name: String,
    /// Its parts; none if it has no parts, or none is known of yet.
    pub parts: Option<Amount>,
    /// Its bytes; none if they are not counted, or none is known of yet.
    pub bytes: Option<Amount>,
    /// How long the rest takes; none before it can be estimated.
    pub left: Option<Duration>,
    /// The step has ended, well or not. Nothing is reported of it after that.
    pub ended: bool,
}

/// How much of something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// What is done.
    pub done: u64,
    /// All of it, if that is known.
    pub total: Option<u64>,
}

/// What was appended in the folder of a run, or is about to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Logged<'a> {
    /// An event of the run.
    Event(&'a RunEvent),
    /// A line that one of its tasks printed.
    Line(&'a LogLine),
    /// A line that one of its tasks prints and replaces again, such as a progress bar. It is not kept.
    Replaced(&'a LogLine),
}

/// Receives events. It must not block.
pub trait Events: Debug + Send + Sync {
    /// Receives one event.
    fn emit(&self, event: Event);

    /// Receives what a run of this process appended to its log, in that order. The default ignores it.
    fn logged(&self, _logged: Logged<'_>) {}
}

/// Ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Events for Silent {
    fn emit(&self, _event: Event) {}
}
