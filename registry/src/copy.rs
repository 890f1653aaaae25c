//! Copies a graph from one store to another. Push, pull, import and mirror all use it.
//!
//! Children go first, the root last, the tag after that; referrers go before the root, so that whoever sees the tag, or
//! even only the root, sees it with its signatures. Blobs that the sink has are not sent again, so a copy that was cut off
//! goes on where it ended; for large blobs that holds for every batch ([`Parts`](crate::store::Parts), upload sessions).
//!
//! ```text
//! schedule     which blobs may be sent now: each as soon as the sink has its children
//! concurrency  how many blobs and ranges are transferred at once, adapted to throughput and to 429
//! blob         sends one blob: the sink reads it whole, or is written by position, several ranges at once
//! older        takes the chunks of a layer from older layers in the sink
//! observer     records which side failed, and how far the sink came
//! ```
//!
//! Memory is bounded: a few batches for each permit, and the manifests of the graph up to
//! [`GRAPH_MANIFEST_BYTES`](samebundle_spec::limits::GRAPH_MANIFEST_BYTES).
//!
//! Failure: the first error stops the copy. Blobs that are complete in the sink stay there and are found again; the tag
//! is not set.

mod blob;
mod concurrency;
mod observer;
mod older;
mod schedule;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use samebundle_spec::{Descriptor, Digest, Tag};
use tokio_util::sync::CancellationToken;

use crate::graph::{Follow, Graph};
use crate::store::{Origin, Side, StoreError, Target};
use blob::Job;
use concurrency::Concurrency;
use older::Reuse;
use schedule::Schedule;

/// Receives the progress of a copy. It is called often, from many tasks, and must not block.
pub trait Progress: Debug + Send + Sync {
    /// The whole graph is known: it has this many blobs and bytes, some of which the sink may have.
    fn planned(&self, contents: usize, bytes: u64) {
        let _ = (contents, bytes);
    }

    /// The sink already has this many bytes of a blob, from an attempt that was cut off.
    fn resumed(&self, digest: &Digest, there: u64) {
        let _ = (digest, there);
    }

    /// The sink has `done` bytes of the `total` of one blob, those of an earlier attempt included.
    fn advanced(&self, digest: &Digest, done: u64, total: u64);

    /// The sink already has this blob, which has `total` bytes.
    fn skipped(&self, digest: &Digest, total: u64) {
        let _ = (digest, total);
    }
}

/// How to copy.
#[derive(Clone, Debug)]
pub struct Options {
    /// The tag that the root gets in the sink, at the very end.
    pub tag: Option<Tag>,
    /// Copy also the referrers of every manifest of the graph (signatures, provenance), and cosign's tags. Default: yes.
    pub referrers: bool,
    /// Referrers that are left out all the same.
    pub without: BTreeSet<Digest>,
    /// How many blobs and ranges are transferred at once at first; the number adapts. Default: 4.
    pub concurrency: usize,
    /// Receives the progress.
    pub progress: Option<Arc<dyn Progress>>,
    /// Ends the copy with [`StoreError::Cancelled`].
    pub cancel: CancellationToken,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tag: None,
            referrers: true,
            without: BTreeSet::new(),
            concurrency: 4,
            progress: None,
            cancel: CancellationToken::new(),
        }
    }
}

impl Options {
    /// Returns which edges of the graph a copy follows.
    pub(crate) fn follow(&self) -> Follow<'_> {
        match self.referrers {
            true => Follow::ReferrersWithout(&self.without),
            false => Follow::Children,
        }
    }

    /// The defaults, with a tag.
    pub fn tagged(tag: Tag) -> Self {
        Self {
            tag: Some(tag),
            ..Self::default()
        }
    }
}

/// The result of a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Blobs that were sent.
    pub contents: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Blobs that the sink had already.
    pub skipped: u64,
    /// Bytes that were taken from older blobs of the sink instead of being sent.
    pub reused: u64,
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
    let root_only = std::slice::from_ref(root);
    let graph = Graph::walk(source, root_only, options.follow(), options.concurrency)
        .await
        .map_err(on(Side::Source))?;
    if let Some(progress) = &options.progress {
        let bytes = graph
            .nodes()
            .map(|node| node.descriptor.size)
            .fold(0, u64::saturating_add);
        progress.planned(graph.nodes().count(), bytes);
    }
    let copied = send_all(source, sink, &graph, root, options).await?;
    let tags = graph.cosign.iter().map(|(tag, descriptor)| (descriptor, tag));
    for (descriptor, tag) in tags.chain(options.tag.iter().map(|tag| (root, tag))) {
        sink.tag(descriptor, tag).await.map_err(on(Side::Destination))?;
    }
    Ok(copied)
}

/// Sends everything, each blob as soon as the blobs that it waits for are in the sink.
async fn send_all<O, T>(
    source: &O,
    sink: &T,
    graph: &Graph,
    root: &Descriptor,
    options: &Options,
) -> Result<Copied, StoreError>
where
    O: Origin + ?Sized,
    T: Target + ?Sized,
{
    let throttled = || source.pace().throttled + sink.pace().throttled;
    let concurrency = Arc::new(Concurrency::new(options.concurrency, throttled()));
    let job = Job {
        source,
        sink,
        graph,
        options,
        concurrency: &concurrency,
        reuse: Reuse::default(),
    };
    let mut schedule = Schedule::new(graph, root);
    let mut running = FuturesUnordered::new();
    let mut copied = Copied::default();
    loop {
        let mut freed = pin!(concurrency.freed());
        freed.as_mut().enable();
        while schedule.ready() > 0
            && let Some(permit) = concurrency.take()
            && let Some(node) = schedule.next()
        {
            let job = &job;
            running.push(async move {
                let sent = job.send(node).await;
                drop(permit);
                let sent = sent.map_err(|error| job.graph.explain(&node.descriptor.digest, error));
                sent.map(|sent| (node, sent))
            });
        }
        concurrency.waiting(schedule.ready());
        if running.is_empty() {
            copied.reused = job.reuse.bytes();
            return Ok(copied);
        }
        tokio::select! {
            Some(sent) = running.next() => {
                let (node, sent) = sent?;
                schedule.done(&node.descriptor);
                copied.skipped += u64::from(sent.is_none());
                copied.contents += u64::from(sent.is_some());
                copied.bytes += sent.unwrap_or(0);
            }
            () = freed, if schedule.ready() > 0 => {}
        }
        concurrency.throttled(throttled());
    }
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

#[cfg(test)]
pub(crate) mod tests;
