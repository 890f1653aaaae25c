//! Two stores that are read as one: new manifests in front of the store that they belong to.

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use samebundle_spec::{Descriptor, MediaType, Tag};

use super::{ByteStream, Chunked, Origin, Pace, Pieces, Referrers, Resolve, Source, StoreError};

/// The front first, then the back.
#[derive(Debug)]
pub struct Overlay<A, B> {
    /// The store that is read first.
    pub front: A,
    /// The store that is read next.
    pub back: B,
    /// Referrers of this type in the back are hidden, because the front has their replacements.
    pub hidden: Option<MediaType>,
}

#[async_trait]
impl<A: Origin, B: Origin> Source for Overlay<A, B> {
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        match self.front.contains(descriptor).await? {
            true => self.front.fetch_unverified(descriptor, from).await,
            false => self.back.fetch_unverified(descriptor, from).await,
        }
    }

    async fn fetch_range_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<ByteStream, StoreError> {
        match self.front.contains(descriptor).await? {
            true => self.front.fetch_range_unverified(descriptor, range).await,
            false => self.back.fetch_range_unverified(descriptor, range).await,
        }
    }

    async fn pieces_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<Pieces, StoreError> {
        match self.front.contains(descriptor).await? {
            true => self.front.pieces_unverified(descriptor, range).await,
            false => self.back.pieces_unverified(descriptor, range).await,
        }
    }

    /// The pace of the slower store, because it is not known here which of them has the blob.
    fn pace(&self) -> Pace {
        let (front, back) = (self.front.pace(), self.back.pace());
        Pace {
            streams: front.streams.min(back.streams),
            throttled: front.throttled + back.throttled,
            ranges: front.ranges && back.ranges,
        }
    }

    async fn chunked(&self) -> Result<Vec<Chunked>, StoreError> {
        let mut all = self.front.chunked().await?;
        all.extend(self.back.chunked().await?);
        Ok(all)
    }

    fn was_checked(&self) -> bool {
        self.front.was_checked() && self.back.was_checked()
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        Ok(self.front.contains(descriptor).await? || self.back.contains(descriptor).await?)
    }
}

#[async_trait]
impl<A: Origin, B: Origin> Resolve for Overlay<A, B> {
    async fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        match self.front.resolve(tag).await {
            Err(StoreError::NotFound { .. }) => self.back.resolve(tag).await,
            found => found,
        }
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        let mut all = self.front.tags().await?;
        all.extend(self.back.tags().await?);
        all.sort();
        all.dedup();
        Ok(all)
    }
}

#[async_trait]
impl<A: Origin, B: Origin> Referrers for Overlay<A, B> {
    async fn referrers(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let mut all = self.back.referrers(subject, artifact_type).await?;
        all.retain(|referrer| self.hidden.is_none() || referrer.artifact_type != self.hidden);
        all.extend(self.front.referrers(subject, artifact_type).await?);
        all.sort_by_key(|referrer| referrer.digest);
        all.dedup_by_key(|referrer| referrer.digest);
        Ok(all)
    }
}
