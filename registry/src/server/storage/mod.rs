//! The files of a registry on disk, and the rules of writing them.
//!
//! ```text
//! ROOT/lock                                        held by the process that serves this folder and changes it
//! ROOT/blobs/<algorithm>/<hex>                     blobs of all repositories, once, 0444 (as in an OCI image layout)
//! ROOT/uploads/<id>                                bytes of an open upload
//! ROOT/uploads/<id>.json                           its repository and algorithm: a restart goes on with it; not synced, because
//!                                                  the digest decides at the end
//! ROOT/repositories/<name>/_blobs/<alg>-<hex>      empty: the repository has this blob
//! ROOT/repositories/<name>/_manifests/<alg>-<hex>  the manifest's descriptor (JSON)
//! ROOT/repositories/<name>/_tags/<tag>             the digest that the tag points at
//! ROOT/repositories/<name>/_referrers/<subject>/<alg>-<hex>  descriptor of a referrer, as the listing shows it
//! ```
//!
//! No component of a repository's name starts with `_`, so names and the four folders never meet. Every file appears by a
//! rename; the file is synced before and the folder after it. A blob is written before its entry, the entry before the
//! tag; so after a crash whatever is visible is complete, and the rest only takes space. A file that exists already is
//! synced again before it is acknowledged: another request may be about to sync it, or was killed before it did.
//!
//! Servers that only read take no lock and write nothing: there may be several, also in addition to the one that
//! changes the folder.

mod collect;
mod entries;
mod upload;

use std::collections::{HashMap, HashSet};
use std::fs::{DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use samebundle_spec::{Digest, limits};

use super::failures::Failures;
use super::refusal::Refusal;
use super::route::Name;
use crate::{StoreError, durable};

pub use collect::Collected;
pub(super) use entries::{Expected, Kept};
pub(super) use upload::Upload;

/// How many locks the repositories share; more than there are writers at one time.
const STRIPES: usize = 64;
const CONTENT_MODE: u32 = 0o444;
const FOLDER_MODE: u32 = 0o777;

/// What a server permits.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Nothing may be changed.
    pub read_only: bool,
    /// An existing tag cannot be moved, and its manifest cannot be deleted.
    pub immutable_tags: bool,
    /// Largest manifest that is taken, bytes; at most [`limits::MANIFEST_BYTES`].
    pub manifest_bytes: u64,
    /// Largest blob that is taken, bytes.
    pub blob_bytes: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            read_only: false,
            immutable_tags: false,
            manifest_bytes: limits::MANIFEST_BYTES,
            blob_bytes: limits::BLOB_BYTES,
        }
    }
}

/// A folder of repositories. Cheap to clone; clones are the same storage.
#[derive(Clone, Debug)]
pub struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    rules: Rules,
    uploads: Mutex<HashMap<String, Arc<Upload>>>,
    writers: [Mutex<()>; STRIPES],
    /// Held shared by requests that add or name a blob, alone by the removal of garbage.
    gate: RwLock<()>,
    /// Folders in the root whose names are known to be durable.
    folders: Mutex<HashSet<PathBuf>>,
    failures: Failures,
    /// The kernel lock on the folder; `None` if nothing may be changed.
    lock: Option<File>,
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

fn parse_file_name(name: &str) -> Option<Digest> {
    name.replacen('-', ":", 1).parse().ok()
}

