//! A blob, or a range of it, as a stream that resumes where the connection broke.
//!
//! After a break the rest is requested by `Range` with `If-Range`. An answer 206 must start at the requested byte; 200
//! means that the registry starts over, and bytes that were delivered already are skipped; any other range, or 416,
//! makes us request the whole. The reader checks digest and size ([`verified`](crate::store::verified)): a resumed blob
//! is checked like any other.

use std::io::{self, Write};
use std::ops::Range;

use bytes::Bytes;
use flate2::write::GzDecoder;
use futures::Stream;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_RANGE, ETAG};
use reqwest::{Method, Response, StatusCode};
use samebundle_spec::Descriptor;

use super::RemoteRepository;
use super::answer::{compare, header, is_gzip, is_page};
use super::http::describe;
use super::retry::{Failure, Try};
use super::wire::Call;
use crate::StoreError;
use crate::store::Pieces;

/// How much of a compressed answer is decompressed at a time, bytes; at most a thousand times as much comes of it.
const COMPRESSED_STEP: usize = 1 << 10;

/// The state of reading a blob.
struct Reading {
    repository: RemoteRepository,
    descriptor: Descriptor,
    /// The next byte that is delivered, counted from the blob's start.
    at: u64,
    /// The first byte that is not wanted.
    end: u64,
    /// Bytes of the answer that were delivered before.
    skip: u64,
    ranges: bool,
    etag: String,
    pieces: Option<BoxStream<'static, Result<Bytes, String>>>,
}

impl RemoteRepository {
    /// Streams a range of a blob. The first answer is awaited, so that an absent blob is known here.
    pub(super) async fn read_blob(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<Pieces, StoreError> {
        let end = range.end.min(descriptor.size);
        // An empty blob may be absent, too.
        if range.start > 0 && range.start >= end {
            if self.has(descriptor).await? {
                return Ok(futures::stream::empty().boxed());
            }
            return Err(self.not_there(descriptor));
        }
        let mut reading = Reading {
            repository: self.clone(),
            descriptor: descriptor.clone(),
            at: range.start,
            end,
            skip: 0,
            ranges: self.known.serves_ranges(),
            etag: String::new(),
            pieces: None,
        };
        reading.open().await?;
        let stream = futures::stream::try_unfold(reading, |mut reading| async move {
            let piece = reading.next().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(piece.map(|piece| (piece, reading)))
        });
        Ok(stream.boxed())
    }
}

impl Reading {
    fn call(&self) -> Call {
        let digest = self.descriptor.digest;
        let rest = format!("blobs/{digest}");
        let call = Call::new(
            &self.repository.endpoint,
            Method::GET,
            &rest,
            "read a blob from",
            &digest.to_string(),
        )
        .about(&digest)
        .with("accept-encoding", "identity");
        if !self.asks_range() {
            return call;
        }
        let call = if self.end < self.descriptor.size {
            call.with("range", &format!("bytes={}-{}", self.at, self.end - 1))
        } else {
            call.with("range", &format!("bytes={}-", self.at))
        };
        if self.etag.is_empty() {
            call
        } else {
            call.with("if-range", &self.etag)
        }
    }

    fn asks_range(&self) -> bool {
        self.ranges && (self.at > 0 || self.end < self.descriptor.size)
    }

    /// Requests the bytes that are not delivered yet.
    async fn open(&mut self) -> Result<(), StoreError> {
        loop {
            let call = self.call();
            let response = self.repository.send(&call).await?;
            let ranged = self.asks_range();
            if response.status().is_success() && is_page(response.headers(), &self.descriptor.media_type) {
                return Err(call.context.broken("it is a web page"));
            }
            match response.status() {
                StatusCode::OK => {
                    self.whole(&response)?;
                    // With `If-Range` this is also the answer to an entity tag that changed.
                    if ranged && self.etag.is_empty() {
                        self.repository.known.serves_no_ranges();
                    }
                    self.skip = self.at;
                }
                // A range of a compressed body is not a range of the blob.
                StatusCode::PARTIAL_CONTENT
                    if ranged && !is_gzip(response.headers()) && self.is_rest(&response) =>
                {
                    self.skip = 0;
                }
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if ranged => {
                    tracing::info!(
                        place = call.context.place,
                        "the registry does not serve ranges as it should"
                    );
                    self.ranges = false;
                    self.repository.known.serves_no_ranges();
                    continue;
                }
                _ => return Err(call.context.refused(response).await),
            }
            compare(response.headers(), &self.descriptor.digest)?;
            let etag = header(response.headers(), ETAG.as_str());
            // A weak entity tag does not identify bytes.
            self.etag = if etag.starts_with('"') {
                etag.to_owned()
            } else {
                String::new()
            };
            let compressed = self.is_compressed(&response);
            let pieces = response.bytes_stream().map_err(|error| describe(&error));
            self.pieces = Some(match compressed {
                true => decompressed(pieces),
                false => pieces.boxed(),
            });
            return Ok(());
        }
    }

