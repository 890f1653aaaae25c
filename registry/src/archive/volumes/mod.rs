//! An archive cut into volumes (`spec/220-volumes.md`): files of a given size, with checksums, and parity if wanted.
//!
//! ```text
//! NAME.v001, NAME.v002, ...    head, then a piece of the archive
//! NAME.p001, ...               head, then parity: with n of these, any n volumes may be lost or damaged
//! ```
//!
//! The pieces one behind the other are the archive, byte for byte. The parity is Reed-Solomon over GF(2^16) as
//! `reed-solomon-simd` computes it, column by column: bytes at the same position of all volumes belong together.
//!
//! Memory is bounded: [`STRIPE_MEMORY`] for the code's work, whatever the size and number of the volumes, and its tables
//! (about 9 MiB). Failure: files are written under other names and renamed when all are whole, the first piece last.

mod parity;
mod read;
mod write;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(super) use read::find;
pub(super) use write::Pieces;

/// The most memory for computing parity, bytes. It is small in tests, so that small volumes have several stripes.
const STRIPE_MEMORY: usize = if cfg!(test) { 64 << 10 } else { 24 << 20 };

/// How to cut an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Most bytes of one file.
    pub size: u64,
    /// How many parity volumes are added.
    pub parity: u32,
}

/// A volume that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The file.
    pub path: PathBuf,
    /// Its length, bytes.
    pub bytes: u64,
}

/// The name of the first volume of an archive.
pub(super) fn first(path: &Path) -> PathBuf {
    named(path, "v001")
}

/// `NAME` and an ending.
fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    name.into()
}

/// The archive's path, if this is the name of one of its volumes: `NAME.v001` or `NAME.p001`.
pub fn whole_of(volume: &Path) -> Option<PathBuf> {
    let ending = volume.extension()?.to_str()?;
    let number = ending.strip_prefix('v').or_else(|| ending.strip_prefix('p'))?;
    let is_number = number.len() >= 3 && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| volume.with_extension(""))
}

/// Every file in the folder of an archive that has the name of one of its volumes, sorted.
fn beside(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(crate::durable::folder_of(path))? {
        let entry = entry?.path();
        let same = whole_of(&entry).is_some_and(|whole| whole.file_name() == path.file_name());
        if same && path.file_name().is_some() {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
