//! Runs a plan: records its start, executes it, records its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use samebundle_registry::store::Store;
use samebundle_spec::bundle::parameter::{self, Injection};
use samebundle_spec::bundle::quantity::Quantity;
use samebundle_spec::record::{
    Claim, Format, OutputRecord, ParameterRecord, Run, RunFinished, RunId, RunStarted, RunStatus,
};
use samebundle_spec::{json, limits};
use serde_json::Value;

use super::{Action, LifecycleError};
use crate::context::Context;
use crate::driver::{Candidate, Driver, Limits, Outcome};
use crate::engine::native::{Native, RUN_VOLUMES};
use crate::engine::{Engine, ProgramOutcome, ProgramPlan, Resumed, Reuse};
use crate::event::{Event, Silent};
use crate::home::{DISCARDED, LAYERS_LOCK};
use crate::image::beneath;
use crate::opened::Program;
use crate::outside::{Access, Given, secrets_of, shown_value};
use crate::plan::{Plan, PlanError, Work};
use crate::record::{Mask, RUN_OUTPUTS, RunLog, Runs, TaskLines};
use crate::secret::SecretValue;

/// Runs a plan to its end and returns its record, whether it succeeded or failed.
///
/// # Errors
/// If the plan has shortfalls, before anything is made. Later, if the record cannot be written, or if it is not known
/// what happened: then the record says so.
pub async fn run(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    plan: Plan,
) -> Result<Run, LifecycleError> {
    plan.admit()?;
    let _layers = held_layers(context).await?;
    let started = started(context, driver.name(), &plan);
    let log = Runs::new(&context.home).begin(context, started, mask(&plan))?;
    to_its_end(context, store, driver, plan, log).await
}

/// Goes on with a run that was interrupted or waits for a person, by the same plan, and returns its record. Tasks that had ended are not run again.
/// Nothing is taken from the cache, which the run may have been told not to use.
///
/// # Errors
/// As [`run`]; if the run ended otherwise, or goes on already.
pub async fn resume(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    mut plan: Plan,
    id: &RunId,
) -> Result<Run, LifecycleError> {
    plan.admit()?;
    let _layers = held_layers(context).await?;
    let runs = Runs::new(&context.home);
    let log = runs.go_on(context, id, mask(&plan))?;
    let mut events = Vec::new();
    let mut written = runs.events(id)?;
    while let Some(event) = written.next_event()? {
        events.push(event);
    }
    plan.reuse = Reuse {
        no_cache: true,
        resumed: Resumed::of(events),
        ..Reuse::default()
    };
    to_its_end(context, store, driver, plan, log).await
}

/// Layers are not collected as long as this is there.
pub(super) async fn held_layers(context: &Context) -> Result<File, LifecycleError> {
    let layers = context.home.lock_shared(LAYERS_LOCK).await;
    layers.map_err(LifecycleError::io("lock", &context.home.layers()))
}

pub(super) fn mask(plan: &Plan) -> Mask {
    let secrets = plan.resolved.secrets.iter();
    let secrets = secrets.filter_map(|name| plan.resolved.values.get(name));
    let in_addresses: Vec<Value> = plan.resolved.values.values().flat_map(secrets_of).collect();
    Mask::new(secrets.chain(&in_addresses), plan.secrets.values())
}

async fn to_its_end(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    plan: Plan,
    log: RunLog,
) -> Result<Run, LifecycleError> {
    let result = execute(context, store, driver, &plan, &log).await;
    let ended = match &result {
        Ok(ended) => ended.clone(),
        Err(error) => Ended {
            status: match context.cancel.is_cancelled() {
                true => RunStatus::Cancelled,
                false => RunStatus::Failed,
            },
            message: Some(error.to_string()),
            outputs: BTreeMap::new(),
        },
    };
    let record = log.finish(ended.finished(context))?;
    result.map(|_| record)
}

/// How a run ended.
#[derive(Clone, Debug)]
struct Ended {
    status: RunStatus,
    message: Option<String>,
    outputs: BTreeMap<String, OutputRecord>,
}

impl Ended {
    fn finished(self, context: &Context) -> RunFinished {
        RunFinished {
            status: self.status,
            message: self.message,
            outputs: self.outputs,
            result: new_id(context),
        }
    }
}

pub(super) fn new_id(context: &Context) -> RunId {
    let id = context.clock.new_id();
    id.parse().expect("ids of the clock are ULIDs")
}

