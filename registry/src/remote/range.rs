//! A blob as a stream that goes on where the connection broke.
//!
//! After a break the rest is asked for by `Range` with `If-Range`. An answer 206 must start at the byte that was asked
//! for; 200 means that the registry starts over, and what was delivered already is skipped; any other range, or 416, makes us
//! ask for the whole. Digest and size are checked by whoever reads ([`verified`](crate::store::verified)): resumed content
//! is checked like any other.

use std::io;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use reqwest::header::{CONTENT_RANGE, ETAG};
use reqwest::{Method, Response, StatusCode};
use samebundle_spec::Descriptor;
use tokio_util::io::StreamReader;

use super::RemoteRepository;
use super::answer::{compare, header};
use super::http::describe;
use super::retry::{Attempts, Failure};
use super::wire::Call;
use crate::StoreError;
use crate::store::ByteStream;

/// Where a blob is read.
struct Reading {
    place: RemoteRepository,
    descriptor: Descriptor,
    /// Bytes delivered, counted from the blob's start.
    at: u64,
    /// Bytes of the answer that were delivered before.
    skip: u64,
    ranges: bool,
    etag: String,
    pieces: Option<BoxStream<'static, reqwest::Result<Bytes>>>,
    /// Breaks without progress between them.
    breaks: u32,
}

impl RemoteRepository {
    /// Streams a blob from byte `from` on. The first answer is awaited, so that an absent blob is known here.
    pub(super) async fn read_blob(
        &self,
        descriptor: &Descriptor,
        from: u64,
    ) -> Result<ByteStream, StoreError> {
        if from > 0 && from >= descriptor.size {
            if self.has(descriptor).await? {
                return Ok(Box::pin(tokio::io::empty()));
            }
            return Err(self.absent(descriptor));
        }
        let mut reading = Reading {
            place: self.clone(),
            descriptor: descriptor.clone(),
            at: from,
            skip: 0,
            ranges: true,
            etag: String::new(),
            pieces: None,
            breaks: 0,
        };
        reading.open().await?;
        let stream = futures::stream::try_unfold(reading, |mut reading| async move {
            let piece = reading.next().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(piece.map(|piece| (piece, reading)))
        });
        Ok(Box::pin(StreamReader::new(Box::pin(stream))))
    }
}

impl Reading {
    fn call(&self) -> Call {
        let digest = self.descriptor.digest;
        let rest = format!("blobs/{digest}");
        let call = Call::new(
            &self.place.place,
            Method::GET,
            &rest,
            "send a blob",
            &digest.to_string(),
        )
        .about(&digest)
        .with("accept-encoding", "identity");
        if self.at == 0 || !self.ranges {
            return call;
        }
        let call = call.with("range", &format!("bytes={}-", self.at));
        if self.etag.is_empty() {
            call
        } else {
            call.with("if-range", &self.etag)
        }
    }

    /// Asks for what is not delivered yet.
    async fn open(&mut self) -> Result<(), StoreError> {
        loop {
            let call = self.call();
            let response = self.place.client.wire.send(&self.place.place, &call).await?;
            let ranged = self.ranges && self.at > 0;
            match response.status() {
                StatusCode::OK => {
                    self.whole(&response)?;
                    self.skip = self.at;
                }
                StatusCode::PARTIAL_CONTENT if ranged && self.is_rest(&response) => self.skip = 0,
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if ranged => {
                    tracing::info!(
                        place = call.asked.place,
                        "the registry does not serve ranges as it should"
                    );
                    self.ranges = false;
                    continue;
                }
                _ => return Err(call.asked.refused(response).await),
            }
            compare(response.headers(), &self.descriptor.digest)?;
            let etag = header(response.headers(), ETAG.as_str());
            // A weak tag says nothing about bytes.
            self.etag = if etag.starts_with('"') {
                etag.to_owned()
            } else {
                String::new()
            };
            self.pieces = Some(response.bytes_stream().boxed());
            return Ok(());
        }
    }

    /// Checks the length that the answer promises.
    fn whole(&self, response: &Response) -> Result<(), StoreError> {
        match response.content_length() {
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

    /// `Content-Range: bytes <at>-<end>/<size>` of what was asked for.
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
        loop {
            let Some(pieces) = &mut self.pieces else {
                self.open().await?;
                continue;
            };
            let why = match pieces.next().await {
                Some(Ok(piece)) => {
                    let skipped =
                        usize::try_from(self.skip).map_or(piece.len(), |skip| skip.min(piece.len()));
                    self.skip -= skipped as u64;
                    let piece = piece.slice(skipped..);
                    if piece.is_empty() {
                        continue;
                    }
                    self.at += piece.len() as u64;
                    self.breaks = 0;
                    return Ok(Some(piece));
                }
                None if self.at >= self.descriptor.size => return Ok(None),
                None => "the connection was closed early".to_owned(),
                Some(Err(error)) => describe(&error),
            };
            self.pieces = None;
            self.pause(why).await?;
        }
    }

    async fn pause(&mut self, why: String) -> Result<(), StoreError> {
        let asked = self.call().asked;
        let mut attempts = Attempts::after(&self.place.client.wire.retry, self.breaks);
        if attempts.pause(Failure::Passing(None), &asked.place, &why).await {
            self.breaks = attempts.made();
            return Ok(());
        }
        Err(asked.unavailable(format!(
            "{why}, at byte {} of {}, {} times",
            self.at,
            self.descriptor.size,
            attempts.made()
        )))
    }
}
