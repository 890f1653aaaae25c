//! A registry server: OCI distribution-spec 1.1 over a folder.
//!
//! ```text
//! serve ── route (path -> Route) ── blobs | uploads | manifests | listing ── Storage (files)
//! ```
//!
//! * [`Storage`]: what is on disk; content once for all repositories, and what each repository has.
//! * `route`: the one place that reads paths; names, tags and digests are parsed there and nowhere else.
//! * `refusal`: every refusal with its status and its error code of the specification.
//!
//! Invariants: content is acknowledged only after it was hashed, synced and renamed; content that does not have its digest
//! leaves nothing behind; a repository shows only what was pushed to it, also where another has the same content; a manifest
//! is taken only when all that it names is there. Bodies stream through a bounded channel, so memory does not grow with
//! their size. Concurrency: requests are independent; manifests and tags of one repository are written one at a time; one
//! process serves a folder (kernel lock). Failure: a refused or cut request changes nothing, but for the bytes of an upload
//! session, from which the client may go on.

mod blobs;
mod listing;
mod manifests;
mod refusal;
mod route;
mod storage;
#[cfg(test)]
mod tests;
mod uploads;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use refusal::Refusal;
use route::Route;
pub use storage::{Collected, Rules, Storage};

use crate::StoreError;

/// Answers requests until `cancel`; then finishes those under way and returns.
///
/// # Errors
/// [`StoreError::Io`] if the listener breaks.
pub async fn serve(
    listener: TcpListener,
    storage: Storage,
    cancel: CancellationToken,
) -> Result<(), StoreError> {
    let address = listener
        .local_addr()
        .map_err(StoreError::io("listen on", std::path::Path::new("the socket")))?;
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
    });
    axum::serve(listener, router(storage))
        .with_graceful_shutdown(cancel.cancelled_owned())
        .await
        .map_err(StoreError::io(
            "serve on",
            std::path::Path::new(&address.to_string()),
        ))
}

/// Collects garbage again and again until `cancel`. A run that fails is said, and the next one tries again.
pub async fn collect_every(storage: Storage, every: Duration, grace: Duration, cancel: CancellationToken) {
    while cancel
        .run_until_cancelled(tokio::time::sleep(every))
        .await
        .is_some()
    {
        match storage.collect(grace).await {
            Ok(collected) => tracing::info!(?collected, "garbage collected"),
            Err(error) => tracing::error!(%error, "garbage was not collected"),
        }
    }
}

/// The service itself, for serving it over something else than a TCP listener.
pub fn router(storage: Storage) -> Router {
    Router::new().fallback(answer).with_state(storage)
}

async fn answer(State(storage): State<Storage>, request: Request<Body>) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = match dispatch(&storage, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    tracing::debug!(%method, %path, status = response.status().as_u16(), "answered");
    response.headers_mut().insert(
        "docker-distribution-api-version",
        HeaderValue::from_static("registry/2.0"),
    );
    response
}

async fn dispatch(storage: &Storage, request: Request<Body>) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let route = Route::parse(&parts.uri)?;
    if storage.rules().read_only && !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Refusal::ReadOnly);
    }
    match (route, parts.method.clone()) {
        (Route::Base, Method::GET | Method::HEAD) => Ok(base()),
        (Route::Manifest { repository, at }, Method::GET | Method::HEAD) => {
            manifests::get(storage, &parts, repository, at).await
        }
        (Route::Manifest { repository, at }, Method::PUT) => {
            manifests::put(storage, &parts, body, repository, at).await
        }
        (Route::Manifest { repository, at }, Method::DELETE) => {
            manifests::delete(storage, repository, at).await
        }
        (Route::Blob { repository, digest }, Method::GET | Method::HEAD) => {
            blobs::get(storage, &parts, repository, digest).await
        }
        (Route::Blob { repository, digest }, Method::DELETE) => {
            blobs::delete(storage, repository, digest).await
        }
        (Route::Uploads { repository }, Method::POST) => {
            uploads::open(storage, &parts, body, repository).await
        }
        (Route::Upload { repository, id }, Method::GET) => uploads::status(storage, &repository, &id),
        (Route::Upload { repository, id }, Method::PATCH) => {
            uploads::append(storage, &parts, body, &repository, &id).await
        }
        (Route::Upload { repository, id }, Method::PUT) => {
            uploads::finish(storage, &parts, body, &repository, &id).await
        }
        (Route::Upload { repository, id }, Method::DELETE) => uploads::cancel(storage, &repository, &id),
        (Route::Tags { repository }, Method::GET) => listing::tags(storage, &parts, repository).await,
        (Route::Referrers { repository, subject }, Method::GET) => {
            listing::referrers(storage, &parts, repository, subject).await
        }
        (_, method) => Err(Refusal::Unsupported { method }),
    }
}

fn base() -> Response {
    (
        StatusCode::OK,
        [(header::CONTENT_TYPE, "application/json")],
        Body::from("{}"),
    )
        .into_response()
}
