//! `explain`: a bundle as a person reads it.

use std::collections::{BTreeMap, BTreeSet};

use samebundle_spec::Digest;
use samebundle_spec::bundle::program::Requirements;
use samebundle_spec::bundle::view::{Action, Credential, Output, Parameter};
use samebundle_spec::pipeline::{Needs, Pipeline, VolumeLife};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::install::exported_version;
use super::resolve::resolve_installed;
use super::{LocalName, Location, Site, VerbError};
use crate::opened::{Kind, OpenedBundle};
use crate::portable::{self, CarriedHistory};
use crate::record::Installations;

/// Asks what a bundle is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainRequest {
    /// The bundle.
    pub bundle: Location,
}

/// What a bundle is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExplainReport {
    /// The index.
    pub digest: Digest,
    /// The bundle's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version by which an export named it that holds it or brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exported: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Its parameters by name.
    pub parameters: BTreeMap<String, ExplainedParameter>,
    /// Its outputs by name.
    pub outputs: BTreeMap<String, Output>,
    /// What its tasks leave, as `TASK.NAME`, each with its type; a run shows these as outputs too.
    pub task_outputs: BTreeMap<String, String>,
    /// The tasks at which a run stops until a person decided, each with what it asks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub questions: BTreeMap<String, String>,
    /// Its credentials by name.
    pub credentials: BTreeMap<String, Credential>,
    /// The environment variable in which a run looks for each credential that is not given.
    pub variables: BTreeMap<String, String>,
    /// The volumes that its tasks share, and how long each lives.
    pub volumes: BTreeMap<String, ExplainedVolume>,
    /// What it needs where it runs; none of a foreign bundle.
    pub requires: Option<Requirements>,
    /// How many runs of its author are beside it.
    pub runs: usize,
    /// Its actions by name.
    #[serde(skip)]
    pub actions: BTreeMap<String, Action>,
    /// The JSON Schemas that outputs name.
    #[serde(skip)]
    pub definitions: BTreeMap<String, Value>,
    /// What is odd about it, a sentence each.
    #[serde(skip)]
    pub notices: Vec<String>,
}

/// A parameter and its schema.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExplainedParameter {
    /// The parameter.
    pub parameter: Parameter,
    /// The JSON Schema of its values.
    pub schema: Value,
}

/// A volume that the tasks of a program share.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExplainedVolume {
    /// `kept` if it lives until a person removes it, `run` if it ends with the run.
    pub life: &'static str,
    /// The tasks that mount it; empty: all.
    pub tasks: Vec<String>,
}

fn volumes(needs: &Needs) -> BTreeMap<String, ExplainedVolume> {
    let named = needs.volumes.iter().map(|(name, need)| {
        let life = match need.life {
            VolumeLife::Kept => "kept",
            VolumeLife::Run => "run",
        };
        let tasks = need.tasks.iter().cloned().collect();
        (name.clone(), ExplainedVolume { life, tasks })
    });
    let workspace = needs.workspace.then(|| {
        let (life, tasks) = ("run", Vec::new());
        ("workspace".to_owned(), ExplainedVolume { life, tasks })
    });
    workspace.into_iter().chain(named).collect()
}

/// Describes a bundle: parameters, credentials, outputs, actions, and requirements.
///
/// # Errors
/// If it cannot be read, or is no bundle.
pub async fn explain(site: &Site, request: ExplainRequest) -> Result<ExplainReport, VerbError> {
    let resolved = resolve_installed(site, &request.bundle).await?;
    let bundle = OpenedBundle::open(resolved.source.as_ref(), &resolved.index).await?;
    let view = bundle.bundle.view();
    let requires = bundle.kind.requires().cloned();
    let (needs, placement, task_outputs, questions) = match &bundle.kind {
        Kind::Program(program) => {
            let pipeline = &program.pipeline;
            (
                pipeline.needs(),
                pipeline.placement_notes(),
                pipeline.task_outputs(),
                questions(pipeline),
            )
        }
        Kind::Environment | Kind::Addon | Kind::Foreign => Default::default(),
    };
    let notices = bundle.bundle.notices().iter().map(ToString::to_string);
    let placement = placement.iter().map(|note| note.problem.clone());
    let placement: BTreeSet<String> = placement.collect();
    let secrets = needs.secrets.iter();
    let variables = secrets.filter_map(|(name, need)| Some((name.clone(), need.variables.first()?.clone())));
    let history = portable::history_of(resolved.source.as_ref(), &resolved.index).await?;
    Ok(ExplainReport {
        runs: history.runs(),
        digest: resolved.index.digest,
        name: view.name.clone(),
        version: view.version.to_string(),
        exported: exported(site, &request.bundle, &history)?,
        description: view.description.clone(),
        parameters: parameters(view),
        outputs: view.outputs.clone(),
        task_outputs,
        questions,
        credentials: view.credentials.clone(),
        variables: variables.collect(),
        volumes: volumes(&needs),
        requires,
        actions: view.actions.clone(),
        definitions: view.definitions.clone(),
        notices: notices.chain(placement).collect(),
    })
}

/// The tasks of a pipeline that ask a person, each with its words.
pub(super) fn questions(pipeline: &Pipeline) -> BTreeMap<String, String> {
    let asking = pipeline.questions().into_iter();
    asking.map(|(task, question)| (task, question.words())).collect()
}

fn exported(site: &Site, bundle: &Location, history: &CarriedHistory) -> Result<Option<String>, VerbError> {
    let exported = match bundle {
        Location::Local(LocalName { name, version: None }) => {
            let installed = Installations::new(site.home()).find(name)?;
            installed.and_then(|one| one.exported)
        }
        other => exported_version(other, history),
    };
    Ok(exported.map(|version| version.to_string()))
}

fn parameters(view: &samebundle_spec::bundle::View) -> BTreeMap<String, ExplainedParameter> {
    let explained = view.parameters.iter().map(|(name, parameter)| {
        let schema = view.definitions.get(&parameter.definition);
        let explained = ExplainedParameter {
            parameter: parameter.clone(),
            schema: schema.cloned().unwrap_or(Value::Null),
        };
        (name.clone(), explained)
    });
    explained.collect()
}
