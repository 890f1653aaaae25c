//! What can go wrong with a run, apart from the program's own failure.

use std::io;
use std::path::PathBuf;

use samebundle_registry::StoreError;
use samebundle_spec::bundle::quantity::QuantityError;
use samebundle_spec::pipeline::{ExpressionError, Fault, PlaceholderError, Unsupported, ValueError};
use samebundle_spec::{Classify, ErrorKind, limits};

use crate::driver::DriverError;

/// A program cannot be run, or the run had to be given up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The pipeline does not pass the type checker.
    #[error("the pipeline is faulty: {}", first(.0))]
    Faults(Vec<Fault>),
    /// The pipeline needs what the engine does not do yet.
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
    /// No value for a parameter that needs one.
    #[error("parameter {name:?} has no value; give it with --{name}=VALUE")]
    MissingParameter {
        /// The parameter.
        name: String,
    },
    /// A value of another type.
    #[error("parameter {name:?}: {source}")]
    WrongParameter {
        /// The parameter.
        name: String,
        /// What was wanted.
        source: ValueError,
    },
    /// A value that is none of those allowed.
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
    /// The driver could not run a task, or lost it.
    #[error("task {task} could not be run: {source}")]
    Driver {
        /// The task.
        task: String,
        /// Why.
        source: DriverError,
    },
    /// A task needs an accelerator that no driver can give.
    #[error("task {task} needs {count} x {resource}, which the {driver} driver cannot give to a container")]
    Accelerator {
        /// The task.
        task: String,
        /// How many.
        count: u64,
        /// The resource, e.g. `nvidia.com/gpu`.
        resource: String,
        /// The driver.
        driver: &'static str,
    },
}

fn first<T: ToString>(all: &[T]) -> String {
    let text = all.first().map(ToString::to_string).unwrap_or_default();
    match all.len() {
        0 | 1 => text,
        more => format!("{text} (and {} more)", more - 1),
    }
}

impl Classify for ProgramError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Faults(_) | Self::Unsupported(_) | Self::NoDag | Self::NoImage { .. } => ErrorKind::Input,
            Self::UnknownParameter { .. }
            | Self::MissingParameter { .. }
            | Self::WrongParameter { .. }
            | Self::NotALiteral { .. } => ErrorKind::Usage,
            Self::Wheelhouse { source, .. } | Self::Data { source, .. } => of_unpacking(source),
            Self::Folder { .. } => ErrorKind::Environment,
            Self::Driver { source, .. } => source.kind(),
            Self::Accelerator { .. } => ErrorKind::CannotProvision,
        }
    }
}

/// Tells what the system answered, and what the store did, from what is wrong with the content.
fn of_unpacking(error: &io::Error) -> ErrorKind {
    let inner = error.get_ref();
    let store = inner.and_then(|inner| inner.downcast_ref::<StoreError>());
    match store {
        Some(error) => error.kind(),
        None if error.raw_os_error().is_some() => ErrorKind::Environment,
        None => ErrorKind::Input,
    }
}

/// Why a task failed, other than by its exit code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// An input has a value of another type.
    #[error("input {input:?}: {source}")]
    Value {
        /// The input.
        input: String,
        /// What was wanted.
        source: ValueError,
    },
    /// A part of a value is not there.
    #[error("input {input:?}: {source}")]
    Expression {
        /// The input.
        input: String,
        /// What is missing.
        source: ExpressionError,
    },
    /// A placeholder cannot be read. The type checker finds it before.
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
    /// A required input has no value, because what it comes from has none.
    #[error("required input {input:?} has no value")]
    NoValue {
        /// The input.
        input: String,
    },
    /// A required input artifact was not produced.
    #[error("required input artifact {input:?} was not produced")]
    NoArtifact {
        /// The input.
        input: String,
    },
    /// A resource is no quantity.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// An argument that the kernel does not take, nearly always the executor input.
    #[error(
        "{what} has {bytes} bytes, and one argument may have {}; pass what is large as an artifact",
        limits::ARGUMENT_BYTES
    )]
    ArgumentTooLong {
        /// Which argument or variable.
        what: String,
        /// Its length.
        bytes: usize,
    },
    /// All arguments together are more than the kernel takes.
    #[error(
        "its command and environment have {bytes} bytes, and may have {}; pass what is large as an artifact",
        limits::COMMAND_BYTES
    )]
    CommandTooLong {
        /// Their length.
        bytes: usize,
    },
    /// The image names no entry point, and the component none either.
    #[error(
        "the component has arguments but no command, and the entry point of image {image} cannot be read"
    )]
    EntryPoint {
        /// The image.
        image: String,
        /// Why, if it could not be read.
        source: Option<StoreError>,
    },
    /// The folder for the outputs cannot be made.
    #[error("the folder for its outputs could not be made")]
    Folder(#[source] io::Error),
    /// An output cannot be read.
    #[error("output {path} could not be read: {source}")]
    Unreadable {
        /// Path below the task's outputs.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// An output is a link, a device, a socket or a pipe.
    #[error("output {path} is a {kind}; outputs must be files and folders")]
    Special {
        /// Path below the task's outputs.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// An output is too large, too deep or has too many entries.
    #[error("output {path} has more than {limit} {unit}")]
    TooLarge {
        /// Path below the task's outputs.
        path: String,
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The executor output is not of its form.
    #[error("the executor output {path} cannot be read: {why}")]
    ExecutorOutput {
        /// Path below the task's outputs.
        path: String,
        /// Why.
        why: String,
    },
    /// An output parameter has another type than is declared.
    #[error("output {output:?}: {source}")]
    OutputValue {
        /// The output.
        output: String,
        /// What was wanted.
        source: ValueError,
    },
    /// An output parameter was not written.
    #[error("it wrote no value for its output {output:?}")]
    NoOutput {
        /// The output.
        output: String,
    },
    /// A DAG's output comes from tasks that produced nothing.
    #[error("output {output:?} was produced by none of its tasks")]
    NotProduced {
        /// The output.
        output: String,
    },
    /// The component put an artifact outside of its outputs.
    #[error("output artifact {output:?} is at {uri}, outside of the task's own outputs")]
    Outside {
        /// The output.
        output: String,
        /// Where it says that it is.
        uri: String,
    },
}
