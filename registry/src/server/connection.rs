//! Connections: how many there are, how long they may be silent, TLS, and the end.
//!
//! A connection is accepted when there is a seat for it, or another one gives way ([`Admission`]); more wait in the
//! kernel. It ends when it is silent for too long: in its handshake, in the head of a request (the pause between two
//! requests counts as one), in a body, or when it takes no bytes of an answer. At the end of the server, requests under
//! way are finished, and connections without one are closed.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Seat, Underway};
use super::config::Bounds;
use super::failures::Failures;
use super::meter::Meter;

/// The wait after an accept that failed: file descriptors are short, and some will be freed.
const SHORT_OF: Duration = Duration::from_millis(100);

/// The origin of a request.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: Option<SocketAddr>,
    pub(super) secure: bool,
    /// Its account on the connection, until its answer has ended.
    pub(super) underway: Option<Arc<Underway>>,
}

/// Answers requests.
pub(super) trait Handler: Clone + Send + Sync + 'static {
    fn answer(&self, peer: Peer, request: Request<Body>) -> impl Future<Output = Response> + Send;
}

/// What all connections of a server share.
#[derive(Clone)]
pub(super) struct Terms<H> {
    pub(super) handler: H,
    pub(super) bounds: Bounds,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) meter: Meter,
    pub(super) failures: Arc<Failures>,
}

/// Takes connections until `cancel`, then finishes the requests under way.
pub(super) async fn serve<H: Handler>(terms: Terms<H>, listener: TcpListener, cancel: CancellationToken) {
    let admission = Admission::new(terms.bounds.connections);
    let graceful = GracefulShutdown::new();
    while let Some(accepted) = cancel.run_until_cancelled(listener.accept()).await {
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                terms.failures.log_io("accept", "taking a connection", &error);
                tokio::time::sleep(SHORT_OF).await;
                continue;
            }
        };
        let Some(seat) = cancel.run_until_cancelled(admission.admit()).await else {
            break;
        };
        let (terms, watcher) = (terms.clone(), graceful.watcher());
        tokio::spawn(async move {
            let connections = terms.meter.connections.clone();
            connections.inc();
            one(terms, stream, address, Arc::new(seat), watcher).await;
            connections.dec();
        });
    }
    drop(listener);
    admission.end_idle();
    graceful.shutdown().await;
}

/// Serves one connection to its end.
async fn one<H: Handler>(
    terms: Terms<H>,
    stream: TcpStream,
    address: SocketAddr,
    seat: Arc<Seat>,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(terms.bounds.body_silence));
    let stream = Watched {
        stream: Box::pin(stream),
        seat: Arc::clone(&seat),
    };
    let Some(acceptor) = terms.acceptor.clone() else {
        return requests(terms, stream, address, seat, watcher).await;
    };
    let handshake = tokio::time::timeout(terms.bounds.header_silence, acceptor.accept(stream));
    tokio::select! {
        () = seat.evicted() => tracing::debug!(%address, "gave way to another connection"),
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => requests(terms, stream, address, Arc::clone(&seat), watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, %address, "no TLS"),
            Err(_) => tracing::debug!(%address, "the TLS handshake took too long"),
        },
    }
}

async fn requests<H: Handler>(
    terms: Terms<H>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
    seat: Arc<Seat>,
    watcher: Watcher,
) {
    let secure = terms.acceptor.is_some();
    let (handler, own) = (terms.handler, Arc::clone(&seat));
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let handler = handler.clone();
        let peer = Peer {
            address: Some(address),
            secure,
            underway: Some(Arc::new(own.begin())),
        };
        async move { Ok::<_, Infallible>(handler.answer(peer, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(terms.bounds.header_silence)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(watcher.watch(connection));
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = seat.evicted() => match seat.is_idle() {
            true => return tracing::debug!(%address, "gave way to another connection"),
            // A request came at the same moment.
            false => connection.await,
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %address, "the connection broke");
    }
}

/// A stream that records for each write whether the client took it.
struct Watched {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    seat: Arc<Seat>,
}

impl Watched {
    fn wrote<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.seat.wrote(result.is_ready());
        result
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write_vectored(context, bytes);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}
