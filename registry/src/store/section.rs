//! Streams a part of an open file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use samebundle_spec::limits;
use tokio_util::io::StreamReader;

use super::ByteStream;

/// Streams `length` bytes of `file` from `offset` on. Reads by position, so that many streams share one open file.
///
/// A file that ends early ends the stream; whoever needs the whole length wraps it in [`verified`](super::verified).
pub(super) fn section(file: Arc<File>, offset: u64, length: u64) -> ByteStream {
    let chunks = futures::stream::try_unfold((file, offset, length), |(file, offset, left)| async move {
        let want = usize::try_from(left.min(limits::STREAM_BUFFER as u64)).unwrap_or(limits::STREAM_BUFFER);
        if want == 0 {
            return Ok::<_, io::Error>(None);
        }
        let reader = Arc::clone(&file);
        let chunk = tokio::task::spawn_blocking(move || read_at(&reader, offset, want))
            .await
            .map_err(io::Error::other)??;
        let got = chunk.len() as u64;
        Ok((got > 0).then_some((chunk, (file, offset + got, left - got))))
    });
    Box::pin(StreamReader::new(Box::pin(chunks)))
}

fn read_at(file: &File, offset: u64, want: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; want];
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(got) => {
                buffer.truncate(got);
                return Ok(Bytes::from(buffer));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
