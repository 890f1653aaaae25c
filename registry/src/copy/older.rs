//! Takes the chunks that a new layer has in common with older layers from the sink itself, before the rest is fetched.

use std::sync::atomic::{AtomicU64, Ordering};

use samebundle_spec::{ChunkIndex, limits};
use tokio::sync::{Mutex, OnceCell};

use super::on;
use crate::chunk;
use crate::store::{Chunked, Origin, Parts, Side, SinkExt, SourceExt, StoreError, Target};

/// What one copy knows about older layers.
#[derive(Debug, Default)]
pub(super) struct Reuse {
    /// Layers of the sink that have an index.
    older: OnceCell<Vec<Chunked>>,
    /// Held while chunks are copied: an index takes memory, and the disk is not faster for two at once.
    one: Mutex<()>,
    bytes: AtomicU64,
}

impl Reuse {
    /// How many bytes were copied from older layers.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Fills in the chunks of a layer that the sink has in older layers. Returns how many bytes of indexes were read
    /// from the source.
    ///
    /// An index that cannot be read or is not valid counts as absent: the layer is then transferred whole.
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

/// Reads an index from the sink, or else from the source and pushes it to the sink: it is part of the copied graph.
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
