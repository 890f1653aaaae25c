//! The one way in which content moves: push, pull, import and mirror are all this.
//!
//! Children go first, the root last, the tag after that; referrers go before the root, so that whoever sees the tag, or
//! even only the root, sees it with its signatures. What the sink has is not sent again, which is also how a copy that was
//! cut off goes on. Memory is bounded: a stream buffer for each of the contents on the way, and the manifests of the graph
//! up to [`GRAPH_MANIFEST_BYTES`](samebundle_spec::limits::GRAPH_MANIFEST_BYTES).
//!
//! Failure: the first error stops the copy. What is complete in the sink stays there and is found again; the tag is not
//! set.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use samebundle_spec::{Descriptor, Digest, Tag};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::graph::{Beside, Graph, Node};
use crate::store::{ByteStream, Origin, Side, Source, SourceExt, StoreError, Target};

/// Is told how a copy goes on. Called often, from many tasks: it must not block.
pub trait Progress: Debug + Send + Sync {
    /// The whole graph is known: so many contents and bytes, some of which the sink may have.
    fn planned(&self, contents: usize, bytes: u64) {
        let _ = (contents, bytes);
    }

    /// `done` bytes of the `total` of one content were sent.
    fn advanced(&self, digest: &Digest, done: u64, total: u64);

    /// The sink has this content already, of `total` bytes.
    fn skipped(&self, digest: &Digest, total: u64) {
        let _ = (digest, total);
    }
}

/// How to copy.
#[derive(Clone, Debug)]
pub struct Options {
    /// The tag that the root gets in the sink, at the very end.
    pub tag: Option<Tag>,
    /// Copy also what refers to any manifest of the graph (signatures, provenance), and cosign's tags. Default: yes.
    pub referrers: bool,
    /// How many contents are on the way at once. Default: 4.
    pub concurrency: usize,
    /// Is told how it goes on.
    pub progress: Option<Arc<dyn Progress>>,
    /// Ends the copy with [`StoreError::Cancelled`].
    pub cancel: CancellationToken,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tag: None,
            referrers: true,
            concurrency: 4,
            progress: None,
            cancel: CancellationToken::new(),
        }
    }
}

impl Options {
    /// The defaults, with a tag.
    pub fn tagged(tag: Tag) -> Self {
        Self {
            tag: Some(tag),
            ..Self::default()
        }
    }
}

/// What a copy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Contents that were sent.
    pub contents: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Contents that the sink had already.
    pub skipped: u64,
}

/// Copies everything that belongs to `root` from `source` to `sink`.
///
/// # Errors
/// [`StoreError::Copy`] with the side that failed, or [`StoreError::Cancelled`].
pub async fn copy<O, T>(
    source: &O,
    sink: &T,
    root: &Descriptor,
    options: &Options,
) -> Result<Copied, StoreError>
where
    O: Origin + ?Sized,
    T: Target + ?Sized,
{
    tokio::select! {
        biased;
        () = options.cancel.cancelled() => Err(StoreError::Cancelled),
        result = run(source, sink, root, options) => result,
    }
}

async fn run<O, T>(source: &O, sink: &T, root: &Descriptor, options: &Options) -> Result<Copied, StoreError>
where
    O: Origin + ?Sized,
    T: Target + ?Sized,
{
    let beside = if options.referrers {
        Beside::Referrers
    } else {
        Beside::Nothing
    };
    let graph = Graph::walk(source, std::slice::from_ref(root), beside, options.concurrency)
        .await
        .map_err(on(Side::Source))?;
    if let Some(progress) = &options.progress {
        let bytes = graph
            .nodes()
            .map(|node| node.descriptor.size)
            .fold(0, u64::saturating_add);
        progress.planned(graph.nodes().count(), bytes);
    }
    let mut copied = Copied::default();
    for round in graph.rounds(root) {
        let sent: Vec<Option<u64>> = stream::iter(round)
            .map(|node| send(source, sink, &graph, node, options))
            .buffer_unordered(options.concurrency.max(1))
            .try_collect()
            .await?;
        for sent in sent {
            copied.skipped += u64::from(sent.is_none());
            copied.contents += u64::from(sent.is_some());
            copied.bytes += sent.unwrap_or(0);
        }
    }
    let tags = graph.cosign.iter().map(|(tag, descriptor)| (descriptor, tag));
    for (descriptor, tag) in tags.chain(options.tag.iter().map(|tag| (root, tag))) {
        sink.tag(descriptor, tag).await.map_err(on(Side::Destination))?;
    }
    Ok(copied)
}

