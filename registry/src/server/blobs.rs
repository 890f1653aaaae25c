//! Blobs: GET with one range (RFC 9110 14), HEAD, DELETE.

use std::io::SeekFrom;
use std::ops::Range;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use samebundle_spec::{Digest, limits};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::refusal::Refusal;
use super::route::Name;
use super::storage::Storage;
use crate::StoreError;

/// Answers GET and HEAD.
pub(super) async fn get(
    storage: &Storage,
    parts: &Parts,
    repository: Name,
    digest: Digest,
) -> Result<Response, Refusal> {
    let path = storage.content(&digest);
    let (file, size) = storage
        .run(move |storage| storage.open_blob(&repository, &digest))
        .await?;
    let part = Part::wanted(parts, &digest, size)?;
    let body = if parts.method == Method::HEAD {
        Body::empty()
    } else {
        let mut file = tokio::fs::File::from_std(file);
        if part.start > 0 {
            file.seek(SeekFrom::Start(part.start))
                .await
                .map_err(StoreError::io("read", &path))?;
        }
        Body::from_stream(ReaderStream::with_capacity(
            file.take(part.length),
            limits::STREAM_BUFFER,
        ))
    };
    Ok(part.answer(&digest, body))
}

/// The part of a blob that is requested.
pub(super) struct Part {
    start: u64,
    length: u64,
    size: u64,
    is_whole: bool,
}

impl Part {
    pub(super) fn wanted(parts: &Parts, digest: &Digest, size: u64) -> Result<Self, Refusal> {
        let range = wanted(&parts.headers, size, digest)?;
        let (start, length) = range.unwrap_or((0, size));
        Ok(Self {
            start,
            length,
            size,
            is_whole: range.is_none(),
        })
    }

    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.start + self.length
    }

    /// The answer with that part.
    pub(super) fn answer(&self, digest: &Digest, body: Body) -> Response {
        let status = if self.is_whole {
            StatusCode::OK
        } else {
            StatusCode::PARTIAL_CONTENT
        };
        let mut response = (
            status,
            [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_LENGTH, self.length.to_string()),
                (header::ACCEPT_RANGES, "bytes".to_owned()),
                (header::ETAG, etag(digest)),
                (header::CACHE_CONTROL, "max-age=31536000, immutable".to_owned()),
            ],
            [("docker-content-digest", digest.to_string())],
            body,
        )
            .into_response();
        if !self.is_whole {
            let (start, end, size) = (self.start, self.start + self.length - 1, self.size);
            if let Ok(value) = format!("bytes {start}-{end}/{size}").parse() {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
        }
        response
    }
}

pub(super) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// The one range that is requested, as start and length; `None` for the whole blob. Several ranges, other units and
/// malformed ranges are answered with the whole, as RFC 9110 allows; one that ends before it starts is refused, as the
/// conformance suite of the distribution specification prefers.
fn wanted(headers: &HeaderMap, size: u64, digest: &Digest) -> Result<Option<(u64, u64)>, Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(range) = text(header::RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
        return Ok(None);
    };
    if text(header::IF_RANGE).is_some_and(|tag| tag != etag(digest)) {
        return Ok(None);
    }
    let Some((first, last)) = range.split_once('-') else {
        return Ok(None);
    };
    let bounds = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => return Err(Refusal::Range { size }),
        (Ok(first), Ok(last)) => Some((first, last)),
        (Ok(first), Err(_)) if last.is_empty() => Some((first, u64::MAX)),
        (Err(_), Ok(suffix)) if first.is_empty() => {
            if suffix == 0 {
                return Err(Refusal::Range { size });
            }
            Some((size.saturating_sub(suffix), u64::MAX))
        }
        _ => None,
    };
    match bounds {
        None => Ok(None),
        Some((first, _)) if first >= size => Err(Refusal::Range { size }),
        Some((first, last)) => Ok(Some((first, last.min(size - 1) - first + 1))),
    }
}

/// Answers DELETE.
pub(super) async fn delete(storage: &Storage, repository: Name, digest: Digest) -> Result<Response, Refusal> {
    storage
        .run(move |storage| storage.unlink_blob(&repository, &digest))
        .await?;
    Ok(StatusCode::ACCEPTED.into_response())
}
