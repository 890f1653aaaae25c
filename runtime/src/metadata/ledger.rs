//! What a run's folder remembers of each place that the run was to be sent to: that it is there, or why it is not.
//!
//! It is a file of its own, `sent.json`, and no part of the record: the record says what happened in the run, and does not
//! change because somebody was told of it.

use std::collections::BTreeMap;
use std::path::Path;

use samebundle_registry::durable;
use samebundle_spec::record::{self, Format};
use samebundle_spec::{Timestamp, limits};
use serde::{Deserialize, Serialize};

use super::{Destination, MetadataError};

/// The name of the file.
const SENT: &str = "sent.json";

/// What was sent of a run, by destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    format: Format,
    /// Each destination.
    pub destinations: BTreeMap<Destination, LedgerEntry>,
}

/// How far a run is at one destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// When it was there completely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<Timestamp>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// How many of its events a receiver took that cannot be asked.
    #[serde(default)]
    pub events: usize,
}

impl Ledger {
    /// Reads the ledger of a run; an empty one if nothing was to be sent yet.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn read(folder: &Path) -> Result<Self, MetadataError> {
        let path = folder.join(SENT);
        let bytes = durable::read(&path, limits::RUN_BYTES).map_err(MetadataError::io("read", &path))?;
        let empty = Self {
            format: Format::CURRENT,
            destinations: BTreeMap::new(),
        };
        // What is damaged costs a question to the other side, and no more.
        let read = bytes.and_then(|bytes| record::parse(&bytes, limits::RUN_BYTES).ok());
        Ok(read.unwrap_or(empty))
    }

    /// Changes what is remembered of one destination.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn note(
        folder: &Path,
        destination: &Destination,
        change: impl FnOnce(&mut LedgerEntry),
    ) -> Result<(), MetadataError> {
        let mut ledger = Self::read(folder)?;
        change(ledger.destinations.entry(destination.clone()).or_default());
        ledger.write(folder)
    }

    /// Drops a destination that the run is not at completely, and tells whether there was one.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn forget(folder: &Path, destination: &Destination) -> Result<bool, MetadataError> {
        let mut ledger = Self::read(folder)?;
        let waits = ledger.destinations.get(destination);
        if waits.is_none_or(|entry| entry.complete.is_some()) {
            return Ok(false);
        }
        ledger.destinations.remove(destination);
        ledger.write(folder)?;
        Ok(true)
    }

    fn write(&self, folder: &Path) -> Result<(), MetadataError> {
        let path = folder.join(SENT);
        let bytes = serde_json::to_vec_pretty(self).expect("maps with keys of text serialize");
        durable::write(&path, &bytes, 0o600).map_err(MetadataError::io("write", &path))
    }
}
