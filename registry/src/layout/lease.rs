//! How writers and the collector keep out of each other's way.
//!
//! ```text
//! ROOT/ingest/lease-*    one for each writer, locked while it lives; its time is when the writer began
//! ROOT/collect.lock      shared for each single step of a writer, exclusive while the collector removes blobs
//! ```
//!
//! The rule: **what a living writer wrote or found since it began is never collected.** A writer holds a [`Lease`] from
//! its first request to its end. A blob that it finds already present gets the current time ([`Lease::touch`]) unless
//! it is younger than the lease. The collector takes nothing that is younger than the oldest living lease, nor than its
//! grace. It looks at the time of each file again under the exclusive lock, so that a touch comes either before (and
//! the file stays) or after (and the writer sees that the blob does not exist, and writes it again).
//!
//! All times are those of files on this file system: they come from one clock, also where the folder is shared. A lease
//! from the future means that the clock was set back: then nothing is collected until that writer has ended. The lease of
//! a killed process is unlocked by the kernel and counts no more.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::files::ingest_folder;
use super::ingest::{Ingest, look};
use crate::durable;
use crate::store::StoreError;

const PREFIX: &str = "lease-";

/// A living writer's mark.
#[derive(Debug)]
pub(super) struct Lease {
    began: SystemTime,
    _file: Ingest,
}

impl Lease {
    pub(super) fn take(root: &Path) -> Result<Self, StoreError> {
        let file = Ingest::begin_named(&ingest_folder(root), PREFIX, 0o644)?;
        // Only now that it is locked: a collector that saw it unlocked did not count it, and its time must be later. Some
        // file systems let nobody set a time, but a write sets it everywhere.
        let written = file.handle()?.write_all(b"\n");
        written.map_err(StoreError::io("write a file in", &ingest_folder(root)))?;
        Ok(Self {
            began: file.modified()?,
            _file: file,
        })
    }

    /// Covers a blob by this lease: gives it the current time unless its time is covered already. Returns
    /// false if the system does not allow it; then the blob must be written again before the writer can rely on it.
    pub(super) fn touch(&self, content: &File) -> bool {
        match content.metadata().and_then(|metadata| metadata.modified()) {
            Ok(modified) if modified >= self.began => true,
            _ => now(content).is_ok(),
        }
    }
}

/// Gives a file the current time of the file system's clock.
fn now(file: &File) -> rustix::io::Result<()> {
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    let times = rustix::fs::Timestamps {
        last_access: now,
        last_modification: now,
    };
    rustix::fs::futimens(file, &times)
}

/// Held for each step of a writer: while it is held, nothing is removed.
pub(super) fn step(root: &Path) -> Result<File, StoreError> {
    let path = lock_path(root);
    durable::lock_shared(&path).map_err(StoreError::io("lock", &path))
}

/// Held while blobs are removed: no writer is within a step.
pub(super) fn alone(root: &Path) -> Result<File, StoreError> {
    let path = lock_path(root);
    durable::lock(&path).map_err(StoreError::io("lock", &path))
}

fn lock_path(root: &Path) -> PathBuf {
    root.join("collect.lock")
}

/// A blob is collected only if it was last written or found before this time.
pub(super) fn cutoff(root: &Path, grace: Duration) -> Result<SystemTime, StoreError> {
    // This comes before the leases are read: a writer that takes one later gives what it finds a later time than this.
    let now = Ingest::begin(&ingest_folder(root), 0o644)?.modified()?;
    let mut cutoff = now.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
    for began in living(root)? {
        cutoff = cutoff.min(if began > now {
            SystemTime::UNIX_EPOCH
        } else {
            began
        });
    }
    Ok(cutoff)
}

/// The times at which the living writers began.
fn living(root: &Path) -> Result<Vec<SystemTime>, StoreError> {
    let mut began = Vec::new();
    let is_lease = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
    };
    for (path, found) in look(&ingest_folder(root), is_lease)? {
        if found.dead {
            continue;
        }
        match found.file.metadata().and_then(|metadata| metadata.modified()) {
            Ok(time) => began.push(time),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("examine", &path)(error)),
        }
    }
    Ok(began)
}
