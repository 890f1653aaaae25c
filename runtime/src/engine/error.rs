//! What can go wrong with a run, apart from the program's own failure.

use std::io;
use std::path::PathBuf;

use samebundle_registry::StoreError;
use samebundle_spec::pipeline::{PipelineFault, Unsupported, ValueError};
use samebundle_spec::{Classify, ErrorKind};

use crate::driver::DriverError;

/// A program cannot be run, or its run had to be stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The pipeline does not pass the type checker.
    #[error("the pipeline is faulty: {}", first(.0))]
    Faults(Vec<PipelineFault>),
    /// The pipeline needs something that the engine does not support yet.
    #[error("the pipeline cannot be run: {}", first(.0))]
    Unsupported(Vec<Unsupported>),
    /// The packages that the bundle carries could not be unpacked.
    #[error("the wheelhouse {digest} could not be unpacked")]
    Wheelhouse {
        /// Its layer.
        digest: samebundle_spec::Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Data that the bundle carries could not be unpacked.
    #[error("the data {name} could not be unpacked")]
    Data {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The root is a container.
    #[error("the pipeline's root is not a DAG; compile a pipeline, not a component")]
    NoDag,
    /// The plan has no manifest for an image of the pipeline.
    #[error("image {image} is not part of the bundle; build the bundle again")]
    NoImage {
        /// The image as the pipeline names it.
        image: String,
    },
    /// A value for a parameter that is not declared.
    #[error("the pipeline has no parameter {name:?}; see its parameters with `samebundle explain`")]
    UnknownParameter {
        /// The parameter.
        name: String,
    },
    /// The container of a task cannot be made once more.
    #[error("task {task} cannot be looked into: {why}")]
    NotAgain {
        /// The task.
        task: String,
        /// Why.
        why: String,
    },
    /// What a task read is not what it was.
    #[error(
        "what task {task} wrote is gone or was changed, so that the task that read it cannot be looked into; run it again"
    )]
    InputGone {
        /// The task that wrote it.
        task: String,
    },
    /// No value for a parameter that needs one.
    #[error("parameter {name:?} has no value; give it with --{name}=VALUE")]
    MissingParameter {
        /// The parameter.
        name: String,
    },
    /// No artifact for an input that needs one.
    #[error(
        "the pipeline takes an artifact {name:?}; give a file, a folder or an address with --{name}=PATH"
    )]
    MissingArtifact {
        /// The input.
        name: String,
    },
    /// An artifact that was given cannot be read.
    #[error("the artifact {name:?} cannot be read: {why}")]
    Artifact {
        /// The input.
        name: String,
        /// Why not.
        why: String,
    },
    /// A value of another type.
    #[error("parameter {name:?}: {source}")]
    WrongParameter {
        /// The parameter.
        name: String,
        /// What was wanted.
        source: ValueError,
    },
    /// A value that is not allowed.
    #[error("parameter {name:?} is {value}; it must be one of {allowed}")]
    NotALiteral {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A folder of the run cannot be made.
    #[error("folder {} of the run could not be made", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The driver could not run a task, or lost its container.
    #[error("task {task} could not be run: {source}")]
    Driver {
        /// The task.
        task: String,
        /// Why.
        source: DriverError,
    },
}

fn first<T: ToString>(all: &[T]) -> String {
    let text = all.first().map(ToString::to_string).unwrap_or_default();
    match all.len() {
        0 | 1 => text,
        more => format!("{text} (and {} more)", more - 1),
    }
}

impl ProgramError {
    pub(super) fn not_again(task: &str, why: impl Into<String>) -> Self {
        Self::NotAgain {
            task: task.to_owned(),
            why: why.into(),
        }
    }
}

impl Classify for ProgramError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Faults(_) | Self::Unsupported(_) | Self::NoDag | Self::NoImage { .. } => ErrorKind::Input,
            Self::UnknownParameter { .. }
            | Self::MissingParameter { .. }
            | Self::MissingArtifact { .. }
            | Self::Artifact { .. }
            | Self::WrongParameter { .. }
            | Self::NotALiteral { .. }
            | Self::NotAgain { .. } => ErrorKind::Usage,
            Self::InputGone { .. } => ErrorKind::NotFound,
            Self::Wheelhouse { source, .. } | Self::Data { source, .. } => of_unpacking(source),
            Self::Folder { .. } => ErrorKind::Environment,
            Self::Driver { source, .. } => source.kind(),
        }
    }
}

/// Distinguishes errors of the system and of the store from faults of the content.
fn of_unpacking(error: &io::Error) -> ErrorKind {
    let inner = error.get_ref();
    let store = inner.and_then(|inner| inner.downcast_ref::<StoreError>());
    match store {
        Some(error) => error.kind(),
        None if error.raw_os_error().is_some() => ErrorKind::Environment,
        None => ErrorKind::Input,
    }
}
