//! Removing a folder so that it is there whole or not at all.
//!
//! A folder is renamed durably before anything in it is removed: what is half removed never has the name of what is
//! whole. Who is killed meanwhile leaves the other name, and [`rests`] finds it. Concurrency: whoever removes a folder
//! holds the kernel's lock on the folder itself. Nothing of this needs room on the disk.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use samebundle_registry::durable;

use crate::image::beneath;

const REMOVED: &str = ".removed-";

/// Returns the name that a file or folder has while it is removed.
pub(super) fn aside(path: &Path) -> PathBuf {
    let mut name = OsString::from(REMOVED);
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

/// Removes a file, or a folder with all that is in it. It is a success if another process does it now.
///
/// # Errors
/// The system's error.
pub(crate) fn remove_whole(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path)?.is_dir() {
        return std::fs::remove_file(path);
    }
    let _lock = match lock_folder(path) {
        Ok(Some(lock)) => Some(lock),
        Ok(None) => return Ok(()),
        // A task may have taken from us the right to read what it made; it can be removed nevertheless.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => return Err(error),
    };
    if is_rest(path) {
        return beneath::remove_path(path);
    }
    let removed = aside(path);
    beneath::remove_path(&removed)?;
    std::fs::rename(path, &removed)?;
    durable::sync_folder(durable::folder_of(path))?;
    beneath::remove_path(&removed)
}

/// Finds what is left in a folder of what killed processes began to remove, without what is being removed now.
///
/// # Errors
/// If the folder cannot be listed.
pub(super) fn rests(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if is_rest(&path) && !matches!(lock_folder(&path), Ok(None)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_rest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(REMOVED.as_bytes())
}

/// Locks a folder; `None` if another process has locked or removed it.
pub(super) fn lock_folder(path: &Path) -> io::Result<Option<File>> {
    let folder = match File::open(path) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_whole_and_what_a_killed_process_left_of_it_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let make = |name: &str| {
            std::fs::create_dir_all(path(name).join("deep")).unwrap();
            std::fs::write(path(name).join("deep/file"), "four").unwrap();
        };
        make("one");
        make(".removed-one");
        remove_whole(&path("one")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        make(".removed-two");
        assert_eq!(rests(folder.path()).unwrap(), [path(".removed-two")]);
        let other = lock_folder(&path(".removed-two")).unwrap();
        assert!(
            rests(folder.path()).unwrap().is_empty(),
            "somebody removes it now"
        );
        remove_whole(&path(".removed-two")).unwrap();
        assert!(path(".removed-two").exists());
        drop(other);
        remove_whole(&path(".removed-two")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
