//! Streams that check digest and size as bytes pass through.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use samebundle_spec::{Descriptor, Digester};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::{ByteStream, StoreError};

/// Wraps a stream so that it fails with `InvalidData` unless it has exactly the descriptor's size and digest.
///
/// Never yields more than `size` bytes; the error comes in place of the end of the stream, so whoever writes the bytes
/// away must not commit them before the end is seen.
pub fn verified(stream: ByteStream, descriptor: &Descriptor) -> ByteStream {
    Box::pin(VerifyingReader {
        inner: stream,
        digester: Some(Digester::new(descriptor.digest.algorithm())),
        left: descriptor.size,
        expected: descriptor.bare(),
    })
}

struct VerifyingReader {
    inner: ByteStream,
    digester: Option<Digester>,
    left: u64,
    expected: Descriptor,
}

fn fault(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl AsyncRead for VerifyingReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match self.inner.as_mut().poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        let read = &buf.filled()[before..];
        if read.is_empty() {
            return Poll::Ready(self.end());
        }
        let length = read.len() as u64;
        if length > self.left {
            buf.set_filled(before);
            return Poll::Ready(Err(fault(format!(
                "content is longer than the {} bytes of its descriptor",
                self.expected.size
            ))));
        }
        if let Some(digester) = &mut self.digester {
            digester.update(read);
        }
        self.left -= length;
        Poll::Ready(Ok(()))
    }
}

impl VerifyingReader {
    fn end(&mut self) -> io::Result<()> {
        let Some(digester) = self.digester.take() else {
            return Ok(());
        };
        if self.left > 0 {
            return Err(fault(format!(
                "content ends {} bytes short of the {} of its descriptor",
                self.left, self.expected.size
            )));
        }
        let found = digester.finish();
        if found == self.expected.digest {
            Ok(())
        } else {
            Err(fault(format!(
                "content has digest {found}, not {}",
                self.expected.digest
            )))
        }
    }
}

/// Reads a blob whole, at most `limit` bytes, and checks digest and size.
///
/// # Errors
/// [`StoreError::TooLarge`], [`StoreError::Mismatch`], or the stream's own error.
pub async fn read_all(stream: ByteStream, descriptor: &Descriptor, limit: u64) -> Result<Bytes, StoreError> {
    if descriptor.size > limit {
        return Err(StoreError::TooLarge {
            digest: descriptor.digest,
            size: descriptor.size,
            limit,
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(descriptor.size).unwrap_or(0));
    verified(stream, descriptor)
        .read_to_end(&mut bytes)
        .await
        .map_err(|source| StoreError::read(descriptor.digest, source))?;
    Ok(Bytes::from(bytes))
}
