//! Takes what a new layer has in common with older ones from the sink itself, before the rest is fetched.

use std::sync::atomic::{AtomicU64, Ordering};

use samebundle_spec::{ChunkIndex, limits};
use tokio::sync::{Mutex, OnceCell};

use super::on;
use crate::chunk;
use crate::store::{Chunked, Origin, Parts, Side, SinkExt, SourceExt, StoreError, Target};

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

    /// Fills in what the sink has of a layer in older ones. Returns how many bytes were read of the source to know it.
    ///
    /// An index that cannot be had or is not valid is as if there were none: the layer is then moved whole.
    pub(super) async fn fill<O: Origin + ?Sized, T: Target + ?Sized>(
        &self,
        source: &O,
        sink: &T,
        chunked: &Chunked,
        parts: &dyn Parts,
    ) -> Result<u64, StoreError> {
        let listed = self.older.get_or_try_init(|| sink.chunked()).await;
        let older = listed.map_err(on(Side::Destination))?;
        if older.is_empty() {
            return Ok(0);
        }
        let _one = self.one.lock().await;
        let (index, read) = match chunk_index(source, sink, chunked).await {
            Ok(index) => index,
            Err(error) => {
                tracing::warn!(layer = %chunked.layer.digest, %error, "its chunk index is not used");
                return Ok(0);
            }
        };
        let taken = chunk::reuse(sink, older, &index, parts).await;
        self.bytes
            .fetch_add(taken.map_err(on(Side::Destination))?, Ordering::Relaxed);
        Ok(read)
    }
}

/// Reads an index from the sink, or from the source and leaves it in the sink: it belongs to what is copied.
async fn chunk_index<O: Origin + ?Sized, T: Target + ?Sized>(
    source: &O,
    sink: &T,
    chunked: &Chunked,
) -> Result<(ChunkIndex, u64), StoreError> {
    if sink.contains(&chunked.index).await? {
        return Ok((chunk::read(sink, chunked).await?, 0));
    }
    let bytes = source
        .fetch_bytes(&chunked.index, limits::CHUNK_INDEX_BYTES)
        .await?;
    let index = chunk::parse(&bytes, chunked)?;
    let media_type = chunked.index.media_type.clone();
    sink.push_bytes(media_type, bytes).await?;
    Ok((index, chunked.index.size))
}
