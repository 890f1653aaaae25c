//! The source that a sink reads during a copy: it counts bytes, and remembers how a read failed.

use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use samebundle_spec::Descriptor;
use tokio::io::{AsyncRead, ReadBuf};

use super::concurrency::Concurrency;
use super::{Progress, on};
use crate::store::{ByteStream, Origin, Pace, Pieces, Side, Source, StoreError};

/// One blob of the source, which the sink may begin to read more than once, at any position.
#[derive(Debug)]
pub(super) struct ObservedSource<'a, O: ?Sized> {
    pub(super) source: &'a O,
    pub(super) concurrency: &'a Arc<Concurrency>,
    /// Its bytes, if the graph holds them already.
    pub(super) known: Option<Bytes>,
    pub(super) observer: Arc<Observer>,
}

impl<O: ?Sized> ObservedSource<'_, O> {
    /// A range of the bytes that are known.
    fn part(&self, range: Range<u64>) -> Option<Bytes> {
        let bytes = self.known.as_ref()?;
        let place = |at: u64| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
        Some(bytes.slice(place(range.start)..place(range.end.max(range.start))))
    }

    fn observed(&self, from: u64, inner: ByteStream) -> ByteStream {
        self.observer.begin(from);
        Box::pin(ObservedStream {
            inner,
            observer: Arc::clone(&self.observer),
        })
    }
}

/// The digest is checked by whoever takes the bytes; if it is wrong, the copy finds out whose fault that is.
#[async_trait]
impl<O: Origin + ?Sized> Source for ObservedSource<'_, O> {
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        let content: ByteStream = match self.part(from..u64::MAX) {
            Some(bytes) => Box::pin(std::io::Cursor::new(bytes)),
            None => self
                .source
                .fetch_unverified(descriptor, from)
                .await
                .map_err(on(Side::Source))?,
        };
        Ok(self.observed(from, content))
    }

    async fn fetch_range_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<ByteStream, StoreError> {
        let from = range.start;
        let content: ByteStream = match self.part(range.clone()) {
            Some(bytes) => Box::pin(std::io::Cursor::new(bytes)),
            None => self
                .source
                .fetch_range_unverified(descriptor, range)
                .await
                .map_err(on(Side::Source))?,
        };
        Ok(self.observed(from, content))
    }

    async fn pieces_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<Pieces, StoreError> {
        let from = range.start;
        let pieces = match self.part(range.clone()) {
            Some(bytes) => stream::iter([Ok(bytes)]).boxed(),
            None => self
                .source
                .pieces_unverified(descriptor, range)
                .await
                .map_err(on(Side::Source))?,
        };
        self.observer.begin(from);
        let observer = Arc::clone(&self.observer);
        Ok(pieces.map(move |piece| observer.piece(piece)).boxed())
    }

    fn pace(&self) -> Pace {
        let pace = self.source.pace();
        self.concurrency.throttled(pace.throttled);
        pace
    }

    fn was_checked(&self) -> bool {
        self.source.was_checked()
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        self.source.contains(descriptor).await
    }
}

/// What is known about a blob that a sink reads.
#[derive(Debug)]
pub(super) struct Observer {
    descriptor: Descriptor,
    progress: Option<Arc<dyn Progress>>,
    concurrency: Arc<Concurrency>,
    state: Mutex<State>,
    done: AtomicU64,
    read: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    read: bool,
    failure: Option<std::io::Error>,
}

impl Observer {
    pub(super) fn new(
        descriptor: &Descriptor,
        progress: Option<Arc<dyn Progress>>,
        concurrency: &Arc<Concurrency>,
    ) -> Self {
        Self {
            descriptor: descriptor.clone(),
            progress,
            concurrency: Arc::clone(concurrency),
            state: Mutex::default(),
            done: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn was_read(&self) -> bool {
        self.state().read
    }

    /// How many bytes were read, bytes that were read again included.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(super) fn failure(&self) -> Option<std::io::Error> {
        self.state().failure.take()
    }

    fn begin(&self, from: u64) {
        let before = self.done.swap(from, Ordering::Relaxed);
        if let Some(progress) = self.progress.as_ref().filter(|_| before == 0 && from > 0) {
            progress.resumed(&self.descriptor.digest, from);
        }
    }

    fn advance(&self, bytes: u64) {
        self.state().read = true;
        if bytes == 0 {
            return;
        }
        self.read.fetch_add(bytes, Ordering::Relaxed);
        self.concurrency.moved(bytes);
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(progress) = &self.progress {
            // A blob that is longer than its descriptor says is refused by whoever reads it.
            let total = self.descriptor.size;
            progress.advanced(&self.descriptor.digest, done.min(total), total);
        }
    }

    /// The sink gets a copy of the error in words; the error itself is kept for the report.
    fn fail(&self, error: std::io::Error) -> std::io::Error {
        let told = std::io::Error::new(error.kind(), error.to_string());
        let mut state = self.state();
        (state.read, state.failure) = (true, Some(error));
        told
    }

    fn piece(&self, piece: std::io::Result<Bytes>) -> std::io::Result<Bytes> {
        match piece {
            Ok(piece) => {
                self.advance(piece.len() as u64);
                Ok(piece)
            }
            Err(error) => Err(self.fail(error)),
        }
    }
}

/// A stream that reports to an [`Observer`].
struct ObservedStream {
    inner: ByteStream,
    observer: Arc<Observer>,
}

impl AsyncRead for ObservedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        Poll::Ready(match std::task::ready!(self.inner.as_mut().poll_read(cx, buf)) {
            Ok(()) => {
                self.observer.advance((buf.filled().len() - before) as u64);
                Ok(())
            }
            Err(error) => Err(self.observer.fail(error)),
        })
    }
}
