//! Archives that leave out what the other side holds (`spec/210-chunks.md`).
//!
//! ```text
//! index.json                   sealed, with the annotation dev.samebundle.delta: the root that the other side holds
//! blobs/ALGORITHM/HEX          every manifest, signature and chunk index, all that is small, and all that is new
//! chunks/ALGORITHM/HEX         the chunks of the layer HEX that the other side does not hold
//! ```
//!
//! Such an archive proves all that is in it: blobs by their digests, chunks by the chunk index that the manifest names.
//! It is read as a [`Source`] that lacks some blobs, and has some in part. A copy from it into the other side's store
//! finds the missing bytes there, assembles each layer, and checks the digest of the whole.

pub(super) mod pack;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use samebundle_spec::{ChunkIndex, Digest, MediaType, limits};

use crate::chunk::{self, ChunkLocations};
use crate::graph::{Graph, Node};
use crate::store::{Chunked, Source, StoreError};

/// What the other side holds.
#[derive(Clone, Debug)]
pub struct Since {
    /// The root that it has, which is named in errors about missing blobs.
    pub root: Digest,
    /// Everything that it has.
    pub digests: BTreeSet<Digest>,
    /// Layers that may be among them, whose chunk indexes can be read in `source`.
    pub older: Vec<Chunked>,
    /// The store with the indexes.
    pub source: Arc<dyn Source>,
}

/// How one blob is written to a delta archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Not at all.
    Omitted,
    /// Only these chunks, by number.
    Packed(Vec<Range<usize>>),
}

/// Decides about every blob; blobs that are not in the result are written whole.
///
/// # Errors
/// If the chunk index of a new layer cannot be read in `source`.
pub(super) async fn plan<S: Source + ?Sized>(
    source: &S,
    graph: &Graph,
    since: &Since,
) -> Result<BTreeMap<Digest, Treatment>, StoreError> {
    let mut plan = BTreeMap::new();
    for node in graph.nodes().filter(|node| may_be_left_out(node)) {
        let digest = node.descriptor.digest;
        if since.digests.contains(&digest) {
            plan.insert(digest, Treatment::Omitted);
            continue;
        }
        let Some(chunked) = graph.chunked.get(&digest) else {
            continue;
        };
        let index = chunk::read(source, chunked).await?;
        if let Some(missing) = missing(&index, since).await {
            plan.insert(digest, Treatment::Packed(missing));
        }
    }
    // The same bytes may be in the graph as a manifest, which is needed.
    for node in graph.nodes().filter(|node| !may_be_left_out(node)) {
        plan.remove(&node.descriptor.digest);
    }
    Ok(plan)
}

/// Nodes that are read before layers are assembled must be in the archive: documents, signatures, chunk indexes; and
/// small blobs.
fn may_be_left_out(node: &Node) -> bool {
    let descriptor = &node.descriptor;
    !node.from_referrer
        && !descriptor.media_type.has_children()
        && descriptor.media_type != MediaType::CHUNKS
        && descriptor.size >= limits::DELTA_OMITS_FROM
}

/// The chunks that the other side does not have; `None` if it has none, or if they are too scattered.
async fn missing(index: &ChunkIndex, since: &Since) -> Option<Vec<Range<usize>>> {
    let mut locations = ChunkLocations::of(index);
    let held = since
        .older
        .iter()
        .filter(|older| since.digests.contains(&older.layer.digest));
    let mut any = false;
    for older in held.take(limits::CHUNK_INDEXES) {
        match chunk::read(&*since.source, older).await {
            Ok(known) => {
                locations.learn(0, &known);
                any = true;
            }
            Err(error) => {
                tracing::debug!(index = %older.index.digest, %error, "a chunk index is not used");
            }
        }
    }
    let missing = pack::runs(index, |chunk| locations.get(chunk).is_none());
    let whole = missing.first() == Some(&(0..index.chunks().len()));
    (any && !whole && missing.len() <= limits::CHUNK_RANGES).then_some(missing)
}

#[cfg(test)]
mod tests;
