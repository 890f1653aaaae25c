//! Gzip (RFC 1952), strictly: one member or several, nothing else behind them, and not too small for what comes out.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use samebundle_spec::limits;

use super::stored;

/// Tells whether a file that starts so is gzip.
pub fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b])
}

/// An archive's bytes without compression, whether the file is compressed or not.
#[derive(Debug)]
pub enum Input<R: Read> {
    /// A plain archive.
    Plain(BufReader<R>),
    /// A gzip stream.
    Gzip(Box<Inflate<R>>),
    /// A gzip stream of the one form that we write.
    Stored(Box<stored::Reader<R>>),
}

impl<R: Read> Input<R> {
    /// The same as [`Input::new`], but gzip of stored blocks must have exactly the form that [`stored`] writes.
    ///
    /// # Errors
    /// The reader's own.
    pub fn ours(reader: R) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(limits::STREAM_BUFFER, reader);
        let start = reader.fill_buf()?;
        if is_gzip(start) && stored::is_ours(start) {
            return Ok(Self::Stored(Box::new(stored::Reader::new(reader))));
        }
        Self::of(reader)
    }

    /// Looks at the first bytes to tell which it is.
    ///
    /// # Errors
    /// The reader's own.
    pub fn new(reader: R) -> io::Result<Self> {
        Self::of(BufReader::with_capacity(limits::STREAM_BUFFER, reader))
    }

    fn of(mut reader: BufReader<R>) -> io::Result<Self> {
        if is_gzip(reader.fill_buf()?) {
            Ok(Self::Gzip(Box::new(Inflate {
                decoder: MultiGzDecoder::new(Counted {
                    inner: reader,
                    bytes: 0,
                }),
                produced: 0,
            })))
        } else {
            Ok(Self::Plain(reader))
        }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(inflate) => inflate.read(buffer),
            Self::Stored(stored) => stored.read(buffer),
        }
    }
}

/// Decompresses gzip. Errors that the data causes are `InvalidData`, `InvalidInput` or `UnexpectedEof`.
#[derive(Debug)]
pub struct Inflate<R: Read> {
    decoder: MultiGzDecoder<Counted<R>>,
    produced: u64,
}

fn fault(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.decoder.read(buffer)?;
        self.produced += got as u64;
        let consumed = self.decoder.get_ref().bytes;
        let allowed = consumed
            .saturating_mul(limits::ARCHIVE_RATIO)
            .max(limits::ARCHIVE_RATIO_FROM);
        if self.produced > allowed {
            return Err(fault(format!(
                "it becomes more than {} times larger; if it is meant to, decompress it first",
                limits::ARCHIVE_RATIO
            )));
        }
        Ok(got)
    }
}

/// Counts the bytes that were taken from a buffered reader.
#[derive(Debug)]
struct Counted<R> {
    inner: BufReader<R>,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.bytes += got as u64;
        Ok(got)
    }
}

impl<R: Read> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.bytes += amount as u64;
        self.inner.consume(amount);
    }
}
