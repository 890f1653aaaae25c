//! Layers that are cut into content-defined chunks, so that a new version transfers only what changed
//! (`spec/210-chunks.md`).
//!
//! ```text
//! cut        writes a layer as independent chunks (zstd frames, gzip members), and their index
//! locations  where the chunks of a new layer are in older layers
//! reuse      copies them from there, before the rest is fetched
//! ```
//!
//! A chunk is known by the digest of its stored bytes, so nothing is compressed or decompressed when a layer is assembled:
//! the result is the same whatever compressor this machine has.
//!
//! Invariants: an index is a hint. Every chunk that is reused is hashed first, and the digest of the whole layer
//! decides; if it is wrong, the layer is fetched whole. Memory: one index of [`CHUNK_INDEX_BYTES`] with 20 bytes more a
//! chunk, an older index at a time, and some batches; a copy reuses for one layer at a time.
//!
//! [`CHUNK_INDEX_BYTES`]: samebundle_spec::limits::CHUNK_INDEX_BYTES

mod cut;
mod locations;
mod reuse;

use std::collections::BTreeMap;

use samebundle_spec::{ChunkIndex, Descriptor, Digest, chunks, limits};

use crate::store::{Chunked, Source, SourceExt, StoreError};

pub use cut::{Codec, Cut, Cutter};
pub(crate) use locations::ChunkLocations;
pub(crate) use reuse::reuse;

/// Collects layers and chunk indexes from the manifests that name them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finder {
    layers: BTreeMap<Digest, Descriptor>,
    indexes: Vec<(Digest, Descriptor)>,
}

impl Finder {
    /// Looks at the children of one manifest.
    pub(crate) fn look<'a>(&mut self, children: impl IntoIterator<Item = &'a Descriptor>) {
        for child in children {
            match chunks::indexed_layer(child) {
                Some(layer) => self.indexes.push((layer, child.bare())),
                // A layer that is too small for ranges is not assembled from chunks either.
                None if child.size >= limits::RANGES_FROM && !child.media_type.has_children() => {
                    self.layers.insert(child.digest, child.bare());
                }
                None => {}
            }
        }
    }

    /// Every layer that has an index, in the order in which the indexes were seen.
    pub(crate) fn chunked(&self) -> impl Iterator<Item = Chunked> {
        self.indexes.iter().filter_map(|(layer, index)| {
            Some(Chunked {
                layer: self.layers.get(layer)?.clone(),
                index: index.clone(),
            })
        })
    }
}

/// Reads a chunk index and checks that it is one of this layer's length.
///
/// # Errors
/// If it cannot be read, does not have its digest, or is not an index of this layer.
pub(crate) async fn read<S: Source + ?Sized>(
    source: &S,
    chunked: &Chunked,
) -> Result<ChunkIndex, StoreError> {
    let bytes = source
        .fetch_bytes(&chunked.index, limits::CHUNK_INDEX_BYTES)
        .await?;
    parse(&bytes, chunked)
}

/// Parses a chunk index and checks that it is one of this layer's length.
///
/// # Errors
/// [`StoreError::Invalid`].
pub(crate) fn parse(bytes: &[u8], chunked: &Chunked) -> Result<ChunkIndex, StoreError> {
    let invalid = |why: String| StoreError::Invalid {
        subject: format!("the chunk index {}", chunked.index.digest),
        why,
    };
    let index = ChunkIndex::parse(bytes).map_err(|error| invalid(error.to_string()))?;
    if index.layer_size() != chunked.layer.size {
        return Err(invalid(format!(
            "its chunks have {} bytes in all, and the layer {} has {}",
            index.layer_size(),
            chunked.layer.digest,
            chunked.layer.size
        )));
    }
    Ok(index)
}

#[cfg(test)]
pub(crate) mod tests;
