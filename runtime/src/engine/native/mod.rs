//! The native engine: runs a KFP v2 pipeline through a [`Driver`], task by task, as its dependencies allow.
//!
//! Every task is a container. Its outputs are at `/samebundle/outputs/TASK/` in the container and at
//! `RUN/outputs/TASK/` on this machine, wherever the driver runs it. Its inputs are in the container, read-only, at the
//! paths where they were written. `TASK` is the task's name after those of its parents, so nothing that a task can see
//! differs between two equal runs: no run id, no machine path. Of the facts that placeholders ask for, all but the
//! create time are the same in every run with the same pipeline (see [`facts`](self)).
//!
//! ```text
//! TASK/output_metadata.json       the executor output (KFP's own contract), written by the task
//! TASK/parameters/NAME            an output parameter as text
//! TASK/artifacts/NAME/NAME        an output artifact, a file or folder; what is put beside it belongs to it
//! ```
//!
//! Concurrency: one future for each task in one tree, and at most `parallelism` containers at a time, among which
//! nested DAGs do not count. Failure: if a task fails, the tasks that depend on it are skipped and all others are run;
//! an error of the driver stops the run. Cancelling stops the containers and starts no more.
//!
//! A task that asks a person waits, and so does what depends on it; everything else is run, and then the run stops until
//! somebody decided.

mod again;
mod artifact;
mod bind;
mod collect;
mod container;
mod dag;
mod data;
mod error;
mod executor_input;
mod facts;
mod failure;
mod folder;
mod hint;
mod import;
mod installed;
mod iterate;
mod mounts;
mod question;
mod resolve;
mod reuse;
mod schedule;
mod signal;
mod task;
mod unpacked;
mod wheelhouse;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use samebundle_registry::store::Store;
use samebundle_spec::pipeline::{Dag, Implementation, Needs, coerce};
use samebundle_spec::record::RunStatus;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Engine, ProgramError, ProgramOutcome, ProgramPlan};
use crate::context::Context;
use crate::driver::Driver;
use crate::record::{RUN_OUTPUTS, RunLog};

use artifact::{Produced, TaskEnd, Values};
use facts::RunFacts;
use reuse::Former;
use wheelhouse::Wheelhouse;

pub use again::Again;
pub(crate) use data::Data;
pub(crate) use folder::{Listed, output};
pub(crate) use import::INPUTS;
pub(crate) use installed::kept_layer;
pub(crate) use mounts::RUN_VOLUMES;
pub(crate) use reuse::sweep;
pub use reuse::{Afresh, AfreshError, Resumed, Reuse};

/// The engine of this machine.
#[derive(Debug)]
pub struct Native {
    driver: Arc<dyn Driver>,
    store: Arc<dyn Store>,
}

impl Native {
    /// Makes an engine that starts containers with a driver. `store` holds their images and keeps layers of installed
    /// packages.
    pub fn new(driver: Arc<dyn Driver>, store: Arc<dyn Store>) -> Self {
        Self { driver, store }
    }
}

#[async_trait]
impl Engine for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    async fn run(
        &self,
        plan: &ProgramPlan,
        context: &Context,
        log: &RunLog,
    ) -> Result<ProgramOutcome, ProgramError> {
        let dag = admit(plan)?;
        let mut inputs = root_inputs(plan)?;
        let outputs = plan.run_dir.join(RUN_OUTPUTS);
        folder::make(&outputs).map_err(|source| ProgramError::Folder {
            path: outputs.clone(),
            source,
        })?;
        let execution = self.execution(plan, context, log).await?;
        execution.given_artifacts(&mut inputs, false).await?;
        let end = execution.dag(&plan.pipeline.root, dag, "", inputs).await;
        if end != TaskEnd::Suspended {
            mounts::end(&plan.run_dir, &*context.events).await;
        }
        Ok(execution.outcome(end))
    }
}

impl Native {
    /// Unpacks what all tasks share.
    async fn execution<'a>(
        &'a self,
        plan: &'a ProgramPlan,
        context: &'a Context,
        log: &'a RunLog,
    ) -> Result<Execution<'a>, ProgramError> {
        let pipeline = &*plan.pipeline;
        let wheelhouse = match &plan.wheelhouse {
            Some(layer) => Some(Wheelhouse::unpack(&*self.store, layer, context).await?),
            None => None,
        };
        let mut data = Vec::new();
        for (carried, layer) in &plan.data {
            data.push(Data::unpack(&*self.store, carried, layer, context).await?);
        }
        let run = log.run();
        Ok(Execution {
            own_folder: plan.run_dir.clone(),
            former: Arc::new(Former::new(&context.home, run.id, plan.reuse.of.clone())),
            bundle: run.bundle,
            resumed: Mutex::new(plan.reuse.resumed.clone()),
            plan,
            driver: &*self.driver,
            store: &*self.store,
            context,
            log,
            wheelhouse,
            data,
            needs: pipeline.needs(),
            own_volumes: Mutex::default(),
            facts: RunFacts::new(pipeline, run.started.into()),
            permits: Semaphore::new(plan.parallelism.max(1)),
            halt: context.cancel.child_token(),
            broken: Mutex::new(None),
        })
    }
}

