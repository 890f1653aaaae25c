//! The traits of a store, its errors, and the stores that need neither disk nor network.
//!
//! Each store implements the part of [`Store`] that it can: an archive that is being read is a [`Source`] and
//! [`Resolve`], a remote registry is all of it. Each trait has one to three required methods; [`contract`](self) tests
//! hold every implementation to the same behaviour.
//!
//! Blobs are transferred as [`Pieces`] between stores that are far apart: a source gives any range, also several at once
//! ([`Pace`]), and a sink that has files takes them by position ([`Parts`]), from any number of sources.
//!
//! Invariants: a blob under a digest is immutable; a sink refuses bytes that do not have the digest and size of the
//! descriptor and keeps nothing of them; a push of a blob that exists already is a success and reads nothing.

pub(crate) mod blocking;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
mod error;
pub(crate) mod listing;
mod memory;
mod overlay;
pub(crate) mod pieces;
pub(crate) mod section;
mod verify;
#[cfg(test)]
pub(crate) mod watched;

use std::fmt::Debug;
use std::ops::Range;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use samebundle_spec::{Descriptor, Document, MediaType, Tag, limits};
use tokio::io::{AsyncRead, AsyncReadExt};

pub use error::{Side, StoreError};
pub(crate) use listing::document;
pub use memory::Memory;
pub use overlay::Overlay;
pub use pieces::{Begun, Chunked, Pace, Parts, Pieces};
pub(crate) use pieces::{Stopped, digest_of, pump};
pub use verify::{read_all, verified};

/// A stream of bytes. A blob is never held in memory as a whole.
pub type ByteStream = Pin<Box<dyn AsyncRead + Send>>;

/// A store that blobs and manifests can be read from.
#[async_trait]
pub trait Source: Debug + Send + Sync {
    /// Streams a blob from byte `from` on, without any check of its digest.
    ///
    /// It is for resuming transfers and for serving. Code that trusts or executes the bytes calls [`SourceExt::fetch`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it does not exist; otherwise why it cannot be read.
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError>;

    /// Streams the bytes of `range`, counted from the blob's start, without any check of its digest. A store behind a
    /// network asks for no more than these.
    ///
    /// # Errors
    /// As [`Source::fetch_unverified`].
    async fn fetch_range_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<ByteStream, StoreError> {
        let length = range.end.saturating_sub(range.start);
        let rest = self.fetch_unverified(descriptor, range.start).await?;
        Ok(Box::pin(rest.take(length)))
    }

    /// The same as pieces, which can be passed on without a copy.
    ///
    /// # Errors
    /// As [`Source::fetch_unverified`].
    async fn pieces_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<Pieces, StoreError> {
        let stream = self.fetch_range_unverified(descriptor, range).await?;
        Ok(pieces::pieces_of(stream))
    }

    /// How much may be requested from this store at once.
    fn pace(&self) -> Pace {
        Pace::default()
    }

    /// Tells whether blobs were checked when they were written here or when this store was opened, so that a receiver that
    /// checks them is check enough.
    fn was_checked(&self) -> bool {
        false
    }

    /// Lists the layers that this store has with a chunk index, newest first, from which a new version may be assembled.
    /// A store that would have to request them lists none.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn chunked(&self) -> Result<Vec<Chunked>, StoreError> {
        Ok(Vec::new())
    }

    /// Tells whether the blob exists.
    ///
    /// # Errors
    /// If the store cannot tell: denied, throttled and broken are never "no".
    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError>;
}

/// Provided methods of every [`Source`].
#[async_trait]
pub trait SourceExt: Source {
    /// Streams a blob; the stream fails at its end if digest or size are not the descriptor's.
    ///
    /// # Errors
    /// As [`Source::fetch_unverified`].
    async fn fetch(&self, descriptor: &Descriptor) -> Result<ByteStream, StoreError> {
        Ok(verified(self.fetch_unverified(descriptor, 0).await?, descriptor))
    }

