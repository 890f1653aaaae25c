//! Writes layers: cut into chunks, compressed, and each with an index of its chunks (`spec/210-chunks.md`).
//!
//! Bytes stream into a temporary file on the scratch file system, hashed as they pass; the memory for it is a few
//! buffers.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use samebundle_registry::chunk::{Codec, Cutter};
use samebundle_registry::store::{Sink, SinkExt};
use samebundle_registry::{PathError, StoreError};
use samebundle_spec::{Algorithm, ChunkIndex, Descriptor, Digest, Digester, MediaType, chunks, limits};

/// A layer in a temporary file.
#[derive(Debug)]
pub(crate) struct Written {
    file: File,
    /// The descriptor of the file.
    pub(crate) descriptor: Descriptor,
    /// The digest of the uncompressed stream (OCI: diff id).
    pub(crate) diff_id: Digest,
    /// Length of the uncompressed stream, bytes.
    pub(crate) plain_size: u64,
    index: Option<ChunkIndex>,
}

/// A layer in the store.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) layer: Descriptor,
    /// Its chunk index; none if the layer is too small or too large to have one.
    pub(crate) index: Option<Descriptor>,
}

/// Writes the output of `content` as a layer to a temporary file in `scratch`, on a thread for blocking work.
pub(crate) async fn write_in(
    scratch: &Path,
    media_type: MediaType,
    codec: Codec,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Result<Written, PathError> {
    let folder = scratch.to_owned();
    let written = tokio::task::spawn_blocking(move || write(&folder, media_type, codec, content)).await;
    let written = written.map_err(io::Error::other).flatten();
    written.map_err(PathError::of("write a layer in", scratch))
}

fn write(
    scratch: &Path,
    media_type: MediaType,
    codec: Codec,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Written> {
    let stored = Hashing::new(BufWriter::new(tempfile::tempfile_in(scratch)?));
    let mut plain = Hashing::new(Cutter::new(stored, codec)?);
    content(&mut plain)?;
    let cut = plain.inner.finish()?;
    let stored = cut.inner;
    let descriptor = Descriptor::new(media_type, stored.digester.finish(), stored.size);
    let mut file = stored
        .inner
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(Written {
        file,
        descriptor,
        diff_id: plain.digester.finish(),
        plain_size: plain.size,
        index: cut.index,
    })
}

impl Written {
    /// Moves the layer and its index into a store.
    pub(crate) async fn push<S: Sink + ?Sized>(self, store: &S) -> Result<Layer, StoreError> {
        let file = tokio::fs::File::from_std(self.file);
        store.push(&self.descriptor, Box::pin(file)).await?;
        let wanted = self.index.filter(|_| self.descriptor.size >= limits::RANGES_FROM);
        let index = match wanted {
            Some(index) => {
                let index = store
                    .push_bytes(MediaType::CHUNKS, index.to_bytes().into())
                    .await?;
                Some(index.with_annotation(chunks::LAYER, self.descriptor.digest.to_string()))
            }
            None => None,
        };
        Ok(Layer {
            layer: self.descriptor,
            index,
        })
    }
}

/// Hashes and counts the bytes that are written through it.
struct Hashing<W> {
    inner: W,
    digester: Digester,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            digester: Digester::new(Algorithm::Sha256),
            size: 0,
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.digester.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
