//! What a home needs, and what it may lose: the local store, unpacked layers, scratch, runs.
//!
//! [`holdings`] says what installations, roll-back points, runs and caches need from the store; the store itself knows
//! its tags. [`sweep_layers`], [`sweep_scratch`], [`sweep_runs`] and [`sweep_volumes`] remove the rest of a home's space.
//! They never remove a file for which a living process holds a kernel lock, and nothing at all if a record cannot be
//! read. What a person removes goes through the same hands.

mod holdings;
mod layers;
mod runs;
mod scratch;
mod volumes;
mod whole;

use std::path::PathBuf;

pub use holdings::holdings;
pub use layers::sweep_layers;
pub use runs::{Newest, remove_files, remove_run, size_of_files, sweep_runs};
pub use scratch::{sweep_process_scratch, sweep_scratch};
pub use volumes::sweep_volumes;
pub(crate) use whole::remove_whole;

/// Something that was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The file or folder.
    pub path: PathBuf,
    /// Its size, bytes.
    pub bytes: u64,
    /// Why it was removed.
    pub why: &'static str,
}

/// Bytes below a file or folder, as far as it can be read; links are not followed.
pub fn size_of(path: &std::path::Path) -> u64 {
    let mut todo = vec![path.to_owned()];
    let mut bytes = 0;
    while let Some(path) = todo.pop() {
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
                todo.extend(entries.map(|entry| entry.path()));
            }
            Ok(metadata) => bytes += metadata.len(),
            Err(_) => {}
        }
    }
    bytes
}
