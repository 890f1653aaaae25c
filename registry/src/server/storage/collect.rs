//! Garbage collection while requests go on.
//!
//! A repository's blob is garbage when no manifest of the repository names it; a file is garbage when no repository has
//! its blob. Neither is removed before it was unused for the grace: a push, a mount, and a request whether it exists
//! (GET, HEAD) renew an entry's time, so the age of an entry is the lease of whoever is about to name it.
//!
//! Concurrency: a request that adds a blob to a repository or names it holds the gate shared; the removal holds it
//! alone and looks again at what changed since the marking. Manifests never change under their digest, so each is read
//! once a run. A request thus waits for the removal from one repository, not for the marking. Failure: an error ends
//! the run; what was removed was garbage, what was not is found by the next.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use samebundle_spec::Digest;
use samebundle_spec::manifest::Document;

use super::super::refusal::Refusal;
use super::super::route::{At, Name};
use super::{Storage, file_name, names, parse_file_name, remove};
use crate::StoreError;

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that their repository shows no longer.
    pub entries: u64,
    /// Blobs that were removed from disk.
    pub contents: u64,
    /// Their size, bytes.
    pub bytes: u64,
}

/// The digests that each manifest of a repository names.
type Named = HashMap<Digest, Vec<Digest>>;

impl Storage {
    /// Removes what nobody names and what was unused for longer than `grace`.
    ///
    /// # Errors
    /// [`StoreError`] if something cannot be read or removed.
    pub async fn collect(&self, grace: Duration) -> Result<Collected, StoreError> {
        let run = self.run(move |storage| Ok(storage.collect_now(grace)?)).await;
        run.map_err(|refusal| match refusal {
            Refusal::Storage(error) => error,
            other => StoreError::Unavailable {
                place: "the registry".to_owned(),
                operation: "collect garbage of",
                why: other.to_string(),
            },
        })
    }

    fn collect_now(&self, grace: Duration) -> Result<Collected, StoreError> {
        let Some(lock) = &self.0.lock else {
            return Ok(Collected::default());
        };
        // The file system's own clock: the times of entries are compared with it. A full disk has room for this.
        let now = touch(lock)
            .and_then(|()| lock.metadata()?.modified())
            .map_err(StoreError::io("read the time of", &self.0.root))?;
        let Some(before) = now.checked_sub(grace) else {
            return Ok(Collected::default());
        };
        let mut collected = Collected::default();
        for name in self.repositories()? {
            self.collect_entries(&name, before, &mut collected)?;
        }
        self.collect_contents(before, &mut collected)?;
        Ok(collected)
    }

    /// Renews the lease on an entry or on a blob. A failure to do so is no reason to refuse the request.
    pub(super) fn renew(&self, path: &Path) {
        match File::open(path).and_then(|file| touch(&file)) {
            // It was removed at this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format_args!("renewing the time of {}", path.display());
                self.0.failures.log_io("renew", what, &error);
            }
            Ok(()) => {}
        }
    }

    fn entries(&self, name: &Name, kind: &str) -> Result<Vec<Digest>, StoreError> {
        let names = names(&self.repository(name).join(kind))?;
        Ok(names.iter().filter_map(|name| parse_file_name(name)).collect())
    }

    /// Reads the manifests that are not among `named` yet.
    fn mark(&self, name: &Name, named: &mut Named) -> Result<(), StoreError> {
        for digest in self.entries(name, "_manifests")? {
            if named.contains_key(&digest) {
                continue;
            }
            let descriptor = match self.manifest(name, &At::Digest(digest)) {
                Ok(descriptor) => descriptor,
                Err(Refusal::ManifestUnknown { .. }) => continue,
                Err(Refusal::Storage(error)) => return Err(error),
                Err(other) => return Err(damaged(&digest, &other)),
            };
            let path = self.content(&digest);
            let bytes = std::fs::read(&path).map_err(StoreError::io("read", &path))?;
            let document =
                Document::parse(&bytes, &descriptor.media_type).map_err(|error| damaged(&digest, &error))?;
            named.insert(digest, all_named(&document));
        }
        Ok(())
    }

    fn collect_entries(
        &self,
        name: &Name,
        before: SystemTime,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let mut named = Named::new();
        self.mark(name, &mut named)?;
        let folder = self.repository(name).join("_blobs");
        let spare = |named: &Named| -> Result<Vec<PathBuf>, StoreError> {
            let used: HashSet<&Digest> = named.values().flatten().collect();
            let blobs = self.entries(name, "_blobs")?;
            let blobs = blobs.iter().filter(|blob| !used.contains(blob));
            Ok(blobs
                .map(|blob| folder.join(file_name(blob)))
                .filter(|path| is_older(path, before))
                .collect())
        };
        if spare(&named)?.is_empty() {
            return Ok(());
        }
        let _alone = self.close_gate();
        self.mark(name, &mut named)?;
        for path in spare(&named)? {
            if remove(&path)? {
                collected.entries += 1;
            }
        }
        Ok(())
    }

    fn collect_contents(&self, before: SystemTime, collected: &mut Collected) -> Result<(), StoreError> {
        let shown = || -> Result<HashSet<Digest>, StoreError> {
            let mut shown = HashSet::new();
            for name in self.repositories()? {
                shown.extend(self.entries(&name, "_blobs")?);
                shown.extend(self.entries(&name, "_manifests")?);
            }
            Ok(shown)
        };
        let marked = shown()?;
        let mut spare = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            for hex in names(&self.0.root.join("blobs").join(algorithm))? {
                let digest = format!("{algorithm}:{hex}").parse::<Digest>().ok();
                spare
                    .extend(digest.filter(|digest| {
                        !marked.contains(digest) && is_older(&self.content(digest), before)
                    }));
            }
        }
        if spare.is_empty() {
            return Ok(());
        }
        let _alone = self.close_gate();
        let shown = shown()?;
        for digest in spare {
            let path = self.content(&digest);
            if shown.contains(&digest) || !is_older(&path, before) {
                continue;
            }
            let size = path.metadata().map_or(0, |metadata| metadata.len());
            if remove(&path)? {
                collected.contents += 1;
                collected.bytes += size;
            }
        }
        Ok(())
    }
}

/// All digests that a manifest names, also those that may be absent.
fn all_named(document: &Document) -> Vec<Digest> {
    document.children().map(|child| child.digest).collect()
}

fn touch(file: &File) -> std::io::Result<()> {
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    let times = rustix::fs::Timestamps {
        last_access: now,
        last_modification: now,
    };
    rustix::fs::futimens(file, &times)?;
    Ok(())
}

fn is_older(path: &Path, before: SystemTime) -> bool {
    path.metadata()
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|modified| modified <= before)
}

fn damaged(digest: &Digest, why: &dyn std::error::Error) -> StoreError {
    StoreError::Invalid {
        subject: digest.to_string(),
        why: why.to_string(),
    }
}
