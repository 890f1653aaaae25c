//! The folder in which samebundle keeps everything.
//!
//! Layout: see ARCHITECTURE.md, "On disk". Folders are made with mode 0700: parameters and outputs may be private.
//! Concurrency: any number of processes may use one home; each document is replaced whole, and a process that reads,
//! changes and writes one holds its lock in `locks/`. Unfinished files are in `scratch/process-*`, one folder for each
//! process. A process holds the kernel's lock on its folder as long as it lives; the next process removes the folders
//! that nobody holds.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use samebundle_registry::durable;
use samebundle_spec::limits;
use tempfile::TempDir;

use crate::image::beneath;

/// The folders of a home.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
    process_scratch: Arc<OnceLock<ProcessScratch>>,
    turns: Arc<Mutex<HashMap<String, Turn>>>,
}

/// The turn to hold a lock, among the requests of this process.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// A lock of a home, held until it is dropped. It excludes other requests of this process and other processes.
#[derive(Debug)]
pub struct HomeLock {
    // The kernel's lock is released first, so that the request with the next turn finds it free.
    _kernel: File,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

/// This process's own folder below `scratch`. It is removed with the last clone of its home.
#[derive(Debug)]
struct ProcessScratch {
    folder: TempDir,
    _lock: File,
}

/// The lock of the unpacked layers: runs share it while they use layers, and a sweep holds it alone.
pub(crate) const LAYERS_LOCK: &str = "layers";

/// The beginning of the name of a process's folder below `scratch`.
pub(crate) const PROCESS_PREFIX: &str = "process-";

/// What the message of a failure says where [`Home::discard_if_full`] removed something.
pub(crate) const DISCARDED: &str = ", and the disk of the home was full, so what it wrote was removed; `samebundle runs remove` \
     and `samebundle store gc` free space";

/// A home cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the home {path} cannot be used; give another with --home DIR")]
pub struct HomeError {
    path: String,
    #[source]
    source: io::Error,
}

const FOLDERS: [&str; 11] = [
    "store",
    "layers",
    "installations",
    "runs",
    "volumes",
    "trust",
    "keys",
    "receipts",
    "scratch",
    "cache",
    "locks",
];

impl Home {
    /// Opens a home and makes those of its folders that are missing. On a read-only file system nothing is made, and
    /// what the home holds can be read.
    ///
    /// # Errors
    /// If a folder cannot be made.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        for folder in FOLDERS {
            match durable::make_folder(&root.join(folder), 0o700) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && root.is_dir() => {}
                Err(source) => {
                    return Err(HomeError {
                        path: root.display().to_string(),
                        source,
                    });
                }
            }
        }
        Ok(Self {
            root: root.to_owned(),
            process_scratch: Arc::default(),
            turns: Arc::default(),
        })
    }

    /// The home itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The local store, an OCI image layout.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Unpacked layers, a cache.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The installations, one document each.
    pub fn installations(&self) -> PathBuf {
        self.root.join("installations")
    }

    /// The runs, one folder each.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The volumes that outlive a run, one folder each. Only a person removes one.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Policy, trusted keys, high-water marks.
    pub fn trust(&self) -> PathBuf {
        self.root.join("trust")
    }

    /// Private keys.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The newest receipt of each bundle that was imported, by its index's digest.
    pub fn receipts(&self) -> PathBuf {
        self.root.join("receipts")
    }

    /// The folder for unfinished files of this process, below [`Home::scratches`]. It is made at the first call.
    pub fn scratch(&self) -> PathBuf {
        if let Some(made) = self.process_scratch.get() {
            return made.folder.path().to_owned();
        }
        match ProcessScratch::make(&self.scratches()) {
            Ok(made) => self.process_scratch.get_or_init(|| made).folder.path().to_owned(),
            // Writing a file there fails for the same reason and reports it.
            Err(_) => self.scratches(),
        }
    }

    /// The scratch of all processes, and the roots of tasks.
    pub fn scratches(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Wheels, and the tools that builds set up for themselves: a cache.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Notes of uploads that were begun, so that the next attempt continues them: a cache.
    pub fn uploads(&self) -> PathBuf {
        self.cache().join("uploads")
    }

    /// Profiles of registries, one document each: what `registry doctor` measured.
    pub fn registries(&self) -> PathBuf {
        self.root.join("registries")
    }

    /// Tells whether the disk has no room left for a run. A disk of which that is not known has room.
    pub fn is_full(&self) -> bool {
        let Ok(disk) = rustix::fs::statvfs(&self.root) else {
            return false;
        };
        // A part of some file systems is left to root.
        let blocks = match rustix::process::geteuid().is_root() {
            true => disk.f_bfree,
            false => disk.f_bavail,
        };
        let no_bytes = disk.f_blocks > 0 && blocks.saturating_mul(disk.f_frsize) < limits::FULL_DISK_BYTES;
        no_bytes || (disk.f_files > 0 && disk.f_favail == 0)
    }

    /// Removes a folder with what came to no end if the disk is full, so that the next run has room. Tells whether it did.
    pub(crate) async fn discard_if_full(&self, folder: &Path) -> bool {
        if !self.is_full() {
            return false;
        }
        let folder = folder.to_owned();
        let removed = tokio::task::spawn_blocking(move || beneath::remove_path(&folder)).await;
        matches!(removed, Ok(Ok(())))
    }

    /// Takes the lock of this name and waits for it. Requests of one process wait in turn and block no thread; a thread
    /// of its own waits for other processes.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub async fn lock(&self, name: &str) -> io::Result<HomeLock> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(name.to_owned()).or_default())
        };
        let turn = turn.lock_owned().await;
        let path = self.lock_path(name);
        Ok(HomeLock {
            _kernel: tokio::task::spawn_blocking(move || durable::lock(&path)).await??,
            _turn: turn,
        })
    }

    /// Takes the lock of this name, shared with others, and waits while somebody holds it alone.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub async fn lock_shared(&self, name: &str) -> io::Result<File> {
        let path = self.lock_path(name);
        tokio::task::spawn_blocking(move || durable::lock_shared(&path)).await?
    }

    /// Takes the lock of this name if nobody holds it.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub fn try_lock(&self, name: &str) -> io::Result<Option<File>> {
        durable::try_lock(&self.lock_path(name))
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }
}

impl ProcessScratch {
    fn make(scratches: &Path) -> io::Result<Self> {
        loop {
            let folder = tempfile::Builder::new()
                .prefix(PROCESS_PREFIX)
                .tempdir_in(scratches)?;
            let lock = File::open(folder.path())?;
            lock.lock()?;
            // A sweep may have taken it for a leftover before it was locked; then it is gone.
            if folder.path().is_dir() {
                return Ok(Self { folder, _lock: lock });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With one thread, a second request that blocked it would keep the first from ever releasing the lock.
    #[tokio::test(flavor = "current_thread")]
    async fn requests_of_one_process_wait_in_turn_without_a_thread() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let first = home.lock("x").await.unwrap();
        let (waits, other) = (home.clone(), Home::open(folder.path()).unwrap());
        // The kernel makes another view of the same folder wait, as it does another process.
        let second = tokio::spawn(async move { waits.lock("x").await.map(drop) });
        let third = tokio::spawn(async move { other.lock("x").await.map(drop) });
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(!second.is_finished() && !third.is_finished());
        assert!(home.try_lock("x").unwrap().is_none());
        assert!(home.lock("y").await.is_ok(), "locks of other names are free");
        drop(first);
        second.await.unwrap().unwrap();
        third.await.unwrap().unwrap();
    }
}
