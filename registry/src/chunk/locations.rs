//! The locations of a layer's chunks in older layers.

use samebundle_spec::{Chunk, ChunkIndex};

/// A position in an older layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkLocation {
    /// Which of the older layers.
    pub(crate) layer: u32,
    /// The first byte.
    pub(crate) at: u64,
}

/// The locations of the chunks of one layer, as far as they are known.
#[derive(Debug)]
pub(crate) struct ChunkLocations<'a> {
    index: &'a ChunkIndex,
    /// Numbers of chunks, sorted by digest, each digest once.
    order: Vec<u32>,
    /// The location of each of them.
    found: Vec<Option<ChunkLocation>>,
    left: usize,
}

impl<'a> ChunkLocations<'a> {
    /// Begins with no location known.
    pub(crate) fn of(index: &'a ChunkIndex) -> Self {
        let chunks = index.chunks();
        // An index has far fewer chunks than 2^32.
        let mut order: Vec<u32> = (0..chunks.len())
            .filter_map(|number| number.try_into().ok())
            .collect();
        let by = |number: &u32| &chunks[*number as usize].digest;
        order.sort_unstable_by(|a, b| by(a).cmp(by(b)));
        order.dedup_by(|a, b| by(a) == by(b));
        Self {
            index,
            found: vec![None; order.len()],
            left: order.len(),
            order,
        }
    }

    fn rank(&self, chunk: &Chunk) -> Option<usize> {
        let chunks = self.index.chunks();
        let digest = |number: &u32| &chunks[*number as usize].digest;
        self.order
            .binary_search_by(|number| digest(number).cmp(&chunk.digest))
            .ok()
    }

    /// Looks for chunks in an older layer. Locations that are already known stay.
    pub(crate) fn learn(&mut self, layer: u32, older: &ChunkIndex) {
        for (at, chunk) in older.placed() {
            if let Some(rank) = self.rank(chunk)
                && self.found[rank].is_none()
            {
                self.found[rank] = Some(ChunkLocation { layer, at });
                self.left -= 1;
            }
        }
    }

    /// Tells whether every chunk has a location.
    pub(crate) fn complete(&self) -> bool {
        self.left == 0
    }

    /// The location of a chunk of the layer.
    pub(crate) fn get(&self, chunk: &Chunk) -> Option<ChunkLocation> {
        self.rank(chunk).and_then(|rank| self.found[rank])
    }
}
