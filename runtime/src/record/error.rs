//! What can go wrong with history on disk.

use std::io;
use std::path::Path;

use samebundle_registry::PathError;
use samebundle_spec::record::{FormatError, ReadError};
use samebundle_spec::{Classify, ErrorKind};

/// An error of history on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// No such installation.
    #[error(
        "nothing is installed as {name}{}; `list` shows what is, and a bundle that is only built runs from its folder: `run DIR`",
        did_you_mean(.near.as_ref())
    )]
    NoInstallation {
        /// The name that was asked for.
        name: String,
        /// The nearest one that exists.
        near: Option<String>,
    },
    /// No such run.
    #[error("there is no run {id}{}; `runs` lists them", did_you_mean(.near.as_ref()))]
    NoRun {
        /// The id, or the part of one, that was asked for.
        id: String,
        /// The nearest one that exists.
        near: Option<String>,
    },
    /// The last run was asked for, and there is none.
    #[error("there are no runs{} yet; `run {}` makes one", .of.as_ref().map_or_else(String::new, |of| format!(" of {of}")), .of.as_deref().unwrap_or("NAME"))]
    NoRunYet {
        /// The installation that was asked for; none: any.
        of: Option<String>,
    },
    /// The run was imported, or is of a version that kept no log of events.
    #[error("run {id} has a record and no log of its events: it was imported, or an earlier version did it")]
    NoLog {
        /// Its id.
        id: String,
    },
    /// A process does the run.
    #[error("run {id} is running; wait until it has stopped, or interrupt it")]
    Busy {
        /// Its id.
        id: String,
    },
    /// The run waits for nobody.
    #[error("run {id} is {status}, so that nothing of it waits for a decision; `runs {id}` shows it")]
    NotSuspended {
        /// Its id.
        id: String,
        /// What it is.
        status: &'static str,
    },
    /// The run did not stop in the middle.
    #[error(
        "run {id} is {status}; only a run that was interrupted can be resumed. A new run with `--of {id}` takes over what it had done"
    )]
    NotInterrupted {
        /// Its id.
        id: String,
        /// What it is.
        status: &'static str,
    },
    /// Several runs begin or end so.
    #[error("{id} is the beginning or the end of {count} runs; give more of it, as `runs` shows it")]
    AmbiguousRun {
        /// The beginning that was asked for.
        id: String,
        /// How many runs begin so.
        count: usize,
    },
    /// A document is damaged.
    #[error("the record {path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A document is of another version.
    #[error("the record {path} cannot be used")]
    Format {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: FormatError,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Asks for the nearest name, if there is one.
pub(crate) fn did_you_mean(near: Option<&String>) -> String {
    near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"))
}

impl RecordError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        PathError::into(operation, path)
    }

    /// Makes the error of a document that cannot be read as a record.
    pub(crate) fn unreadable(path: &Path) -> impl FnOnce(ReadError) -> Self {
        let path = path.display().to_string();
        move |error| match error {
            ReadError::Format(source) => Self::Format { path, source },
            ReadError::Json(_) | ReadError::Sequence { .. } => Self::Damaged {
                path,
                why: error.to_string(),
            },
        }
    }
}

impl Classify for RecordError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoInstallation { .. } | Self::NoRun { .. } | Self::NoRunYet { .. } | Self::NoLog { .. } => {
                ErrorKind::NotFound
            }
            Self::AmbiguousRun { .. } => ErrorKind::Usage,
            Self::NotInterrupted { .. } | Self::NotSuspended { .. } | Self::Busy { .. } => {
                ErrorKind::Conflict
            }
            Self::Damaged { .. } | Self::Format { .. } => ErrorKind::Input,
            Self::Path(error) => error.kind(),
        }
    }
}
