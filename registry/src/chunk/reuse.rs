//! Takes chunks of a layer from older layers of the same store.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use samebundle_spec::{Chunk, ChunkIndex, Descriptor, Digest, limits};
use tokio::io::AsyncReadExt;

use super::places::{Place, Places};
use super::read;
use crate::store::blocking::blocking;
use crate::store::{Chunked, Parts, Source, StoreError};

/// Batches that are read and hashed while one is written.
const AHEAD: usize = 2;

/// Chunks that follow each other in the new layer and in an older one.
#[derive(Debug)]
struct Run {
    /// Where they go.
    to: u64,
    /// Where they are.
    from: Place,
    length: u64,
    /// Which chunks of the index they are.
    chunks: Range<usize>,
}

/// Writes what is missing of a layer as far as its chunks are in older layers of `store`. Returns how many bytes.
///
/// An older layer or index that cannot be read, or is not what it says, is as if it were not there.
///
/// # Errors
/// If the layer cannot be written.
pub(crate) async fn reuse<S: Source + ?Sized>(
    store: &S,
    older: &[Chunked],
    index: &ChunkIndex,
    parts: &dyn Parts,
) -> Result<u64, StoreError> {
    let mut places = Places::of(index);
    let mut layers: Vec<&Descriptor> = Vec::new();
    for chunked in older.iter().take(limits::CHUNK_INDEXES) {
        if places.complete() {
            break;
        }
        match read(store, chunked).await {
            Ok(known) => {
                places.learn(u32::try_from(layers.len()).unwrap_or(u32::MAX), &known);
                layers.push(&chunked.layer);
            }
            Err(error) => tracing::debug!(index = %chunked.index.digest, %error, "a chunk index is not used"),
        }
    }
    let missing = parts.missing();
    if gaps(index, &places) > limits::CHUNK_RANGES {
        return Ok(0);
    }
    let runs = runs(index, &places, &missing);
    drop(places);
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

/// In how many ranges the rest would be fetched.
fn gaps(index: &ChunkIndex, places: &Places<'_>) -> usize {
    let known = |chunk: &Chunk| places.get(chunk).is_some();
    let mut before = true;
    let mut gaps = 0;
    for chunk in index.chunks() {
        let here = known(chunk);
        gaps += usize::from(before && !here);
        before = here;
    }
    gaps
}

/// What is to be taken: whatever of the missing ranges is known, in batches.
fn runs(index: &ChunkIndex, places: &Places<'_>, missing: &[Range<u64>]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut missing = missing.iter().peekable();
    for (number, (to, chunk)) in index.placed().enumerate() {
        let size = u64::from(chunk.size);
        while missing.next_if(|range| range.end <= to).is_some() {}
        let wanted = missing.peek().is_some_and(|range| range.start < to + size);
        let Some(from) = places.get(chunk).filter(|_| wanted) else {
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
            _ => runs.push(Run {
                to,
                from,
                length: size,
                chunks: number..number + 1,
            }),
        }
    }
    runs
}

/// Reads a run and keeps what is as it should be, each part with its place in the new layer.
async fn take<S: Source + ?Sized>(
    store: &S,
    layer: &Descriptor,
    index: &ChunkIndex,
    run: Run,
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
