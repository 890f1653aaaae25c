//! Streams a part of an open file.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use samebundle_spec::limits;
use tokio_util::io::StreamReader;

use super::{ByteStream, Pieces};

/// How many pieces are read ahead of whoever takes them.
const AHEAD: usize = 2;

/// What is read by position.
pub(crate) trait ReadAt: Send + Sync + 'static {
    /// How large a buffer must be that `want` bytes are read into.
    fn room(&self, want: usize) -> usize {
        want
    }

    /// Reads `want` bytes from `at` on into an empty buffer with room for them; fewer only if there are no more.
    ///
    /// # Errors
    /// The system's.
    fn read_piece(&self, at: u64, buffer: Vec<u8>, want: usize) -> io::Result<Bytes>;
}

impl ReadAt for File {
    fn read_piece(&self, at: u64, mut buffer: Vec<u8>, want: usize) -> io::Result<Bytes> {
        fill(self, at, &mut buffer, want)?;
        Ok(Bytes::from(buffer))
    }
}

/// Reads a file from `offset` on until the buffer, which has the room, is `until` bytes long; shorter only at the end.
pub(crate) fn fill(file: &File, offset: u64, buffer: &mut Vec<u8>, until: usize) -> io::Result<()> {
    let before = buffer.len();
    while buffer.len() < until {
        let at = offset + (buffer.len() - before) as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(buffer), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more than was asked for.
    buffer.truncate(until);
    Ok(())
}

/// Streams `length` bytes of `file` from `offset` on. Reads by position, so that many streams share one open file.
///
/// A file that ends early ends the stream; whoever needs the whole length wraps it in [`verified`](super::verified).
pub(crate) fn section(file: Arc<impl ReadAt>, offset: u64, length: u64) -> ByteStream {
    Box::pin(StreamReader::new(pieces(
        file,
        offset,
        length,
        limits::STREAM_BUFFER,
    )))
}

/// The same in pieces of `size` bytes, as they were read.
pub(crate) fn pieces(file: Arc<impl ReadAt>, offset: u64, length: u64, size: usize) -> Pieces {
    let end = offset.saturating_add(length);
    stream::iter((offset..end).step_by(size))
        .map(move |at| {
            let file = Arc::clone(&file);
            let want = usize::try_from(end - at).map_or(size, |left| left.min(size));
            // Here and not by the thread that reads: each thread would keep memory of its own for the next time.
            let buffer = Vec::with_capacity(file.room(want));
            let reading = tokio::task::spawn_blocking(move || file.read_piece(at, buffer, want));
            async move { reading.await.map_err(io::Error::other)? }
        })
        .buffered(AHEAD)
        .take_while(|piece| {
            let there = !matches!(piece, Ok(piece) if piece.is_empty());
            async move { there }
        })
        .boxed()
}
