//! The chunk index of a layer: where each chunk of the stored bytes ends, and the digest of each (`spec/210-chunks.md`).
//!
//! ```text
//! "sbchunks"  version: u32 = 1  count: u32        16 bytes
//! digest: 32 bytes (SHA-256)    size: u32         once a chunk, in the order of the layer
//! ```
//!
//! Numbers are little-endian. The chunks follow each other without gaps from the first byte of the layer to its last. An
//! index is only a hint where equal bytes can be found: whoever puts a layer together from it checks
//! each chunk, and the digest of the whole layer decides.

use crate::{Descriptor, Digest, MediaType, limits};

/// The annotation of a chunk index in a manifest: the digest of its layer.
pub const LAYER: &str = "dev.samebundle.chunks.layer";

const MAGIC: &[u8; 8] = b"sbchunks";
const VERSION: u32 = 1;
/// Length of what comes before the first chunk, bytes.
const HEADER: usize = 16;
/// Length of one chunk's entry, bytes.
const ENTRY: usize = 36;

/// Why bytes are not a chunk index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkIndexError {
    /// The bytes do not begin as a chunk index.
    #[error("it is no chunk index of version {VERSION}")]
    Form,
    /// The index is longer or shorter than its number of chunks says, or longer than any index may be.
    #[error("it has {length} bytes, which is not the length of an index of {count} chunks")]
    Length {
        /// Its length, bytes.
        length: usize,
        /// The number of chunks that its header has.
        count: u32,
    },
    /// A chunk is empty, or longer than any chunk may be.
    #[error("chunk {number} has {size} bytes; it must have 1 to {}", limits::CHUNK_BYTES)]
    Chunk {
        /// The number of the chunk, from 0.
        number: usize,
        /// Its length, bytes.
        size: u32,
    },
}

/// A piece of a layer as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// SHA-256 of the stored bytes.
    pub digest: [u8; 32],
    /// Their length.
    pub size: u32,
}

/// The chunks of a layer, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkIndex {
    chunks: Vec<Chunk>,
}

impl ChunkIndex {
    /// Most chunks that an index may have.
    pub const MOST: usize = (limits::CHUNK_INDEX_BYTES as usize - HEADER) / ENTRY;

    /// Makes the index of these chunks; `None` if there are more than [`Self::MOST`].
    pub fn new(chunks: Vec<Chunk>) -> Option<Self> {
        (chunks.len() <= Self::MOST).then_some(Self { chunks })
    }

    /// Reads an index.
    ///
    /// # Errors
    /// If the bytes are not exactly one chunk index.
    pub fn parse(bytes: &[u8]) -> Result<Self, ChunkIndexError> {
        let (header, entries) = bytes.split_at_checked(HEADER).ok_or(ChunkIndexError::Form)?;
        let number = |at: usize| {
            let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        if !header.starts_with(MAGIC) || number(8) != VERSION {
            return Err(ChunkIndexError::Form);
        }
        let count = number(12);
        if entries.len() as u64 != u64::from(count) * ENTRY as u64
            || bytes.len() as u64 > limits::CHUNK_INDEX_BYTES
        {
            return Err(ChunkIndexError::Length {
                length: bytes.len(),
                count,
            });
        }
        let (entries, _) = entries.as_chunks::<ENTRY>();
        let mut chunks = Vec::with_capacity(entries.len());
        for (number, entry) in entries.iter().enumerate() {
            let mut digest = [0; 32];
            digest.copy_from_slice(&entry[..32]);
            let size = u32::from_le_bytes([entry[32], entry[33], entry[34], entry[35]]);
            if size == 0 || size > limits::CHUNK_BYTES {
                return Err(ChunkIndexError::Chunk { number, size });
            }
            chunks.push(Chunk { digest, size });
        }
        Ok(Self { chunks })
    }

    /// Writes the index.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + ENTRY * self.chunks.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        // No more than MOST, which fits.
        bytes.extend_from_slice(&u32::try_from(self.chunks.len()).unwrap_or_default().to_le_bytes());
        for chunk in &self.chunks {
            bytes.extend_from_slice(&chunk.digest);
            bytes.extend_from_slice(&chunk.size.to_le_bytes());
        }
        bytes
    }

    /// The chunks in the order of the layer.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Length of the layer, bytes.
    pub fn layer_size(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.size)).sum()
    }

    /// The chunks with the offset of each in the layer.
    pub fn placed(&self) -> impl Iterator<Item = (u64, &Chunk)> {
        self.chunks.iter().scan(0, |next, chunk| {
            let at = *next;
            *next += u64::from(chunk.size);
            Some((at, chunk))
        })
    }
}

/// The digest of the layer whose chunk index a descriptor points at; `None` if it does not point at one.
pub fn indexed_layer(descriptor: &Descriptor) -> Option<Digest> {
    let layer = descriptor.annotations.get(LAYER);
    let layer = layer.filter(|_| descriptor.media_type == MediaType::CHUNKS)?;
    layer.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> ChunkIndex {
        let chunk = |digest, size| Chunk {
            digest: [digest; 32],
            size,
        };
        ChunkIndex::new(vec![chunk(1, 10), chunk(2, limits::CHUNK_BYTES), chunk(1, 1)]).unwrap()
    }

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let (index, empty) = (index(), ChunkIndex::default());
        for index in [&index, &empty] {
            assert_eq!(ChunkIndex::parse(&index.to_bytes()).as_ref(), Ok(index));
        }
        assert_eq!(index.layer_size(), u64::from(limits::CHUNK_BYTES) + 11);
        let places: Vec<u64> = index.placed().map(|(at, _)| at).collect();
        assert_eq!(places, [0, 10, u64::from(limits::CHUNK_BYTES) + 10]);
    }

    #[test]
    fn anything_else_is_refused() {
        let good = index().to_bytes();
        for end in 0..good.len() {
            assert!(ChunkIndex::parse(&good[..end]).is_err(), "{end}");
        }
        let altered = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            ChunkIndex::parse(&bad).unwrap_err()
        };
        assert_eq!(altered(0, b"S"), ChunkIndexError::Form);
        assert_eq!(altered(8, &[2]), ChunkIndexError::Form);
        assert!(matches!(altered(12, &[2]), ChunkIndexError::Length { .. }));
        assert!(matches!(altered(12, &[0xff; 4]), ChunkIndexError::Length { .. }));
        let empty = ChunkIndexError::Chunk { number: 0, size: 0 };
        assert_eq!(altered(HEADER + 32, &[0; 4]), empty);
        let long = limits::CHUNK_BYTES + 1;
        let refused = altered(HEADER + ENTRY + 32, &long.to_le_bytes());
        assert_eq!(
            refused,
            ChunkIndexError::Chunk {
                number: 1,
                size: long
            }
        );
        let mut longer = good.clone();
        longer.push(0);
        assert!(ChunkIndex::parse(&longer).is_err());
    }
}
