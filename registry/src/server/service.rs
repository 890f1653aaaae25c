//! The server: its backend, and the path of a request from its head to its answer.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use samebundle_spec::limits;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutBody;

use super::access::{Access, Action, Admitted, Scope};
use super::account::{Account, Counted, Settling};
use super::config::Config;
use super::connection::{self, Handler, Peer, Terms};
use super::exhibit::Exhibit;
use super::failures::Failures;
use super::meter::Meter;
use super::refusal::Refusal;
use super::route::Route;
use super::storage::{Collected, Storage};
use super::tls::Tls;
use super::{base, blobs, body, listing, manifests, uploads};
use crate::StoreError;

/// The backend that is served.
#[derive(Clone, Debug)]
enum Backend {
    /// A folder of repositories.
    Storage(Storage),
    /// One read-only store.
    Exhibit(Exhibit),
}

/// A registry. Cheap to clone; clones are the same registry.
#[derive(Clone, Debug)]
pub struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Backend,
    config: Config,
    meter: Meter,
    failures: Arc<Failures>,
}

impl Server {
    /// Makes a server over a folder.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if its metrics cannot be registered, which is a defect.
    pub fn new(storage: Storage, config: Config) -> Result<Self, StoreError> {
        Self::over(Backend::Storage(storage), config)
    }

    /// Makes a server over one read-only store.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn showing(exhibit: Exhibit, config: Config) -> Result<Self, StoreError> {
        Self::over(Backend::Exhibit(exhibit), config)
    }

    fn over(backend: Backend, config: Config) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(Inner {
            backend,
            config,
            meter: Meter::new()?,
            failures: Arc::default(),
        })))
    }

    /// Answers requests until `cancel`; then finishes those under way and returns.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if TLS cannot be set up.
    pub async fn serve(self, listener: TcpListener, cancel: CancellationToken) -> Result<(), StoreError> {
        let acceptor = self.config().tls.as_ref().map(Tls::acceptor).transpose()?;
        let terms = Terms {
            bounds: self.config().bounds,
            acceptor,
            meter: self.meter().clone(),
            failures: Arc::clone(&self.0.failures),
            handler: self,
        };
        connection::serve(terms, listener, cancel).await;
        Ok(())
    }

    /// Collects garbage again and again until `cancel`. A run that fails is logged, and the next one tries again.
    /// Nothing of a read-only store is collected.
    pub async fn collect_every(self, every: Duration, grace: Duration, cancel: CancellationToken) {
        let storage = match &self.0.backend {
            Backend::Storage(storage) if !storage.rules().read_only => storage,
            _ => return,
        };
        while cancel
            .run_until_cancelled(tokio::time::sleep(every))
            .await
            .is_some()
        {
            let run = storage.collect(grace).await;
            self.meter().collected(run.as_ref());
            match run {
                Ok(Collected {
                    entries,
                    contents,
                    bytes,
                }) => tracing::info!(entries, contents, bytes, "garbage was collected"),
                Err(error) => self.0.failures.log("the collection of garbage", &error),
            }
        }
    }

    /// The service itself, for serving it over something other than a TCP listener.
    pub fn router(self) -> Router {
        Router::new().fallback(move |request| async move {
            let peer = Peer {
                address: None,
                secure: false,
                underway: None,
            };
            self.answer(peer, request).await
        })
    }

    fn config(&self) -> &Config {
        &self.0.config
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.0.meter
    }
}

impl Handler for Server {
    /// Answers one request, and settles its account when the answer has been sent.
    async fn answer(&self, peer: Peer, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let config = self.config();
        let received = Arc::new(AtomicU64::new(0));
        let mut account = Account {
            meter: self.meter().clone(),
            failures: Arc::clone(&self.0.failures),
            log: config.log.clone(),
            began: Instant::now(),
            time: (config.clock)(),
            method: parts.method.clone(),
            path: parts.uri.path().chars().take(limits::LOGGED_PATH).collect(),
            route: "none",
            status: StatusCode::OK,
            reason: None,
            user: None,
            peer: peer.address,
            underway: peer.underway,
            received: Arc::clone(&received),
        };
        let counted = Body::new(Counted::new(body, received, account.underway.clone()));
        let body = Body::new(TimeoutBody::new(config.bounds.body_silence, counted));
        let mut response = match dispatch(self, peer.secure, parts, body, &mut account).await {
            Ok(response) => response,
            Err(refusal) => {
                account.refused(&refusal);
                refusal.into_response()
            }
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
}

/// The scope that a request needs.
fn scopes(route: &Route, parts: &Parts) -> Vec<Scope> {
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let (repository, action) = match route {
        Route::Base | Route::Token | Route::Metrics => return Vec::new(),
        Route::Catalog => return vec![Scope::Catalog],
        Route::Uploads { repository } | Route::Upload { repository, .. } => (repository, Action::Push),
        Route::Tags { repository } | Route::Referrers { repository, .. } => (repository, Action::Pull),
        Route::Manifest { repository, .. } | Route::Blob { repository, .. } => {
            let action = match parts.method {
                _ if reads => Action::Pull,
                Method::DELETE => Action::Delete,
                _ => Action::Push,
            };
            (repository, action)
        }
    };
    vec![Scope::new(repository, action)]
}

async fn dispatch(
    server: &Server,
    secure: bool,
    parts: Parts,
    body: Body,
    account: &mut Account,
) -> Result<Response, Refusal> {
    let route = Route::parse(&parts.uri)?;
    account.route = route.label();
    let read_only = match &server.0.backend {
        Backend::Storage(storage) => storage.rules().read_only,
        Backend::Exhibit(_) => true,
    };
    let access = server.config().access.as_ref();
    match (&route, access) {
        (Route::Token, Some(access)) => return token(access, &parts, body, account).await,
        (Route::Metrics, _) => return metrics(server, &parts, account).await,
        _ => {}
    }
    let admitted = match access {
        None => Ok(Admitted::everybody()),
        Some(access) => access.admit(&parts, secure, &scopes(&route, &parts)).await,
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
            // A client that waits for `100 Continue` has sent nothing yet.
            if !parts.headers.contains_key(header::EXPECT) {
                body::drain(body.into_data_stream()).await;
            }
            Err(refusal)
        }
    }
}

/// Handles a request that was admitted.
async fn perform(
    server: &Server,
    admitted: Admitted,
    route: Route,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let storage = match &server.0.backend {
        Backend::Storage(storage) => storage,
        Backend::Exhibit(exhibit) => return exhibit.answer(route, parts, &admitted).await,
    };
    match (route, parts.method.clone()) {
        (Route::Base, Method::GET | Method::HEAD) => Ok(base::get()),
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
        (Route::Catalog, Method::GET) => listing::catalog(storage, parts, admitted).await,
        (Route::Tags { repository }, Method::GET) => listing::tags(storage, parts, repository).await,
        (Route::Referrers { repository, subject }, Method::GET) => {
            listing::referrers(storage, parts, repository, subject).await
        }
        (Route::Token, _) => Err(Refusal::NoRoute),
        (_, method) => Err(Refusal::Unsupported { method }),
    }
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

/// Answers `GET /metrics`, to every user if there are users.
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
    let uploads = match &server.0.backend {
        Backend::Storage(storage) => storage.open_uploads(),
        Backend::Exhibit(_) => 0,
    };
    let text = server.meter().text(uploads)?;
    let kind = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    Ok((kind, Body::from(text)).into_response())
}
