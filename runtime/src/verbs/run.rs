//! `plan` and `run`.

use std::collections::BTreeMap;
use std::sync::Arc;

use samebundle_registry::layout::Layout;
use samebundle_spec::record::{ArtifactRecord, OutputRecord, ParameterRecord, Run, RunStatus};
use samebundle_spec::{BundleName, Digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::credentials::{self, Chosen};
use super::resolve::open_installed;
use super::{CredentialsGiven, Given, Site, VerbError};
use crate::lifecycle::{self, Machine};
use crate::plan::{self, Plan};
use crate::record::Installations;

/// What to run, or to plan.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunRequest {
    /// The installation.
    pub name: BundleName,
    /// Parameters that override those of the installation and the defaults.
    #[serde(default)]
    pub parameters: Given,
    /// Where its credentials come from, beside what the installation remembers.
    #[serde(default)]
    pub credentials: CredentialsGiven,
    /// Where it runs; none: what works.
    #[serde(default)]
    pub environment: Option<String>,
    /// The action: `run`, or one of a foreign bundle.
    #[serde(default = "run_action")]
    pub action: String,
}

fn run_action() -> String {
    plan::RUN.to_owned()
}

/// What a run would do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// The action.
    pub action: String,
    /// The bundle's name.
    pub bundle: String,
    /// Its version.
    pub version: String,
    /// What would start its containers.
    pub driver: String,
    /// Every parameter with its value, and who set it; a secret has none.
    pub parameters: BTreeMap<String, ParameterRecord>,
    /// Where each credential comes from.
    pub credentials: BTreeMap<String, String>,
    /// What cannot be had here: always empty, because a shortfall is an error.
    pub shortfalls: [(); 0],
}

/// What came of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// Its id.
    pub run: String,
    /// What came of it.
    pub status: RunStatus,
    /// What started its containers.
    pub driver: String,
    /// The outputs by name.
    pub outputs: BTreeMap<String, OutputReport>,
    /// Why it failed.
    #[serde(skip)]
    pub message: Option<String>,
}

/// An output of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OutputReport {
    /// A value.
    Value(Value),
    /// One artifact.
    Artifact(ArtifactReport),
    /// A list of artifacts.
    Artifacts(Vec<ArtifactReport>),
}

/// An artifact that a run left.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ArtifactReport {
    /// Digest of its file, or of its folder; none if there is only metadata.
    pub digest: Option<Digest>,
    /// Its bytes.
    pub size: u64,
    /// The schema title of its type, e.g. `system.Model`.
    #[serde(rename = "type")]
    pub artifact_type: String,
    /// What the program said of it.
    pub metadata: BTreeMap<String, Value>,
}

impl From<&ArtifactRecord> for ArtifactReport {
    fn from(record: &ArtifactRecord) -> Self {
        Self {
            digest: record.digest,
            size: record.size,
            artifact_type: record.artifact_type.clone(),
            metadata: record.metadata.clone(),
        }
    }
}

impl From<&OutputRecord> for OutputReport {
    fn from(record: &OutputRecord) -> Self {
        match record {
            OutputRecord::Value(value) => Self::Value(value.clone()),
            OutputRecord::Artifacts(artifacts) => match artifacts.as_slice() {
                [artifact] => Self::Artifact(artifact.into()),
                many => Self::Artifacts(many.iter().map(ArtifactReport::from).collect()),
            },
        }
    }
}

/// Returns the outputs of a run in the form of reports.
pub(super) fn output_reports(run: &Run) -> BTreeMap<String, OutputReport> {
    let outputs = run.outputs.iter();
    outputs
        .map(|(name, output)| (name.clone(), output.into()))
        .collect()
}

/// A plan, with the store and the machine for it.
struct Planned {
    store: Layout,
    machine: Machine,
    plan: Plan,
    credentials: Vec<Chosen>,
}

async fn prepare(site: &Site, request: RunRequest) -> Result<Planned, VerbError> {
    let installation = Installations::new(site.home()).get(&request.name)?;
    let store = site.store().await?;
    let bundle = open_installed(site, &store, &installation).await?;
    let given = request.parameters.typed(bundle.get().bundle.view())?;
    let action = &request.action;
    let credentials = credentials::choose(
        site,
        bundle.get(),
        action,
        &request.credentials,
        &installation.credentials,
    )?;
    let machine = site.machine(&store, request.environment.as_deref()).await?;
    let plan = plan::plan(bundle, &installation, &request.action, &given, &machine.offers)?;
    Ok(Planned {
        store,
        machine,
        plan,
        credentials,
    })
}

/// Plans a run and reports what it would do.
///
/// # Errors
/// If there is no such installation, it is not trusted any more, a parameter is wrong, or this machine cannot give what
/// it requires.
pub async fn plan(site: &Site, request: RunRequest) -> Result<PlanReport, VerbError> {
    let Planned {
        machine,
        plan,
        credentials,
        ..
    } = prepare(site, request).await?;
    plan.admit()?;
    let view = plan.bundle.get().bundle.view();
    Ok(PlanReport {
        bundle: view.name.clone(),
        version: view.version.to_string(),
        driver: machine.driver.name().to_owned(),
        action: plan.action,
        parameters: plan.parameters,
        credentials: credentials::sources(&credentials),
        shortfalls: [],
    })
}

/// Runs an installed program to its end. The failure of the program is a report and not an error.
///
/// # Errors
/// As [`plan`]; or if the run could not be done or recorded.
pub async fn run(site: &Site, request: RunRequest) -> Result<RunReport, VerbError> {
    let Planned {
        store,
        machine,
        mut plan,
        credentials,
    } = prepare(site, request).await?;
    plan.admit()?;
    plan.secrets = credentials::read(site, credentials).await?;
    let run = lifecycle::run(&site.context, Arc::new(store), machine.driver, plan).await?;
    Ok(RunReport {
        outputs: output_reports(&run),
        run: run.id.to_string(),
        status: run.status,
        driver: run.driver,
        message: run.message,
    })
}
