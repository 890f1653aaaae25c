//! What can go wrong with a task, apart from its own exit code.

use std::io;

use samebundle_registry::StoreError;
use samebundle_spec::bundle::quantity::QuantityError;
use samebundle_spec::limits;
use samebundle_spec::pipeline::{ExpressionError, PlaceholderError, ValueError};

use crate::listing::LinkFault;
use crate::outside::AddressError;

/// What helps where content is not here.
pub(super) const REMEDY_OF_CONTENT: &str = "; run where it can be reached, give a file of this machine instead if it is a \
     parameter, or let the bundle carry it (`data` with `file` and `uri`)";

/// Why a task failed, other than by its exit code.
#[derive(Debug, thiserror::Error)]
pub(super) enum TaskError {
    /// An input has a value of another type.
    #[error("input {input:?}: {source}")]
    Value {
        /// The input.
        input: String,
        /// What was wanted.
        source: ValueError,
    },
    /// A part of a value is missing.
    #[error("input {input:?}: {source}")]
    Expression {
        /// The input.
        input: String,
        /// What is missing.
        source: ExpressionError,
    },
    /// A condition is neither true nor false for these inputs.
    #[error("its condition cannot be decided: {0}")]
    Condition(#[source] ExpressionError),
    /// An input is none of the values that its component allows.
    #[error("input {input:?} is {value}, which is none of the values that the component allows")]
    NotALiteral {
        /// The input.
        input: String,
        /// The value as JSON.
        value: String,
    },
    /// A person decided that the task fails.
    #[error("it was rejected{}", .reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}")))]
    Rejected {
        /// Why, in words.
        reason: Option<String>,
    },
    /// Nobody decided in time.
    #[error(
        "not enough persons approved it until {until}, when its time was over; run it again to ask again"
    )]
    NotAnswered {
        /// When its time was over.
        until: samebundle_spec::time::Timestamp,
    },
    /// The list of a loop has no value.
    #[error("input {input:?} has no value, and the loop goes over it")]
    NoItems {
        /// The input.
        input: String,
    },
    /// A component holds itself too often.
    #[error(
        "with {component}, more than {} tasks would be within each other: the condition under which a component holds itself stays \
         true. Let it end earlier, or go on in another run from what this one wrote",
        limits::NESTED_TASKS
    )]
    TooDeep {
        /// The component.
        component: String,
    },
    /// A loop has more items than are run.
    #[error("the loop has {count} items; at most {} are run", limits::ITERATIONS)]
    TooManyItems {
        /// How many there are.
        count: usize,
    },
    /// A placeholder cannot be read. The type checker finds this before.
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
    /// A required input has no value, because its source has none.
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
    /// An input chose an image that the bundle does not carry.
    #[error(
        "it runs in the image {name:?}, which the bundle does not carry; it carries {carried}; choose one of these, or name \
         the image under `images` of samebundle.yaml and build the bundle again"
    )]
    NoImage {
        /// The image.
        name: String,
        /// What there is.
        carried: String,
    },
    /// What an importer imports has no address.
    #[error("{address:?} cannot be imported: {source}")]
    Address {
        /// What it is instead, without credentials.
        address: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// A file of this machine that the person who runs did not name.
    #[error(
        "{0} is a file or folder of this machine, and a bundle reads only those that the person who runs gives as a \
         parameter; give it so, or let the bundle carry it as data"
    )]
    NotGivenPath(String),
    /// An importer names what no task of the run wrote.
    #[error("{0} is no artifact of this run")]
    NotOfThisRun(String),
    /// What is imported cannot be kept.
    #[error("{address} could not be imported: {why}")]
    Import {
        /// The address, without credentials.
        address: String,
        /// Why not.
        why: String,
    },
    /// An importer wants the content and not only the address.
    #[error("the content of {address} is not here: {why}{REMEDY_OF_CONTENT}")]
    NotHere {
        /// The address, without credentials.
        address: String,
        /// Why not.
        why: String,
    },
    /// A resource is no quantity.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// An argument is longer than the kernel allows; nearly always it is the executor input.
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
    /// All arguments together are longer than the kernel allows.
    #[error(
        "its command and environment have {bytes} bytes, and may have {}; pass what is large as an artifact",
        limits::COMMAND_BYTES
    )]
    CommandTooLong {
        /// Their length.
        bytes: usize,
    },
    /// The configuration of an image, which says its entry point and its user, cannot be read.
    #[error("the configuration of image {image} cannot be read")]
    ImageConfig {
        /// The image.
        image: String,
        /// Why, if it could not be read.
        source: Option<StoreError>,
    },
    /// A credential or a setting of the task was not given.
    #[error("{what} {name} is not given, or is of another form than the task needs")]
    NotGiven {
        /// Credential or parameter.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A value for an environment variable is no text.
    #[error("{name} goes to the environment variable {variable}, but is not UTF-8 text without NUL")]
    NotText {
        /// The credential or parameter.
        name: String,
        /// The variable.
        variable: String,
    },
    /// A key of a secret or a config map cannot be the name of a file.
    #[error("{name} has a key {key:?}, which is no name of a file; use letters, digits, '-', '_' and '.'")]
    Key {
        /// The credential or parameter.
        name: String,
        /// The key.
        key: String,
    },
    /// A volume has a name that is not valid.
    #[error(
        "{name:?} is no name of a volume; use letters, digits, '-', '_' and '.', a letter or digit first"
    )]
    VolumeName {
        /// The name.
        name: String,
    },
    /// A volume cannot be made, locked or removed.
    #[error("its volume could not be prepared: {0}")]
    Volume(#[source] io::Error),
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
    #[error(
        "output {path} is a {kind}; an output must be a file or a folder of files, folders and links inside of it"
    )]
    Special {
        /// Path below the task's outputs.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A link in an output is not kept.
    #[error(
        "output {path} is a link to {text}, which {fault}; make it lead to a place inside of the output, or write a copy \
         of what it leads to"
    )]
    Link {
        /// Path below the task's outputs.
        path: String,
        /// What the link says.
        text: String,
        /// Why it is not kept.
        fault: LinkFault,
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
    /// The component put an artifact outside of its outputs.
    #[error("output artifact {output:?} is at {uri}, outside of the task's own outputs")]
    Outside {
        /// The output.
        output: String,
        /// The path that the component gave.
        uri: String,
    },
}
