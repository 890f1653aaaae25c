//! The entries of a repository: blobs, manifests, tags and referrers.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use samebundle_spec::{Descriptor, Digest, Tag};

use super::super::access::Admitted;
use super::super::refusal::Refusal;
use super::super::route::{At, Name};
use super::{CONTENT_MODE, Storage, file_name, names, parse_file_name, read, remove, sync};
use crate::StoreError;

const ENTRY_MODE: u32 = 0o644;

/// A manifest to be stored: its bytes and what was read from them.
#[derive(Debug)]
pub(in crate::server) struct Kept {
    /// Media type, digest and size.
    pub(in crate::server) descriptor: Descriptor,
    /// The bytes as received.
    pub(in crate::server) bytes: bytes::Bytes,
    /// Its subject, and its entry in that manifest's list of referrers.
    pub(in crate::server) subject: Option<(Digest, Descriptor)>,
    /// Blobs and manifests that it names and that must exist.
    pub(in crate::server) blobs: Vec<Digest>,
    pub(in crate::server) manifests: Vec<Digest>,
}

impl Storage {
    fn blob_entry(&self, name: &Name, digest: &Digest) -> PathBuf {
        self.repository(name).join("_blobs").join(file_name(digest))
    }

    fn manifest_entry(&self, name: &Name, digest: &Digest) -> PathBuf {
        self.repository(name).join("_manifests").join(file_name(digest))
    }

    fn tag_entry(&self, name: &Name, tag: &Tag) -> PathBuf {
        self.repository(name).join("_tags").join(tag.as_str())
    }

    fn referrers_folder(&self, name: &Name, subject: &Digest) -> PathBuf {
        self.repository(name).join("_referrers").join(file_name(subject))
    }

    /// Tells whether the repository has the blob.
    pub(in crate::server) fn has_blob(&self, name: &Name, digest: &Digest) -> bool {
        self.blob_entry(name, digest).is_file()
    }

    /// Tells whether the repository has the blob, and keeps it from being collected for the grace.
    fn lease_blob(&self, name: &Name, digest: &Digest) -> bool {
        let _open = self.open_gate();
        let there = self.has_blob(name, digest);
        if there && !self.rules().read_only {
            self.renew(&self.blob_entry(name, digest));
        }
        there
    }

    /// Adds a blob that another repository has, or any repository if none is named; tells whether it existed for this user.
    pub(in crate::server) fn mount_blob(
        &self,
        name: &Name,
        from: Option<&Name>,
        digest: &Digest,
        admitted: &Admitted,
    ) -> Result<bool, StoreError> {
        let _open = self.open_gate();
        let there = match from {
            Some(from) => admitted.may_pull(from) && self.has_blob(from, digest),
            None if admitted.is_everybody() => self.content(digest).is_file(),
            None => self
                .repositories()?
                .iter()
                .any(|from| admitted.may_pull(from) && self.has_blob(from, digest)),
        };
        if there {
            self.link_blob(name, digest)?;
        }
        Ok(there)
    }

    /// Adds a blob that is on disk to a repository, and makes both durable; the caller holds the gate open.
    pub(super) fn link_blob(&self, name: &Name, digest: &Digest) -> Result<(), StoreError> {
        self.sync_content(std::iter::once(digest))?;
        let entry = self.blob_entry(name, digest);
        if entry.is_file() {
            self.renew(&entry);
            return self.sync_entries(&entry);
        }
        self.write(&entry, b"", ENTRY_MODE)
    }

