//! Runs a plan: record, execute, record.

use std::collections::BTreeMap;
use std::sync::Arc;

use samebundle_registry::store::Store;
use samebundle_spec::record::{Format, Run, RunStatus};
use samebundle_spec::time::Timestamp;

use super::events::{Recorded, TaskLog};
use super::{Action, LifecycleError, claim};
use crate::context::Context;
use crate::driver::{Candidate, Driver, Limits, Outcome};
use crate::event::Event;
use crate::home::LAYERS_LOCK;
use crate::opened::Program;
use crate::plan::{Plan, Work};
use crate::program::{self, Data, ProgramOutcome, ProgramPlan, Wheelhouse};
use crate::record::{RunHandle, Runs};

/// Runs a plan to its end and returns its record, whatever came of it.
///
/// # Errors
/// If the plan has shortfalls, before anything is made; afterwards if the record cannot be written, or what happened is
/// not known: the record then says so.
pub async fn run(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    plan: Plan,
) -> Result<Run, LifecycleError> {
    plan.admit()?;
    let layers = context.home.lock_shared(LAYERS_LOCK).await;
    let _layers = layers.map_err(LifecycleError::io("lock", &context.home.layers()))?;
    let mut record = begin(context, driver.name(), &plan);
    let runs = Runs::new(&context.home);
    let handle = Arc::new(runs.begin(&record)?);
    claim::write_claim(&handle, &record, &plan)?;
    let context = Context {
        events: Arc::new(Recorded::new(Arc::clone(&context.events), Arc::clone(&handle))),
        ..context.clone()
    };
    let result = execute(&context, store, driver, &plan, &handle, &mut record).await;
    if let Err(error) = &result {
        record.status = if context.cancel.is_cancelled() {
            RunStatus::Cancelled
        } else {
            RunStatus::Failed
        };
        record.message = Some(error.to_string());
    }
    record.finished = Some(now(&context));
    handle.update(&record)?;
    claim::write_result(&handle, &record, &context.clock.new_id())?;
    result.map(|()| record)
}

fn now(context: &Context) -> String {
    Timestamp::from(context.clock.now()).to_string()
}

fn begin(context: &Context, driver: &str, plan: &Plan) -> Run {
    let bundle = plan.bundle.get();
    let view = bundle.bundle.view();
    Run {
        format: Format::CURRENT,
        id: context.clock.new_id(),
        installation: plan.installation.clone(),
        action: plan.action.clone(),
        bundle: view.name.clone(),
        version: view.version.to_string(),
        bundle_digest: bundle.index.digest,
        verification: plan.bundle.verification(),
        driver: driver.to_owned(),
        parameters: plan.parameters.clone(),
        status: RunStatus::Running,
        message: None,
        started: now(context),
        finished: None,
        tasks: Vec::new(),
        outputs: BTreeMap::new(),
        imported_with: None,
    }
}

async fn execute(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    plan: &Plan,
    handle: &RunHandle,
    record: &mut Run,
) -> Result<(), LifecycleError> {
    match &plan.work {
        Work::Pipeline(program) => {
            let outcome = run_program(context, store, driver, plan, program, handle, record).await?;
            record.status = outcome.status;
            record.message = outcome.message;
            record.tasks = outcome.tasks;
            record.outputs = outcome.outputs;
            Ok(())
        }
        Work::Action => run_action(context, store, driver, plan, handle, record).await,
    }
}

async fn run_program(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    plan: &Plan,
    program: &Program,
    handle: &RunHandle,
    record: &Run,
) -> Result<ProgramOutcome, LifecycleError> {
    let mut images = BTreeMap::new();
    for (name, image) in &program.images {
        images.insert(
            name.clone(),
            crate::image::read(store.as_ref(), image).await?.manifest,
        );
    }
    let wheelhouse = match &program.wheelhouse {
        Some(layer) => Some(Wheelhouse::unpack(store.as_ref(), layer, &context.home.layers()).await?),
        None => None,
    };
    let mut data = Vec::new();
    for (carried, layer) in &program.data {
        data.push(Data::unpack(store.as_ref(), carried, layer, &context.home.layers()).await?);
    }
    let network = program.extension.requires.rights.network;
    let program_plan = ProgramPlan {
        pipeline: Arc::clone(&program.pipeline),
        parameters: plan.resolved.values.clone(),
        images,
        run_id: record.id.clone(),
        run_dir: handle.folder().to_owned(),
        wheelhouse,
        data,
        installed: Some(context.home.layers().join("installed")),
        limits: Limits {
            network,
            ..Limits::default()
        },
        parallelism: plan.parallelism,
    };
    let mut outcome = program::run(&program_plan, driver.as_ref(), store.as_ref(), context).await?;
    match outcome.error.take() {
        Some(error) => Err(error.into()),
        None => Ok(outcome),
    }
}

async fn run_action(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    plan: &Plan,
    handle: &RunHandle,
    record: &mut Run,
) -> Result<(), LifecycleError> {
    let bundle = plan.bundle.get();
    let image = crate::image::read(store.as_ref(), &bundle.layout.invocation.bare())
        .await?
        .manifest;
    let action = Action {
        run_id: &record.id,
        installation: plan.installation.as_str(),
        name: &plan.action,
        bundle_json: bundle.bundle.raw(),
        view: bundle.bundle.view(),
        image,
        injection: plan.resolved.injection.clone(),
        folder: handle.folder(),
    };
    let operation = action.prepare()?;
    let log = TaskLog {
        task: &plan.action,
        events: context.events.as_ref(),
    };
    context.events.emit(Event::Step {
        name: format!("run action {} of {}", plan.action, bundle.bundle.view().name),
    });
    let outcome = driver.run(&operation, &log, &context.cancel).await;
    action.clean_up()?;
    match outcome? {
        Outcome::Succeeded => {
            record.outputs = action.outputs()?;
            record.status = RunStatus::Succeeded;
        }
        Outcome::Failed { code, .. } => {
            record.status = RunStatus::Failed;
            record.message = Some(format!("action {} exited with code {code}", plan.action));
        }
        Outcome::Cancelled => record.status = RunStatus::Cancelled,
    }
    Ok(())
}

/// Finds runs whose process was killed, ends what is left of them, and records them as interrupted.
///
/// # Errors
/// If a record cannot be read or written, or something that is left cannot be ended.
pub async fn resolve_interrupted(context: &Context, drivers: &[Candidate]) -> Result<usize, LifecycleError> {
    let interrupted = Runs::new(&context.home).interrupted()?;
    let count = interrupted.len();
    for (mut run, handle) in interrupted {
        if let Some(candidate) = drivers.iter().find(|candidate| candidate.name == run.driver) {
            // An engine that does not answer runs nothing that could be ended.
            if let Ok(driver) = candidate.open().await {
                driver.recover(&run.id).await?;
            }
        }
        run.status = RunStatus::Interrupted;
        run.message = Some("the process that ran it was killed".to_owned());
        run.finished = Some(now(context));
        handle.update(&run)?;
        claim::write_result(&handle, &run, &context.clock.new_id())?;
        context.events.emit(Event::Notice {
            text: format!("run {} was interrupted; it is recorded so", run.id),
        });
    }
    Ok(count)
}
