//! A store in a directory: an OCI image layout (image-spec 1.1, image-layout.md) that other tools can open.
//!
//! ```text
//! ROOT/oci-layout              {"imageLayoutVersion":"1.0.0"}
//! ROOT/index.json              tags, and referrers without a tag
//! ROOT/blobs/ALGORITHM/HEX     blobs and manifests, read-only, never changed
//! ROOT/ingest/                 files that are being written or unfinished, and leases of writers; not part of the standard
//! ROOT/trash/                  blobs that were taken out of use and are being removed
//! ROOT/lock                    held while index.json is read, changed and written
//! ROOT/collect.lock            see `lease`
//! ```
//!
//! Invariants: a name under `blobs` appears by a rename, after the bytes were checked and synced; `index.json` is replaced
//! whole and lists only manifests that exist. A referrer is listed right after it is written; a push of a manifest
//! that exists lists it again if it was cut off between the two.
//!
//! Durability: when a push of a manifest, or a question whether it exists, is answered, it and everything that was
//! pushed before survive a loss of power. The folder is synced for manifests only: a blob that nothing names may be
//! lost.
//!
//! Concurrency: any number of processes may share a root. Writers of the same blob both write and both rename; the
//! bytes are the same. [`collect`] may run at the same time: whatever a living writer wrote or found stays (`lease`).
//! Locks are the kernel's: a killed process holds none. Whoever copies into a layout opens it with [`Layout::create`],
//! which takes the lease.
//!
//! Failure: an operation that fails or is killed leaves the layout as it was, and perhaps a file in `ingest` that
//! [`Layout::create`] removes, or that the next attempt resumes (`partial`). A blob whose length is wrong counts
//! as absent and is replaced by the next push.

mod check;
mod chunked;
mod collect;
mod disk;
mod files;
pub(crate) mod index;
mod ingest;
mod lease;
mod partial;
mod reach;
mod select;
mod usage;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_spec::{Descriptor, Digest, MediaType, Tag, limits};

pub use check::{Finding, Report, check, check_held};
pub use collect::{Collected, Limits, Removed, Why, collect};
pub use reach::Held;
pub use select::{SelectError, select};
pub use usage::{Bundle, Usage, usage};

use crate::store::blocking::blocking;
use crate::store::pieces::{Stopped, pieces_of, pump};
use crate::store::section::{self, section};
use crate::store::{
    Begun, ByteStream, Chunked, Parts, Pieces, Referrers, Resolve, Sink, Source, StoreError, Tags, listing,
    read_all,
};
use disk::Disk;
use partial::Partial;

/// A store in a directory. Clones share their knowledge of it.
#[derive(Clone, Debug)]
pub struct Layout {
    disk: Arc<Disk>,
}

impl Layout {
    /// Opens an existing layout, without changing anything.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if `root` is no image layout; [`StoreError::Invalid`] if it is one of another version.
    pub async fn open(root: &Path) -> Result<Self, StoreError> {
        let layout = Self {
            disk: Arc::new(Disk::at(root)),
        };
        layout.run(Disk::examine).await?;
        Ok(layout)
    }

