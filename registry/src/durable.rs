//! Files that are either old or new after a crash, never half: write beside, sync, rename, sync the folder.
//!
//! Concurrency: two writers of one path do not disturb each other's temporary file; the last rename wins. Who needs a
//! read-modify-write holds a [`lock`] around it. Failure: an error leaves the old file in place and no temporary one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use samebundle_spec::limits;

/// Writes `bytes` to `path` durably with these permission bits.
///
/// # Errors
/// The system's error; then `path` is as it was before.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
        .tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Syncs a large file on the way, by a thread of its own: the disk works while the bytes still come, and the sync at the end
/// has little left to wait for.
#[derive(Debug, Default)]
pub(crate) struct EarlySync {
    /// Bytes that were written since the last one began.
    bytes: u64,
    thread: Option<JoinHandle<io::Result<()>>>,
    failed: bool,
}

impl EarlySync {
    /// Says that so many bytes more were written. Begins a sync when there is enough to do, and none runs.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    pub(crate) fn written(&mut self, file: &Arc<File>, bytes: u64) -> io::Result<()> {
        self.bytes += bytes;
        let running = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        if self.bytes < limits::EARLY_SYNC_BYTES || running {
            return Ok(());
        }
        self.end()?;
        self.bytes = 0;
        let file = Arc::clone(file);
        self.thread = Some(std::thread::spawn(move || file.sync_data()));
        Ok(())
    }

    /// Waits for the one that runs.
    ///
    /// # Errors
    /// That of this or of an earlier one, each time: the system tells a lost write once, and its next sync may say that all
    /// is well.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if let Some(thread) = self.thread.take() {
            let synced = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a sync panicked")));
            self.failed |= synced.is_err();
            synced?;
        }
        if self.failed {
            return Err(io::Error::other("an earlier sync of the file failed"));
        }
        Ok(())
    }
}

/// Reads a small file whole; `None` if it is not there.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] if it has more than `limit` bytes; otherwise why it cannot be read.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let why = format!("it is larger than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(Some(bytes))
}

/// Makes a folder and those above it, durably, each with these permission bits. Nothing happens if it is there.
///
/// # Errors
/// The system's error.
pub fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = match folder.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        // The root of the file system.
        None => return Ok(()),
    };
    make_folder(parent, mode)?;
    match DirBuilder::new().mode(mode).create(folder) {
        // Another process made it just now, and may not have synced it yet.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(parent),
    }
}

/// Makes names that were created, renamed or removed in a folder durable.
///
/// # Errors
/// The system's error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Takes an exclusive kernel lock on a file, made if absent, and waits for it. Released when dropped, also by a kill.
///
/// # Errors
/// The system's error.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = open_lock(path)?;
    file.lock()?;
    Ok(file)
}

/// Takes a shared kernel lock on a file, made if absent, and waits for who holds it alone.
///
/// # Errors
/// The system's error.
pub fn lock_shared(path: &Path) -> io::Result<File> {
    let file = open_lock(path)?;
    file.lock_shared()?;
    Ok(file)
}

/// Takes an exclusive kernel lock if nobody holds it.
///
/// # Errors
/// The system's error.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Of some open files, those that were last written more than `seconds` ago, by the clock of the file system that has
/// `folder`.
///
/// # Errors
/// The system's error.
pub fn older_than(
    folder: &Path,
    files: Vec<(PathBuf, File)>,
    seconds: u64,
) -> io::Result<Vec<(PathBuf, File)>> {
    let now = tempfile::tempfile_in(folder)?.metadata()?.modified()?;
    let mut old = Vec::new();
    for (path, file) in files {
        let age = now
            .duration_since(file.metadata()?.modified()?)
            .unwrap_or_default();
        if age.as_secs() > seconds {
            old.push((path, file));
        }
    }
    Ok(old)
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn writes_replace_whole_files_and_leave_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o644).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_early_sync_that_failed_is_told_until_the_end() {
        // A pipe cannot be synced.
        let (_reader, writer) = std::io::pipe().unwrap();
        let file = Arc::new(File::from(std::os::fd::OwnedFd::from(writer)));
        let mut early = EarlySync::default();
        early.written(&file, limits::EARLY_SYNC_BYTES - 1).unwrap();
        early.end().unwrap();
        early.written(&file, 1).unwrap();
        for _ in 0..3 {
            early.end().unwrap_err();
        }
        early.written(&file, limits::EARLY_SYNC_BYTES).unwrap_err();
    }

    #[test]
    fn a_lock_is_exclusive_until_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }
}
