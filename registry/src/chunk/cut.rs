//! Cuts a stream into content-defined chunks and compresses each by itself.

use std::fmt;
use std::io::{self, Write};

use fastcdc::v2020::FastCDC;
use flate2::{Compression, GzBuilder};
use samebundle_spec::{Chunk, ChunkIndex, Digest};

/// Least, usual and greatest length of a chunk before compression, bytes. A change costs the chunks that it touches:
/// with larger chunks more is transferred, with smaller ones the index grows and compression gets worse.
const SIZES: (usize, usize, usize) = (16 << 10, 64 << 10, 256 << 10);
/// How much is buffered before it is cut, bytes: the bytes behind the last cut are moved to the front each time.
const GATHERED: usize = 4 * SIZES.2;
/// Level of gzip, the default of every tool.
const GZIP_LEVEL: u32 = 6;
/// Level of zstd, its default.
const ZSTD_LEVEL: i32 = 3;

/// What a layer is compressed with. Both give a stream that any reader of its kind reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Each chunk is a gzip member (RFC 1952). This is for layers of images: old engines read nothing better.
    Gzip,
    /// Each chunk is a zstd frame (RFC 8878).
    Zstd,
}

/// Cuts and compresses the bytes that are written to it, and writes them to `W`.
///
/// The output depends only on the input bytes, not on how they were divided into writes.
pub struct Cutter<W> {
    inner: W,
    codec: Codec,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    gathered: Vec<u8>,
    compressed: Vec<u8>,
    /// `None` once there are more than an index may have.
    chunks: Option<Vec<Chunk>>,
    empty: bool,
}

impl<W: fmt::Debug> fmt::Debug for Cutter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cutter")
            .field("inner", &self.inner)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

/// The result of a [`Cutter`].
#[derive(Debug)]
pub struct Cut<W> {
    /// The writer.
    pub inner: W,
    /// The index of what was written; `None` if it has too many chunks for one.
    pub index: Option<ChunkIndex>,
}

impl<W: Write> Cutter<W> {
    /// Begins a layer.
    ///
    /// # Errors
    /// If there is no memory for the compressor.
    pub fn new(inner: W, codec: Codec) -> io::Result<Self> {
        let zstd = match codec {
            Codec::Gzip => None,
            Codec::Zstd => Some(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        Ok(Self {
            inner,
            codec,
            zstd,
            gathered: Vec::with_capacity(GATHERED),
            compressed: Vec::new(),
            chunks: Some(Vec::new()),
            empty: true,
        })
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<Cut<W>> {
        self.cut(1)?;
        if self.empty {
            // An empty output would be neither a gzip nor a zstd stream.
            self.emit(0..0)?;
        }
        Ok(Cut {
            inner: self.inner,
            index: self.chunks.and_then(ChunkIndex::new),
        })
    }

    /// Cuts as long as there are `least` bytes.
    fn cut(&mut self, least: usize) -> io::Result<()> {
        let (min, usual, most) = SIZES;
        let mut start = 0;
        while self.gathered.len() - start >= least {
            let window = (self.gathered.len() - start).min(most);
            let cutter = FastCDC::new(&self.gathered[start..start + window], min, usual, most);
            let (_, length) = cutter.cut(0, window);
            self.emit(start..start + length)?;
            start += length;
        }
        self.gathered.drain(..start);
        Ok(())
    }

    fn emit(&mut self, range: std::ops::Range<usize>) -> io::Result<()> {
        self.empty = false;
        let plain = &self.gathered[range];
        self.compressed.clear();
        match &mut self.zstd {
            None => {
                // No name and no time in the header.
                let to = &mut self.compressed;
                let mut member = GzBuilder::new().mtime(0).write(to, Compression::new(GZIP_LEVEL));
                member.write_all(plain)?;
                member.finish()?;
            }
            Some(compressor) => {
                self.compressed
                    .reserve(zstd::zstd_safe::compress_bound(plain.len()));
                compressor.compress_to_buffer(plain, &mut self.compressed)?;
            }
        }
        self.inner.write_all(&self.compressed)?;
        let mut digest = [0; 32];
        digest.copy_from_slice(Digest::sha256(&self.compressed).as_bytes());
        let size = u32::try_from(self.compressed.len()).map_err(io::Error::other)?;
        if self
            .chunks
            .as_ref()
            .is_some_and(|chunks| chunks.len() >= ChunkIndex::MOST)
        {
            self.chunks = None;
        }
        if let Some(chunks) = &mut self.chunks {
            chunks.push(Chunk { digest, size });
        }
        Ok(())
    }
}

impl<W: Write> Write for Cutter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = GATHERED - self.gathered.len();
        let taken = bytes.len().min(room);
        self.gathered.extend_from_slice(&bytes[..taken]);
        if self.gathered.len() == GATHERED {
            // Where a cut falls depends on no more than the longest chunk.
            self.cut(SIZES.2)?;
        }
        Ok(taken)
    }

    /// Flushes the writer; buffered bytes have to wait for their cut.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
