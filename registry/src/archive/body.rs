//! The bytes of an archive by position, in the file or files that hold them.
//!
//! [`Parts`] is the stored bytes: one file, or the pieces of an archive in volumes. [`Body`] is the same without our
//! form of gzip ([`stored`]), whose blocks all have the same size, so that the position of each byte can be computed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use crate::archive::tar_entries::stored;
use crate::store::section::{ReadAt, fill};

/// A piece of a file.
#[derive(Debug)]
struct Part {
    file: File,
    /// Where it begins in its file, bytes.
    from: u64,
    /// The bytes of the whole that it has.
    range: Range<u64>,
}

/// Pieces of files, one after another.
#[derive(Debug)]
pub(super) struct Parts(Vec<Part>);

impl Parts {
    /// A file, as long as it is when it is read.
    pub(super) fn of(file: File) -> Self {
        Self(vec![Part {
            file,
            from: 0,
            range: 0..u64::MAX,
        }])
    }

    /// Files, each with where its piece begins and how long it is.
    pub(super) fn of_pieces(pieces: impl IntoIterator<Item = (File, u64, u64)>) -> Self {
        let mut start = 0;
        let parts = pieces.into_iter().map(|(file, from, length)| {
            let range = start..start + length;
            start = range.end;
            Part { file, from, range }
        });
        Self(parts.collect())
    }

    /// The file that has the byte `at`, its position in that file, and how many bytes follow from it on.
    fn find(&self, at: u64) -> Option<(&File, u64, u64)> {
        let part = self.0.get(self.0.partition_point(|part| part.range.end <= at))?;
        let skipped = at - part.range.start;
        Some((&part.file, part.from + skipped, part.range.end - at))
    }
}

/// Reads parts from the first byte on.
#[derive(Debug)]
pub(super) struct Reader {
    parts: Arc<Parts>,
    at: u64,
}

impl Reader {
    pub(super) fn new(parts: &Arc<Parts>) -> Self {
        Self {
            parts: Arc::clone(parts),
            at: 0,
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((file, at, left)) = self.parts.find(self.at) else {
            return Ok(0);
        };
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let got = file.read_at(&mut buffer[..most], at)?;
        self.at += got as u64;
        Ok(got)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(_) => None,
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// An archive without compression.
#[derive(Debug)]
pub(super) struct Body {
    parts: Arc<Parts>,
    /// It is stored in our form of gzip.
    stored: bool,
}

impl Body {
    pub(super) fn plain(parts: Arc<Parts>) -> Self {
        Self { parts, stored: false }
    }

    pub(super) fn stored(parts: Arc<Parts>) -> Self {
        Self { parts, stored: true }
    }

    /// Reads exactly as many bytes as `buffer` has.
    ///
    /// # Errors
    /// `UnexpectedEof` if they are not there.
    pub(super) fn exact(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let bytes = self.read_piece(at, Vec::with_capacity(self.room(length)), length)?;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

impl ReadAt for Body {
    fn room(&self, want: usize) -> usize {
        if self.stored { stored::room(want) } else { want }
    }

    fn read_piece(&self, at: u64, mut buffer: Vec<u8>, want: usize) -> io::Result<Bytes> {
        let Some(last) = want.checked_sub(1) else {
            return Ok(Bytes::new());
        };
        let place = |at: u64| if self.stored { stored::place(at) } else { at };
        let (start, end) = (place(at), place(at + last as u64) + 1);
        let whole = usize::try_from(end - start).unwrap_or(usize::MAX);
        while buffer.len() < whole {
            let Some((file, from, left)) = self.parts.find(start + buffer.len() as u64) else {
                break;
            };
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let until = buffer.len().saturating_add(left).min(whole);
            fill(file, from, &mut buffer, until)?;
            if buffer.len() < until {
                break;
            }
        }
        if self.stored {
            stored::strip(start, &mut buffer);
        }
        Ok(Bytes::from(buffer))
    }
}
