//! Connections: how many there are, how long they may be silent, TLS, and the end.
//!
//! A connection is taken only when there is room for it; more wait in the kernel. It ends when it is silent for too long: in
//! its handshake, in the head of a request (the pause between two requests counts as one), in a body, or when it takes no
//! bytes of an answer. So who opens many and says little holds them for that long and no longer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Bounds, Server, answer};
use crate::StoreError;

/// What to wait after an accept that failed: file descriptors are short, and some will come back.
const SHORT_OF: Duration = Duration::from_millis(100);

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: Option<SocketAddr>,
    pub(super) secure: bool,
}

/// Takes connections until `cancel`, then finishes the requests under way.
pub(super) async fn serve(
    server: Server,
    listener: TcpListener,
    cancel: CancellationToken,
) -> Result<(), StoreError> {
    let bounds = server.config().bounds;
    let acceptor = server
        .config()
        .tls
        .as_ref()
        .map(super::Tls::acceptor)
        .transpose()?;
    let room = Arc::new(Semaphore::new(bounds.connections));
    let graceful = GracefulShutdown::new();
    while let Some(place) = cancel
        .run_until_cancelled(Arc::clone(&room).acquire_owned())
        .await
    {
        let Some(accepted) = cancel.run_until_cancelled(listener.accept()).await else {
            break;
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection was taken");
                tokio::time::sleep(SHORT_OF).await;
                continue;
            }
        };
        let (server, acceptor, watcher) = (server.clone(), acceptor.clone(), graceful.watcher());
        tokio::spawn(async move {
            let connections = server.meter().connections.clone();
            connections.inc();
            one(server, stream, address, acceptor, watcher).await;
            connections.dec();
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

/// Serves one connection to its end.
async fn one(
    server: Server,
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
    let bounds = server.config().bounds;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(bounds.body_silence));
    let stream = Box::pin(stream);
    let peer = Peer {
        address: Some(address),
        secure: acceptor.is_some(),
    };
    let Some(acceptor) = acceptor else {
        return requests(server, stream, peer, bounds, watcher).await;
    };
    match tokio::time::timeout(bounds.header_silence, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => requests(server, stream, peer, bounds, watcher).await,
        Ok(Err(error)) => tracing::debug!(%error, %address, "no TLS"),
        Err(_) => tracing::debug!(%address, "the TLS handshake took too long"),
    }
}

async fn requests(
    server: Server,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    bounds: Bounds,
    watcher: Watcher,
) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(answer(&server, peer, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_silence)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, address = ?peer.address, "the connection broke");
    }
}
