//! Takes what a new layer has in common with older ones from the sink itself, before the rest is fetched.

use std::sync::atomic::{AtomicU64, Ordering};

use samebundle_spec::{ChunkIndex, Descriptor, limits};
use tokio::sync::{Mutex, OnceCell};

use super::content::Job;
use super::on;
use crate::chunk::{self, Chunked};
use crate::store::{Origin, Parts, Side, SinkExt, SourceExt, StoreError, Target};

/// What one copy knows of older layers.
#[derive(Debug, Default)]
pub(super) struct Reuse {
    /// Layers of the sink that have an index.
    older: OnceCell<Vec<Chunked>>,
    /// Held while chunks are taken over: an index takes memory, and the disk is not faster for two.
    one: Mutex<()>,
    bytes: AtomicU64,
}

impl Reuse {
    /// How many bytes were taken over.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl<O: Origin + ?Sized, T: Target + ?Sized> Job<'_, O, T> {
    /// Fills in what the sink has of a layer in older ones. Returns how many bytes were read of the source to know it.
    ///
    /// An index that cannot be had or is not valid is as if there were none: the layer is then moved whole.
    pub(super) async fn reuse(&self, descriptor: &Descriptor, parts: &dyn Parts) -> Result<u64, StoreError> {
        let Some(chunked) = self.graph.chunked.get(&descriptor.digest) else {
            return Ok(0);
        };
        let listed = self.reuse.older.get_or_try_init(|| self.sink.chunked()).await;
        let older = listed.map_err(on(Side::Destination))?;
        if older.is_empty() {
            return Ok(0);
        }
        let _one = self.reuse.one.lock().await;
        let (index, read) = match self.chunk_index(chunked).await {
            Ok(index) => index,
            Err(error) => {
                tracing::warn!(layer = %descriptor.digest, %error, "its chunk index is not used");
                return Ok(0);
            }
        };
        let taken = chunk::reuse(self.sink, older, &index, parts).await;
        self.reuse
            .bytes
            .fetch_add(taken.map_err(on(Side::Destination))?, Ordering::Relaxed);
        Ok(read)
    }

    /// Reads an index from the sink, or from the source and leaves it in the sink: it belongs to what is copied.
    async fn chunk_index(&self, chunked: &Chunked) -> Result<(ChunkIndex, u64), StoreError> {
        if self.sink.contains(&chunked.index).await? {
            return Ok((chunk::read(self.sink, chunked).await?, 0));
        }
        let bytes = self
            .source
            .fetch_bytes(&chunked.index, limits::CHUNK_INDEX_BYTES)
            .await?;
        let index = chunk::parse(&bytes, chunked)?;
        let media_type = chunked.index.media_type.clone();
        self.sink.push_bytes(media_type, bytes).await?;
        Ok((index, chunked.index.size))
    }
}
