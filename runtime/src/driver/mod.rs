//! What starts containers.
//!
//! A driver runs one [`Operation`] (a container with files in, files out) to its end and says what came of it. It knows
//! nothing of pipelines, bundles or records. `Ok(Outcome)` means that the container ran, whatever its exit code; `Err`
//! means that it could not be run, or that what happened is not known.
//!
//! Every driver marks what it makes with the operation's run id, so that [`Driver::recover`] finds what a killed process
//! left behind. All of them pass the contract suite.

mod choose;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
#[cfg(feature = "docker")]
pub mod docker;
#[cfg(all(feature = "embedded", target_os = "linux"))]
pub mod embedded;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod log;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use async_trait::async_trait;
use samebundle_spec::Descriptor;
use tokio_util::sync::CancellationToken;

pub use choose::{Candidate, choose};
pub use error::DriverError;

/// The name that every container has for itself, so that nothing it computes depends on the machine.
#[cfg(any(feature = "docker", feature = "embedded"))]
const HOSTNAME: &str = "samebundle";

/// What starts containers.
#[async_trait]
pub trait Driver: Debug + Send + Sync {
    /// The name in `--env` and in records: `embedded`, `docker`.
    fn name(&self) -> &'static str;

    /// What this driver and its machine can give.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] with the reason if it cannot run anything here.
    async fn probe(&self) -> Result<Capacity, DriverError>;

    /// Runs a container to its end. Log lines go to `log` as they come. On cancellation the container is stopped within
    /// two seconds and the outcome is [`Outcome::Cancelled`]; nothing of it is left running.
    ///
    /// # Errors
    /// If the container could not be started, or it is not known what became of it.
    async fn run(
        &self,
        operation: &Operation,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError>;

    /// Ends and removes everything that is left of a run, and returns how many containers that were.
    ///
    /// # Errors
    /// If something could not be removed.
    async fn recover(&self, run_id: &str) -> Result<usize, DriverError>;
}

/// Takes the lines that a container prints. Must not block.
pub trait LogSink: Send + Sync {
    /// Takes one line without its line end.
    fn line(&self, line: &str, stderr: bool);
}

/// One container to run.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The run that it belongs to, a ULID. Marks everything made for it.
    pub run_id: String,
    /// Name of the container within the run, unique there: `[a-z0-9-]`, at most 63 bytes.
    pub name: String,
    /// Manifest of the image (one platform), in the store that the driver was made with.
    pub image: Descriptor,
    /// More layers over the image: manifests' layer descriptors in the same store (installed packages).
    pub extra_layers: Vec<Descriptor>,
    /// Entry point and arguments; empty: the image's own.
    pub command: Vec<String>,
    /// Added to the image's environment.
    pub environment: BTreeMap<String, String>,
    /// Folders and files of this machine that the container sees.
    pub mounts: Vec<Mount>,
    /// What it may use and do.
    pub limits: Limits,
    /// If set, what the container wrote into its root is kept as an uncompressed tar layer at this path.
    pub keep_upper: Option<PathBuf>,
    /// Working directory; none: the image's own.
    pub working_dir: Option<String>,
}

/// A folder or file of this machine that a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path on this machine.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: String,
    /// Whether the container may write to it.
    pub writable: bool,
}

/// What a container may use and do. Everything is off unless granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Cores; none: no limit.
    pub cpus: Option<f64>,
    /// Memory, bytes; none: no limit.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: u32,
    /// Whether it has a network (the machine's own).
    pub network: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpus: None,
            memory: None,
            pids: 4_096,
            network: false,
        }
    }
}

/// What came of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with 0.
    Succeeded,
    /// It exited with another code; 128 + n if a signal ended it.
    Failed {
        /// The exit code.
        code: i32,
        /// Whether the memory limit ended it.
        out_of_memory: bool,
    },
    /// It was stopped because the run was cancelled.
    Cancelled,
}

/// What a machine can give to containers.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// Cores.
    pub cpus: f64,
    /// Memory, bytes.
    pub memory: u64,
    /// Free disk where tasks write, bytes.
    pub disk: u64,
    /// Disk classes on offer: `standard`, and `ssd` where the device says so.
    pub disk_classes: Vec<String>,
    /// GPUs by vendor resource name, e.g. `nvidia.com/gpu`.
    pub gpus: BTreeMap<String, u32>,
    /// Limits that cannot be enforced here, as sentences to show once.
    pub notices: Vec<String>,
}
