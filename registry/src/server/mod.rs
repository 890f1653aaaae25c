//! A registry server: OCI distribution-spec 1.1 over a folder.
//!
//! ```text
//! connection ── answer ── route (path -> Route) ── access ── blobs | uploads | manifests | listing ── Storage (files)
//!                    └── account ── log, meter
//! ```
//!
//! * [`Storage`]: what is on disk; content once for all repositories, and what each repository has.
//! * [`Exhibit`]: instead of it, any place that content can be copied from, shown as one repository.
//! * `route`: the one place that reads paths; names, tags and digests are parsed there and nowhere else.
//! * `access`: who asks and what they may do; [`Tls`]: certificates; `connection`: time limits and the end.
//! * `refusal`: every refusal with its status and its error code of the specification.
//! * `account`: one line in the access log and the figures of `/metrics` for every request.
//!
//! Invariants: content is acknowledged only after it was hashed, synced and renamed; content that does not have its digest
//! leaves nothing behind; a repository shows only what was pushed to it, also where another has the same content; a manifest
//! is taken only when all that it names is there; with [`Access`], nothing is done before a user was found who may.
//! Bodies stream through a bounded channel, so memory does not grow with
//! their size. Concurrency: requests are independent; manifests and tags of one repository are written one at a time; one
//! process serves a folder (kernel lock). Failure: a refused or cut request changes nothing, but for the bytes of an upload
//! session, from which the client may go on.

mod access;
mod account;
mod blobs;
mod body;
mod connection;
mod exhibit;
mod fresh;
mod listing;
mod log;
mod manifests;
mod meter;
mod refusal;
mod route;
mod storage;
#[cfg(test)]
mod tests;
mod tls;
mod uploads;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use samebundle_spec::limits;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutBody;

pub use access::{Access, Scheme, set_password};
use access::{Admitted, Right, Scope};
use account::{Account, Counted, Settling};
use connection::Peer;
pub use exhibit::Exhibit;
pub use log::Log;
use meter::Meter;
use refusal::Refusal;
use route::Route;
pub use storage::{Collected, Rules, Storage};
pub use tls::Tls;

use crate::StoreError;

/// How many may connect, and how long they may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most connections at one time; more wait until one ends.
    pub connections: usize,
    /// Longest time for the head of a request, or between two requests of a connection.
    pub header_silence: Duration,
    /// Longest silence of a client inside a request's body, or while it should take an answer.
    pub body_silence: Duration,
    /// Smallest part that an upload is asked to come in, bytes (`OCI-Chunk-Min-Length`); 0 asks for nothing. Smaller parts
    /// are taken all the same.
    pub chunk_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: limits::CONNECTIONS,
            header_silence: Duration::from_secs(limits::HEADER_SILENCE_SECONDS),
            body_silence: Duration::from_secs(limits::BODY_SILENCE_SECONDS),
            chunk_bytes: 0,
        }
    }
}

/// How a registry is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// Users and their rights; without, everybody may do everything.
    pub access: Option<Access>,
    /// Certificates; without, plain HTTP is spoken.
    pub tls: Option<Tls>,
    /// Limits on clients.
    pub bounds: Bounds,
    /// The access log.
    pub log: Option<Log>,
    /// The time, for the access log.
    pub clock: fn() -> SystemTime,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            access: None,
            tls: None,
            bounds: Bounds::default(),
            log: None,
            clock: || SystemTime::UNIX_EPOCH,
        }
    }
}

/// What is served.
#[derive(Clone, Debug)]
enum Content {
    /// A folder of repositories.
    Storage(Storage),
    /// One place, read-only.
    Exhibit(Exhibit),
}

/// A registry. Cheap to clone; clones are the same registry.
#[derive(Clone, Debug)]
pub struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    content: Content,
    config: Config,
    meter: Meter,
}

impl Server {
    /// Makes a server over a folder.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if its figures cannot be kept, which is a defect.
    pub fn new(storage: Storage, config: Config) -> Result<Self, StoreError> {
        Self::over(Content::Storage(storage), config)
    }

