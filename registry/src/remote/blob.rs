//! Blobs: whether one exists, and how one is pushed.
//!
//! A push asks first whether the blob exists, then tries to mount it from the known sibling repositories. A blob that
//! is large and can be read again is sent in parts, if the registry takes parts; any other in one body
//! ([`upload`](super::upload)). Such a body is hashed while it is sent, and its last piece leaves only when the digest
//! is right, so that a wrong blob is never complete on the other side, whatever it checks itself.
//!
//! Retries: a small blob is held in memory, and a blob that can be opened again is opened again
//! ([`Sink::push_from`](crate::store::Sink::push_from)), so after a failure both are sent again in a new upload. A stream
//! that can be read once is retried as long as no byte of it was read.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::Stream;
use futures::stream::StreamExt;
use reqwest::{Body, Method, Response, StatusCode, Url};
use samebundle_spec::{Descriptor, limits};
use tokio_util::io::ReaderStream;

use super::RemoteRepository;
use super::answer::{compare, header, is_gzip, is_page};
use super::http::authority;
use super::wire::Call;
use crate::StoreError;
use crate::store::{ByteStream, Source, read_all, verified};

/// Where the bytes of a push come from.
pub(super) enum Supply<'a> {
    /// A stream; `None` after it was taken.
    Stream(Arc<Mutex<Option<ByteStream>>>),
    Bytes(Bytes),
    Source(&'a dyn Source),
}

impl Supply<'_> {
    pub(super) fn stream(content: ByteStream) -> Self {
        Self::Stream(Arc::new(Mutex::new(Some(content))))
    }

    /// A body of the whole blob; `failure` receives the error of its source. `None` if it was read before.
    pub(super) async fn whole(
        &self,
        descriptor: &Descriptor,
        failure: &ReadFailure,
    ) -> Result<Option<Body>, StoreError> {
        let body = match self {
            Self::Bytes(bytes) => Body::from(bytes.clone()),
            Self::Source(source) => {
                let content = source.fetch_unverified(descriptor, 0).await?;
                Body::wrap_stream(checked(content, descriptor, failure.clone()))
            }
            Self::Stream(slot) => {
                if slot.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                    return Ok(None);
                }
                let (slot, descriptor, failure) = (Arc::clone(slot), descriptor.clone(), failure.clone());
                // The stream is taken when the first byte is needed, that is, when there is a connection.
                let body = futures::stream::once(async move {
                    let content = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let content = content.unwrap_or_else(|| Box::pin(tokio::io::empty()));
                    checked(content, &descriptor, failure)
                });
                Body::wrap_stream(body.flatten())
            }
        };
        Ok(Some(body))
    }
}

/// The error of a body's source, which the client that sends the body would hide.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadFailure(Arc<Mutex<Option<io::Error>>>);