    /// Reads a small blob whole and checks it.
    ///
    /// # Errors
    /// As [`Source::fetch_unverified`], and if it is larger than `limit` bytes or not what its descriptor says.
    async fn fetch_bytes(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes, StoreError> {
        read_all(self.fetch_unverified(descriptor, 0).await?, descriptor, limit).await
    }

    /// Reads and parses a manifest or index.
    ///
    /// # Errors
    /// As [`SourceExt::fetch_bytes`]; [`StoreError::Invalid`] if it is no document of its media type.
    async fn fetch_document(&self, descriptor: &Descriptor) -> Result<Document, StoreError> {
        let bytes = self.fetch_bytes(descriptor, limits::MANIFEST_BYTES).await?;
        document(descriptor, &bytes)
    }
}

impl<S: Source + ?Sized> SourceExt for S {}

/// A store that blobs and manifests can be written to.
#[async_trait]
pub trait Sink: Debug + Send + Sync {
    /// Writes a blob, all of it or nothing. `content` is not read if the blob exists already.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if the bytes are not what the descriptor says; otherwise why they cannot be written.
    async fn push(&self, descriptor: &Descriptor, content: ByteStream) -> Result<(), StoreError>;

    /// Writes a blob of a source, which may be read more than once, so that a sink behind a network can begin again.
    ///
    /// The bytes are checked on their way in, as in [`Sink::push`]; the source's own check is not needed.
    ///
    /// # Errors
    /// As [`Sink::push`] and [`Source::fetch_unverified`].
    async fn push_from(&self, descriptor: &Descriptor, source: &dyn Source) -> Result<(), StoreError> {
        self.push(descriptor, source.fetch_unverified(descriptor, 0).await?)
            .await
    }

    /// Starts a blob that is written by position, or resumes what an earlier attempt left.
    ///
    /// # Errors
    /// Why it cannot be written.
    async fn begin(&self, descriptor: &Descriptor) -> Result<Begun, StoreError> {
        let _ = descriptor;
        Ok(Begun::Whole)
    }
}

/// Provided methods of every [`Sink`].
#[async_trait]
pub trait SinkExt: Sink {
    /// Writes a small blob.
    ///
    /// # Errors
    /// As [`Sink::push`].
    async fn push_bytes(&self, media_type: MediaType, bytes: Bytes) -> Result<Descriptor, StoreError> {
        let descriptor = Descriptor::of(media_type, &bytes);
        self.push(&descriptor, Box::pin(std::io::Cursor::new(bytes)))
            .await?;
        Ok(descriptor)
    }
}

impl<S: Sink + ?Sized> SinkExt for S {}

/// A store that resolves tags.
#[async_trait]
pub trait Resolve: Debug + Send + Sync {
    /// Returns what a tag points at now.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such tag.
    async fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError>;

    /// Lists all tags, sorted.
    ///
    /// # Errors
    /// If the store cannot tell.
    async fn tags(&self) -> Result<Vec<Tag>, StoreError>;
}

/// A store whose tags can be set.
#[async_trait]
pub trait Tags: Debug + Send + Sync {
    /// Points a tag at a manifest that exists already.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the blob does not exist.
    async fn tag(&self, descriptor: &Descriptor, tag: &Tag) -> Result<(), StoreError>;

    /// Removes a tag; its manifest stays. Removing a tag that does not exist is a success.
    ///
    /// # Errors
    /// If the store cannot do it.
    async fn untag(&self, tag: &Tag) -> Result<(), StoreError>;
}

/// A store that lists the referrers of a manifest (signatures, provenance).
#[async_trait]
pub trait Referrers: Debug + Send + Sync {
    /// Lists the manifests whose `subject` is `subject`, sorted by digest; with `artifact_type`, only those of that type.
    ///
    /// # Errors
    /// If the store cannot tell: an error is never "none".
    async fn referrers(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError>;
}

/// A store that a graph can be copied from, with its tags and referrers.
pub trait Origin: Source + Resolve + Referrers {}

impl<S: Source + Resolve + Referrers + ?Sized> Origin for S {}

/// A store that a graph can be copied to.
pub trait Target: Source + Sink + Tags {}

impl<S: Source + Sink + Tags + ?Sized> Target for S {}

/// A store that can do everything.
pub trait Store: Source + Sink + Resolve + Tags + Referrers {}

impl<S: Source + Sink + Resolve + Tags + Referrers + ?Sized> Store for S {}
