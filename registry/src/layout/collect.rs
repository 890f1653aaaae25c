//! Removes what nobody needs. `reach` finds who needs what, and `lease` keeps writers safe.
//!
//! In this order: read everything once, so that it fails early and is quick the second time; take the exclusive lock;
//! read tags, records and manifests again; remove the index entries of what will go, durably; rename that into
//! `trash/`; give the lock back; look a last time; remove the trash. The last look is for tools that do not take our
//! lock (skopeo into the same folder): what became needed meanwhile comes back. A collector that is killed leaves
//! content in the trash, which the next one treats in the same way. Index entries go before the blob that they name, so
//! that no crash leaves an entry without it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use samebundle_spec::{Algorithm, Descriptor, Digest};

use super::disk::Disk;
use super::files::{blob_path, ingest_folder, update_index};
use super::ingest::{self, make_folder};
use super::lease;
use super::reach::{Held, Reach};
use crate::store::StoreError;
use crate::store::blocking::blocking;

/// What a collection may remove.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Blobs that were written or found within this time stay, because a copy that was cut off resumes from them.
    pub grace: Duration,
    /// Only report what would be removed.
    pub dry_run: bool,
}

/// Why a blob is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// No tag, and nothing that is held, reaches it.
    Unreachable,
    /// It refers to something that is not needed either, or is absent.
    SubjectGone,
    /// An earlier collector moved it to the trash and was killed.
    Trash,
}

impl Why {
    /// The reason in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Unreachable => "no tag, installation or run needs it",
            Self::SubjectGone => "what it refers to is not needed either",
            Self::Trash => "left by a collection that was cut off",
        }
    }
}

/// A blob or manifest that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The content.
    pub digest: Digest,
    /// Its length, bytes.
    pub bytes: u64,
    /// Why.
    pub why: Why,
    /// When it was last written or found.
    pub modified: SystemTime,
}

/// The result of a collection, or of a dry run.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// What was removed.
    pub removed: Vec<Removed>,
    /// What nobody needs but is too young or belongs to a living writer: blobs and bytes.
    pub young: (u64, u64),
    /// What is needed, by digest.
    pub live: BTreeMap<Digest, Descriptor>,
    /// What was found to be needed after it was moved to the trash.
    pub restored: Vec<Digest>,
}

impl Collected {
    /// Bytes that were removed.
    pub fn bytes(&self) -> u64 {
        self.removed.iter().map(|removed| removed.bytes).sum()
    }
}

/// Removes blobs and manifests that neither a tag nor anything that `held` returns needs. `held` is called under the
/// lock, perhaps more than once; if it fails, nothing is removed.
///
/// # Errors
/// If a needed manifest cannot be read, because its children are not known then. Nothing was removed in that case.
pub async fn collect(
    root: &Path,
    limits: Limits,
    held: impl Fn() -> Result<Vec<Held>, StoreError> + Send + 'static,
) -> Result<Collected, StoreError> {
    let root = root.to_owned();
    blocking(move || {
        let disk = Disk::at(&root);
        disk.examine()?;
        if limits.dry_run {
            let cutoff = match lease::cutoff(&root, limits.grace) {
                // Nothing can be removed there, but what is needed can still be reported.
                Err(StoreError::Path(error)) if error.source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                    SystemTime::UNIX_EPOCH
                }
                cutoff => cutoff?,
            };
            let mut collected = plan(&disk, &reach(&disk, &held)?, cutoff)?;
            collected.removed.extend(trash(&root)?);
            return Ok(collected);
        }
        ingest::sweep(&ingest_folder(&root))?;
        // This fails before the lock is taken, and leaves the files in the page cache for the second read.
        drop(reach(&disk, &held)?);
        let cutoff = lease::cutoff(&root, limits.grace)?;
        let mut collected = {
            let _alone = lease::alone(&root)?;
            let collected = plan(&disk, &reach(&disk, &held)?, cutoff)?;
            take(&disk, &collected.removed)?;
            collected
        };
        empty(&disk, &held, &mut collected)?;
        Ok(collected)
    })
    .await
}

fn reach(disk: &Disk, held: &impl Fn() -> Result<Vec<Held>, StoreError>) -> Result<Reach, StoreError> {
    Reach::of(disk, &held()?).map_err(|error| StoreError::Conflict {
        subject: disk.root.display().to_string(),
        why: format!(
            "nothing is collected, because not all that is needed can be read: {error}; see store check"
        ),
    })
}

