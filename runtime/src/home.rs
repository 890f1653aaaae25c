//! The folder that everything of samebundle is kept in.
//!
//! Layout: see ARCHITECTURE.md, "On disk". Folders are made with mode 0700: parameters and outputs may be private.
//! Concurrency: any number of processes may use one home; each document is replaced whole, and who reads, changes and
//! writes one holds its lock in `locks/`. What is half-made is in `scratch/process-*`, a folder a process, which the kernel
//! locks for as long as the process lives: whoever comes next removes those that nobody holds.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use samebundle_registry::durable;
use tempfile::TempDir;

/// The folders of a home.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
    process_scratch: Arc<OnceLock<ProcessScratch>>,
    turns: Arc<Mutex<HashMap<String, Turn>>>,
}

/// Whose turn it is to hold a lock, among the requests of this process.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// A lock of a home, held until it is dropped: against other requests of this process, and other processes.
#[derive(Debug)]
pub struct HomeLock {
    // The kernel's lock is given up first: whoever has the next turn finds it free.
    _kernel: File,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

/// This process's own folder below `scratch`; goes with the last clone of its home.
#[derive(Debug)]
struct ProcessScratch {
    folder: TempDir,
    _lock: File,
}

/// The lock that runs share while they use unpacked layers, and that whoever removes layers holds alone.
pub(crate) const LAYERS_LOCK: &str = "layers";

/// Begins the name of a process's folder below `scratch`.
pub(crate) const PROCESS_PREFIX: &str = "process-";

/// A home cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the home {path} cannot be used; give another with --home DIR")]
pub struct HomeError {
    path: String,
    #[source]
    source: io::Error,
}

const FOLDERS: [&str; 10] = [
    "store",
    "layers",
    "installations",
    "runs",
    "trust",
    "keys",
    "receipts",
    "scratch",
    "cache",
    "locks",
];

impl Home {
    /// Opens a home and makes what is missing of its folders. On a file system that is read-only nothing is made: what is
    /// there can be read.
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

    /// One document an installation.
    pub fn installations(&self) -> PathBuf {
        self.root.join("installations")
    }

    /// One folder a run.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
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

    /// Where this process puts what is half-made: a folder of its own below [`Home::scratches`], made at the first call.
    pub fn scratch(&self) -> PathBuf {
        if let Some(made) = self.process_scratch.get() {
            return made.folder.path().to_owned();
        }
        match ProcessScratch::make(&self.scratches()) {
            Ok(made) => self.process_scratch.get_or_init(|| made).folder.path().to_owned(),
            // Whatever is put there fails in the same way, and says so.
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

    /// Notes of uploads that were begun, so that the next attempt goes on with them: a cache.
    pub fn uploads(&self) -> PathBuf {
        self.cache().join("uploads")
    }

    /// Profiles of registries, one document each: what `registry doctor` measured.
    pub fn registries(&self) -> PathBuf {
        self.root.join("registries")
    }

    /// Takes the lock of this name and waits for it. Requests of one process wait in turn and block no thread; other processes
    /// are waited for in a thread of its own.
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

    /// Takes the lock of this name together with others who take it so, and waits for who holds it alone.
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

    /// With one thread, a second request that blocks it would keep the first from ever giving the lock up.
    #[tokio::test(flavor = "current_thread")]
    async fn requests_of_one_process_wait_in_turn_without_a_thread() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let first = home.lock("x").await.unwrap();
        let (waits, other) = (home.clone(), Home::open(folder.path()).unwrap());
        // Another view of the same folder is held off by the kernel, as another process is.
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
