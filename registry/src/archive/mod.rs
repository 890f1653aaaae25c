//! An OCI image layout in one file: a tar archive, plain or gzip.
//!
//! ```text
//! oci-layout
//! index.json                   tags, and referrers without a tag
//! blobs/ALGORITHM/HEX          signatures first, then manifests, then the rest, each sorted by digest
//! ```
//!
//! Writing is deterministic: the same graph under the same tags gives the same bytes. Reading is strict: see
//! [`tar_entries`]; besides, every blob must have the digest that names it, and the size that is
//! declared where it is pointed at. In an archive of ours, which is sealed, everything that is pointed at must be there, and
//! nothing else. Those of other tools may lack content, which then cannot be copied, and may have more, which is not used:
//! `manifest.json` and `repositories` of `docker save`, an `ingest` folder, blobs that nothing names.
//!
//! An archive is read in place, plain, in our form of gzip, or in [`volumes`] (see [`body`]). One that another program
//! compressed is unpacked once, into an unnamed file in the folder that the caller gives, and a volume that is
//! lost is rebuilt there: nothing is left behind, whatever happens. Blobs are hashed when the archive is opened and again
//! by whoever fetches them; if they are only copied, large blobs are hashed during the copy, like those of a registry.

mod body;
mod delta;
mod read;
mod recognise;
pub mod tar_entries;
pub mod thick;
pub mod volumes;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_spec::{Descriptor, Digest, MediaType, Tag, limits};
use tokio::io::AsyncReadExt;

pub use delta::Since;
pub use write::{ArchiveFormat, Options, Written, examine, is_not_written, write};

use crate::layout::index::LayoutIndex;
use crate::store::blocking::blocking;
use crate::store::pieces::pieces_of;
use crate::store::section::{self, section};
use crate::store::{ByteStream, Chunked, Pieces, Referrers, Resolve, Source, StoreError, listing};
use read::Inventory;

/// How archives of ours are read: they hold nothing but the layout.
const PLAIN: read::ReadOptions = read::ReadOptions {
    layout: "",
    files: &[],
    ours: true,
    hash_later: false,
};

/// An archive that was checked, perhaps except for large blobs, and can be read from.
#[derive(Clone, Debug)]
pub struct ArchiveStore {
    path: Arc<PathBuf>,
    inventory: Arc<Inventory>,
    index: LayoutIndex,
}

/// Opens an archive and checks all of it. `quarantine` is a folder for one that another program compressed to be unpacked
/// in, and for lost volumes to be rebuilt in.
///
/// `path` may also be one of the [`volumes`] of an archive, or the name of an archive that exists only in volumes.
///
/// # Errors
/// [`StoreError::Invalid`] or [`StoreError::Mismatch`] if anything in the archive is not as it must be;
/// [`StoreError::OtherForm`] if the file is sound and something else.
pub async fn open(path: &Path, quarantine: &Path) -> Result<ArchiveStore, StoreError> {
    open_as(path, quarantine, PLAIN).await
}

/// The same for a caller that copies all of it to a store that checks what it receives: blobs that are too large for a
/// manifest are not hashed here.
///
/// # Errors
/// As [`open`].
pub async fn open_to_copy(path: &Path, quarantine: &Path) -> Result<ArchiveStore, StoreError> {
    let options = read::ReadOptions {
        hash_later: true,
        ..PLAIN
    };
    open_as(path, quarantine, options).await
}

async fn open_as(
    path: &Path,
    quarantine: &Path,
    options: read::ReadOptions,
) -> Result<ArchiveStore, StoreError> {
    let (path, quarantine) = (path.to_owned(), quarantine.to_owned());
    blocking(move || {
        let inventory = read::read(&path, &quarantine, options)?;
        Ok(ArchiveStore::new(path, inventory))
    })
    .await
}

/// A file that was opened: an archive of an image layout, or a CNAB thick bundle.
#[derive(Clone, Debug)]
pub enum OpenedArchive {
    /// An image layout.
    Layout(ArchiveStore),
    /// A thick bundle.
    Thick(thick::ThickBundle),
}

/// Opens a file of either kind. With `copied`, large blobs of an image layout are not hashed, as in [`open_to_copy`].
///
/// # Errors
/// Those of [`open`], or those of [`thick::open`] if there is a `bundle.json` in it.
pub async fn open_any(path: &Path, quarantine: &Path, copied: bool) -> Result<OpenedArchive, StoreError> {
    let opened = match copied {
        true => open_to_copy(path, quarantine).await,
        false => open(path, quarantine).await,
    };
    let error = match opened {
        Ok(layout) => return Ok(OpenedArchive::Layout(layout)),
        Err(error) if !matches!(error, StoreError::Invalid { .. }) => return Err(error),
        Err(error) => error,
    };
    let named = path.to_owned();
    if blocking(move || Ok(recognise::is_thick(&named))).await? {
        return thick::open(path, quarantine).await.map(OpenedArchive::Thick);
    }
    Err(error)
}