impl Storage {
    /// Opens a folder, made if absent, and locks it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another process serves it; [`StoreError::Path`] otherwise.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, Rules::default())
    }

    /// Opens a folder like [`Storage::open`], with rules. A read-only folder must exist; it is neither locked nor
    /// changed, so it may lie on read-only media and be served by others at the same time.
    ///
    /// # Errors
    /// As [`Storage::open`]; [`StoreError::Invalid`] if a read-only one is no folder of a registry.
    pub fn open_with(root: &Path, rules: Rules) -> Result<Self, StoreError> {
        let (lock, uploads) = match rules.read_only {
            true => {
                check(root)?;
                (None, HashMap::new())
            }
            false => {
                let lock = lock(root)?;
                (
                    Some(lock),
                    upload::restore(&root.join("uploads"), rules.blob_bytes)?,
                )
            }
        };
        Ok(Self(Arc::new(Inner {
            root: root.to_owned(),
            rules: Rules {
                manifest_bytes: rules.manifest_bytes.min(limits::MANIFEST_BYTES),
                ..rules
            },
            uploads: Mutex::new(uploads),
            gate: RwLock::default(),
            folders: Mutex::default(),
            writers: std::array::from_fn(|_| Mutex::default()),
            failures: Failures::default(),
            lock,
        })))
    }

    pub(super) fn rules(&self) -> Rules {
        self.0.rules
    }

    /// How many uploads are open.
    pub(super) fn open_uploads(&self) -> usize {
        self.0.uploads.lock().len()
    }

    /// The path of a blob of this digest, which may be absent.
    pub(super) fn content(&self, digest: &Digest) -> PathBuf {
        let algorithm = digest.algorithm().name();
        self.0.root.join("blobs").join(algorithm).join(digest.hex())
    }

    fn repository(&self, name: &Name) -> PathBuf {
        self.0.root.join("repositories").join(name.as_str())
    }

    /// Serialises the writers of a repository's manifests and tags.
    fn writer(&self, name: &Name) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let stripe = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0);
        self.0.writers[stripe].lock()
    }

    /// While this is held nothing is collected.
    fn open_gate(&self) -> RwLockReadGuard<'_, ()> {
        self.0.gate.read()
    }

    /// While this is held no request adds or names a blob.
    fn close_gate(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.gate.write()
    }

    /// Writes a small file durably; its folder is made if absent.
    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
        let folder = path.parent().unwrap_or(path);
        self.make_folder(folder)?;
        durable::write(path, bytes, mode).map_err(StoreError::io("write", path))
    }

    /// Makes a folder beneath the root, and its name durable: also an existing one, because whoever made it may have
    /// been killed, or may still be about to sync it.
    fn make_folder(&self, folder: &Path) -> Result<(), StoreError> {
        if folder == self.0.root || self.0.folders.lock().contains(folder) {
            return Ok(());
        }
        let parent = folder.parent().unwrap_or(folder);
        self.make_folder(parent)?;
        match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io("create", folder)(error));
            }
            _ => sync(parent)?,
        }
        self.0.folders.lock().insert(folder.to_owned());
        Ok(())
    }

    /// Runs `work`, which touches files, on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let storage = self.clone();
        tokio::task::spawn_blocking(move || work(&storage))
            .await
            .map_err(|error| stopped(&error))?
    }
}

/// Makes the folders of a registry and takes their lock.
fn lock(root: &Path) -> Result<File, StoreError> {
    for folder in ["blobs/sha256", "blobs/sha512", "uploads", "repositories"] {
        let path = root.join(folder);
        durable::make_folder(&path, FOLDER_MODE).map_err(StoreError::io("create", &path))?;
    }
    // An earlier process may have been killed between making these and syncing them.
    for folder in [root, &root.join("blobs")] {
        sync(folder)?;
    }
    let lock = root.join("lock");
    let held = durable::try_lock(&lock).map_err(StoreError::io("lock", &lock))?;
    held.ok_or_else(|| StoreError::Conflict {
        subject: root.display().to_string(),
        why: "another process serves this folder; give --root another one, serve this one with --read-only, or stop the other process"
            .to_owned(),
    })
}

/// Checks that a folder is one of a registry.
fn check(root: &Path) -> Result<(), StoreError> {
    let path = root.join("repositories");
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("read", &path)(error)),
        _ => Err(StoreError::Invalid {
            subject: root.display().to_string(),
            why: "it is no folder of a registry, because it has no folder \"repositories\"; without --read-only one is made, and an OCI image layout is served as layout:DIR"
                .to_owned(),
        }),
    }
}

/// The error of a blocking task that panicked or was cut off by the runtime's end.
pub(super) fn stopped(error: &tokio::task::JoinError) -> Refusal {
    Refusal::Storage(StoreError::Unavailable {
        place: "the registry".to_owned(),
        operation: "finish a request to",
        why: error.to_string(),
    })
}

/// Reads a small file; `None` if there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error)),
    }
}

/// Makes changes of the names in a folder durable, whoever made them.
fn sync(folder: &Path) -> Result<(), StoreError> {
    durable::sync_folder(folder).map_err(StoreError::io("sync", folder))
}

/// Removes a file durably; tells whether it existed.
fn remove(path: &Path) -> Result<bool, StoreError> {
    match std::fs::remove_file(path) {
        Ok(()) => {
            sync(path.parent().unwrap_or(path))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// Names of the files in a folder, sorted; none if there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in listing {
        let name = entry.map_err(StoreError::io("list", folder))?.file_name();
        // Half-written files are named ".new-..."; they are not entries.
        if let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
