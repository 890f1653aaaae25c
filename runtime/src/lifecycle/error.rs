//! What can go wrong with an installation.

use std::io;
use std::path::Path;

use samebundle_registry::{PathError, StoreError};
use samebundle_spec::bundle::BundleError;
use samebundle_spec::{Classify, ErrorKind};

use crate::driver::DriverError;
use crate::engine::ProgramError;
use crate::image::ImageError;
use crate::opened::OpenError;
use crate::plan::PlanError;
use crate::record::RecordError;

/// An error of installing, planning or running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// The bundle's content could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bundle is not valid.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// There is no plan, or the machine cannot carry it out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// History on disk.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The driver.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The name is taken by another bundle.
    #[error(
        "{name} is already installed with another bundle ({bundle} {version}): replace it with `upgrade {name} BUNDLE`, or install under another name with --name NAME"
    )]
    NameTaken {
        /// The installation.
        name: String,
        /// What is installed.
        bundle: String,
        /// Its version.
        version: String,
    },
    /// A request does not fit the kind of the bundle.
    #[error("{subject}: {why}")]
    Unfit {
        /// The bundle or file.
        subject: String,
        /// Why.
        why: String,
    },
    /// A foreign bundle's own action failed; nothing was installed or forgotten.
    #[error("{message} (run {run})")]
    ActionFailed {
        /// The run that recorded it.
        run: String,
        /// What happened.
        message: String,
    },
    /// The bundle could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An image could not be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The program could not be run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// An action did not write an output that it must.
    #[error("the action wrote no output {name} ({path}), and it has no default")]
    MissingOutput {
        /// The output.
        name: String,
        /// Where it should have been.
        path: String,
    },
    /// An output is no plain file, or too large.
    #[error("the output {path} is no plain file of at most 16 MiB")]
    Output {
        /// Where it is below the outputs.
        path: String,
    },
    /// The user interrupted.
    #[error("interrupted; what was done so far is in the record")]
    Cancelled,
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl LifecycleError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        PathError::into(operation, path)
    }
}

impl Classify for LifecycleError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Bundle(error) => error.kind(),
            Self::Plan(error) => error.kind(),
            Self::Record(error) => error.kind(),
            Self::Driver(error) => error.kind(),
            Self::NameTaken { .. } => ErrorKind::Conflict,
            Self::Unfit { .. } => ErrorKind::Input,
            Self::Open(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Program(error) => error.kind(),
            Self::ActionFailed { .. } | Self::MissingOutput { .. } | Self::Output { .. } => ErrorKind::Failed,
            Self::Cancelled => ErrorKind::Interrupted,
            Self::Path(error) => error.kind(),
        }
    }
}