/// Finds what may be removed.
fn plan(disk: &Disk, reach: &Reach, cutoff: SystemTime) -> Result<Collected, StoreError> {
    let live = reach.live();
    let mut collected = Collected::default();
    for (digest, path) in blobs(&disk.root)? {
        if live.contains_key(&digest) {
            continue;
        }
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // Another collector's.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io("examine", &path)(error)),
        };
        let modified = metadata.modified().map_err(StoreError::io("examine", &path))?;
        if modified >= cutoff {
            collected.young.0 += 1;
            collected.young.1 += metadata.len();
            continue;
        }
        collected.removed.push(Removed {
            digest,
            bytes: metadata.len(),
            why: match reach.refers(&digest) {
                true => Why::SubjectGone,
                false => Why::Unreachable,
            },
            modified,
        });
    }
    collected.live = live
        .into_iter()
        .map(|(digest, descriptor)| (digest, descriptor.clone()))
        .collect();
    Ok(collected)
}

/// Every file under `blobs` whose name is a digest.
pub(super) fn blobs(root: &Path) -> Result<Vec<(Digest, PathBuf)>, StoreError> {
    let mut all = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let folder = root.join("blobs").join(algorithm.name());
        for (name, path) in names(&folder)? {
            if let Ok(digest) = format!("{}:{name}", algorithm.name()).parse() {
                all.push((digest, path));
            }
        }
    }
    Ok(all)
}

fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder)(error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            all.push((name, entry.path()));
        }
    }
    Ok(all)
}

fn trash_folder(root: &Path) -> PathBuf {
    root.join("trash")
}

fn trash_path(root: &Path, digest: &Digest) -> PathBuf {
    let name = format!("{}-{}", digest.algorithm().name(), digest.hex());
    trash_folder(root).join(name)
}

/// What is in the trash.
fn trash(root: &Path) -> Result<Vec<Removed>, StoreError> {
    let mut all = Vec::new();
    for (name, path) in names(&trash_folder(root))? {
        let metadata = fs::symlink_metadata(&path).map_err(StoreError::io("examine", &path))?;
        if let Ok(digest) = name.replacen('-', ":", 1).parse() {
            all.push(Removed {
                digest,
                bytes: metadata.len(),
                why: Why::Trash,
                modified: metadata.modified().map_err(StoreError::io("examine", &path))?,
            });
        }
    }
    Ok(all)
}

/// Moves blobs into the trash, their index entries first.
fn take(disk: &Disk, removed: &[Removed]) -> Result<(), StoreError> {
    if removed.is_empty() {
        return Ok(());
    }
    make_folder(&trash_folder(&disk.root))?;
    let dead: BTreeSet<Digest> = removed.iter().map(|removed| removed.digest).collect();
    update_index(&disk.root, |index| {
        Ok(index.remove(|digest| dead.contains(digest)))
    })?;
    for digest in &dead {
        rename(&blob_path(&disk.root, digest), &trash_path(&disk.root, digest))?;
    }
    Ok(())
}

/// Renames a file; one that no longer exists was moved by another process.
fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("rename a file to", to)(error))
        }
        _ => Ok(()),
    }
}

/// Looks a last time, brings back what is needed after all, and removes the rest.
fn empty(
    disk: &Disk,
    held: &impl Fn() -> Result<Vec<Held>, StoreError>,
    collected: &mut Collected,
) -> Result<(), StoreError> {
    let known: BTreeSet<Digest> = collected.removed.iter().map(|removed| removed.digest).collect();
    let found = trash(&disk.root)?;
    if found.is_empty() {
        return Ok(());
    }
    // A manifest in the trash cannot be followed, and may need others there: until nothing more comes back.
    while let Some(digest) = needed(disk, held)? {
        make_folder(&disk.blobs(&digest))?;
        rename(&trash_path(&disk.root, &digest), &blob_path(&disk.root, &digest))?;
        disk.settle(&digest)?;
        collected.restored.push(digest);
    }
    for removed in found {
        let path = trash_path(&disk.root, &removed.digest);
        match fs::remove_file(&path) {
            Ok(()) if known.contains(&removed.digest) => {}
            Ok(()) => collected.removed.push(removed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("remove", &path)(error)),
        }
    }
    let restored = &collected.restored;
    collected
        .removed
        .retain(|removed| !restored.contains(&removed.digest));
    Ok(())
}

/// A blob in the trash that is needed and absent from `blobs`.
fn needed(
    disk: &Disk,
    held: &impl Fn() -> Result<Vec<Held>, StoreError>,
) -> Result<Option<Digest>, StoreError> {
    let in_trash = |digest: &Digest| {
        trash_path(&disk.root, digest).is_file() && !blob_path(&disk.root, digest).is_file()
    };
    let held = held()?;
    // A digest that a record holds may be absent from `blobs`.
    if let Some(held) = held.iter().find(|held| in_trash(&held.digest)) {
        return Ok(Some(held.digest));
    }
    let reach = Reach::as_far_as_there(disk, &held)?;
    Ok(reach.live().into_keys().find(in_trash))
}
