//! The file operations of a layout, one blocking call each.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use samebundle_spec::{Descriptor, Digest, Digester, MediaType, Tag, limits};

use super::files::{blob_path, ingest_folder, read_file, read_index, update_index, write_file};
use super::ingest::{self, Ingest, make_folder, sync_folder};
use super::lease::{self, Lease};
use crate::durable::open_plain;
use crate::layout::index::{LAYOUT_FILE, LayoutIndex, check_layout_file};
use crate::store::StoreError;
use crate::store::listing::{self, Listing};

/// Blobs are read-only, also for their owner, and readable by others as far as the process's mask allows.
pub(super) const BLOB_MODE: u32 = 0o444;

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) root: PathBuf,
    /// What each listed manifest refers to. Manifests never change, so neither does this.
    known: Mutex<HashMap<Digest, Option<Listing>>>,
    /// Taken at the first write, or at the start if the layout was opened for writing.
    lease: OnceLock<Lease>,
}

impl Disk {
    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            known: Mutex::default(),
            lease: OnceLock::new(),
        }
    }

    /// The lease of this writer.
    fn lease(&self) -> Result<&Lease, StoreError> {
        if self.lease.get().is_none() {
            // If two leases are taken at the same time, the second is given up again.
            drop(self.lease.set(Lease::take(&self.root)?));
        }
        self.lease.get().ok_or_else(|| StoreError::Conflict {
            subject: self.root.display().to_string(),
            why: "its lease was given up".to_owned(),
        })
    }

    /// Checks that a layout exists.
    pub(super) fn examine(&self) -> Result<(), StoreError> {
        let path = self.root.join("oci-layout");
        let bytes = read_file(&path)?.ok_or_else(|| self.not_found("an OCI image layout".to_owned()))?;
        check_layout_file(&bytes, &path.display().to_string())?;
        self.index().map(|_| ())
    }

    /// Creates the missing files of a layout and removes what killed writers left.
    pub(super) fn create(&self) -> Result<(), StoreError> {
        make_folder(&self.root.join("blobs").join("sha256"))?;
        make_folder(&ingest_folder(&self.root))?;
        ingest::sweep(&ingest_folder(&self.root))?;
        update_index(&self.root, |_| Ok(false))?;
        let path = self.root.join("oci-layout");
        match read_file(&path)? {
            Some(bytes) => check_layout_file(&bytes, &path.display().to_string()),
            None => write_file(&self.root, "oci-layout", LAYOUT_FILE),
        }?;
        self.lease().map(|_| ())
    }

    pub(super) fn not_found(&self, subject: String) -> StoreError {
        StoreError::NotFound {
            subject,
            place: self.root.display().to_string(),
        }
    }

    pub(super) fn index(&self) -> Result<LayoutIndex, StoreError> {
        read_index(&self.root)
    }

    /// Opens a blob, with its length.
    pub(super) fn open(&self, digest: &Digest) -> Result<(File, u64), StoreError> {
        let path = blob_path(&self.root, digest);
        match open_plain(&path) {
            Ok(file) => {
                let length = file.metadata().map_err(StoreError::io("examine", &path))?.len();
                Ok((file, length))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.not_found(digest.to_string())),
            Err(error) => Err(StoreError::io("open", &path)(error)),
        }
    }

    /// Tells whether a blob of this digest and length exists.
    pub(super) fn has(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        match self.open(&descriptor.digest) {
            Ok((_, length)) => Ok(length == descriptor.size),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same for a writer, which relies on the answer for as long as it lives (see [`lease`]).
    pub(super) fn rely_on(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let Some(lease) = self.lease.get() else {
            return self.has(descriptor);
        };
        let _step = lease::step(&self.root)?;
        let there = match self.open(&descriptor.digest) {
            Ok((file, length)) => length == descriptor.size && lease.touch(&file),
            Err(StoreError::NotFound { .. }) => false,
            Err(error) => return Err(error),
        };
        // Another process may have renamed it here and not have synced the folder yet.
        if there && descriptor.media_type.has_children() {
            self.settle(&descriptor.digest)?;
        }
        Ok(there)
    }

    /// The same for a writer that is about to write the blob if it does not exist.
    pub(super) fn offered(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        self.lease()?;
        self.rely_on(descriptor)
    }

    pub(super) fn blobs(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name())
    }

    /// Reads a manifest and checks its digest.
    pub(super) fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, StoreError> {
        let (file, length) = self.open(&descriptor.digest)?;
        let mismatch = |why: String| StoreError::Mismatch {
            digest: descriptor.digest,
            why,
        };
        if length != descriptor.size {
            return Err(mismatch(format!("{length} bytes, not {}", descriptor.size)));
        }
        if length > limits::MANIFEST_BYTES {
            return Err(too_large(descriptor));
        }
        let mut bytes = Vec::new();
        file.take(length)
            .read_to_end(&mut bytes)
            .map_err(|error| StoreError::read(descriptor.digest, error))?;
        let mut digester = Digester::new(descriptor.digest.algorithm());
        digester.update(&bytes);
        let found = digester.finish();
        if found == descriptor.digest {
            Ok(bytes)
        } else {
            Err(mismatch(format!("it has digest {found}")))
        }
    }

    /// Makes a written blob visible under its digest. The name becomes durable with [`Disk::settle`].
    pub(super) fn commit(&self, ingest: Ingest, digest: &Digest) -> Result<(), StoreError> {
        make_folder(&self.blobs(digest))?;
        let _step = lease::step(&self.root)?;
        ingest.rename(&blob_path(&self.root, digest))
    }

    /// Makes the name of this blob durable, and those of all earlier blobs.
    pub(super) fn settle(&self, digest: &Digest) -> Result<(), StoreError> {
        sync_folder(&self.blobs(digest))
    }

    /// The same as [`Disk::commit`] for a file that was written by position, perhaps long ago.
    pub(super) fn commit_file(&self, file: &File, path: &Path, digest: &Digest) -> Result<(), StoreError> {
        make_folder(&self.blobs(digest))?;
        let lease = self.lease()?;
        let _step = lease::step(&self.root)?;
        // If the system does not allow it, the file was written just now, so its time is new enough.
        lease.touch(file);
        ingest::publish(file, path, &blob_path(&self.root, digest))
    }

    /// Writes a small blob whole.
    pub(super) fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.lease()?;
        let ingest = Ingest::begin(&ingest_folder(&self.root), BLOB_MODE)?;
        ingest
            .handle()?
            .write_all(bytes)
            .map_err(StoreError::io("write", &blob_path(&self.root, digest)))?;
        self.commit(ingest, digest)
    }

    /// Lists a referrer unless it is listed already.
    pub(super) fn list(&self, listing: &Listing) -> Result<(), StoreError> {
        self.lease()?;
        let _step = lease::step(&self.root)?;
        update_index(&self.root, |index| Ok(index.list(&listing.descriptor)))
    }

    pub(super) fn tag(&self, descriptor: &Descriptor, tag: &Tag) -> Result<(), StoreError> {
        self.lease()?;
        let _step = lease::step(&self.root)?;
        if !self.has(descriptor)? {
            return Err(self.not_found(descriptor.digest.to_string()));
        }
        if !descriptor.media_type.has_children() {
            self.settle(&descriptor.digest)?;
        }
        update_index(&self.root, |index| {
            let lost = index.set_tag(descriptor, tag);
            self.keep_listed(index, &lost);
            Ok(true)
        })
    }

    pub(super) fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        self.lease()?;
        let _step = lease::step(&self.root)?;
        update_index(&self.root, |index| {
            let lost = index.remove_tag(tag);
            self.keep_listed(index, &lost);
            Ok(!lost.is_empty())
        })
    }

    /// Of the manifests that lost their tag, referrers stay listed, and so do those that cannot be read.
    fn keep_listed(&self, index: &mut LayoutIndex, lost: &[Descriptor]) {
        for entry in lost.iter().filter(|entry| entry.media_type.has_children()) {
            match self.listing(entry) {
                Ok(None) => {}
                Ok(Some(listing)) => {
                    index.list(&listing.descriptor);
                }
                Err(_) => {
                    index.list(entry);
                }
            }
        }
    }

    pub(super) fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let index = self.index()?;
        let mut candidates = index.entries().to_vec();
        if let Some(fallback) = index.fallback(subject) {
            let bytes = self.manifest(&fallback)?;
            candidates.extend(listing::document(&fallback, &bytes)?.children().cloned());
        }
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        // Each digest is looked up once, however many tags name it.
        let once = |entry: &&Descriptor| entry.media_type.has_children() && seen.insert(entry.digest);
        for candidate in candidates.iter().filter(once) {
            // A manifest that cannot be read might be a signature: that is an error, not "none".
            found.extend(
                self.listing(candidate)?
                    .filter(|listing| listing.subject == *subject)
                    .map(|listing| listing.descriptor),
            );
        }
        listing::list(found, subject, artifact_type)
    }

    /// The subject of a listed manifest.
    pub(super) fn listing(&self, entry: &Descriptor) -> Result<Option<Listing>, StoreError> {
        if let Some(listing) = self.known().get(&entry.digest) {
            return Ok(listing.clone());
        }
        let listing = listing::listing(entry, &self.manifest(entry)?)?;
        self.known().insert(entry.digest, listing.clone());
        Ok(listing)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Option<Listing>>> {
        // Each change is a single insertion.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn too_large(descriptor: &Descriptor) -> StoreError {
    StoreError::TooLarge {
        digest: descriptor.digest,
        size: descriptor.size,
        limit: limits::MANIFEST_BYTES,
    }
}
