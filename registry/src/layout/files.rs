//! The files of a layout: where they are, and how `index.json` is read and changed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use samebundle_spec::{Digest, limits};

use super::ingest::Ingest;
use crate::durable::{self, open_plain};
use crate::layout::index::LayoutIndex;
use crate::store::StoreError;

/// `index.json` and `oci-layout`.
const FILE_MODE: u32 = 0o666;

/// The path of a blob. A digest holds raw bytes, so the path cannot leave the root.
pub(super) fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs")
        .join(digest.algorithm().name())
        .join(digest.hex())
}

/// The folder of files that are being written.
pub(super) fn ingest_folder(root: &Path) -> PathBuf {
    root.join("ingest")
}

/// Reads a small file whole; `None` if it does not exist.
pub(super) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match open_plain(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(limits::LAYOUT_INDEX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(StoreError::io("read", path))?;
    if bytes.len() as u64 > limits::LAYOUT_INDEX_BYTES {
        return Err(StoreError::Invalid {
            subject: path.display().to_string(),
            why: format!("larger than {} bytes", limits::LAYOUT_INDEX_BYTES),
        });
    }
    Ok(Some(bytes))
}

/// Replaces a small file durably.
pub(super) fn write_file(root: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let ingest = Ingest::begin(&ingest_folder(root), FILE_MODE)?;
    let mut file: File = ingest.handle()?;
    let target = root.join(name);
    file.write_all(bytes).map_err(StoreError::io("write", &target))?;
    ingest.commit(&target)
}

/// Reads `index.json`.
pub(super) fn read_index(root: &Path) -> Result<LayoutIndex, StoreError> {
    let path = root.join("index.json");
    let bytes = read_file(&path)?.ok_or_else(|| StoreError::NotFound {
        subject: "index.json".to_owned(),
        place: root.display().to_string(),
    })?;
    LayoutIndex::parse(&bytes, &path.display().to_string())
}

/// Reads `index.json` under the lock, changes it, and writes it if `change` returns true or if it was not there.
pub(super) fn update_index(
    root: &Path,
    change: impl FnOnce(&mut LayoutIndex) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let lock = root.join("lock");
    let _lock = durable::lock(&lock).map_err(StoreError::io("lock", &lock))?;
    let (mut index, there) = match read_index(root) {
        Ok(index) => (index, true),
        Err(StoreError::NotFound { .. }) => (LayoutIndex::empty(), false),
        Err(error) => return Err(error),
    };
    if change(&mut index)? || !there {
        write_file(root, "index.json", &index.to_bytes())?;
    }
    Ok(())
}
