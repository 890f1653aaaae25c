//! The pipeline as values: KFP's `PipelineSpec` (api/v2alpha1/pipeline_spec.proto) with the position of everything.
//!
//! Maps are sorted by name, so that whatever walks a pipeline does so in the same order everywhere.

use std::collections::BTreeMap;

use serde_json::Value;

use super::position::{Located, Position};
use super::value::conform;
pub(super) use crate::parameter_type::ParameterType;

/// A component: a DAG of tasks, or one container, with what goes in and out.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Its position.
    pub at: Position,
    /// What does the work.
    pub implementation: Implementation,
    /// What goes in.
    pub inputs: Interface,
    /// What comes out.
    pub outputs: Interface,
}

/// What does a component's work.
#[derive(Clone, Debug, PartialEq)]
pub enum Implementation {
    /// The executor of this name.
    Executor(Located<String>),
    /// Tasks.
    Dag(Dag),
}

/// Named inputs or outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interface {
    /// Values.
    pub parameters: BTreeMap<String, ParameterSpec>,
    /// Files and folders with metadata.
    pub artifacts: BTreeMap<String, ArtifactSpec>,
}

/// A parameter as it is declared.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// Its position.
    pub at: Position,
    /// Its type.
    pub parameter_type: ParameterType,
    /// Its value if none is given.
    pub default: Option<Value>,
    /// Whether it may stay without a value.
    pub optional: bool,
    /// The values that it may have; empty: any.
    pub literals: Vec<Value>,
    /// A sentence for people.
    pub description: Option<String>,
}

impl ParameterSpec {
    /// Tells whether a value is one of the literals, or there are none.
    pub fn allows(&self, value: &Value) -> bool {
        let form = |value| conform(value, self.parameter_type);
        self.literals.is_empty() || self.literals.iter().any(|literal| form(literal) == form(value))
    }
}

/// An artifact as it is declared.
#[derive(Clone, Debug, PartialEq)]
pub struct ArtifactSpec {
    /// Its position.
    pub at: Position,
    /// Its type.
    pub artifact_type: ArtifactType,
    /// Whether it is a list of artifacts.
    pub list: bool,
    /// Whether it may be missing.
    pub optional: bool,
    /// A sentence for people.
    pub description: Option<String>,
}

/// The type of an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArtifactType {
    /// A name of a type, e.g. `system.Dataset`; empty if the schema is given in full.
    pub schema_title: String,
    /// The version of that type, e.g. `0.0.1`.
    pub schema_version: String,
    /// The schema in full (OpenAPI YAML); mostly empty.
    pub instance_schema: String,
}

/// Tasks and what comes out of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Dag {
    /// Its position.
    pub at: Position,
    /// Tasks by name.
    pub tasks: BTreeMap<String, Task>,
    /// Where each output parameter comes from.
    pub parameter_outputs: BTreeMap<String, DagOutput>,
    /// Where each output artifact comes from.
    pub artifact_outputs: BTreeMap<String, DagOutput>,
}

/// Where an output of a DAG comes from: the first of these that was produced.
#[derive(Clone, Debug, PartialEq)]
pub struct DagOutput {
    /// Its position.
    pub at: Position,
    /// Outputs of tasks of the DAG.
    pub selectors: Vec<OutputOf>,
}

/// An output of a task of the same DAG.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputOf {
    /// The task.
    pub task: Located<String>,
    /// The name of its output.
    pub key: Located<String>,
}

/// One use of a component.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its position.
    pub at: Position,
    /// The name that it is shown by; the key in the DAG is what names it.
    pub display_name: Option<String>,
    /// The component.
    pub component: Located<String>,
    /// Tasks that must end before, besides those whose outputs are taken.
    pub dependencies: Vec<Located<String>>,
    /// Where each input parameter comes from.
    pub parameters: BTreeMap<String, ParameterInput>,
    /// Where each input artifact comes from.
    pub artifacts: BTreeMap<String, ArtifactInput>,
    /// Runs the component once for every item.
    pub iterator: Option<Iteration>,
    /// When it runs.
    pub trigger: Trigger,
    /// Whether its result may be taken from a former run.
    pub caching: Caching,
    /// What happens when it fails.
    pub retry: Option<Retry>,
}

impl Task {
    /// The input that gets the item, if the task iterates.
    pub fn item_input(&self) -> Option<&str> {
        self.iterator
            .as_ref()
            .map(|iterator| iterator.item_input.as_str())
    }
}

/// Where an input parameter comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterInput {
    /// Its position.
    pub at: Position,
    /// The source.
    pub source: ParameterSource,
    /// A CEL expression over the source's value (`string_value`): `parseJson(string_value)["k"]`.
    pub selector: Option<Located<String>>,
}

/// The source of an input parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterSource {
    /// A value. Texts in it may hold placeholders for inputs of the same task.
    Constant(Value),
    /// An input of the component that the task is in.
    ComponentInput(String),
    /// An output of another task.
    TaskOutput(OutputOf),
    /// What became of another task.
    FinalStatus(Located<String>),
}

