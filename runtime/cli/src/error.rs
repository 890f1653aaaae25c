//! What can go wrong with a command: the errors of its verb, and those of the command line.

use std::io;
use std::path::{Path, PathBuf};

use samebundle_registry::{PathError, StoreError};
use samebundle_runtime::home::HomeError;
use samebundle_runtime::verbs::{PassphraseError, VerbError};
use samebundle_spec::{Classify, ErrorKind};

use crate::render::Report;
use crate::settings::NoHome;

/// An error of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// No home is known.
    #[error(transparent)]
    NoHome(#[from] NoHome),
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The verb failed.
    #[error(transparent)]
    Verb(#[from] VerbError),
    /// The content of a server could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password was not given.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The variable of the log filter is not valid.
    #[error(
        "{} is not valid: give LEVEL or MODULE=LEVEL, separated by commas",
        crate::log::VARIABLE
    )]
    LogFilter {
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
    /// No driver works.
    #[error("nothing on this machine can run containers")]
    NothingRuns {
        /// What was found.
        report: Box<Report>,
    },
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
    /// A program ran and failed; it was recorded.
    #[error("{message}")]
    Failed {
        /// The report of the run.
        report: Box<Report>,
        /// What failed.
        message: String,
    },
    /// A run that another process was to do did not begin.
    #[error("{message}")]
    NotBegun {
        /// The kind of the other process's error.
        kind: ErrorKind,
        /// That error.
        message: String,
    },
    /// The user interrupted.
    #[error("{0}")]
    Interrupted(String),
    /// A check found faults, which are in the report.
    #[error("{message}")]
    Faulty {
        /// The faults.
        report: Box<Report>,
        /// How many.
        message: String,
    },
    /// Some runs could not be sent; the report says which were.
    #[error("{message}")]
    NotSent {
        /// What was sent.
        report: Box<Report>,
        /// The kind of the first failure.
        kind: ErrorKind,
        /// Which places failed, and why.
        message: String,
    },
    /// The policy refuses a bundle; the report says why.
    #[error("this home does not trust the bundle")]
    Refused {
        /// What decides.
        report: Box<Report>,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A page could not be shown.
    #[error("{browser} could not open {}: open it yourself, or set BROWSER to a program that can", file.display())]
    NoBrowser {
        /// The program.
        browser: String,
        /// The page.
        file: PathBuf,
    },
    /// The output could not be laid out or printed.
    #[error("the output could not be written")]
    Output(#[from] std::fmt::Error),
}

impl CliError {
    /// Returns the report that is printed on standard output as well.
    pub(crate) fn report(&self) -> Option<&Report> {
        match self {
            Self::Failed { report, .. }
            | Self::Faulty { report, .. }
            | Self::NotSent { report, .. }
            | Self::NothingRuns { report }
            | Self::Refused { report } => Some(report),
            _ => None,
        }
    }

    /// Makes the error of a failed file operation.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        PathError::into(operation, path)
    }
}

impl Classify for CliError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Verb(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Path(error) => error.kind(),
            Self::NoHome(_)
            | Self::Home(_)
            | Self::NothingRuns { .. }
            | Self::NoBrowser { .. }
            | Self::Output(_) => ErrorKind::Environment,
            Self::Passphrase(error) => error.kind(),
            Self::LogFilter { .. } | Self::Usage(_) => ErrorKind::Usage,
            Self::Faulty { .. } => ErrorKind::Input,
            Self::NotSent { kind, .. } | Self::NotBegun { kind, .. } => *kind,
            Self::Refused { .. } => ErrorKind::NotTrusted,
            Self::Failed { .. } => ErrorKind::Failed,
            Self::Interrupted(_) => ErrorKind::Interrupted,
        }
    }
}
