//! Bodies of requests: read whole up to a limit, drained, and what their errors mean.

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use samebundle_spec::limits;
use tower_http::timeout::TimeoutError;

use super::refusal::Refusal;

/// Why a body ended before its end.
pub(super) fn stopped(error: axum::Error) -> Refusal {
    let mut reason: &dyn std::error::Error = &error;
    loop {
        if reason.is::<TimeoutError>() {
            return Refusal::BodyTooSlow;
        }
        match reason.source() {
            Some(source) => reason = source,
            None => {
                return Refusal::BodyCut {
                    why: reason.to_string(),
                };
            }
        }
    }
}

/// Reads a body whole; `None` if it has more than `limit` bytes.
pub(super) async fn read(body: Body, limit: u64) -> Result<Option<Bytes>, Refusal> {
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(stopped)?;
        if (bytes.len() + piece.len()) as u64 > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Some(bytes.freeze()))
}

/// Reads and discards what a client is still sending, because an answer that is sent before the client has finished may
/// be lost with the connection.
pub(super) async fn drain(mut stream: BodyDataStream) {
    let mut drained = 0;
    while let Some(Ok(piece)) = stream.next().await {
        drained += piece.len() as u64;
        if drained > limits::DRAINED_BYTES {
            return;
        }
    }
}
