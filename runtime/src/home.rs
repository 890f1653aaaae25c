//! The folder that everything of samebundle is kept in.
//!
//! Layout: see ARCHITECTURE.md, "On disk". Folders are made with mode 0700: parameters and outputs may be private.
//! Concurrency: any number of processes may use one home; each document is replaced whole, and who reads, changes and
//! writes one holds its lock in `locks/`.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use samebundle_registry::durable;

/// The folders of a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// A home cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the home {path} cannot be used; give another with --home DIR")]
pub struct HomeError {
    path: String,
    #[source]
    source: io::Error,
}

const FOLDERS: [&str; 9] = [
    "store",
    "layers",
    "installations",
    "runs",
    "trust",
    "keys",
    "scratch",
    "cache",
    "locks",
];

impl Home {
    /// Opens a home and makes what is missing of its folders.
    ///
    /// # Errors
    /// If a folder cannot be made.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        let make = |path: &Path| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|source| HomeError {
                path: root.display().to_string(),
                source,
            })
        };
        for folder in FOLDERS {
            make(&root.join(folder))?;
        }
        Ok(Self {
            root: root.to_owned(),
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

    /// Quarantine and task roots.
    pub fn scratch(&self) -> PathBuf {
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

    /// Takes the lock of this name and waits for it.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub fn lock(&self, name: &str) -> io::Result<File> {
        durable::lock(&self.lock_path(name))
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