    /// Makes a server that shows one place.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn showing(exhibit: Exhibit, config: Config) -> Result<Self, StoreError> {
        Self::over(Content::Exhibit(exhibit), config)
    }

    fn over(content: Content, config: Config) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(Inner {
            content,
            config,
            meter: Meter::new()?,
        })))
    }

    /// Answers requests until `cancel`; then finishes those under way and returns.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if TLS cannot be set up.
    pub async fn serve(self, listener: TcpListener, cancel: CancellationToken) -> Result<(), StoreError> {
        connection::serve(self, listener, cancel).await
    }

    /// Collects garbage again and again until `cancel`. A run that fails is said, and the next one tries again. Of a place
    /// that is only shown nothing is collected.
    pub async fn collect_every(self, every: Duration, grace: Duration, cancel: CancellationToken) {
        let Content::Storage(storage) = &self.0.content else {
            return;
        };
        while cancel
            .run_until_cancelled(tokio::time::sleep(every))
            .await
            .is_some()
        {
            let run = storage.collect(grace).await;
            self.meter().collected(run.as_ref());
            match run {
                Ok(collected) => tracing::info!(?collected, "garbage collected"),
                Err(error) => tracing::error!(%error, "garbage was not collected"),
            }
        }
    }

    /// The service itself, for serving it over something else than a TCP listener.
    pub fn router(self) -> Router {
        let peer = Peer {
            address: None,
            secure: false,
        };
        Router::new().fallback(move |request| async move { answer(&self, peer, request).await })
    }

    fn config(&self) -> &Config {
        &self.0.config
    }

    fn meter(&self) -> &Meter {
        &self.0.meter
    }
}

/// Answers one request, and settles its account when the answer has been sent.
async fn answer(server: &Server, peer: Peer, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let config = server.config();
    let received = Arc::new(AtomicU64::new(0));
    let mut account = Account {
        meter: server.meter().clone(),
        log: config.log.clone(),
        began: Instant::now(),
        time: (config.clock)(),
        method: parts.method.clone(),
        path: parts.uri.path().chars().take(limits::LOGGED_PATH).collect(),
        route: "none",
        status: StatusCode::OK,
        user: None,
        peer: peer.address,
        received: Arc::clone(&received),
    };
    let counted = Body::new(Counted::new(body, received));
    let body = Body::new(TimeoutBody::new(config.bounds.body_silence, counted));
    let mut response = match dispatch(server, peer, parts, body, &mut account).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().insert(
        "docker-distribution-api-version",
        HeaderValue::from_static("registry/2.0"),
    );
    account.status = response.status();
    let announced = response
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    response.map(|body| Body::new(Settling::new(body, account, announced)))
}

/// What a request needs the right to do.
fn scopes(route: &Route, parts: &Parts) -> Vec<Scope> {
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let (repository, right) = match route {
        Route::Base | Route::Token | Route::Metrics => return Vec::new(),
        Route::Uploads { repository } | Route::Upload { repository, .. } => (repository, Right::Push),
        Route::Tags { repository } | Route::Referrers { repository, .. } => (repository, Right::Pull),
        Route::Manifest { repository, .. } | Route::Blob { repository, .. } => {
            let right = match parts.method {
                _ if reads => Right::Pull,
                Method::DELETE => Right::Delete,
                _ => Right::Push,
            };
            (repository, right)
        }
    };
    vec![Scope::new(repository, right)]
}

async fn dispatch(
    server: &Server,
    peer: Peer,
    parts: Parts,
    body: Body,
    account: &mut Account,
) -> Result<Response, Refusal> {
    let route = Route::parse(&parts.uri)?;
    account.route = route.label();
    let read_only = match &server.0.content {
        Content::Storage(storage) => storage.rules().read_only,
        Content::Exhibit(_) => true,
    };
    let access = server.config().access.as_ref();
    match (&route, access) {
        (Route::Token, Some(access)) => return token(access, &parts, body, account).await,
        (Route::Metrics, _) => return metrics(server, &parts, account).await,
        _ => {}
    }
    let admitted = match access {
        None => Ok(Admitted::everybody()),
        Some(access) => access.admit(&parts, peer.secure, &scopes(&route, &parts)).await,
    };
    let admitted = admitted.and_then(|admitted| {
        account.user = admitted.user().map(str::to_owned);
        let changes = !matches!(parts.method, Method::GET | Method::HEAD);
        match read_only && changes {
            true => Err(Refusal::ReadOnly),
            false => Ok(admitted),
        }
    });
    match admitted {
        Ok(admitted) => perform(server, admitted, route, &parts, body).await,
        Err(refusal) => {
            // Who waits to be told to go on has sent nothing yet.
            if !parts.headers.contains_key(header::EXPECT) {
                body::drain(body).await;
            }
            Err(refusal)
        }
    }
}

