//! Some chunks of a layer as one file.
//!
//! ```text
//! count: u32                      how many runs of chunks there are
//! first: u32  length: u32         once for each run: the number of its first chunk, and how many
//! the stored bytes of all runs
//! ```
//!
//! Numbers are little-endian; runs are in order and do not touch. The chunk index of the layer has the digests of the bytes.

use std::io;
use std::ops::Range;

use samebundle_spec::{Chunk, ChunkIndex, Digest, limits};

use crate::archive::body::Body;

/// A run of chunks in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::archive) struct Extent {
    /// The bytes of the layer that it has.
    pub(in crate::archive) layer: Range<u64>,
    /// Their position in the archive.
    pub(in crate::archive) at: u64,
}

/// The chunks for which `wanted` is true, as runs of their numbers.
pub(super) fn runs(index: &ChunkIndex, wanted: impl Fn(&Chunk) -> bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (number, chunk) in index.chunks().iter().enumerate() {
        if !wanted(chunk) {
            continue;
        }
        match runs.last_mut().filter(|run| run.end == number) {
            Some(run) => run.end += 1,
            None => runs.push(number..number + 1),
        }
    }
    runs
}

/// The header before the bytes.
pub(in crate::archive) fn header(runs: &[Range<usize>]) -> Vec<u8> {
    // Numbers of chunks are far below 2^32.
    let number = |number: usize| u32::try_from(number).unwrap_or_default().to_le_bytes();
    let mut header = number(runs.len()).to_vec();
    for run in runs {
        header.extend(number(run.start));
        header.extend(number(run.len()));
    }
    header
}

/// The bytes of the layer that each of some runs of chunks has.
pub(in crate::archive) fn places(index: &ChunkIndex, runs: &[Range<usize>]) -> Vec<Range<u64>> {
    let starts: Vec<u64> = index.placed().map(|(at, _)| at).collect();
    let start = |number: usize| starts.get(number).copied().unwrap_or(index.layer_size());
    runs.iter().map(|run| start(run.start)..start(run.end)).collect()
}

/// Reads a file of chunks that lies at `place` of an archive, and checks all of it against the index.
///
/// # Errors
/// `InvalidData` if it is not valid; otherwise why it cannot be read.
pub(in crate::archive) fn read(
    body: &Body,
    place: Range<u64>,
    index: &ChunkIndex,
) -> io::Result<Vec<Extent>> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let short = || wrong("it is shorter than it says");
    if place.end - place.start < 4 {
        return Err(short());
    }
    let count = body.exact(place.start, 4)?;
    let count = u32::from_le_bytes([count[0], count[1], count[2], count[3]]) as usize;
    if count > limits::CHUNK_RANGES {
        return Err(wrong("it has too many runs of chunks"));
    }
    let length = count * 8;
    let mut at = place.start + 4 + length as u64;
    if at > place.end {
        return Err(short());
    }
    let header = body.exact(place.start + 4, length)?;
    let (mut runs, mut next, mut layer_at) = (Vec::with_capacity(count), 0, 0);
    for (number, run) in header.as_chunks::<8>().0.iter().enumerate() {
        let field = |at: usize| u32::from_le_bytes([run[at], run[at + 1], run[at + 2], run[at + 3]]) as usize;
        let (first, length) = (field(0), field(4));
        let gap = usize::from(number > 0);
        let chunks = index.chunks().get(first..first.saturating_add(length));
        let chunks = chunks.filter(|chunks| !chunks.is_empty() && first >= next + gap);
        let chunks =
            chunks.ok_or_else(|| wrong("its runs of chunks are not in order, or not of the layer"))?;
        let skipped = &index.chunks()[next..first];
        layer_at += skipped.iter().map(|chunk| u64::from(chunk.size)).sum::<u64>();
        let (start, begin) = (layer_at, at);
        for chunk in chunks {
            if at + u64::from(chunk.size) > place.end {
                return Err(short());
            }
            if Digest::sha256(&body.exact(at, chunk.size as usize)?).as_bytes() != chunk.digest {
                return Err(wrong(
                    "a chunk is altered or damaged: it is not what the index says",
                ));
            }
            at += u64::from(chunk.size);
            layer_at += u64::from(chunk.size);
        }
        runs.push(Extent {
            layer: start..layer_at,
            at: begin,
        });
        next = first + length;
    }
    if at != place.end {
        return Err(wrong("it is longer than it says"));
    }
    Ok(runs)
}
