//! What a home needs, and what it may lose: the local store, unpacked layers, scratch.
//!
//! [`holdings`] says what of the store installations, roll-back points, runs and caches rely on; the store itself knows its
//! tags. [`sweep_layers`] and [`sweep_scratch`] remove the rest of a home's space. What is kept beyond doubt: whatever a
//! living process holds a kernel lock for, and everything if a record cannot be read.

mod holdings;
mod layers;
mod scratch;

use std::path::PathBuf;

pub use holdings::holdings;
pub use layers::sweep_layers;
pub use scratch::{sweep_rooms, sweep_scratch};

/// Something that was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The file or folder.
    pub path: PathBuf,
    /// What it took, bytes.
    pub bytes: u64,
    /// Why it went.
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
