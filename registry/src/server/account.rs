//! The account of a request: a line in the access log and the metrics when it is over.
//!
//! A request is over when the last byte of its answer was sent, or when the answer was dropped before: the account is
//! part of the answer's body and is settled when that is dropped, so that none is forgotten.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, StatusCode};
use hyper::body::{Frame, SizeHint};

use super::admission::Underway;
use super::failures::{Failures, chain};
use super::log::{Line, Log};
use super::meter::Meter;
use super::refusal::Refusal;

/// What is known about a request.
pub(super) struct Account {
    pub(super) meter: Meter,
    pub(super) failures: Arc<Failures>,
    pub(super) log: Option<Log>,
    pub(super) began: Instant,
    pub(super) time: SystemTime,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) route: &'static str,
    pub(super) status: StatusCode,
    /// Why it was refused, or why the answer broke, for the operator of the server.
    pub(super) reason: Option<String>,
    pub(super) user: Option<String>,
    pub(super) peer: Option<SocketAddr>,
    /// Held until the answer was sent.
    pub(super) underway: Option<Arc<Underway>>,
    pub(super) received: Arc<AtomicU64>,
}

impl Account {
    /// Records why the request was refused; a failure of the server is also logged.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        if let Refusal::Storage(error) = refusal {
            self.failures
                .log(format_args!("{} {}", self.method, self.path), error);
            self.reason = Some(chain(error));
        } else {
            self.reason = Some(refusal.to_string());
        }
    }

    /// Records that the answer broke after its head, because the bytes to send could not be read.
    fn broke(&mut self, error: &axum::Error) {
        let what = format!("the answer to {} {}", self.method, self.path);
        self.failures.log_broken(what, error);
        self.reason = Some(chain(error));
    }
}

/// Counts the bytes of a request's body as they come.
pub(super) struct Counted {
    body: Body,
    count: Arc<AtomicU64>,
    underway: Option<Arc<Underway>>,
}

impl Counted {
    pub(super) fn new(body: Body, count: Arc<AtomicU64>, underway: Option<Arc<Underway>>) -> Self {
        Self {
            body,
            count,
            underway,
        }
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Some(underway) = &self.underway {
            underway.read(polled.is_ready());
        }
        let frame = ready!(polled);
        if let Some(Ok(frame)) = &frame {
            self.count.fetch_add(length(frame), Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body that settles the account of its request.
pub(super) struct Settling {
    body: Body,
    account: Account,
    sent: u64,
    /// Whether the body came to its end without an error.
    ended: bool,
    /// Bytes that its head announced.
    announced: Option<u64>,
}

impl Settling {
    /// `announced` is the length that the head says, if it does.
    pub(super) fn new(body: Body, account: Account, announced: Option<u64>) -> Self {
        Self {
            announced: announced.or_else(|| body.size_hint().exact()),
            ended: body.is_end_stream(),
            body,
            account,
            sent: 0,
        }
    }
}

impl HttpBody for Settling {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.sent += length(frame),
            None => self.ended = true,
            Some(Err(error)) => self.account.broke(error),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        let account = &self.account;
        let took = account.began.elapsed();
        let received = account.received.load(Ordering::Relaxed);
        account.meter.answered(
            account.route,
            &account.method,
            account.status,
            received,
            self.sent,
            took,
        );
        // Nobody polls for the end of a body whose length was said and has come, nor one that answers HEAD.
        let complete = self.ended
            || self.body.is_end_stream()
            || self.announced == Some(self.sent)
            || account.method == Method::HEAD;
        if let Some(log) = &account.log {
            let written = log.write(&Line {
                time: account.time.into(),
                method: account.method.as_str(),
                path: &account.path,
                status: account.status.as_u16(),
                sent: self.sent,
                received,
                took,
                user: account.user.as_deref(),
                peer: account.peer,
                complete,
                reason: account.reason.as_deref(),
            });
            if let Err(error) = written {
                account.failures.log_io("log", "writing the access log", &error);
            }
        }
    }
}
