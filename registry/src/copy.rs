//! The one way in which content moves: push, pull, import and mirror are all this.
//!
//! Children go first, the root last, the tag after that; referrers go before the root, so that whoever sees the tag, or
//! even only the root, sees it with its signatures. What the sink has is not sent again, which is also how a copy that was
//! cut off goes on; of large content that holds for every batch ([`Parts`](crate::store::Parts), upload sessions).
//!
//! ```text
//! schedule   what may go now: each content as soon as its children are there
//! lanes      how many contents and ranges are on the way, adapted to throughput and to 429
//! content    one content: the sink reads it whole, or is written by position, several ranges at once
//! older      what of a layer is taken from older ones in the sink, if it is in chunks
//! watch      whose fault it was, and how far it came
//! ```
//!
//! Memory is bounded: some batches for each lane, and the manifests of the graph up to
//! [`GRAPH_MANIFEST_BYTES`](samebundle_spec::limits::GRAPH_MANIFEST_BYTES).
//!
//! Failure: the first error stops the copy. What is complete in the sink stays there and is found again; the tag is not
//! set.

mod content;
mod lanes;
mod older;
mod schedule;
mod watch;

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use samebundle_spec::{Descriptor, Digest, Tag};
use tokio_util::sync::CancellationToken;

use crate::graph::{Beside, Graph};
use crate::store::{Origin, Side, StoreError, Target};
use content::Job;
use lanes::Lanes;
use older::Reuse;
use schedule::Schedule;

/// Is told how a copy goes on. Called often, from many tasks: it must not block.
pub trait Progress: Debug + Send + Sync {
    /// The whole graph is known: so many contents and bytes, some of which the sink may have.
    fn planned(&self, contents: usize, bytes: u64) {
        let _ = (contents, bytes);
    }

    /// The sink has so many bytes of a content already, from an attempt that was cut off.
    fn resumed(&self, digest: &Digest, there: u64) {
        let _ = (digest, there);
    }

    /// `done` bytes of the `total` of one content are there, those of an earlier attempt included.
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
    /// How many contents and ranges are on the way at first; it adapts. Default: 4.
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
    /// Bytes that were taken from older content of the sink instead of being sent.
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
    let copied = send_all(source, sink, &graph, root, options).await?;
    let tags = graph.cosign.iter().map(|(tag, descriptor)| (descriptor, tag));
    for (descriptor, tag) in tags.chain(options.tag.iter().map(|tag| (root, tag))) {
        sink.tag(descriptor, tag).await.map_err(on(Side::Destination))?;
    }
    Ok(copied)
}

/// Sends everything, each content as soon as what it waits for is there.
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
    let lanes = Arc::new(Lanes::new(options.concurrency, throttled()));
    let job = Job {
        source,
        sink,
        graph,
        options,
        lanes: &lanes,
        reuse: Reuse::default(),
    };
    let mut schedule = Schedule::new(graph, root);
    let mut running = FuturesUnordered::new();
    let mut copied = Copied::default();
    loop {
        let mut freed = pin!(lanes.freed());
        freed.as_mut().enable();
        while schedule.ready() > 0
            && let Some(lane) = lanes.take()
            && let Some(node) = schedule.next()
        {
            let job = &job;
            running.push(async move {
                let sent = job.send(node).await;
                drop(lane);
                let sent = sent.map_err(|error| job.graph.explain(&node.descriptor.digest, error));
                sent.map(|sent| (node, sent))
            });
        }
        lanes.waiting(schedule.ready());
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
        lanes.throttled(throttled());
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