    /// Makes the name of a blob durable, whichever request wrote it.
    fn sync_content<'a>(&self, digests: impl Iterator<Item = &'a Digest>) -> Result<(), StoreError> {
        let mut folders: Vec<PathBuf> = digests
            .map(|digest| self.0.root.join("blobs").join(digest.algorithm().name()))
            .collect();
        folders.sort_unstable();
        folders.dedup();
        folders.iter().try_for_each(|folder| sync(folder))
    }

    /// Makes an existing entry durable, with the other entries of its folder.
    fn sync_entries(&self, entry: &Path) -> Result<(), StoreError> {
        let folder = entry.parent().unwrap_or(entry);
        self.make_folder(folder)?;
        sync(folder)
    }

    /// Removes a blob from a repository; its file stays until it is collected.
    pub(in crate::server) fn unlink_blob(&self, name: &Name, digest: &Digest) -> Result<(), Refusal> {
        if remove(&self.blob_entry(name, digest))? {
            Ok(())
        } else {
            Err(Refusal::BlobUnknown {
                repository: name.as_str().to_owned(),
                digest: *digest,
            })
        }
    }

    /// Stores a manifest, its entry among the referrers of its subject, and then the tags.
    ///
    /// With `expected`, only if that is what the tags point at now.
    pub(in crate::server) fn put_manifest(
        &self,
        name: &Name,
        kept: &Kept,
        tags: &[Tag],
        expected: Option<&Expected>,
    ) -> Result<(), Refusal> {
        let _writer = self.writer(name);
        let _open = self.open_gate();
        let digest = kept.descriptor.digest;
        for tag in tags {
            let found = self.tagged(name, tag)?;
            if let Some(expected) = expected {
                expected.check(found)?;
            }
            if found.is_some_and(|found| found != digest) {
                self.may_move(tag)?;
            }
        }
        self.require(name, kept)?;
        let content = self.content(&digest);
        let named = kept.blobs.iter().chain(&kept.manifests);
        if content.is_file() {
            self.sync_content(named.chain(std::iter::once(&digest)))?;
        } else {
            self.write(&content, &kept.bytes, CONTENT_MODE)?;
            // The folder was synced for the manifest just now, and for others of its algorithm with it.
            self.sync_content(named.filter(|other| other.algorithm() != digest.algorithm()))?;
        }
        if let Some((subject, entry)) = &kept.subject {
            let path = self.referrers_folder(name, subject).join(file_name(&digest));
            self.write(&path, &json(entry)?, ENTRY_MODE)?;
        }
        self.write(
            &self.manifest_entry(name, &digest),
            &json(&kept.descriptor)?,
            ENTRY_MODE,
        )?;
        for tag in tags {
            self.write(
                &self.tag_entry(name, tag),
                digest.to_string().as_bytes(),
                ENTRY_MODE,
            )?;
        }
        Ok(())
    }

    fn may_move(&self, tag: &Tag) -> Result<(), Refusal> {
        if self.rules().immutable_tags {
            return Err(Refusal::TagImmutable { tag: tag.to_string() });
        }
        Ok(())
    }

    /// Checks that everything that a manifest names exists, and makes it durable: the client may know of it only from a HEAD
    /// request. Entries of manifests are synced with the one that follows.
    fn require(&self, name: &Name, kept: &Kept) -> Result<(), Refusal> {
        let missing = |digest: &Digest| Refusal::ManifestBlobUnknown {
            repository: name.as_str().to_owned(),
            digest: *digest,
        };
        for digest in &kept.blobs {
            if !self.has_blob(name, digest) {
                return Err(missing(digest));
            }
        }
        if let Some(digest) = kept.blobs.first() {
            self.sync_entries(&self.blob_entry(name, digest))?;
        }
        for digest in &kept.manifests {
            if !self.manifest_entry(name, digest).is_file() {
                return Err(missing(digest));
            }
        }
        Ok(())
    }

    fn tagged(&self, name: &Name, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        let path = self.tag_entry(name, tag);
        let Some(bytes) = read(&path)? else {
            return Ok(None);
        };
        match std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.parse().ok())
        {
            Some(digest) => Ok(Some(digest)),
            None => Err(StoreError::Invalid {
                subject: path.display().to_string(),
                why: "it holds no digest".to_owned(),
            }),
        }
    }

    /// Finds a manifest.
    pub(in crate::server) fn manifest(&self, name: &Name, at: &At) -> Result<Descriptor, Refusal> {
        let unknown = || Refusal::ManifestUnknown {
            repository: name.as_str().to_owned(),
            reference: at.to_string(),
        };
        let digest = match at {
            At::Digest(digest) => *digest,
            At::Tag(tag) => self.tagged(name, tag)?.ok_or_else(unknown)?,
        };
        let path = self.manifest_entry(name, &digest);
        let bytes = read(&path)?.ok_or_else(unknown)?;
        Ok(entry(&path, &bytes)?)
    }

    /// Reads a manifest. Another process may collect at this moment, so a manifest that is missing is looked for once more.
    pub(in crate::server) fn read_manifest(
        &self,
        name: &Name,
        at: &At,
    ) -> Result<(Descriptor, Vec<u8>), Refusal> {
        let mut missing = None;
        loop {
            let descriptor = self.manifest(name, at)?;
            let path = self.content(&descriptor.digest);
            match std::fs::read(&path) {
                Ok(bytes) => return Ok((descriptor, bytes)),
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && missing != Some(descriptor.digest) =>
                {
                    missing = Some(descriptor.digest);
                }
                Err(error) => return Err(StoreError::io("read", &path)(error).into()),
            }
        }
    }

    /// Opens a blob, and keeps it from being collected for the grace.
    pub(in crate::server) fn open_blob(&self, name: &Name, digest: &Digest) -> Result<(File, u64), Refusal> {
        let unknown = || Refusal::BlobUnknown {
            repository: name.as_str().to_owned(),
            digest: *digest,
        };
        if !self.lease_blob(name, digest) {
            return Err(unknown());
        }
        let path = self.content(digest);
        let file = match File::open(&path) {
            // Another process collected it at this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.has_blob(name, digest) => {
                return Err(unknown());
            }
            file => file.map_err(StoreError::io("open", &path))?,
        };
        let size = file.metadata().map_err(StoreError::io("read", &path))?.len();
        Ok((file, size))
    }

    /// Finds a manifest for a client that may rely on it: its entry is durable before this returns.
    pub(in crate::server) fn promise_manifest(&self, name: &Name, at: &At) -> Result<Descriptor, Refusal> {
        let descriptor = self.manifest(name, at)?;
        if !self.rules().read_only {
            self.sync_entries(&self.manifest_entry(name, &descriptor.digest))?;
            if let At::Tag(tag) = at {
                self.sync_entries(&self.tag_entry(name, tag))?;
            }
        }
        Ok(descriptor)
    }

    /// Removes a tag, or a manifest with the tags that point at it and its entry among the referrers of `subject`.
    pub(in crate::server) fn delete_manifest(
        &self,
        name: &Name,
        at: &At,
        subject: Option<&Digest>,
    ) -> Result<(), Refusal> {
        let _writer = self.writer(name);
        let unknown = || Refusal::ManifestUnknown {
            repository: name.as_str().to_owned(),
            reference: at.to_string(),
        };
        let digest = match at {
            At::Tag(tag) => {
                self.may_move(tag)?;
                let removed = remove(&self.tag_entry(name, tag))?;
                return if removed { Ok(()) } else { Err(unknown()) };
            }
            At::Digest(digest) => digest,
        };
        let path = self.manifest_entry(name, digest);
        if !path.is_file() {
            return Err(unknown());
        }
        let mut pointing = self.tags(name)?;
        let mut broken = None;
        pointing.retain(|tag| match self.tagged(name, tag) {
            Ok(found) => found == Some(*digest),
            Err(error) => {
                broken = Some(error);
                false
            }
        });
        if let Some(error) = broken {
            return Err(error.into());
        }
        for tag in &pointing {
            self.may_move(tag)?;
        }
        for tag in &pointing {
            remove(&self.tag_entry(name, tag))?;
        }
        if let Some(subject) = subject {
            remove(&self.referrers_folder(name, subject).join(file_name(digest)))?;
        }
        remove(&path)?;
        Ok(())
    }

    /// Tells whether anything was ever pushed to the repository.
    pub(in crate::server) fn knows(&self, name: &Name) -> bool {
        let folder = self.repository(name);
        ["_blobs", "_manifests", "_tags"]
            .iter()
            .any(|kind| folder.join(kind).is_dir())
    }

    /// All repositories to which something was pushed, sorted.
    pub(in crate::server) fn repositories(&self) -> Result<Vec<Name>, StoreError> {
        let top = self.0.root.join("repositories");
        let mut todo = vec![top.clone()];
        let mut found = Vec::new();
        while let Some(folder) = todo.pop() {
            // A folder that the server did not make is not a repository.
            if !folder.is_dir() {
                continue;
            }
            let (own, below): (Vec<_>, Vec<_>) = names(&folder)?
                .into_iter()
                .partition(|name| name.starts_with('_'));
            todo.extend(below.into_iter().map(|name| folder.join(name)));
            let name = folder.strip_prefix(&top).ok().and_then(Path::to_str);
            if let Some(name) = name.filter(|_| !own.is_empty()) {
                found.push(Name::parse(name).map_err(|error| StoreError::Invalid {
                    subject: folder.display().to_string(),
                    why: error.to_string(),
                })?);
            }
        }
        found.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        Ok(found)
    }

    /// All tags, sorted.
    pub(in crate::server) fn tags(&self, name: &Name) -> Result<Vec<Tag>, StoreError> {
        let names = names(&self.repository(name).join("_tags"))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Digests of the manifests that refer to `subject`, sorted. The subject itself may be absent.
    pub(in crate::server) fn referrers(
        &self,
        name: &Name,
        subject: &Digest,
    ) -> Result<Vec<Digest>, StoreError> {
        let names = names(&self.referrers_folder(name, subject))?;
        Ok(names.iter().filter_map(|name| parse_file_name(name)).collect())
    }

    /// The entry of one referrer; `None` if it was removed meanwhile.
    pub(in crate::server) fn referrer(
        &self,
        name: &Name,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, StoreError> {
        let path = self.referrers_folder(name, subject).join(file_name(digest));
        read(&path)?.map(|bytes| entry(&path, &bytes)).transpose()
    }
}

/// A condition on what a tag points at (`If-Match`, `If-None-Match: *`).
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) enum Expected {
    Nothing,
    Digest(String),
}

impl Expected {
    fn check(&self, found: Option<Digest>) -> Result<(), Refusal> {
        let agrees = match self {
            Self::Nothing => found.is_none(),
            Self::Digest(wanted) => found.is_some_and(|found| found.to_string() == *wanted),
        };
        if agrees {
            Ok(())
        } else {
            Err(Refusal::Precondition)
        }
    }
}

fn json(descriptor: &Descriptor) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(descriptor).map_err(|error| StoreError::Invalid {
        subject: descriptor.digest.to_string(),
        why: error.to_string(),
    })
}

fn entry(path: &std::path::Path, bytes: &[u8]) -> Result<Descriptor, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Invalid {
        subject: path.display().to_string(),
        why: error.to_string(),
    })
}
