//! Takes chunks of a layer from older layers of the same store.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use samebundle_spec::{Chunk, ChunkIndex, Descriptor, Digest, limits};
use tokio::io::AsyncReadExt;

use super::locations::{ChunkLocation, ChunkLocations};
use super::read;
use crate::store::blocking::blocking;
use crate::store::{Chunked, Parts, Source, StoreError};

/// Batches that are read and hashed while one is written.
const AHEAD: usize = 2;

/// Chunks that follow each other in the new layer and in an older one.
#[derive(Debug)]
struct Extent {
    /// Their position in the new layer.
    to: u64,
    /// Their location in the older layer.
    from: ChunkLocation,
    length: u64,
    /// Their numbers in the index.
    chunks: Range<usize>,
}

/// Writes those missing chunks of a layer that are in older layers of `store`. Returns how many bytes were written.
///
/// An older layer or index that cannot be read, or is damaged, counts as absent.
///
/// # Errors
/// If the layer cannot be written.
pub(crate) async fn reuse<S: Source + ?Sized>(
    store: &S,
    older: &[Chunked],
    index: &ChunkIndex,
    parts: &dyn Parts,
) -> Result<u64, StoreError> {
    let mut locations = ChunkLocations::of(index);
    let mut layers: Vec<&Descriptor> = Vec::new();
    for chunked in older.iter().take(limits::CHUNK_INDEXES) {
        if locations.complete() {
            break;
        }
        match read(store, chunked).await {
            Ok(known) => {
                locations.learn(u32::try_from(layers.len()).unwrap_or(u32::MAX), &known);
                layers.push(&chunked.layer);
            }
            Err(error) => tracing::debug!(index = %chunked.index.digest, %error, "a chunk index is not used"),
        }
    }
    let missing = parts.missing();
    if gaps(index, &locations) > limits::CHUNK_RANGES {
        return Ok(0);
    }
    let runs = runs(index, &locations, &missing);
    drop(locations);
    let mut written = 0;
    let mut good = stream::iter(runs)
        .map(|run| take(store, layers[run.from.layer as usize], index, run))
        .buffered(AHEAD);
    while let Some(pieces) = good.next().await {
        for (at, pieces) in pieces {
            written += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
            parts.write(at, pieces).await?;
        }
    }
    Ok(written)
}

/// The number of ranges in which the rest would be fetched.
fn gaps(index: &ChunkIndex, locations: &ChunkLocations<'_>) -> usize {
    let known = |chunk: &Chunk| locations.get(chunk).is_some();
    let mut before = true;
    let mut gaps = 0;
    for chunk in index.chunks() {
        let here = known(chunk);
        gaps += usize::from(before && !here);
        before = here;
    }
    gaps
}

/// The chunks to reuse: those of the missing ranges whose location is known, in batches.
fn runs(index: &ChunkIndex, locations: &ChunkLocations<'_>, missing: &[Range<u64>]) -> Vec<Extent> {
    let mut runs: Vec<Extent> = Vec::new();
    let mut missing = missing.iter().peekable();
    for (number, (to, chunk)) in index.placed().enumerate() {
        let size = u64::from(chunk.size);
        while missing.next_if(|range| range.end <= to).is_some() {}
        let wanted = missing.peek().is_some_and(|range| range.start < to + size);
        let Some(from) = locations.get(chunk).filter(|_| wanted) else {
            continue;
        };
        match runs.last_mut() {
            Some(run)
                if run.to + run.length == to
                    && run.from.layer == from.layer
                    && run.from.at + run.length == from.at
                    && run.length + size <= limits::BATCH_BYTES as u64 =>
            {
                run.length += size;
                run.chunks.end += 1;
            }
            _ => runs.push(Extent {
                to,
                from,
                length: size,
                chunks: number..number + 1,
            }),
        }
    }
    runs
}

/// Reads an extent and keeps the chunks that have their digest, each with its position in the new layer.
async fn take<S: Source + ?Sized>(
    store: &S,
    layer: &Descriptor,
    index: &ChunkIndex,
    run: Extent,
) -> Vec<(u64, Vec<Bytes>)> {
    let taken = async {
        let range = run.from.at..run.from.at + run.length;
        let stream = store.fetch_range_unverified(layer, range).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(run.length).unwrap_or_default());
        let read = stream.take(run.length).read_to_end(&mut bytes).await;
        read.map_err(|error| StoreError::read(layer.digest, error))?;
        let chunks = index.chunks()[run.chunks].to_vec();
        blocking(move || Ok(good(run.to, &chunks, &Bytes::from(bytes)))).await
    };
    taken.await.unwrap_or_else(|error| {
        tracing::warn!(layer = %layer.digest, %error, "an older layer cannot be read and is not used");
        Vec::new()
    })
}

/// Of chunks that begin at `start` of the new layer, those that have their digest.
fn good(start: u64, chunks: &[Chunk], bytes: &Bytes) -> Vec<(u64, Vec<Bytes>)> {
    let mut good: Vec<(u64, Vec<Bytes>)> = Vec::new();
    let (mut at, mut next) = (0, None);
    for chunk in chunks {
        let end = at + chunk.size as usize;
        let piece = (end <= bytes.len()).then(|| bytes.slice(at..end));
        let to = start + at as u64;
        at = end;
        let Some(piece) = piece.filter(|piece| Digest::sha256(piece).as_bytes() == chunk.digest) else {
            continue;
        };
        match good.last_mut().filter(|_| next == Some(to)) {
            Some((_, pieces)) => pieces.push(piece),
            None => good.push((to, vec![piece])),
        }
        next = Some(to + u64::from(chunk.size));
    }
    good
}
