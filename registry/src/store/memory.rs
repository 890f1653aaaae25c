//! A store in memory, for tests and for small temporary graphs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use samebundle_spec::{Descriptor, Digest, MediaType, Tag, limits};

use super::listing::{self, Listing};
use super::{ByteStream, Referrers, Resolve, Sink, Source, StoreError, Tags, read_all};

const PLACE: &str = "memory";

/// A store in memory. Clones share their blobs.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    content: BTreeMap<Digest, Bytes>,
    tags: BTreeMap<Tag, Descriptor>,
    referrers: BTreeMap<Digest, Listing>,
}

impl Memory {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the digests of all blobs and manifests, sorted.
    pub fn digests(&self) -> Vec<Digest> {
        self.state().content.keys().copied().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, and each change is a single insertion.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self, descriptor: &Descriptor) -> Option<Bytes> {
        self.state().content.get(&descriptor.digest).cloned()
    }

    fn has(&self, descriptor: &Descriptor) -> bool {
        self.bytes(descriptor)
            .is_some_and(|bytes| bytes.len() as u64 == descriptor.size)
    }
}

fn not_found(subject: String) -> StoreError {
    StoreError::NotFound {
        subject,
        place: PLACE.to_owned(),
    }
}

#[async_trait]
impl Source for Memory {
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        let bytes = self
            .bytes(descriptor)
            .ok_or_else(|| not_found(descriptor.digest.to_string()))?;
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
        Ok(Box::pin(std::io::Cursor::new(bytes.slice(start..))))
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        Ok(self.has(descriptor))
    }
}

#[async_trait]
impl Sink for Memory {
    async fn push(&self, descriptor: &Descriptor, content: ByteStream) -> Result<(), StoreError> {
        if self.has(descriptor) {
            return Ok(());
        }
        let is_manifest = descriptor.media_type.has_children();
        let limit = if is_manifest {
            limits::MANIFEST_BYTES
        } else {
            u64::MAX
        };
        let bytes = read_all(content, descriptor, limit).await?;
        let listing = if is_manifest {
            listing::listing(descriptor, &bytes)?
        } else {
            None
        };
        let mut state = self.state();
        state.content.insert(descriptor.digest, bytes);
        if let Some(listing) = listing {
            state.referrers.insert(descriptor.digest, listing);
        }
        Ok(())
    }
}

#[async_trait]
impl Resolve for Memory {
    async fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let found = self.state().tags.get(tag).cloned();
        found.ok_or_else(|| not_found(format!("tag {tag}")))
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        Ok(self.state().tags.keys().cloned().collect())
    }
}

#[async_trait]
impl Tags for Memory {
    async fn tag(&self, descriptor: &Descriptor, tag: &Tag) -> Result<(), StoreError> {
        if !self.has(descriptor) {
            return Err(not_found(descriptor.digest.to_string()));
        }
        self.state().tags.insert(tag.clone(), descriptor.clone());
        Ok(())
    }

    async fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        self.state().tags.remove(tag);
        Ok(())
    }
}

#[async_trait]
impl Referrers for Memory {
    async fn referrers(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let found: Vec<Descriptor> = self
            .state()
            .referrers
            .values()
            .filter(|listing| listing.subject == subject.digest)
            .map(|listing| listing.descriptor.clone())
            .collect();
        listing::list(found, &subject.digest, artifact_type)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::contract::store_contract;

    #[tokio::test(flavor = "multi_thread")]
    async fn keeps_the_contract() {
        let broken = store_contract(|| async { Arc::new(Memory::new()) as _ }).await;
        assert!(broken.is_empty(), "{broken:#?}");
    }
}