fn started(context: &Context, driver: &str, plan: &Plan) -> RunStarted {
    let bundle = plan.bundle.get();
    let view = bundle.bundle.view();
    RunStarted {
        format: Format::CURRENT,
        id: new_id(context),
        installation: plan.installation.clone(),
        action: plan.action.clone(),
        bundle: view.name.clone(),
        version: plan.version.clone(),
        bundle_digest: bundle.index.digest,
        verification: plan.bundle.verification(),
        driver: driver.to_owned(),
        parameters: shown_parameters(&plan.parameters),
    }
}

/// The parameters as they may be kept: no address in them holds a credential.
fn shown_parameters(parameters: &BTreeMap<String, ParameterRecord>) -> BTreeMap<String, ParameterRecord> {
    let mut shown = parameters.clone();
    for parameter in shown.values_mut() {
        parameter.value = parameter.value.as_ref().map(shown_value);
    }
    shown
}

async fn execute(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    plan: &Plan,
    log: &RunLog,
) -> Result<Ended, LifecycleError> {
    let bundle = plan.bundle.get().bundle.raw();
    let bundle = json::value(bundle, limits::BUNDLE_JSON_BYTES).unwrap_or(Value::Null);
    log.write("claim.json", &Claim::of(&log.run(), bundle))?;
    let ended = match &plan.work {
        Work::Pipeline(program) => {
            let outcome = run_program(context, store, driver, plan, program, log).await;
            outcome.map(|outcome| Ended {
                status: outcome.status,
                message: outcome.message,
                outputs: outcome.outputs,
            })
        }
        Work::Action => run_action(context, store, driver, plan, log).await,
    };
    // Each container's own folder is gone. What is not empty is left to `recover` and to a collection.
    let _ = std::fs::remove_dir(context.home.scratches().join(log.run().id.to_string()));
    ended
}

async fn run_program(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    plan: &Plan,
    program: &Program,
    log: &RunLog,
) -> Result<ProgramOutcome, LifecycleError> {
    let program_plan = program_plan(store.as_ref(), plan, program, log).await?;
    let engine = Native::new(driver, store);
    let mut outcome = engine.run(&program_plan, context, log).await?;
    match outcome.error.take() {
        Some(error) => Err(error.into()),
        None => Ok(outcome),
    }
}

/// What the engine is given for the run of a log.
pub(super) async fn program_plan(
    store: &dyn Store,
    plan: &Plan,
    program: &Program,
    log: &RunLog,
) -> Result<ProgramPlan, LifecycleError> {
    let mut images = BTreeMap::new();
    for (name, image) in &program.images {
        images.insert(name.clone(), crate::image::read(store, image).await?.manifest);
    }
    let network = program.extension.requires.rights.network;
    let config_maps = program.pipeline.needs().config_maps;
    let values = plan.resolved.values.clone().into_iter();
    let (settings, parameters) = values.partition(|(name, _)| config_maps.contains_key(name));
    let stated = program.extension.data.iter();
    Ok(ProgramPlan {
        pipeline: Arc::clone(&program.pipeline),
        parameters,
        secrets: plan.secrets.clone(),
        settings,
        images,
        run_id: log.run().id.to_string(),
        run_dir: log.folder().to_owned(),
        wheelhouse: program.wheelhouse.clone(),
        data: program.data.clone(),
        outside: Access {
            reach: Arc::clone(&plan.outside),
            given: given(plan),
            stated: stated.map(|one| (one.uri.clone(), one.digest)).collect(),
        },
        limits: Limits {
            network,
            shm: program
                .extension
                .requires
                .resources
                .shm
                .as_ref()
                .map(Quantity::units),
            ..Limits::default()
        },
        parallelism: plan.parallelism,
        reuse: plan.reuse.clone(),
        approvers: plan.approvers.clone(),
    })
}

/// The texts of the parameters that the person who runs has set.
fn given(plan: &Plan) -> Given {
    let values = plan.resolved.values.iter();
    Given::of(values.filter_map(|(name, value)| Some((value, plan.parameters.get(name)?.set_by))))
}

