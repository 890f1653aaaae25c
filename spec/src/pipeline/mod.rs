//! KFP v2 pipelines in their intermediate representation (IR): reading, checks, and questions about them.
//!
//! A file is one or more YAML documents (JSON is YAML): a `PipelineSpec`, schema version 2.0 or 2.1, or a `PipelineJob` that
//! wraps one, and a `PlatformSpec` a platform. Source: kubeflow/pipelines `api/v2alpha1/pipeline_spec.proto`.
//!
//! * [`Pipeline::parse`] refuses what is not of that shape; fields it does not know are kept as [`Pipeline::notes`], as
//!   proto3 JSON grows.
//! * [`Pipeline::check`] follows every reference and compares every type.
//! * [`Pipeline::unsupported`] names what the native engine does not run yet.
//! * [`Pipeline::demands`] names what its tasks demand of a machine.
//! * [`Pipeline::needs`] names the secrets, config maps and volumes that its tasks use.
//!
//! Invariant: whatever is walked is walked in the order of names, so results are the same everywhere.

mod check;
mod chosen;
mod demands;
mod expression;
mod inspect;
mod install;
mod kubernetes;
mod needs;
mod node;
mod placeholder;
mod position;
mod question;
mod read;
mod read_executor;
mod read_task;
mod reader;
mod task_outputs;
mod types;
mod unsupported;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

pub use crate::parameter_type::ParameterType;
pub use check::made_by_compiler;
pub use expression::{Expression, ExpressionError};
pub use inspect::{Input, Output, OutputKind};
pub use install::{InstallLine, install_lines};
pub use kubernetes::{Claim, Kubernetes, Placement, Pod, Projection, ProjectionTarget, Scratch, is_key};
pub use needs::{Need, Needs, Use, UseTarget, VolumeLife, VolumeNeed};
pub use placeholder::{
    Argument, ArtifactProperty, Placeholder, PlaceholderError, RunFact, Segment, argument, parts,
};
pub use position::{Located, PipelineError, PipelineFault, Position, is_cell};
pub use types::{
    ArtifactInput, ArtifactSource, ArtifactSpec, ArtifactType, Caching, Component, Container, Dag, DagOutput,
    Executor, ExecutorKind, Implementation, ImportedUri, Importer, Interface, Iteration, IterationOver,
    OutputOf, ParameterInput, ParameterSource, ParameterSpec, Question, QuestionAnswer, Resources, Retry,
    Task, Trigger,
};
pub use unsupported::Unsupported;
pub use value::{ValueError, coerce, conform, from_text, text_of};

/// A pipeline as its file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Name of the file, as the caller gave it; in every fault.
    pub file: String,
    /// The pipeline's name: `[a-z0-9][a-z0-9-]*`, at most 128 bytes.
    pub name: Located<String>,
    /// The name that it is shown by.
    pub display_name: Option<String>,
    /// A text for people.
    pub description: Option<String>,
    /// Version of the IR: `2.1.0`.
    pub schema_version: String,
    /// What compiled it, e.g. `kfp-2.17.0`.
    pub sdk_version: Option<String>,
    /// Where artifacts would go on a cluster.
    pub default_root: Option<String>,
    /// The outermost component, a DAG.
    pub root: Component,
    /// All others by name.
    pub components: BTreeMap<String, Component>,
    /// What runs, by label.
    pub executors: BTreeMap<String, Executor>,
    /// What it says to Kubernetes.
    pub kubernetes: Kubernetes,
    /// Values of a `PipelineJob`'s `runtimeConfig`.
    pub parameter_values: BTreeMap<String, Value>,
    /// What was not known when reading and has no effect.
    pub notes: Vec<PipelineFault>,
}

/// Joins the path of a DAG's task, which is empty for the root, and the name of a task in it.
pub fn task_path(dag: &str, task: &str) -> String {
    match dag {
        "" => task.to_owned(),
        dag => format!("{dag}/{task}"),
    }
}

/// Reads the documents of a pipeline's file as they are, without looking at what they say.
///
/// # Errors
/// [`PipelineError`] with line and column if the bytes are no YAML.
pub fn documents(file_name: &str, bytes: &[u8]) -> Result<Vec<Value>, PipelineError> {
    let documents = node::documents(file_name, bytes)?;
    Ok(documents.iter().map(node::Node::to_value).collect())
}

impl Pipeline {
    /// Reads a pipeline file. `file_name` is only used in errors.
    ///
    /// # Errors
    /// [`PipelineError`] with line and column if the bytes are not a pipeline.
    pub fn parse(file_name: &str, bytes: &[u8]) -> Result<Self, PipelineError> {
        read::pipeline(file_name, bytes)
    }

    /// Follows every reference and compares every type.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file.
    pub fn check(&self) -> Result<(), Vec<PipelineFault>> {
        check::pipeline(self)
    }
}