    /// Whether the blob comes compressed. A server that takes a blob which is itself gzip for that reports it, too: then the
    /// length is the blob's own.
    fn is_compressed(&self, response: &Response) -> bool {
        is_gzip(response.headers()) && response.content_length() != Some(self.descriptor.size)
    }

    /// Checks the length that the answer promises.
    fn whole(&self, response: &Response) -> Result<(), StoreError> {
        match response.content_length() {
            _ if self.is_compressed(response) => Ok(()),
            Some(length) if length != self.descriptor.size => Err(StoreError::Mismatch {
                digest: self.descriptor.digest,
                why: format!(
                    "the registry has {length} bytes, the descriptor says {}",
                    self.descriptor.size
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Whether `Content-Range: bytes <at>-<end>/<size>` is the range that was requested.
    fn is_rest(&self, response: &Response) -> bool {
        let range = header(response.headers(), CONTENT_RANGE.as_str());
        let rest = range
            .strip_prefix("bytes ")
            .and_then(|range| range.split_once('-'));
        rest.is_some_and(|(start, rest)| {
            let size = rest.split_once('/').map_or("*", |(_, size)| size);
            start.parse() == Ok(self.at) && (size == "*" || size.parse() == Ok(self.descriptor.size))
        })
    }

    /// The next bytes; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let (context, retry) = (self.call().context, self.repository.client.wire.retry.clone());
        let mut attempts = retry.attempts(&context);
        loop {
            if let Some(piece) = attempts.after(self.attempt().await?).await? {
                return Ok(piece);
            }
        }
    }

    async fn attempt(&mut self) -> Result<Try<Option<Bytes>>, StoreError> {
        if self.at >= self.end && self.end < self.descriptor.size {
            return Ok(Try::Done(None));
        }
        let Some(pieces) = &mut self.pieces else {
            self.open().await?;
            return Ok(Try::Next);
        };
        let why = match pieces.next().await {
            Some(Ok(piece)) => {
                let skipped = usize::try_from(self.skip).map_or(piece.len(), |skip| skip.min(piece.len()));
                self.skip -= skipped as u64;
                let piece = self.wanted(piece.slice(skipped..));
                if piece.is_empty() {
                    return Ok(Try::Next);
                }
                self.at += piece.len() as u64;
                return Ok(Try::Done(Some(piece)));
            }
            None if self.at >= self.end => return Ok(Try::Done(None)),
            None => "the connection was closed early".to_owned(),
            Some(Err(why)) => why,
        };
        self.pieces = None;
        let why = format!("{why}, at byte {} of {}", self.at, self.descriptor.size);
        Ok(Try::Again(Failure::Passing(None), why))
    }

    /// Cuts off bytes behind the range; bytes behind the blob's end show that it is too long, and stay.
    fn wanted(&self, piece: Bytes) -> Bytes {
        match usize::try_from(self.end.saturating_sub(self.at)) {
            Ok(left) if left < piece.len() && self.end < self.descriptor.size => piece.slice(..left),
            _ => piece,
        }
    }
}

/// Decompresses an answer that comes compressed, a little at a time, so that little memory can become much only by pieces.
fn decompressed(
    pieces: impl Stream<Item = Result<Bytes, String>> + Send + 'static,
) -> BoxStream<'static, Result<Bytes, String>> {
    let small = pieces.map_ok(|piece| {
        let parts = piece.len().div_ceil(COMPRESSED_STEP);
        let part = move |index| {
            let at: usize = index * COMPRESSED_STEP;
            Ok(piece.slice(at..piece.len().min(at + COMPRESSED_STEP)))
        };
        futures::stream::iter((0..parts).map(part))
    });
    let plain = small
        .try_flatten()
        .scan(GzDecoder::new(Vec::new()), |decoder, piece| {
            let plain = piece.and_then(|piece| {
                decoder
                    .write_all(&piece)
                    .and_then(|()| decoder.flush())
                    .map_err(|_| "it says that it is gzip and is not".to_owned())?;
                Ok(Bytes::from(std::mem::take(decoder.get_mut())))
            });
            std::future::ready(Some(plain))
        });
    plain.boxed()
}