impl ArchiveStore {
    fn new(path: PathBuf, inventory: Inventory) -> Self {
        Self {
            path: Arc::new(path),
            index: inventory.index.clone().unwrap_or_else(LayoutIndex::empty),
            inventory: Arc::new(inventory),
        }
    }

    /// Every entry of `index.json` with its annotations, also those whose name is not a tag.
    pub fn entries(&self) -> &[Descriptor] {
        self.index.entries()
    }

    /// The root that the other side must hold, if this archive leaves out what that root has.
    pub fn delta(&self) -> Option<Digest> {
        self.inventory.delta
    }

    /// What a store holds after it has imported this archive.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if there is no bundle in it.
    pub fn since(&self) -> Result<Since, StoreError> {
        let root = self.entries().first().ok_or_else(|| StoreError::Invalid {
            subject: self.place(),
            why: "nothing is in it".to_owned(),
        })?;
        Ok(Since {
            root: root.digest,
            digests: self.inventory.reached.clone(),
            older: self.inventory.chunked.clone(),
            source: Arc::new(self.clone()),
        })
    }

    /// Volumes that were missing or damaged and were rebuilt from parity, each with what was wrong; see [`volumes`].
    pub fn mended(&self) -> &[String] {
        &self.inventory.mended
    }

    fn place(&self) -> String {
        format!("archive {}", self.path.display())
    }

    /// The error for a digest that the archive does not have.
    fn absent(&self, digest: Digest) -> StoreError {
        let place = self.place();
        match self.inventory.delta {
            Some(since) if self.inventory.reached.contains(&digest) => {
                StoreError::LeftOut { digest, place, since }
            }
            _ => StoreError::NotFound {
                subject: digest.to_string(),
                place,
            },
        }
    }

    /// A range of a blob that the archive has in part, piece by piece; `None` if some of it is absent.
    fn in_part(&self, digest: &Digest, range: Range<u64>) -> Option<ByteStream> {
        let runs = self.inventory.packs.get(digest)?;
        let mut stream: ByteStream = Box::pin(tokio::io::empty());
        let mut at = range.start;
        let first = runs.partition_point(|run| run.layer.end <= at);
        for run in &runs[first..] {
            if at >= range.end || run.layer.start > at {
                break;
            }
            let (skip, end) = (at - run.layer.start, run.layer.end.min(range.end));
            let next = section(Arc::clone(&self.inventory.body), run.at + skip, end - at);
            stream = Box::pin(stream.chain(next));
            at = end;
        }
        (at >= range.end).then_some(stream)
    }
}

#[async_trait]
impl Source for ArchiveStore {
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        let found = self.inventory.blobs.get(&descriptor.digest);
        let (offset, size) = *found.ok_or_else(|| self.absent(descriptor.digest))?;
        let from = from.min(size);
        Ok(section(
            Arc::clone(&self.inventory.body),
            offset + from,
            size - from,
        ))
    }

    async fn fetch_range_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<ByteStream, StoreError> {
        if self.inventory.packs.contains_key(&descriptor.digest) {
            let stream = self.in_part(&descriptor.digest, range);
            return stream.ok_or_else(|| self.absent(descriptor.digest));
        }
        let length = range.end.saturating_sub(range.start);
        let rest = self.fetch_unverified(descriptor, range.start).await?;
        Ok(Box::pin(rest.take(length)))
    }

    async fn pieces_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<Pieces, StoreError> {
        let Some(&(offset, size)) = self.inventory.blobs.get(&descriptor.digest) else {
            let stream = self.fetch_range_unverified(descriptor, range).await?;
            return Ok(pieces_of(stream));
        };
        let from = range.start.min(size);
        Ok(section::pieces(
            Arc::clone(&self.inventory.body),
            offset + from,
            size.min(range.end).saturating_sub(from),
            limits::BATCH_BYTES,
        ))
    }

    fn was_checked(&self) -> bool {
        self.inventory.hashed
    }

    async fn chunked(&self) -> Result<Vec<Chunked>, StoreError> {
        Ok(self.inventory.chunked.clone())
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let found = self.inventory.blobs.get(&descriptor.digest);
        Ok(found.is_some_and(|(_, size)| *size == descriptor.size))
    }
}

#[async_trait]
impl Resolve for ArchiveStore {
    async fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        self.index.resolve(tag, &self.place())
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        Ok(self.index.tags())
    }
}

#[async_trait]
impl Referrers for ArchiveStore {
    async fn referrers(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let listings = self.inventory.listings.iter();
        let found = listings
            .filter(|listing| listing.subject == subject.digest)
            .map(|listing| listing.descriptor.clone());
        listing::list(found, &subject.digest, artifact_type)
    }
}

#[cfg(test)]
mod tests;
