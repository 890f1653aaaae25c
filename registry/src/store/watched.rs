//! A store for tests that reports which bytes are requested, with a pace of its own.

use std::fmt::{self, Debug, Formatter};
use std::ops::Range;

use async_trait::async_trait;
use samebundle_spec::{Descriptor, MediaType, Tag};

use super::{ByteStream, Memory, Pace, Referrers, Resolve, Source, StoreError};

/// Called with each request for a blob, before it is answered.
type Watch = dyn Fn(&Descriptor, Range<u64>) + Send + Sync;

/// A readable [`Memory`] that reports its reads.
pub(crate) struct Watched {
    good: Memory,
    pace: Pace,
    watch: Box<Watch>,
}

impl Watched {
    pub(crate) fn new(
        good: Memory,
        pace: Pace,
        watch: impl Fn(&Descriptor, Range<u64>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            good,
            pace,
            watch: Box::new(watch),
        }
    }
}

impl Debug for Watched {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.good).finish()
    }
}

#[async_trait]
impl Source for Watched {
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        (self.watch)(descriptor, from..descriptor.size);
        self.good.fetch_unverified(descriptor, from).await
    }

    async fn fetch_range_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<ByteStream, StoreError> {
        (self.watch)(descriptor, range.clone());
        self.good.fetch_range_unverified(descriptor, range).await
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        self.good.contains(descriptor).await
    }
}

#[async_trait]
impl Resolve for Watched {
    async fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        self.good.resolve(tag).await
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.good.tags().await
    }
}

#[async_trait]
impl Referrers for Watched {
    async fn referrers(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        self.good.referrers(subject, artifact_type).await
    }
}
