//! Our server, and what goes wrong in front of it.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio::net::TcpListener;

use crate::server::{Storage, router};

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

type Plan = dyn Fn(&Parts, usize) -> Fault + Send + Sync;

/// A server that is gone when this is dropped.
pub(super) struct Front {
    pub(super) address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
    _root: tempfile::TempDir,
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
        let root = tempfile::tempdir().unwrap();
        let storage = Storage::open(root.path()).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let plan: Arc<Plan> = Arc::new(plan);
        let log = Arc::clone(&seen);
        let app = router(storage).layer(from_fn(move |request: Request, next: Next| {
            let (plan, log) = (Arc::clone(&plan), Arc::clone(&log));
            async move { pass(&*plan, &log, request, next).await }
        }));
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            seen,
            task,
            _root: root,
        }
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
        Fault::Instead(response) => response,
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
