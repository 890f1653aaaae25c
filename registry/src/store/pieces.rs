//! Blobs as pieces, and blobs that are assembled from pieces by position.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use samebundle_spec::{Descriptor, Digest, Digester, limits};
use tokio_util::io::ReaderStream;

use super::{ByteStream, Source, StoreError};

/// Bytes in the pieces in which they arrived.
pub type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// How much may be requested from a store at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many ranges of one blob may be requested at once; 1 means that more bring no gain.
    pub streams: usize,
    /// How often it has answered 429 so far.
    pub throttled: u64,
    /// Whether a range costs only its own bytes. If not, all bytes before it are sent as well.
    pub ranges: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            streams: 1,
            throttled: 0,
            ranges: true,
        }
    }
}

/// A layer with its chunk index (`spec/210-chunks.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunked {
    /// The layer.
    pub layer: Descriptor,
    /// Its index.
    pub index: Descriptor,
}

/// The result of [`Sink::begin`](super::Sink::begin).
#[derive(Clone, Debug)]
pub enum Begun {
    /// This store takes whole streams only.
    Whole,
    /// The blob exists already.
    There,
    /// The missing ranges are to be written.
    Parts(Arc<dyn Parts>),
}

/// A blob that is written by position, from any number of sources at once. If it is dropped before its end it is kept for a
/// later attempt, as far as the store can.
#[async_trait]
pub trait Parts: Debug + Send + Sync {
    /// The ranges that are missing, in order.
    fn missing(&self) -> Vec<Range<u64>>;

    /// Writes pieces one after the other from position `at` on.
    ///
    /// # Errors
    /// If they reach beyond the blob's size, or cannot be written.
    async fn write(&self, at: u64, pieces: Vec<Bytes>) -> Result<(), StoreError>;

    /// Checks size and digest and makes the blob visible.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if it is not what its descriptor says; then nothing is kept.
    async fn finish(&self) -> Result<(), StoreError>;
}

/// Reads a blob of a source to its end and returns its digest.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn digest_of(source: &dyn Source, descriptor: &Descriptor) -> Result<Digest, StoreError> {
    let mut digester = Digester::new(descriptor.digest.algorithm());
    let mut pieces = source.pieces_unverified(descriptor, 0..u64::MAX).await?;
    while let Some(piece) = pieces.next().await {
        digester.update(&piece.map_err(|error| StoreError::read(descriptor.digest, error))?);
    }
    Ok(digester.finish())
}

/// Writes pieces one after the other from position `at` on.
///
/// # Errors
/// The system's own.
pub(crate) fn write_pieces_at(file: &File, pieces: &[Bytes], mut at: u64) -> io::Result<()> {
    write_pieces(pieces, |slices| {
        let written = rustix::io::pwritev(file, slices, at)?;
        at += written as u64;
        Ok(written)
    })
}

/// A stream as pieces.
pub(crate) fn pieces_of(stream: ByteStream) -> Pieces {
    ReaderStream::with_capacity(stream, limits::STREAM_BUFFER).boxed()
}

/// Writes pieces one after the other, with as few calls as possible.
///
/// # Errors
/// That of `write`; [`io::ErrorKind::WriteZero`] if it takes nothing any more.
pub(crate) fn write_pieces(
    pieces: &[Bytes],
    mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<()> {
    // As many as one call takes (IOV_MAX).
    for pieces in pieces.chunks(1024) {
        let filled = pieces.iter().filter(|piece| !piece.is_empty());
        let mut slices: Vec<IoSlice<'_>> = filled.map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Takes pieces of [`limits::BATCH_BYTES`] in all, with whether there may be more. If the source fails, what came before is
/// returned with the error.
async fn batch(pieces: &mut Pieces) -> (Vec<Bytes>, io::Result<bool>) {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    loop {
        match pieces.next().await {
            Some(Ok(piece)) => {
                bytes += piece.len();
                taken.push(piece);
                if bytes >= limits::BATCH_BYTES {
                    return (taken, Ok(true));
                }
            }
            Some(Err(error)) => return (taken, Err(error)),
            None => return (taken, Ok(false)),
        }
    }
}

/// Why [`pump`] stopped early.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The source failed.
    Read(io::Error),
    /// The blob cannot be written.
    Write(StoreError),
}

/// Takes the pieces of `range` of a blob in batches, and writes each at its position while the next one arrives. `moved`
/// is called for every batch that was written.
///
/// # Errors
/// The side that failed. What was written before stays written.
pub(crate) async fn pump<F: Future<Output = Result<(), StoreError>>>(
    range: Range<u64>,
    mut pieces: Pieces,
    write: impl Fn(u64, Vec<Bytes>) -> F,
    moved: impl Fn(u64),
) -> Result<(), Stopped> {
    let mut at = range.start;
    let (mut taken, mut more) = batch(&mut pieces).await;
    loop {
        let bytes: u64 = taken.iter().map(|piece| piece.len() as u64).sum();
        if at + bytes > range.end {
            let why = format!(
                "more bytes came than the {} that were asked for",
                range.end - range.start
            );
            return Err(Stopped::Read(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let goes_on = matches!(more, Ok(true));
        let writing = async {
            if bytes > 0 {
                write(at, taken).await.map_err(Stopped::Write)?;
                moved(bytes);
            }
            Ok(())
        };
        if goes_on {
            let (written, next) = futures::join!(writing, batch(&mut pieces));
            written?;
            (taken, more) = next;
            at += bytes;
            continue;
        }
        writing.await?;
        more.map_err(Stopped::Read)?;
        if at + bytes < range.end {
            let why = format!(
                "content ends {} bytes short of the {} that were asked for",
                range.end - at - bytes,
                range.end - range.start
            );
            return Err(Stopped::Read(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        return Ok(());
    }
}
