//! The bytes of a layer on their way from the store to the tar reader: decompressed, counted and hashed.

use std::cell::Cell;
use std::io::{self, BufReader, Read, Write};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use samebundle_spec::{Algorithm, Descriptor, Digest, Digester, limits};

use super::Layer;

/// How many more bytes the tar reader may take. It reads extension headers whole into memory, so between entries this is
/// small, and within an entry's own content it is not limited.
#[derive(Clone, Debug)]
pub(crate) struct Allowance(Rc<Cell<u64>>);

impl Allowance {
    /// What the headers before one entry may have: name, link name and PAX records, each padded.
    const HEADERS: u64 = 4 * (limits::TAR_EXTENSION_BYTES + 1_024);

    pub(crate) fn headers(&self) {
        self.0.set(Self::HEADERS);
    }

    pub(crate) fn content(&self) {
        self.0.set(u64::MAX);
    }
}

/// The uncompressed tar of a layer. It hashes the bytes that pass.
pub(crate) struct TarStream<'a> {
    inner: Box<dyn Read + 'a>,
    digester: Digester,
    total: u64,
    limit: u64,
    /// The size from which on a warning says that the layer is much larger than its blob; none after the warning, and
    /// for a layer that is not compressed.
    notice: Option<u64>,
    blob: Descriptor,
    allowance: Allowance,
}

/// The largest size to which a compressed layer usually unpacks, bytes.
fn usual(blob: &Descriptor) -> u64 {
    let times = blob.size.saturating_mul(limits::LAYER_RATIO);
    times.max(limits::LAYER_RATIO_FROM)
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<'a> TarStream<'a> {
    /// Starts to read a blob. The compression is told by the content's first bytes, as all engines do it: many images
    /// have media types that are wrong.
    pub(crate) fn new(blob: &Descriptor, diff_id: Option<Digest>, bytes: impl Read + 'a) -> io::Result<Self> {
        let mut bytes = BufReader::with_capacity(limits::STREAM_BUFFER, bytes);
        let start = io::BufRead::fill_buf(&mut bytes)?;
        let gzip = start.starts_with(&[0x1f, 0x8b]);
        let zstd =
            start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || start.starts_with(&[0x50, 0x2a, 0x4d, 0x18]);
        let mut limit = limits::LAYER_BYTES;
        let inner: Box<dyn Read + 'a> = if gzip {
            limit = limit.min(blob.size.saturating_mul(limits::DECOMPRESSION_RATIO));
            Box::new(MultiGzDecoder::new(bytes))
        } else if zstd {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(limits::ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        } else {
            Box::new(bytes)
        };
        let algorithm = diff_id.map_or(Algorithm::Sha256, |id| id.algorithm());
        Ok(Self {
            inner,
            digester: Digester::new(algorithm),
            total: 0,
            limit,
            notice: (gzip || zstd).then(|| usual(blob)),
            blob: blob.bare(),
            allowance: Allowance(Rc::new(Cell::new(u64::MAX))),
        })
    }

    pub(crate) fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }

    /// Reads what follows the tar's end mark, and returns the digest of the whole tar.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        self.allowance.content();
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.digester.finish())
    }
}

/// Writes the uncompressed tar of a layer and returns its digest.
///
/// # Errors
/// If the bytes are not what the digests say, unpack to too much, or cannot be read or written.
pub fn write_plain(layer: &Layer, bytes: impl Read, to: &mut impl Write) -> io::Result<Digest> {
    let mut stream = TarStream::new(&layer.blob, layer.diff_id, bytes)?;
    io::copy(&mut stream, to)?;
    let diff_id = stream.finish()?;
    match layer.diff_id {
        Some(wanted) if wanted != diff_id => Err(refused(format!(
            "its content has the diff id {diff_id}, the image's config says {wanted}"
        ))),
        _ => Ok(diff_id),
    }
}

impl Read for TarStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.0.get();
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if wanted == 0 && !buffer.is_empty() {
            return Err(refused("the headers of an entry are too large".to_owned()));
        }
        let count = self.inner.read(&mut buffer[..wanted])?;
        self.digester.update(&buffer[..count]);
        self.total += count as u64;
        if self.total > self.limit {
            return Err(refused(format!("it unpacks to more than {} bytes", self.limit)));
        }
        if let Some(bytes) = self.notice.filter(|bytes| self.total > *bytes) {
            self.notice = None;
            tracing::warn!(
                layer = %self.blob.digest, size = self.blob.size,
                "the layer unpacks to more than {bytes} bytes, far more than the {} that it has; it is unpacked all the same",
                self.blob.size
            );
        }
        if left != u64::MAX {
            self.allowance.0.set(left - count as u64);
        }
        Ok(count)
    }
}
