//! Our server, and what goes wrong in front of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio::net::TcpListener;

use crate::server::{Config, Server, Storage};

/// What is done instead of, or to, an answer.
pub(super) enum Fault {
    None,
    /// Answer this without asking the server.
    Instead(Response),
    /// Ask the server, then break the connection after so many bytes of the body.
    Cut(usize),
    /// Break the connection after so many bytes of the request's body have come.
    CutRequest(usize),
    /// Ask the server and change its answer.
    Change(Box<dyn FnOnce(Response) -> Response + Send>),
    /// Ask the server something else.
    Ask(Box<dyn FnOnce(&mut Parts) + Send>),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: HeaderMap,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Bytes of bodies that came and went.
#[derive(Default)]
pub(super) struct Count {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    /// Is told both in all after every piece; says whether the connection is cut there.
    limit: Mutex<Option<Limit>>,
}

type Limit = Box<dyn FnMut(u64) -> bool + Send>;

impl Count {
    /// From now on `limit` gets the number of bytes that came and went since the start, and says when to cut.
    pub(super) fn limit(&self, limit: impl FnMut(u64) -> bool + Send + 'static) {
        *self.limit.lock().unwrap() = Some(Box::new(limit));
    }

    /// Counts from zero again.
    pub(super) fn reset(&self) {
        self.received.store(0, Ordering::SeqCst);
        self.sent.store(0, Ordering::SeqCst);
    }

    pub(super) fn no_limit(&self) {
        *self.limit.lock().unwrap() = None;
    }

    pub(super) fn total(&self) -> u64 {
        self.received.load(Ordering::SeqCst) + self.sent.load(Ordering::SeqCst)
    }

    fn add(&self, to: &AtomicU64, bytes: usize) -> bool {
        to.fetch_add(bytes as u64, Ordering::SeqCst);
        let total = self.total();
        self.limit
            .lock()
            .unwrap()
            .as_mut()
            .is_some_and(|limit| limit(total))
    }
}

fn counted(
    body: Body,
    count: &Arc<Count>,
    which: fn(&Count) -> &AtomicU64,
    broken: &Arc<AtomicBool>,
) -> Body {
    let (count, broken) = (Arc::clone(count), Arc::clone(broken));
    Body::from_stream(body.into_data_stream().map(move |piece| {
        let piece = piece.map_err(|error| std::io::Error::other(error.to_string()))?;
        if count.add(which(&count), piece.len()) {
            broken.store(true, Ordering::SeqCst);
            return Err(std::io::Error::other("cut on purpose"));
        }
        Ok(piece)
    }))
}

type Plan = dyn Fn(&Parts, usize) -> Fault + Send + Sync;

/// A server that is gone when this is dropped.
pub(super) struct Front {
    pub(super) address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    count: Arc<Count>,
    task: tokio::task::JoinHandle<()>,
    storage: Storage,
    root: Arc<tempfile::TempDir>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    /// Starts a server; `plan` gets every request and its number, from 0.
    pub(super) async fn start(plan: impl Fn(&Parts, usize) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, plan).await
    }

    pub(super) async fn on(
        listener: TcpListener,
        plan: impl Fn(&Parts, usize) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let root = Arc::new(tempfile::tempdir().unwrap());
        let storage = Storage::open(root.path()).unwrap();
        Self::over(listener, storage, root, plan)
    }

    /// Another server over the same storage.
    pub(super) async fn beside(&self, plan: impl Fn(&Parts, usize) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::over(listener, self.storage.clone(), Arc::clone(&self.root), plan)
    }

    fn over(
        listener: TcpListener,
        storage: Storage,
        root: Arc<tempfile::TempDir>,
        plan: impl Fn(&Parts, usize) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let plan: Arc<Plan> = Arc::new(plan);
        let log = Arc::clone(&seen);
        let count = Arc::new(Count::default());
        let counts = Arc::clone(&count);
        let app = Server::new(storage.clone(), Config::default())
            .unwrap()
            .router()
            .layer(from_fn(move |request: Request, next: Next| {
                let (plan, log) = (Arc::clone(&plan), Arc::clone(&log));
                let count = Arc::clone(&counts);
                async move {
                    let broken = Arc::new(AtomicBool::new(false));
                    let request = request.map(|body| counted(body, &count, |count| &count.received, &broken));
                    let response = pass(&*plan, &log, request, next).await;
                    if broken.load(Ordering::SeqCst) {
                        // Whatever the server says: nobody hears it any more.
                        return (StatusCode::BAD_GATEWAY, cut(Body::from("x"), 0)).into_response();
                    }
                    response.map(|body| counted(body, &count, |count| &count.sent, &broken))
                }
            }));
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            seen,
            count,
            task,
            storage,
            root,
        }
    }

    /// Bytes of bodies that came and went.
    pub(super) fn count(&self) -> &Arc<Count> {
        &self.count
    }

    /// Every request that came, oldest first.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The lines of the requests that came.
    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

async fn pass(plan: &Plan, log: &Mutex<Vec<Seen>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let number = {
        let mut log = log.lock().unwrap();
        log.push(Seen {
            line: format!("{} {}", parts.method, parts.uri),
            headers: parts.headers.clone(),
        });
        log.len() - 1
    };
    match plan(&parts, number) {
        Fault::None => next.run(Request::from_parts(parts, body)).await,
        Fault::Instead(response) => {
            // An answer before the body is through may be lost with its connection.
            let mut body = body.into_data_stream();
            while let Some(Ok(_)) = body.next().await {}
            response
        }
        Fault::Cut(after) => {
            let response = next.run(Request::from_parts(parts, body)).await;
            response.map(|body| cut(body, after))
        }
        Fault::CutRequest(after) => {
            let body = cut(body, after);
            let _ = next.run(Request::from_parts(parts, body)).await;
            // An answer whose body breaks at once: the connection ends. Not 200: that would be a whole answer to HEAD.
            (StatusCode::BAD_GATEWAY, cut(Body::from("x"), 0)).into_response()
        }
        Fault::Change(change) => change(next.run(Request::from_parts(parts, body)).await),
        Fault::Ask(change) => {
            let mut parts = parts;
            change(&mut parts);
            next.run(Request::from_parts(parts, body)).await
        }
    }
}

fn cut(body: Body, after: usize) -> Body {
    let mut left = after;
    let stream = body.into_data_stream().map(move |piece| {
        let piece = piece.map_err(|error| std::io::Error::other(error.to_string()))?;
        if piece.len() > left {
            return Err(std::io::Error::other("cut on purpose"));
        }
        left -= piece.len();
        Ok(piece)
    });
    Body::from_stream(stream)
}

/// An answer of the fault itself.
pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Fault {
    let mut response = (StatusCode::from_u16(status).unwrap(), body.to_owned()).into_response();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        response
            .headers_mut()
            .insert(name, HeaderValue::from_str(value).unwrap());
    }
    Fault::Instead(response)
}

/// The `Authorization` of a request, or "".
pub(super) fn authorization(parts: &Parts) -> &str {
    parts
        .headers
        .get(header::AUTHORIZATION)
        .map_or("", |value| value.to_str().unwrap())
}