    /// Opens a layout, makes it if it does not exist, and removes what killed processes left in it. A layout on a file
    /// system that is read-only is opened as by [`Layout::open`].
    ///
    /// # Errors
    /// If a file cannot be written, or an existing layout is not of this version.
    pub async fn create(root: &Path) -> Result<Self, StoreError> {
        let layout = Self {
            disk: Arc::new(Disk::at(root)),
        };
        layout
            .run(|disk| match disk.create() {
                Err(StoreError::Path(error)) if error.source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                    disk.examine().map_err(|_| error.into())
                }
                created => created,
            })
            .await?;
        Ok(layout)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.disk.root
    }

    /// Every entry of `index.json` with its annotations, also those whose name is not a tag.
    ///
    /// # Errors
    /// If `index.json` cannot be read or is not valid.
    pub async fn entries(&self) -> Result<Vec<Descriptor>, StoreError> {
        self.run(|disk| Ok(disk.index()?.entries().to_vec())).await
    }

    /// The descriptor of a manifest or index of which only the digest is known; none if it is not there.
    ///
    /// # Errors
    /// If it cannot be read, or is no manifest.
    pub async fn identify(&self, digest: &Digest) -> Result<Option<Descriptor>, StoreError> {
        let digest = *digest;
        self.run(move |disk| reach::identify(disk, &digest)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let disk = Arc::clone(&self.disk);
        blocking(move || work(&disk)).await
    }

    async fn write(&self, descriptor: &Descriptor, content: ByteStream) -> Result<(), StoreError> {
        let digest = descriptor.digest;
        if descriptor.size <= limits::REPLAY_BYTES {
            let bytes = read_all(content, descriptor, limits::REPLAY_BYTES).await?;
            return self.run(move |disk| disk.write(&digest, &bytes)).await;
        }
        let (disk, wanted) = (Arc::clone(&self.disk), descriptor.clone());
        let partial = blocking(move || Partial::nameless(&disk, &wanted)).await?;
        let pieces = pieces_of(content);
        match pump(
            0..descriptor.size,
            pieces,
            |at, batch| partial.write(at, batch),
            |_| {},
        )
        .await
        {
            Ok(()) => partial.finish().await,
            Err(Stopped::Read(error)) => Err(StoreError::read(digest, error)),
            Err(Stopped::Write(error)) => Err(error),
        }
    }

    async fn push_manifest(&self, descriptor: &Descriptor, content: ByteStream) -> Result<(), StoreError> {
        if descriptor.size > limits::MANIFEST_BYTES {
            return Err(disk::too_large(descriptor));
        }
        let wanted = descriptor.clone();
        let there = self.run(move |disk| match disk.offered(&wanted)? {
            true => disk.manifest(&wanted),
            false => Err(disk.not_found(wanted.digest.to_string())),
        });
        let listing = match there.await {
            Ok(bytes) => listing::listing(descriptor, &bytes)?,
            // The blob is absent or damaged on the disk, so the offered bytes replace it.
            Err(StoreError::NotFound { .. } | StoreError::Mismatch { .. }) => {
                let bytes = read_all(content, descriptor, limits::MANIFEST_BYTES).await?;
                let listing = listing::listing(descriptor, &bytes)?;
                self.write(descriptor, Box::pin(io::Cursor::new(bytes))).await?;
                let digest = descriptor.digest;
                self.run(move |disk| disk.settle(&digest)).await?;
                listing
            }
            Err(error) => return Err(error),
        };
        match listing {
            Some(listing) => self.run(move |disk| disk.list(&listing)).await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Source for Layout {
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        let digest = descriptor.digest;
        let (file, length) = self.run(move |disk| disk.open(&digest)).await?;
        Ok(section(Arc::new(file), from, length.saturating_sub(from)))
    }

    async fn pieces_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<Pieces, StoreError> {
        let digest = descriptor.digest;
        let (file, length) = self.run(move |disk| disk.open(&digest)).await?;
        let length = length.min(range.end).saturating_sub(range.start);
        Ok(section::pieces(
            Arc::new(file),
            range.start,
            length,
            limits::BATCH_BYTES,
        ))
    }

    fn was_checked(&self) -> bool {
        true
    }

    async fn chunked(&self) -> Result<Vec<Chunked>, StoreError> {
        self.run(chunked::list).await
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let descriptor = descriptor.clone();
        self.run(move |disk| disk.rely_on(&descriptor)).await
    }
}

#[async_trait]
impl Sink for Layout {
    async fn push(&self, descriptor: &Descriptor, content: ByteStream) -> Result<(), StoreError> {
        if descriptor.media_type.has_children() {
            self.push_manifest(descriptor, content).await
        } else {
            let wanted = descriptor.clone();
            match self.run(move |disk| disk.offered(&wanted)).await? {
                true => Ok(()),
                false => self.write(descriptor, content).await,
            }
        }
    }

    async fn begin(&self, descriptor: &Descriptor) -> Result<Begun, StoreError> {
        if descriptor.media_type.has_children() {
            return Ok(Begun::Whole);
        }
        let (disk, descriptor) = (Arc::clone(&self.disk), descriptor.clone());
        let partial = blocking(move || Partial::resume(&disk, &descriptor)).await?;
        Ok(partial.map_or(Begun::There, |partial| Begun::Parts(Arc::new(partial))))
    }
}

#[async_trait]
impl Resolve for Layout {
    async fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let tag = tag.clone();
        self.run(move |disk| disk.index()?.resolve(&tag, &disk.root.display().to_string()))
            .await
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.run(|disk| Ok(disk.index()?.tags())).await
    }
}

#[async_trait]
impl Tags for Layout {
    async fn tag(&self, descriptor: &Descriptor, tag: &Tag) -> Result<(), StoreError> {
        let (descriptor, tag) = (descriptor.clone(), tag.clone());
        self.run(move |disk| disk.tag(&descriptor, &tag)).await
    }

    async fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        let tag = tag.clone();
        self.run(move |disk| disk.untag(&tag)).await
    }
}

#[async_trait]
impl Referrers for Layout {
    async fn referrers(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let (digest, artifact_type) = (subject.digest, artifact_type.cloned());
        self.run(move |disk| disk.referrers(&digest, artifact_type.as_ref()))
            .await
    }
}

#[cfg(test)]
mod tests;
