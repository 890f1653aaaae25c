//! An OCI image layout in one file: a tar archive, plain or gzip.
//!
//! ```text
//! oci-layout
//! index.json                   tags, and referrers without a tag
//! blobs/ALGORITHM/HEX          signatures first, then manifests, then the rest, each sorted by digest
//! ```
//!
//! Writing is deterministic: the same content under the same tags gives the same bytes. Reading is strict: see
//! [`tar_entries`](super::tar_entries); besides, every content must have the digest that names it, everything that is
//! pointed at must be there with its declared size, and nothing may be there that is not pointed at.
//!
//! A plain archive is read in place. A compressed one is unpacked once, into a file without a name beneath the folder that
//! the caller gives: nothing is left behind, whatever happens. Content is hashed when the archive is opened and again when
//! it is fetched.

mod read;
pub mod thick;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_spec::{Descriptor, MediaType, Tag};

pub use write::{Form, Options, Written, write};

use super::blocking::blocking;
use super::layout_index::LayoutIndex;
use super::section::section;
use super::{ByteStream, Referrers, Resolve, Source, StoreError, listing};
use read::Contents;

/// Ours: nothing but the layout.
const PLAIN: read::Form = read::Form {
    layout: "",
    files: &[],
    others: false,
    dot_slash: false,
    ours: true,
};

/// An archive that was checked and can be read from.
#[derive(Clone, Debug)]
pub struct ArchiveStore {
    path: Arc<PathBuf>,
    contents: Arc<Contents>,
    index: LayoutIndex,
}

/// Opens an archive and checks all of it. `quarantine` is a folder for a compressed one to be unpacked in.
///
/// # Errors
/// [`StoreError::Invalid`] or [`StoreError::Mismatch`] if anything in the archive is not as it must be.
pub async fn open(path: &Path, quarantine: &Path) -> Result<ArchiveStore, StoreError> {
    let (path, quarantine) = (path.to_owned(), quarantine.to_owned());
    blocking(move || {
        let contents = read::read(&path, &quarantine, PLAIN)?;
        Ok(ArchiveStore::new(path, contents))
    })
    .await
}

impl ArchiveStore {
    fn new(path: PathBuf, contents: Contents) -> Self {
        Self {
            path: Arc::new(path),
            index: contents.index.clone().unwrap_or_else(LayoutIndex::empty),
            contents: Arc::new(contents),
        }
    }

    /// Every entry of `index.json` with its annotations, also those whose name is not a tag.
    pub fn entries(&self) -> &[Descriptor] {
        self.index.entries()
    }

    fn place(&self) -> String {
        format!("archive {}", self.path.display())
    }
}

#[async_trait]
impl Source for ArchiveStore {
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        let found = self.contents.blobs.get(&descriptor.digest);
        let (offset, size) = *found.ok_or_else(|| StoreError::NotFound {
            subject: descriptor.digest.to_string(),
            place: self.place(),
        })?;
        let from = from.min(size);
        Ok(section(
            Arc::clone(&self.contents.file),
            offset + from,
            size - from,
        ))
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let found = self.contents.blobs.get(&descriptor.digest);
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
        let listings = self.contents.listings.iter();
        let found = listings
            .filter(|listing| listing.subject == subject.digest)
            .map(|listing| listing.descriptor.clone());
        listing::list(found, &subject.digest, artifact_type)
    }
}

#[cfg(test)]
mod tests;
