//! What schedules a pipeline.
//!
//! An [`Engine`] runs a whole program: task by task from this machine ([`native`]), or by giving the pipeline to
//! another scheduler. With every engine, outputs are written to the run's folder and the outcome has the same form.

mod error;
pub mod native;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_spec::Descriptor;
use samebundle_spec::bundle::program::CarriedData;
use samebundle_spec::pipeline::Pipeline;
use samebundle_spec::record::{OutputRecord, RunStatus};
use samebundle_spec::signing::Approvers;
use serde_json::Value;

use crate::context::Context;
use crate::driver::Limits;
use crate::outside::Access;
use crate::record::RunLog;
use crate::secret::SecretValue;

pub use error::ProgramError;
pub use native::{Afresh, AfreshError, Again, Resumed, Reuse};

/// What schedules a pipeline.
#[async_trait]
pub trait Engine: Debug + Send + Sync {
    /// The name in messages and records: `native`.
    fn name(&self) -> &'static str;

    /// Runs a program to its end. What happens to tasks is appended to `log`.
    ///
    /// # Errors
    /// [`ProgramError`] if nothing was started: the pipeline is faulty or needs something that is not supported yet, a
    /// parameter is wrong, or the plan does not have an image. Later failures are in the outcome.
    async fn run(
        &self,
        program: &ProgramPlan,
        context: &Context,
        log: &RunLog,
    ) -> Result<ProgramOutcome, ProgramError>;
}

/// A program to run. Content is named by descriptors, in the store that the engine was made with.
#[derive(Clone, Debug)]
pub struct ProgramPlan {
    /// The pipeline, checked.
    pub pipeline: Arc<Pipeline>,
    /// Values of its input parameters, and the addresses of its input artifacts; absent ones have their defaults.
    pub parameters: BTreeMap<String, Value>,
    /// Values of the secrets that its tasks use, by the names of [`Pipeline::needs`].
    pub secrets: BTreeMap<String, SecretValue>,
    /// Values of the config maps that its tasks use, by the names of [`Pipeline::needs`].
    pub settings: BTreeMap<String, Value>,
    /// The manifest (one platform) of every image, by its name in the pipeline.
    pub images: BTreeMap<String, Descriptor>,
    /// The id of the run, a ULID. No task sees it.
    pub run_id: String,
    /// The run's own folder; `outputs/` is made in it.
    pub run_dir: PathBuf,
    /// Layer with what the components install, if the bundle carries it.
    pub wheelhouse: Option<Descriptor>,
    /// The data that the bundle carries, each with its layer.
    pub data: Vec<(CarriedData, Descriptor)>,
    /// What it may take from outside.
    pub outside: Access,
    /// Limits of a task that names none, and whether tasks have a network.
    pub limits: Limits,
    /// Most containers at the same time.
    pub parallelism: usize,
    /// What is taken over of what was done before.
    pub reuse: Reuse,
    /// Who decides about tasks that wait for a person.
    pub approvers: Approvers,
}

/// The outcome of a run.
#[derive(Debug)]
pub struct ProgramOutcome {
    /// Succeeded, failed or cancelled; suspended if tasks wait for a person and nothing else can be done.
    pub status: RunStatus,
    /// Why it failed: the task and the last lines that it printed.
    pub message: Option<String>,
    /// The pipeline's outputs by name; empty unless it succeeded. The outputs of single tasks are recorded with the
    /// tasks.
    pub outputs: BTreeMap<String, OutputRecord>,
    /// Set if the driver failed, not the program.
    pub error: Option<ProgramError>,
}
