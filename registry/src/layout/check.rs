//! Looks for damage in a layout and reports it. Changes nothing.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use samebundle_spec::{Algorithm, Descriptor, Digest};

use super::disk::Disk;
use super::files::{blob_path, ingest_folder};
use super::ingest::leftovers;
use super::reach::Held;
use crate::durable::open_plain;
use crate::store::blocking::blocking;
use crate::store::{StoreError, listing};

/// A fault of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// `oci-layout` or `index.json` is missing or not valid.
    Index {
        /// What is wrong.
        why: String,
    },
    /// A blob or manifest that something points at does not exist, or has another length than the descriptor says.
    Missing {
        /// The content.
        digest: Digest,
        /// What points at it: `index.json`, or a manifest.
        parent: String,
    },
    /// A blob or manifest whose bytes do not have the digest that names them.
    Altered {
        /// The digest that names it.
        digest: Digest,
    },
    /// A manifest that cannot be read as one.
    Manifest {
        /// The manifest.
        digest: Digest,
        /// What is wrong.
        why: String,
    },
    /// A file that does not belong in the layout: it has a wrong name, or a killed process left it.
    Stray {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { why } => write!(f, "the layout cannot be read: {why}"),
            Self::Missing { digest, parent } => {
                write!(f, "{digest} is missing or cut; {parent} points at it")
            }
            Self::Altered { digest } => write!(
                f,
                "{digest} is altered or damaged: remove the file and fetch it again"
            ),
            Self::Manifest { digest, why } => write!(f, "manifest {digest} is not valid: {why}"),
            Self::Stray { path } => write!(f, "{} has no place in the layout", path.display()),
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The faults; empty if there are none.
    pub findings: Vec<Finding>,
    /// How many blobs were checked.
    pub blobs: u64,
    /// Their length, bytes.
    pub bytes: u64,
}

/// Checks a layout: the files that describe it, and that everything reachable from `index.json` exists whole. With
/// `deep`, also that every blob has the digest that it is named by, which reads all of them.
///
/// # Errors
/// If a folder or file cannot be read at all. Damage is a [`Finding`], not an error.
pub async fn check(root: &Path, deep: bool) -> Result<Report, StoreError> {
    check_held(root, deep, Vec::new()).await
}

/// The same, and that everything below what records hold exists as well. A digest that a record holds without a descriptor
/// may be absent: history may name what was never in this layout.
///
/// # Errors
/// As [`check`].
pub async fn check_held(root: &Path, deep: bool, held: Vec<Held>) -> Result<Report, StoreError> {
    let root = root.to_owned();
    blocking(move || {
        let disk = Disk::at(&root);
        let mut report = Report::default();
        match disk.examine() {
            Ok(()) => walk(&disk, held, &mut report)?,
            Err(error) => report.findings.push(Finding::Index {
                why: error.to_string(),
            }),
        }
        blobs(&root, deep, &mut report)?;
        for (path, _lock) in leftovers(&ingest_folder(&root))? {
            report.findings.push(Finding::Stray { path });
        }
        Ok(report)
    })
    .await
}

/// Follows everything that `index.json` lists and that is held.
fn walk(disk: &Disk, held: Vec<Held>, report: &mut Report) -> Result<(), StoreError> {
    let mut seen: BTreeSet<Digest> = BTreeSet::new();
    let mut open: VecDeque<(Descriptor, String)> = disk
        .index()?
        .entries()
        .iter()
        .map(|entry| (entry.clone(), "index.json".to_owned()))
        .collect();
    for held in held.into_iter().filter(|held| held.with.is_none()) {
        match held.identify(disk) {
            Ok(Some(descriptor)) => open.push_back((descriptor, held.by)),
            Ok(None) => {}
            Err(error) => report.findings.push(Finding::Manifest {
                digest: held.digest,
                why: error.to_string(),
            }),
        }
    }
    while let Some((descriptor, parent)) = open.pop_front() {
        let digest = descriptor.digest;
        if !disk.has(&descriptor)? {
            report.findings.push(Finding::Missing { digest, parent });
            continue;
        }
        if !seen.insert(digest) || !descriptor.media_type.has_children() {
            continue;
        }
        let document = disk
            .manifest(&descriptor)
            .and_then(|bytes| listing::document(&descriptor, &bytes));
        match document {
            Ok(document) => open.extend(
                document
                    .children()
                    .map(|child| (child.clone(), digest.to_string())),
            ),
            Err(StoreError::Mismatch { .. }) => report.findings.push(Finding::Altered { digest }),
            Err(error) => report.findings.push(Finding::Manifest {
                digest,
                why: error.to_string(),
            }),
        }
    }
    Ok(())
}

/// Looks at every file under `blobs`.
fn blobs(root: &Path, deep: bool, report: &mut Report) -> Result<(), StoreError> {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let folder = root.join("blobs").join(algorithm.name());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io("list", &folder)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::io("list", &folder))?;
            let digest = entry
                .file_name()
                .to_str()
                .and_then(|hex| format!("{}:{hex}", algorithm.name()).parse::<Digest>().ok());
            match digest {
                Some(digest) => blob(root, digest, deep, report)?,
                None => report.findings.push(Finding::Stray { path: entry.path() }),
            }
        }
    }
    Ok(())
}

fn blob(root: &Path, digest: Digest, deep: bool, report: &mut Report) -> Result<(), StoreError> {
    let path = blob_path(root, &digest);
    let file = match open_plain(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(StoreError::io("open", &path)(error));
        }
        Err(_) => {
            report.findings.push(Finding::Stray { path });
            return Ok(());
        }
    };
    report.blobs += 1;
    report.bytes += file.metadata().map_err(StoreError::io("examine", &path))?.len();
    let altered = Finding::Altered { digest };
    if deep && !report.findings.contains(&altered) && hash(file, digest.algorithm(), &path)? != digest {
        report.findings.push(altered);
    }
    Ok(())
}

fn hash(file: File, algorithm: Algorithm, path: &Path) -> Result<Digest, StoreError> {
    let hashed = Digest::of_reader(algorithm, file).map_err(StoreError::io("read", path))?;
    Ok(hashed.0)
}
