//! Files that appear whole or not at all.
//!
//! A temporary file in `ingest/` is held under a kernel lock while its writer lives. It is synced and renamed to its
//! final path, and the folder of that path is synced: only after that does the blob exist. A writer that is killed
//! leaves an unlocked file, which [`sweep`] removes; a `.partial` file (see [`Partial`](super::partial)) stays for a
//! week, so that the next attempt resumes it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use samebundle_spec::{Digest, limits};
use tempfile::NamedTempFile;

use crate::durable::{self, open_plain};
use crate::store::StoreError;

/// A file that is being written, not yet visible under its name.
#[derive(Debug)]
pub(super) struct Ingest {
    file: NamedTempFile,
}

impl Ingest {
    /// Starts a file in the folder `ingest`, and locks it. The system takes the process's mask from `mode`.
    pub(super) fn begin(ingest: &Path, mode: u32) -> Result<Self, StoreError> {
        Self::begin_named(ingest, "", mode)
    }

    /// The same, with a name that begins with `prefix`.
    pub(super) fn begin_named(ingest: &Path, prefix: &str, mode: u32) -> Result<Self, StoreError> {
        make_folder(ingest)?;
        loop {
            let file = tempfile::Builder::new()
                .prefix(prefix)
                .permissions(Permissions::from_mode(mode))
                .tempfile_in(ingest)
                .map_err(StoreError::io("create a file in", ingest))?;
            durable::lock_open(file.as_file()).map_err(StoreError::io("lock", file.path()))?;
            // A sweep may have taken it for a leftover before it was locked; then it has no name any more.
            let links = file
                .as_file()
                .metadata()
                .map_err(StoreError::io("examine", file.path()))?
                .nlink();
            if links > 0 {
                return Ok(Self { file });
            }
        }
    }

    /// A second handle of the file, to write through. The lock holds until both are closed.
    pub(super) fn handle(&self) -> Result<File, StoreError> {
        self.file
            .as_file()
            .try_clone()
            .map_err(StoreError::io("open", self.file.path()))
    }

    /// When it was written last, by the file system's clock.
    pub(super) fn modified(&self) -> Result<SystemTime, StoreError> {
        let metadata = self.file.as_file().metadata();
        metadata
            .and_then(|metadata| metadata.modified())
            .map_err(StoreError::io("examine", self.file.path()))
    }

    /// Makes the file durable and gives it the name `target`, in place of an existing file. The name becomes durable
    /// when the folder is synced.
    pub(super) fn rename(self, target: &Path) -> Result<(), StoreError> {
        durable::sync(self.file.as_file()).map_err(StoreError::io("sync", self.file.path()))?;
        self.file
            .persist(target)
            .map_err(|error| StoreError::io("rename a file to", target)(error.error))?;
        Ok(())
    }

    /// The same, and makes the name durable.
    pub(super) fn commit(self, target: &Path) -> Result<(), StoreError> {
        self.rename(target)?;
        sync_folder(target.parent().unwrap_or(Path::new(".")))
    }
}

/// Makes a file read-only and durable and gives it the name `target`, in place of an existing file.
pub(super) fn publish(file: &File, from: &Path, target: &Path) -> Result<(), StoreError> {
    let mode = file.metadata().map(|metadata| metadata.permissions().mode());
    let mode = mode.map_err(StoreError::io("examine", from))? & 0o444;
    if let Err(error) = file.set_permissions(Permissions::from_mode(mode)) {
        // A file system without permissions refuses this, and none of what is relied on depends on it.
        tracing::debug!(path = %from.display(), %error, "the file stays writable");
    }
    durable::sync(file).map_err(StoreError::io("sync", from))?;
    fs::rename(from, target).map_err(StoreError::io("rename a file to", target))
}

/// The extension of a file with a blob that is kept when it is not finished.
const PARTIAL: &str = ".partial";

fn is_partial(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == &PARTIAL[1..])
}

/// Opens the file of an unfinished blob, made if absent, and locks it. `None` if another process holds it.
pub(super) fn open_partial(ingest: &Path, digest: &Digest) -> Result<Option<(PathBuf, File)>, StoreError> {
    make_folder(ingest)?;
    let path = ingest.join(format!("{}-{}{PARTIAL}", digest.algorithm().name(), digest.hex()));
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        if !durable::try_lock_open(&file).map_err(StoreError::io("lock", &path))? {
            return Ok(None);
        }
        // It may have been finished and renamed, or removed, before it was locked here: then the name belongs to
        // another file.
        let mine = file.metadata().map_err(StoreError::io("examine", &path))?;
        if fs::symlink_metadata(&path)
            .is_ok_and(|named| (named.dev(), named.ino()) == (mine.dev(), mine.ino()))
        {
            return Ok(Some((path, file)));
        }
    }
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    durable::sync_folder(folder).map_err(StoreError::io("sync the folder", folder))
}

/// Makes a folder and those above it, durably. Nothing happens if it exists.
pub(super) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    durable::make_folder(folder, 0o777).map_err(StoreError::io("make the folder", folder))
}

/// A file in `ingest`.
#[derive(Debug)]
pub(super) struct IngestFile {
    /// A handle of it.
    pub(super) file: File,
    /// Its writer is dead: the handle holds the lock now.
    pub(super) dead: bool,
}

/// Lists the files in `ingest` whose name is `wanted`. Others are not even locked for a moment.
pub(super) fn look(
    ingest: &Path,
    wanted: impl Fn(&Path) -> bool,
) -> Result<Vec<(PathBuf, IngestFile)>, StoreError> {
    let entries = match fs::read_dir(ingest) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", ingest)(error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", ingest))?.path();
        if !wanted(&path) {
            continue;
        }
        // Its writer may rename it at any time.
        let Ok(file) = open_plain(&path) else { continue };
        let dead = durable::try_lock_open(&file).map_err(StoreError::io("lock", &path))?;
        all.push((path, IngestFile { file, dead }));
    }
    Ok(all)
}

/// Returns the files in `ingest` whose writers are dead and that nobody will go on with, each with a handle that holds its
/// lock.
pub(super) fn leftovers(ingest: &Path) -> Result<Vec<(PathBuf, File)>, StoreError> {
    unlocked(ingest, |path| !is_partial(path))
}

/// Returns the files in `ingest` that keep an unfinished blob for another attempt, each with a handle that holds its lock.
pub(super) fn partials(ingest: &Path) -> Result<Vec<(PathBuf, File)>, StoreError> {
    unlocked(ingest, is_partial)
}

fn unlocked(ingest: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<(PathBuf, File)>, StoreError> {
    let all = look(ingest, wanted)?.into_iter();
    Ok(all
        .filter(|(_, found)| found.dead)
        .map(|(path, found)| (path, found.file))
        .collect())
}

/// Removes what killed writers left in `ingest`, and unfinished blobs that nobody resumed for
/// [`limits::PARTIAL_SECONDS`].
pub(super) fn sweep(ingest: &Path) -> Result<(), StoreError> {
    let mut dead = leftovers(ingest)?;
    let kept = partials(ingest)?;
    if !kept.is_empty() {
        dead.extend(
            durable::older_than(ingest, kept, limits::PARTIAL_SECONDS)
                .map_err(StoreError::io("examine", ingest))?,
        );
    }
    for (path, _lock) in dead {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}