fn on(side: Side) -> impl Fn(StoreError) -> StoreError {
    move |source| match source {
        StoreError::Cancelled => StoreError::Cancelled,
        source => StoreError::Copy {
            side,
            source: Box::new(source),
        },
    }
}

/// Sends one content; returns how many bytes the sink read, or `None` if it read nothing because it has the content.
async fn send<O, T>(
    source: &O,
    sink: &T,
    graph: &Graph,
    node: &Node,
    options: &Options,
) -> Result<Option<u64>, StoreError>
where
    O: Origin + ?Sized,
    T: Target + ?Sized,
{
    let descriptor = &node.descriptor;
    let skip = || {
        if let Some(progress) = &options.progress {
            progress.skipped(&descriptor.digest, descriptor.size);
        }
        Ok(None)
    };
    // That a referrer is listed is part of its push, and may be what is missing: the sink is asked by the push itself.
    if !node.refers && sink.contains(descriptor).await.map_err(on(Side::Destination))? {
        return skip();
    }
    let watch = Arc::new(Watch {
        descriptor: descriptor.clone(),
        progress: options.progress.clone(),
        state: Mutex::default(),
        done: AtomicU64::new(0),
    });
    let watched = WatchedSource {
        source,
        known: graph.bytes(descriptor),
        watch: Arc::clone(&watch),
    };
    match sink.push_from(descriptor, &watched).await {
        Ok(()) if watch.was_read() => Ok(Some(watch.done.load(Ordering::Relaxed))),
        Ok(()) => skip(),
        Err(error) => Err(match watch.failure() {
            Some(failure) => on(Side::Source)(StoreError::read(descriptor.digest, failure)),
            None => match error {
                // The source could not be opened, and says so already.
                error @ StoreError::Copy { .. } => error,
                error => on(Side::Destination)(error),
            },
        }),
    }
}

/// One content of the source, which the sink may begin to read more than once.
#[derive(Debug)]
struct WatchedSource<'a, O: ?Sized> {
    source: &'a O,
    /// Its bytes, if the graph holds them already.
    known: Option<Bytes>,
    watch: Arc<Watch>,
}

#[async_trait]
impl<O: Origin + ?Sized> Source for WatchedSource<'_, O> {
    /// Checked all the same where it is read from its start: so that what is wrong is known to be the source's fault.
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        let content: ByteStream = match &self.known {
            Some(bytes) => {
                let from = usize::try_from(from).map_or(bytes.len(), |from| from.min(bytes.len()));
                Box::pin(std::io::Cursor::new(bytes.slice(from..)))
            }
            None if from == 0 => self.source.fetch(descriptor).await.map_err(on(Side::Source))?,
            None => {
                let content = self.source.fetch_unverified(descriptor, from).await;
                content.map_err(on(Side::Source))?
            }
        };
        self.watch.done.store(from, Ordering::Relaxed);
        Ok(Box::pin(Watched {
            inner: content,
            watch: Arc::clone(&self.watch),
        }))
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        self.source.contains(descriptor).await
    }
}

/// What is known of a stream that a sink reads.
#[derive(Debug)]
struct Watch {
    descriptor: Descriptor,
    progress: Option<Arc<dyn Progress>>,
    state: Mutex<State>,
    done: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    read: bool,
    failure: Option<std::io::Error>,
}

impl Watch {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn was_read(&self) -> bool {
        self.state().read
    }

    fn failure(&self) -> Option<std::io::Error> {
        self.state().failure.take()
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(progress) = &self.progress {
            progress.advanced(&self.descriptor.digest, done, self.descriptor.size);
        }
    }
}

/// A stream that counts, and remembers how it failed: what fails here is the source's fault.
struct Watched {
    inner: ByteStream,
    watch: Arc<Watch>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = std::task::ready!(self.inner.as_mut().poll_read(cx, buf));
        let watch = &self.watch;
        watch.state().read = true;
        Poll::Ready(match result {
            Ok(()) => {
                let bytes = (buf.filled().len() - before) as u64;
                if bytes > 0 {
                    watch.advance(bytes);
                }
                Ok(())
            }
            Err(error) => {
                // The sink gets a copy in words; the error itself is kept for the report.
                let told = std::io::Error::new(error.kind(), error.to_string());
                watch.state().failure = Some(error);
                Err(told)
            }
        })
    }
}

#[cfg(test)]
mod tests;
