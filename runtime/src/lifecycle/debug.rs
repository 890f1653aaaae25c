//! Looks into a task of a run that does not go on: the container of the task is made once more, and whoever looks attends it.

use std::path::PathBuf;
use std::sync::Arc;

use samebundle_registry::store::Store;
use samebundle_spec::record::Run;

use super::LifecycleError;
use super::run::{held_layers, mask, new_id, program_plan};
use crate::context::Context;
use crate::driver::{Driver, Outcome, Streams};
use crate::engine::native::Native;
use crate::engine::{Again, ProgramError};
use crate::image::beneath;
use crate::plan::{Plan, Work};
use crate::record::{RunLog, Runs};

/// Who looks into what.
#[derive(Debug)]
pub struct Debugging {
    /// The record of the run.
    pub run: Run,
    /// The path of the task.
    pub task: String,
    /// What runs in the container, in place of the task's own command.
    pub command: Vec<String>,
    /// A folder for unfinished files.
    pub scratch: PathBuf,
    /// The folder that takes what the container writes, in `outputs/` and `volumes/`.
    pub aside: PathBuf,
}

/// Makes the container of a task once more and runs it with the streams that `begin` gives, which gets to know the container
/// first. Nothing is written to the run's folder.
///
/// # Errors
/// If the container cannot be made or run; [`LifecycleError::Cancelled`] if the user interrupted.
pub async fn debug(
    context: &Context,
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    plan: Plan,
    debugging: Debugging,
    begin: impl FnOnce(&Again) -> std::io::Result<Streams>,
) -> Result<Outcome, LifecycleError> {
    plan.admit()?;
    let _layers = held_layers(context).await?;
    let Work::Pipeline(program) = &plan.work else {
        let (task, why) = (
            debugging.task,
            "the run is an action of a bundle, which has no tasks".to_owned(),
        );
        return Err(ProgramError::NotAgain { task, why }.into());
    };
    let log = RunLog::aside(&debugging.scratch, context, debugging.run, mask(&plan))?;
    let mut program_plan = program_plan(store.as_ref(), &plan, program, &log).await?;
    program_plan.run_dir = Runs::new(&context.home).folder(&log.run().id);
    // What is made for it is told from what the run made.
    program_plan.run_id = new_id(context).to_string();
    let engine = Native::new(Arc::clone(&driver), store);
    let again = engine.again(&program_plan, context, &log, &debugging.task, &debugging.aside);
    let mut again = again.await?;
    let streams = begin(&again).map_err(LifecycleError::io("use", std::path::Path::new("standard input")))?;
    again.operation.command = debugging.command;
    let outcome = driver
        .attend(&again.operation, &again.staging, streams, &context.cancel)
        .await;
    let scratch = context.home.scratches().join(&program_plan.run_id);
    beneath::remove_path(&scratch).map_err(LifecycleError::io("remove", &scratch))?;
    match outcome? {
        Outcome::Cancelled => Err(LifecycleError::Cancelled),
        outcome => Ok(outcome),
    }
}