impl ReadFailure {
    pub(super) fn set(&self, error: &io::Error) {
        let copy = io::Error::new(error.kind(), error.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
    }

    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A stream that is checked while it is sent; the last piece is held back until the check is over.
fn checked(
    content: ByteStream,
    descriptor: &Descriptor,
    failure: ReadFailure,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let pieces = ReaderStream::with_capacity(verified(content, descriptor), limits::STREAM_BUFFER);
    futures::stream::unfold(
        (pieces, None, failure),
        |(mut pieces, mut held, failure)| async move {
            loop {
                match pieces.next().await {
                    Some(Ok(piece)) => {
                        if let Some(before) = held.replace(piece) {
                            return Some((Ok(before), (pieces, held, failure)));
                        }
                    }
                    Some(Err(error)) => {
                        failure.set(&error);
                        return Some((Err(error), (pieces, None, failure)));
                    }
                    None => return held.take().map(|last| (Ok(last), (pieces, None, failure))),
                }
            }
        },
    )
}

impl RemoteRepository {
    /// Tells whether the blob exists, with the size that the descriptor says.
    pub(super) async fn has(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let digest = descriptor.digest;
        let kind = if descriptor.media_type.has_children() {
            "manifests"
        } else {
            "blobs"
        };
        let mut call = Call::new(
            &self.endpoint,
            Method::HEAD,
            &format!("{kind}/{digest}"),
            "look for content in",
            &digest.to_string(),
        )
        .about(&digest);
        if kind == "manifests" {
            call = call.with("accept", &super::manifest::accept());
        }
        let response = self.send(&call).await?;
        match response.status() {
            StatusCode::OK if is_page(response.headers(), &descriptor.media_type) => {
                return Err(call.context.broken("it is a web page"));
            }
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(false),
            // If this answer is false, the push finds that out.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.known.denies_absent() => {
                return Ok(false);
            }
            _ => return Err(call.context.refused(response).await),
        }
        compare(response.headers(), &digest)?;
        match header(response.headers(), "content-length").parse::<u64>() {
            // This is the length of the compressed body.
            _ if is_gzip(response.headers()) => Ok(true),
            Ok(size) if size != descriptor.size => Err(StoreError::Mismatch {
                digest,
                why: format!(
                    "the registry has {size} bytes, the descriptor says {}",
                    descriptor.size
                ),
            }),
            _ => Ok(true),
        }
    }

    /// Pushes a blob that may be there already.
    pub(super) async fn push_blob(
        &self,
        descriptor: &Descriptor,
        supply: Supply<'_>,
    ) -> Result<(), StoreError> {
        if self.has_already(descriptor).await? {
            return Ok(());
        }
        for sibling in self.siblings() {
            if self.mount(descriptor, &sibling).await? {
                return Ok(());
            }
        }
        let supply = match supply {
            Supply::Stream(slot) if descriptor.size <= limits::REPLAY_BYTES => {
                let content = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                let content = content.unwrap_or_else(|| Box::pin(tokio::io::empty()));
                Supply::Bytes(read_all(content, descriptor, limits::REPLAY_BYTES).await?)
            }
            other => other,
        };
        self.upload(descriptor, supply).await
    }

    /// The address for the next request that the answer to a part of an upload, or to its opening, names: the
    /// registry's own, or one of a host that the user allowed uploads to go to.
    pub(super) fn sent_on(&self, call: &Call, response: &Response) -> Result<Url, StoreError> {
        self.upload_address(call, header(response.headers(), "location"))
    }

    pub(super) fn upload_address(&self, call: &Call, address: &str) -> Result<Url, StoreError> {
        let elsewhere = match self.endpoint.own(&call.url, address, &call.context) {
            Ok(url) => return Ok(url),
            Err(error) => error,
        };
        let Ok(url) = call.url.join(address) else {
            return Err(elsewhere);
        };
        let host = authority(&url);
        let downgrade = self.endpoint.base.scheme() == "https" && url.scheme() != "https";
        if self.known.takes_uploads(&host) && self.client.wire.http.allowed(&url) && !downgrade {
            return Ok(url);
        }
        Err(call.context.broken(format!(
            "it sends uploads on to {host}, which is not its own address; if that host is the registry's, allow it with \
             `registry doctor --upload-host {host}`"
        )))
    }

    /// Opens an upload. Returns its address, and the least size of a part, bytes.
    pub(super) async fn open_upload(&self, descriptor: &Descriptor) -> Result<(Url, u64), StoreError> {
        let digest = descriptor.digest;
        let open = Call::new(
            &self.endpoint,
            Method::POST,
            "blobs/uploads/",
            "open an upload at",
            &digest.to_string(),
        )
        .about(&digest);
        let response = self.send(&open).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(open.context.refused(response).await);
        }
        let least = header(response.headers(), "oci-chunk-min-length")
            .parse()
            .unwrap_or(0);
        Ok((self.sent_on(&open, &response)?, least))
    }

    /// Asks the registry to take the blob from another repository of its own; `false` if it does not.
    async fn mount(
        &self,
        descriptor: &Descriptor,
        from: &samebundle_spec::Repository,
    ) -> Result<bool, StoreError> {
        let digest = descriptor.digest;
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("mount", &digest.to_string())
            .append_pair("from", from.path())
            .finish();
        let mut call = Call::new(
            &self.endpoint,
            Method::POST,
            &format!("blobs/uploads/?{query}"),
            "mount a blob in",
            &digest.to_string(),
        );
        call.scope = call.scope.mounting(from);
        let response = self.send(&call).await?;
        match response.status() {
            StatusCode::CREATED => {
                compare(response.headers(), &digest)?;
                Ok(true)
            }
            // The registry opened an upload instead; it is cancelled, because the push opens its own.
            StatusCode::ACCEPTED => {
                if let Ok(url) = self.sent_on(&call, &response) {
                    let mut cancel = call.clone();
                    cancel.method = Method::DELETE;
                    cancel.url = url;
                    let _ = self.attempt(&cancel).await;
                }
                Ok(false)
            }
            // There is no access to the other repository, or no mounting at all; the upload is still tried.
            status if status.is_client_error() => Ok(false),
            _ => Err(call.context.refused(response).await),
        }
    }
}
