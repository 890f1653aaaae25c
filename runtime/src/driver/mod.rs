//! What starts containers.
//!
//! A driver runs one [`Operation`] (a container with its inputs and outputs) to its end and returns how it ended. It
//! knows nothing of pipelines, bundles or records, and may run containers on another machine. `Ok(Outcome)` means that
//! the container ran, whatever its exit code; `Err` means that it could not be run, or that it is not known what
//! happened.
//!
//! Every driver labels what it makes with the operation's run id, so that [`Driver::recover`] finds what a killed
//! process left behind. All of them pass the contract suite.

mod attended;
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
mod offers;
mod opened;
mod operation;
pub mod parcel;
mod staging;

use std::fmt::Debug;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use attended::{Size, Streams};
pub use choose::{Candidate, choose};
pub use error::DriverError;
pub use offers::Offers;
pub(crate) use offers::refuse_gpus;
pub use operation::{Content, Input, Limits, Operation, Outcome, Output, Volume};
pub use staging::{Bind, Staging};

/// The host name of every container, so that nothing it computes depends on the machine.
#[cfg(any(feature = "docker", feature = "embedded"))]
const HOSTNAME: &str = "samebundle";

/// What starts containers.
#[async_trait]
pub trait Driver: Debug + Send + Sync {
    /// The name in `--env` and in records: `embedded`, `docker`.
    fn name(&self) -> &'static str;

    /// What this driver and its machine offer to containers.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] with the reason if it cannot run anything here.
    async fn offers(&self) -> Result<Offers, DriverError>;

    /// Runs a container to its end. Inputs come from `staging`, and outputs are complete when this returns the outcome
    /// of a container that ended by itself; this process can read all of them, whatever modes the container gave them. Log lines are passed to `log` as they are printed, all of them before this
    /// returns. On cancellation the container is stopped within two seconds, none of its processes keeps running, and
    /// the outcome is [`Outcome::Cancelled`].
    ///
    /// # Errors
    /// [`DriverError::NotOffered`] if the limits ask for what it does not offer; another error if the container could
    /// not be started, or if it is not known how it ended.
    async fn run(
        &self,
        operation: &Operation,
        staging: &Staging,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError>;

    /// Runs a container as [`Driver::run`] does, for somebody who attends it: it reads and prints to `streams`, and has a
    /// terminal if those have one.
    ///
    /// # Errors
    /// As [`Driver::run`]; [`DriverError::NotOffered`] if this driver cannot do so.
    async fn attend(
        &self,
        operation: &Operation,
        _staging: &Staging,
        _streams: Streams,
        _cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        Err(DriverError::NotOffered {
            driver: self.name(),
            container: operation.name.clone(),
            what: "an input".to_owned(),
        })
    }

    /// Ends and removes everything that is left of a run, and returns how many containers that were.
    ///
    /// # Errors
    /// If something could not be removed.
    async fn recover(&self, run_id: &str) -> Result<usize, DriverError>;
}

/// Receives the lines that a container prints. It must not block.
pub trait LogSink: Send + Sync {
    /// Receives one line without its line end.
    fn line(&self, line: &str, stderr: bool);

    /// Receives a state of a line that has not ended, which a carriage return replaces: a progress bar. The last state of a
    /// line comes as its line. The default ignores it.
    fn replaced(&self, _line: &str, _stderr: bool) {}
}