/// Refuses a program that cannot be run, before anything is made; returns its tasks.
fn admit(plan: &ProgramPlan) -> Result<&Dag, ProgramError> {
    plan.pipeline.check().map_err(ProgramError::Faults)?;
    let unsupported = plan.pipeline.unsupported();
    if !unsupported.is_empty() {
        return Err(ProgramError::Unsupported(unsupported));
    }
    match plan
        .pipeline
        .images()
        .into_iter()
        .find(|image| !plan.images.contains_key(*image))
    {
        Some(image) => Err(ProgramError::NoImage {
            image: image.to_owned(),
        }),
        None => match &plan.pipeline.root.implementation {
            Implementation::Dag(dag) => Ok(dag),
            Implementation::Executor(_) => Err(ProgramError::NoDag),
        },
    }
}

/// Gives every input of the pipeline its value.
fn root_inputs(plan: &ProgramPlan) -> Result<Values, ProgramError> {
    let declared = plan.pipeline.inputs();
    let artifacts = &plan.pipeline.root.inputs.artifacts;
    let known =
        |name: &String| artifacts.contains_key(name) || declared.iter().any(|input| input.name == *name);
    if let Some(name) = plan.parameters.keys().find(|name| !known(name)) {
        return Err(ProgramError::UnknownParameter { name: name.clone() });
    }
    let mut values = Values::default();
    for input in declared {
        let given = plan.parameters.get(&input.name).filter(|value| !value.is_null());
        let Some(value) = given.or(input.default.as_ref()) else {
            if input.optional {
                continue;
            }
            return Err(ProgramError::MissingParameter { name: input.name });
        };
        let value = coerce(value, input.parameter_type).map_err(|source| ProgramError::WrongParameter {
            name: input.name.clone(),
            source,
        })?;
        let form = |literal: &Value| coerce(literal, input.parameter_type).as_ref() == Ok(&value);
        if !input.literals.is_empty() && !input.literals.iter().any(form) {
            let allowed = input.literals.iter().map(Value::to_string).collect::<Vec<_>>();
            return Err(ProgramError::NotALiteral {
                name: input.name,
                value: value.to_string(),
                allowed: allowed.join(", "),
            });
        }
        values.parameters.insert(input.name, value);
    }
    Ok(values)
}

/// One running run.
struct Execution<'a> {
    plan: &'a ProgramPlan,
    /// Where tasks write, into `outputs/` and `volumes/`: the run's folder, if it is a run.
    own_folder: PathBuf,
    /// The name of the bundle.
    bundle: String,
    /// The runs from which results are taken.
    former: Arc<Former>,
    /// What the run did before its process was killed, as far as it has not begun anew.
    resumed: Mutex<Resumed>,
    driver: &'a dyn Driver,
    store: &'a dyn Store,
    context: &'a Context,
    log: &'a RunLog,
    /// What the components install, if the bundle carries it.
    wheelhouse: Option<Wheelhouse>,
    /// The data that the bundle carries.
    data: Vec<Data>,
    /// The secrets, config maps and volumes of the tasks.
    needs: Needs,
    /// The volumes that this run made, and whether each ends with it.
    own_volumes: Mutex<BTreeMap<String, bool>>,
    facts: RunFacts,
    permits: Semaphore,
    /// Cancelled by the user, or because the driver failed.
    halt: CancellationToken,
    broken: Mutex<Option<ProgramError>>,
}

impl Execution<'_> {
    /// Stops the run because of an error that is not the program's. The first such error counts.
    fn stop(&self, error: ProgramError) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.get_or_insert(error);
        self.halt.cancel();
    }

    fn resumed(&self) -> MutexGuard<'_, Resumed> {
        self.resumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcome(self, end: TaskEnd) -> ProgramOutcome {
        let error = self.broken.into_inner().unwrap_or_else(PoisonError::into_inner);
        let failed = |message| (RunStatus::Failed, Produced::default(), message);
        let (status, produced, message) = match end {
            TaskEnd::Done(produced) => (RunStatus::Succeeded, produced, None),
            TaskEnd::Failed { message } => failed(message),
            TaskEnd::Skipped => failed(None),
            TaskEnd::Suspended if error.is_some() => failed(None),
            TaskEnd::Suspended => (RunStatus::Suspended, Produced::default(), None),
            TaskEnd::Cancelled if error.is_some() => failed(None),
            TaskEnd::Cancelled => (RunStatus::Cancelled, Produced::default(), None),
        };
        let first = || {
            let message = self.log.look(|run| run.message.clone());
            message.filter(|_| status == RunStatus::Failed)
        };
        ProgramOutcome {
            status,
            message: error.as_ref().map(ToString::to_string).or(message).or_else(first),
            outputs: produced.to_records(),
            error,
        }
    }
}