/// Where an input artifact comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct ArtifactInput {
    /// Its position.
    pub at: Position,
    /// The source.
    pub source: ArtifactSource,
}

/// The source of an input artifact.
#[derive(Clone, Debug, PartialEq)]
pub enum ArtifactSource {
    /// An input of the component that the task is in.
    ComponentInput(String),
    /// An output of another task.
    TaskOutput(OutputOf),
}

/// Runs a component once for every item of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Iteration {
    /// Its position.
    pub at: Position,
    /// Over what.
    pub over: IterationOver,
    /// The input of the component that gets the item.
    pub item_input: Located<String>,
    /// Most items that run at the same time.
    pub parallelism: Option<u32>,
}

/// What an iteration goes over.
#[derive(Clone, Debug, PartialEq)]
pub enum IterationOver {
    /// A list that the pipeline has as JSON text.
    Values(Vec<Value>),
    /// An input parameter of the same task.
    Parameter(Located<String>),
    /// An input artifact of the same task.
    Artifact(Located<String>),
}

/// When a task runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trigger {
    /// A CEL expression over the task's inputs.
    pub condition: Option<Located<String>>,
    /// Whether it runs even if a task before it failed.
    pub always: Option<Position>,
}

/// Whether a result may be taken from a former run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caching {
    /// It may. The SDK's default on nearly every task.
    pub enabled: bool,
    /// A key that the author chose.
    pub key: Option<Located<String>>,
}

/// What happens when a task fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Most tries after the first.
    pub retries: u32,
    /// Wait before the second try, seconds.
    pub backoff: f64,
    /// What the wait is multiplied by after every try.
    pub factor: f64,
    /// Longest wait, seconds.
    pub longest: f64,
}

/// What an executor is.
#[derive(Clone, Debug, PartialEq)]
pub struct Executor {
    /// Its position.
    pub at: Position,
    /// What it does.
    pub kind: ExecutorKind,
}

/// What an executor does.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecutorKind {
    /// Runs a container.
    Container(Container),
    /// Makes an artifact of something that exists elsewhere.
    Importer(Importer),
    /// Asks a person, and waits for the answers.
    Question(Box<Question>),
    /// Makes a volume: kfp-kubernetes' `CreatePVC`, which a cluster does by itself.
    CreateVolume,
    /// Removes a volume: kfp-kubernetes' `DeletePVC`.
    DeleteVolume,
    /// Something else of the proto (`resolver`, `customJob`), by its name.
    Other(String),
}

/// What is asked of a person. Texts may hold placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The position of what says it.
    pub at: Position,
    /// The question in words.
    pub text: Option<String>,
    /// What is said about each answer, by the output parameter that it becomes.
    pub answers: BTreeMap<String, QuestionAnswer>,
    /// How long it can be answered, seconds.
    pub limit_seconds: Option<u64>,
}

/// What is said about an answer besides its type, which the output parameter has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuestionAnswer {
    /// What it is about, in words.
    pub description: Option<String>,
    /// The answer of a person who gives none.
    pub default: Option<Value>,
    /// The answers that there are; empty: any of the type.
    pub allowed: Vec<Value>,
}

/// A container to run. Texts may hold placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The image as the author wrote it.
    pub image: Located<String>,
    /// The entry point; empty is that of the image.
    pub command: Vec<Located<String>>,
    /// Arguments.
    pub arguments: Vec<Located<String>>,
    /// Environment variables in order.
    pub environment: Vec<(String, Located<String>)>,
    /// What it may use.
    pub resources: Resources,
    /// Whether the executor wants a look into a cache before it runs (`lifecycle.preCacheCheck`).
    pub pre_cache_check: Option<Position>,
}

/// What a container may use. Texts are Kubernetes quantities or placeholders for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Most cores.
    pub cpu_limit: Option<Located<String>>,
    /// Most memory.
    pub memory_limit: Option<Located<String>>,
    /// Cores that the task requires.
    pub cpu_request: Option<Located<String>>,
    /// Memory that the task requires.
    pub memory_request: Option<Located<String>>,
    /// Resource name of an accelerator, e.g. `nvidia.com/gpu`.
    pub accelerator_type: Option<Located<String>>,
    /// How many of them.
    pub accelerator_count: Option<Located<String>>,
}

/// Makes an artifact of something that exists elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Importer {
    /// Where it is: an address, or the name of an input parameter that holds one.
    pub uri: ImportedUri,
    /// The type of the artifact.
    pub artifact_type: ArtifactType,
    /// The artifact's metadata; texts may hold placeholders.
    pub metadata: Value,
    /// Whether it is imported again although it was before.
    pub reimport: bool,
    /// Whether its content has to be there when the task has ended (`downloadToWorkspace`), and not only its address.
    pub content_required: bool,
}

/// The address of what is imported.
#[derive(Clone, Debug, PartialEq)]
pub enum ImportedUri {
    /// The pipeline has it.
    Constant(String),
    /// It is the value of this input parameter.
    Parameter(String),
}