/// Does what was asked, by somebody who may.
async fn perform(
    server: &Server,
    admitted: Admitted,
    route: Route,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let storage = match &server.0.content {
        Content::Storage(storage) => storage,
        Content::Exhibit(exhibit) => return exhibit.answer(route, parts).await,
    };
    match (route, parts.method.clone()) {
        (Route::Base, Method::GET | Method::HEAD) => Ok(base()),
        (Route::Manifest { repository, at }, Method::GET | Method::HEAD) => {
            manifests::get(storage, parts, repository, at).await
        }
        (Route::Manifest { repository, at }, Method::PUT) => {
            manifests::put(storage, parts, body, repository, at).await
        }
        (Route::Manifest { repository, at }, Method::DELETE) => {
            manifests::delete(storage, repository, at).await
        }
        (Route::Blob { repository, digest }, Method::GET | Method::HEAD) => {
            blobs::get(storage, parts, repository, digest).await
        }
        (Route::Blob { repository, digest }, Method::DELETE) => {
            blobs::delete(storage, repository, digest).await
        }
        (Route::Uploads { repository }, Method::POST) => {
            let mut response = uploads::open(storage, parts, body, repository, admitted).await?;
            let least = server.config().bounds.chunk_bytes;
            if response.status() == StatusCode::ACCEPTED && least > 0 {
                response
                    .headers_mut()
                    .insert("oci-chunk-min-length", HeaderValue::from(least));
            }
            Ok(response)
        }
        (Route::Upload { repository, id }, Method::GET) => uploads::status(storage, &repository, &id),
        (Route::Upload { repository, id }, Method::PATCH) => {
            uploads::append(storage, parts, body, &repository, &id).await
        }
        (Route::Upload { repository, id }, Method::PUT) => {
            uploads::finish(storage, parts, body, &repository, &id).await
        }
        (Route::Upload { repository, id }, Method::DELETE) => uploads::cancel(storage, &repository, &id),
        (Route::Tags { repository }, Method::GET) => listing::tags(storage, parts, repository).await,
        (Route::Referrers { repository, subject }, Method::GET) => {
            listing::referrers(storage, parts, repository, subject).await
        }
        (Route::Token, _) => Err(Refusal::NoRoute),
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

async fn token(
    access: &Access,
    parts: &Parts,
    body: Body,
    account: &mut Account,
) -> Result<Response, Refusal> {
    let form = match parts.method {
        Method::GET => bytes::Bytes::new(),
        Method::POST => body::read(body, limits::TOKEN_FORM_BYTES)
            .await?
            .ok_or(Refusal::GrantType)?,
        _ => {
            return Err(Refusal::Unsupported {
                method: parts.method.clone(),
            });
        }
    };
    let (user, token) = access.token(parts, &form).await?;
    account.user = user.name().map(str::to_owned);
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from(token.to_string())).into_response())
}

/// Answers `GET /metrics`, to every user where there are users.
async fn metrics(server: &Server, parts: &Parts, account: &mut Account) -> Result<Response, Refusal> {
    if let Some(access) = &server.config().access {
        let user = access.login(parts).await?;
        account.user = user.name().map(str::to_owned);
    }
    if parts.method != Method::GET {
        return Err(Refusal::Unsupported {
            method: parts.method.clone(),
        });
    }
    let uploads = match &server.0.content {
        Content::Storage(storage) => storage.open_uploads(),
        Content::Exhibit(_) => 0,
    };
    let text = server.meter().text(uploads)?;
    let kind = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    Ok((kind, Body::from(text)).into_response())
}
