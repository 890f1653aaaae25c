//! Where the record of a run is sent besides: tracking servers, lineage services, and folders that describe themselves.
//!
//! The run's log is the truth. A [`Sink`] is a fold over a finished record and the files beside it, and never over events as
//! they come: it may be repeated at any time, also for a run that was imported; it looks at what the other side has, and
//! sends only what is missing there. A [`Ledger`] in the run's folder remembers what could not be sent.

mod destination;
mod error;
mod files;
mod ledger;
mod mlflow;
mod openlineage;
pub mod ro_crate;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::path::PathBuf;

use async_trait::async_trait;
use samebundle_spec::record::Run;
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use destination::{Destination, Place};
pub use error::MetadataError;
pub use ledger::{Ledger, LedgerEntry};
pub use mlflow::Mlflow;
pub use openlineage::OpenLineage;

/// A run that is sent: its record, and where its files are.
#[derive(Debug)]
pub struct Subject {
    /// The record; the run does not go on.
    pub run: Run,
    /// The run's folder.
    pub folder: PathBuf,
    /// A folder for files that are made to be sent.
    pub scratch: PathBuf,
    /// Who ran it, if that is known.
    pub user: Option<String>,
    /// Ends the sending between two requests.
    pub cancel: CancellationToken,
}

impl Subject {
    /// Fails if the sending was cancelled.
    fn check(&self) -> Result<(), MetadataError> {
        match self.cancel.is_cancelled() {
            true => Err(MetadataError::Cancelled),
            false => Ok(()),
        }
    }
}

/// What sending a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SentState {
    /// The other side did not know the run.
    New,
    /// The other side lacked something of it.
    Completed,
    /// Everything was there.
    Already,
}

/// What was sent of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// What sending it did.
    pub state: SentState,
    /// Files, or events, that were sent now.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the other side cannot hold, or what is not here, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// Takes finished runs.
#[async_trait]
pub trait Sink: Debug + Send + Sync {
    /// Sends what the other side lacks of a run. It may be repeated.
    ///
    /// # Errors
    /// If the other side cannot be contacted or refuses something; what was sent until then stays there.
    async fn send(&self, subject: &Subject) -> Result<Sent, MetadataError>;
}