async fn run_action(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    plan: &Plan,
    log: &RunLog,
) -> Result<Ended, LifecycleError> {
    let bundle = plan.bundle.get();
    let run_id = log.run().id;
    let image = crate::image::read(store.as_ref(), &bundle.layout.invocation.bare())
        .await?
        .manifest;
    let action = Action {
        run_id: &run_id,
        installation: plan.installation.as_str(),
        name: &plan.action,
        bundle_json: bundle.bundle.raw(),
        view: bundle.bundle.view(),
        image,
        injection: injection(plan)?,
        folder: log.folder(),
    };
    let (operation, staging) = action.prepare();
    let lines = TaskLines {
        task: &plan.action,
        log,
    };
    context.events.emit(Event::Step {
        name: format!("run action {} of {}", plan.action, bundle.bundle.view().name),
    });
    let outcome = driver.run(&operation, &staging, &lines, &context.cancel).await;
    let mut ended = Ended {
        status: RunStatus::Succeeded,
        message: None,
        outputs: BTreeMap::new(),
    };
    let came_to_an_end = matches!(outcome, Ok(Outcome::Succeeded));
    let discarded = !came_to_an_end
        && context
            .home
            .discard_if_full(&log.folder().join(RUN_OUTPUTS))
            .await;
    match outcome? {
        Outcome::Succeeded => ended.outputs = action.outputs()?,
        Outcome::Failed { code, .. } => {
            ended.status = RunStatus::Failed;
            let why = if discarded { DISCARDED } else { "" };
            ended.message = Some(format!("action {} exited with code {code}{why}", plan.action));
        }
        Outcome::Cancelled => ended.status = RunStatus::Cancelled,
    }
    Ok(ended)
}

/// Joins the environment and files of the parameters with those of the credentials.
fn injection(plan: &Plan) -> Result<Injection, LifecycleError> {
    let single = |(name, value): (&String, &SecretValue)| match value {
        SecretValue::One(value) => Some((name.clone(), value.clone())),
        // A bundle of another tool knows no secret with several keys.
        SecretValue::Keys(_) => None,
    };
    let given = plan.secrets.iter().filter_map(single).collect();
    let view = plan.bundle.get().bundle.view();
    let credentials = parameter::place_credentials(view, &plan.action, &given).map_err(PlanError::from)?;
    let injection = plan.resolved.injection.clone();
    Ok(injection.with_credentials(credentials).map_err(PlanError::from)?)
}

/// Finds runs whose process was killed, ends what is left of them, and records them: as interrupted, or as they had ended
/// if only their record is missing.
///
/// # Errors
/// If a record cannot be read or written, or something that is left cannot be ended.
pub async fn resolve_interrupted(context: &Context, drivers: &[Candidate]) -> Result<usize, LifecycleError> {
    // Whoever watches sees the run of this request, not the ends of others: their events name no run.
    let unseen = Context {
        events: Arc::new(Silent),
        ..context.clone()
    };
    let interrupted = Runs::new(&context.home).interrupted(&unseen)?;
    let count = interrupted.len();
    for log in interrupted {
        let why = (RunStatus::Interrupted, "the process that ran it was killed");
        let run = end_abandoned(context, drivers, log, why).await?;
        if run.status == RunStatus::Interrupted {
            context.events.emit(Event::Notice {
                text: format!("run {} was interrupted; it is recorded so", run.id),
            });
        }
    }
    Ok(count)
}

/// Ends what is left of a run whose process was killed, and records how it ended and why.
///
/// # Errors
/// If its record cannot be written, or a container cannot be ended.
pub async fn end_abandoned(
    context: &Context,
    drivers: &[Candidate],
    log: RunLog,
    (status, message): (RunStatus, &str),
) -> Result<Run, LifecycleError> {
    // Its volumes stay: the run may go on.
    end_containers(drivers, &log.run()).await?;
    let ended = Ended {
        status,
        message: Some(message.to_owned()),
        outputs: BTreeMap::new(),
    };
    Ok(log.finish(ended.finished(context))?)
}

/// Ends the containers and removes the volumes of a run whose process was killed. `folder` is the run's own.
///
/// # Errors
/// If a container cannot be ended, or a volume not removed.
pub async fn end_rest(drivers: &[Candidate], run: &Run, folder: &Path) -> Result<(), LifecycleError> {
    end_containers(drivers, run).await?;
    let volumes = folder.join(RUN_VOLUMES);
    beneath::remove_path(&volumes).map_err(LifecycleError::io("remove", &volumes))
}

async fn end_containers(drivers: &[Candidate], run: &Run) -> Result<(), LifecycleError> {
    if let Some(candidate) = drivers.iter().find(|candidate| candidate.name == run.driver) {
        // A container engine that does not answer runs nothing that could be ended.
        if let Ok(driver) = candidate.open().await {
            driver.recover(&run.id).await?;
        }
    }
    Ok(())
}
