//! `plan` and `run`.

use std::collections::BTreeMap;
use std::sync::Arc;

use samebundle_registry::layout::Layout;
use samebundle_spec::record::{ParameterRecord, Run, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bring::Foreseen;
use super::credentials::{self, Chosen};
use super::metadata::{self, MetadataGiven, PushedRun};
use super::outputs::Results;
use super::outside::SiteOutside;
use super::resolve::{installation, open_installed};
use super::{CredentialsGiven, Given, LocalName, Site, VerbError, WaitingTask, approvals, explain};
use crate::engine::{Afresh, Reuse};
use crate::lifecycle::{self, Machine};
use crate::plan::{self, Plan, Work};
use crate::record::Runs;

/// What to run, or to plan.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunRequest {
    /// The installation, and the version that it has to have.
    pub name: LocalName,
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
    /// Where the run is sent to when it has ended.
    #[serde(default)]
    pub metadata: MetadataGiven,
    /// What is taken over of earlier runs.
    #[serde(default)]
    pub reuse: ReuseGiven,
}

/// What a run takes over of earlier ones; by itself what the pipeline allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReuseGiven {
    /// Whether nothing is taken from the cache.
    pub no_cache: bool,
    /// A task that runs in any case, with all that depends on it. What else is unchanged is taken from one run.
    pub from: Option<String>,
    /// That run: its id, the beginning or end of it, or `last`; none: the last one of the installation.
    pub of: Option<String>,
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
    /// The tasks at which it stops until a person decided, each with what it asks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub questions: BTreeMap<String, String>,
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
    /// How long it took, seconds.
    pub seconds: f64,
    /// How many tasks were not run, because a result of an earlier run was taken over.
    #[serde(skip_serializing_if = "is_none")]
    pub taken_over: usize,
    /// The tasks that wait for a person; empty unless it is suspended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingTask>,
    /// What it left.
    #[serde(flatten)]
    pub results: Results,
    /// Where it was sent to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<PushedRun>,
    /// Why it failed.
    #[serde(skip)]
    pub message: Option<String>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A plan, with the store and the machine for it.
struct Planned {
    store: Layout,
    machine: Machine,
    plan: Plan,
    credentials: Vec<Chosen>,
}

async fn prepare(site: &Site, request: RunRequest) -> Result<Planned, VerbError> {
    let installation = installation(site, &request.name)?;
    let store = site.store().await?;
    let bundle = open_installed(site, &store, &installation).await?;
    let foreseen = Foreseen { installation, bundle };
    prepare_foreseen(site, store, foreseen, request).await
}

async fn prepare_foreseen(
    site: &Site,
    store: Layout,
    foreseen: Foreseen,
    request: RunRequest,
) -> Result<Planned, VerbError> {
    let Foreseen { installation, bundle } = foreseen;
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
    site.step(format!("environment: {}", machine.driver.name()));
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
    report(prepare(site, request).await?)
}

/// The same for what is not installed. It stays so.
///
/// # Errors
/// As [`plan`].
pub async fn plan_foreseen(
    site: &Site,
    foreseen: Foreseen,
    request: RunRequest,
) -> Result<PlanReport, VerbError> {
    report(prepare_foreseen(site, site.store().await?, foreseen, request).await?)
}

fn report(planned: Planned) -> Result<PlanReport, VerbError> {
    let Planned {
        machine,
        plan,
        credentials,
        ..
    } = planned;
    plan.admit()?;
    let view = plan.bundle.get().bundle.view();
    Ok(PlanReport {
        bundle: view.name.clone(),
        version: plan.version.to_string(),
        driver: machine.driver.name().to_owned(),
        action: plan.action,
        parameters: plan.parameters,
        credentials: credentials::sources(&credentials),
        questions: match &plan.work {
            Work::Pipeline(program) => explain::questions(&program.pipeline),
            Work::Action => BTreeMap::new(),
        },
        shortfalls: [],
    })
}

/// Runs an installed program to its end. The failure of the program is a report and not an error.
///
/// # Errors
/// As [`plan`]; or if the run could not be done or recorded.
pub async fn run(site: &Site, request: RunRequest) -> Result<RunReport, VerbError> {
    let metadata = request.metadata.clone();
    let Ready { store, machine, plan } = ready(site, request).await?;
    // A caller may have little stack, and the future of a run is large.
    let run = Box::pin(lifecycle::run(
        &site.context,
        Arc::new(store),
        machine.driver,
        plan,
    ))
    .await?;
    Ok(ended(site, run, &metadata).await)
}

/// A plan that can begin, with its secrets.
pub(super) struct Ready {
    store: Layout,
    machine: Machine,
    plan: Plan,
}

/// Makes everything that a run needs before it begins.
pub(super) async fn ready(site: &Site, request: RunRequest) -> Result<Ready, VerbError> {
    let given = request.reuse.clone();
    metadata::allowed(site, &request.metadata)?;
    let Planned {
        store,
        machine,
        mut plan,
        credentials,
    } = prepare(site, request).await?;
    plan.admit()?;
    plan.reuse = reuse(site, &given, &plan)?;
    plan.secrets = credentials::read(site, credentials).await?;
    plan.outside = Arc::new(SiteOutside(site.clone()));
    Ok(Ready { store, machine, plan })
}

/// Finds what is taken over.
fn reuse(site: &Site, given: &ReuseGiven, plan: &Plan) -> Result<Reuse, VerbError> {
    let mut reuse = Reuse {
        no_cache: given.no_cache,
        ..Reuse::default()
    };
    if given.from.is_none() && given.of.is_none() {
        return Ok(reuse);
    }
    let Work::Pipeline(program) = &plan.work else {
        return Err(VerbError::Usage(format!(
            "the action {} has no tasks; --from and --of are for the runs of a program",
            plan.action
        )));
    };
    if let Some(task) = &given.from {
        reuse.afresh = Afresh::from(&program.pipeline, task)?;
    }
    let of = given.of.as_deref().unwrap_or(plan.installation.as_str());
    reuse.of = Some(Runs::new(site.home()).find_id(of)?);
    Ok(reuse)
}

/// Reports a run that has ended, and sends it where it is to be known.
pub(super) async fn ended(site: &Site, run: Run, metadata: &MetadataGiven) -> RunReport {
    let sent = Box::pin(metadata::send_ended(site, &run, metadata)).await;
    RunReport {
        sent,
        ..reported(site, run)
    }
}

/// Reports a run that has ended.
pub(super) fn reported(site: &Site, run: Run) -> RunReport {
    let taken = run.tasks.iter().filter(|task| task.taken_from.is_some());
    RunReport {
        taken_over: taken.count(),
        waiting: approvals::waiting(site, &run),
        sent: Vec::new(),
        results: Results::of(&run, &Runs::new(site.home()).folder(&run.id), None),
        seconds: run
            .finished
            .map_or(0.0, |finished| finished.since(run.started).as_secs_f64()),
        run: run.id.to_string(),
        status: run.status,
        driver: run.driver,
        message: run.message,
    }
}
