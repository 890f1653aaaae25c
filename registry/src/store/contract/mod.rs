//! The contract of a [`Store`], as cases that every implementation passes and that broken ones fail.
//!
//! Each case gets a store of its own and uses it only as the traits allow: children are pushed before the manifest that
//! names them, and tags point at manifests, so that a registry can be held to it as well.

mod blobs;
mod referrers;
mod tags;

#[cfg(test)]
mod broken;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use samebundle_spec::{Descriptor, MediaType, Tag};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::{ByteStream, SinkExt, Store, StoreError};

/// How long one case may take, over a network as well.
const CASE_TIME: Duration = Duration::from_secs(120);

/// A promise that a store does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The case.
    pub case: &'static str,
    /// What was wanted, and what came.
    pub why: String,
}

type Verdict = Result<(), String>;
type Run = fn(Arc<dyn Store>) -> Pin<Box<dyn Future<Output = Verdict> + Send>>;

macro_rules! cases {
    ($($module:ident :: $case:ident),* $(,)?) => {
        &[$((stringify!($case), (|store| Box::pin($module::$case(store))) as Run)),*]
    };
}

const CASES: &[(&str, Run)] = cases![
    blobs::keeps_content,
    blobs::says_what_is_absent,
    blobs::keeps_empty_content,
    blobs::keeps_large_content,
    blobs::keeps_manifests_byte_for_byte,
    blobs::names_content_by_sha512,
    blobs::refuses_other_bytes,
    blobs::refuses_short_content,
    blobs::refuses_long_content,
    blobs::stops_an_endless_stream,
    blobs::keeps_nothing_of_a_broken_stream,
    blobs::reads_nothing_that_is_there,
    blobs::takes_the_same_content_at_once,
    blobs::takes_other_content_at_once,
    tags::resolves_what_was_tagged,
    tags::moves_a_tag,
    tags::lists_tags_sorted,
    tags::says_that_a_tag_is_absent,
    tags::refuses_to_tag_what_is_absent,
    tags::removes_a_tag_and_keeps_the_content,
    tags::keeps_every_tag_set_at_once,
    referrers::lists_none,
    referrers::lists_sorted,
    referrers::lists_only_the_subjects_own,
    referrers::filters_by_artifact_type,
    referrers::takes_the_type_of_the_config,
    referrers::lists_once_what_is_pushed_twice,
    referrers::keeps_listing_what_lost_its_tag,
    referrers::keeps_every_referrer_pushed_at_once,
];

/// Runs every case, each against a store that `make` makes, and returns the promises that are not kept.
pub async fn store_contract<F, Fut>(make: F) -> Vec<Broken>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    let mut broken = Vec::new();
    for (case, run) in CASES {
        let verdict = match tokio::time::timeout(CASE_TIME, run(make().await)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(format!("no end after {} s", CASE_TIME.as_secs())),
        };
        if let Err(why) = verdict {
            broken.push(Broken { case, why });
        }
    }
    broken
}

fn bytes_type() -> MediaType {
    MediaType::OCI_LAYER
}

fn text(error: &StoreError) -> String {
    format!("{error:?}")
}

/// Fails the case unless `holds`.
fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

fn stream(bytes: impl Into<Bytes>) -> ByteStream {
    Box::pin(std::io::Cursor::new(bytes.into()))
}

/// Reads from `from` on.
async fn read(store: &dyn Store, descriptor: &Descriptor, from: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    store
        .fetch_unverified(descriptor, from)
        .await
        .map_err(|error| format!("fetch: {}", text(&error)))?
        .read_to_end(&mut bytes)
        .await
        .map_err(|error| format!("read: {error}"))?;
    Ok(bytes)
}

async fn contains(store: &dyn Store, descriptor: &Descriptor) -> Result<bool, String> {
    store
        .contains(descriptor)
        .await
        .map_err(|error| format!("contains: {}", text(&error)))
}

/// The content must be absent to every way of asking.
async fn ensure_absent(store: &dyn Store, descriptor: &Descriptor) -> Verdict {
    ensure(!contains(store, descriptor).await?, || {
        format!("contains says that {} is there", descriptor.digest)
    })?;
    match store.fetch_unverified(descriptor, 0).await {
        Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(format!(
            "fetch of absent content is not NotFound: {}",
            text(&error)
        )),
        Ok(_) => Err("fetch of absent content gives a stream".to_owned()),
    }
}

async fn push(
    store: &dyn Store,
    media_type: MediaType,
    bytes: impl Into<Bytes>,
) -> Result<Descriptor, String> {
    store
        .push_bytes(media_type, bytes.into())
        .await
        .map_err(|error| format!("push: {}", text(&error)))
}

/// Pushes an image manifest that differs by `mark`, with its config and its one layer.
async fn image(store: &dyn Store, mark: &str) -> Result<Descriptor, String> {
    artifact(store, mark, None, None, MediaType::OCI_CONFIG).await
}

/// Pushes a manifest that refers to `subject`.
async fn artifact(
    store: &dyn Store,
    mark: &str,
    subject: Option<&Descriptor>,
    artifact_type: Option<&str>,
    config_type: MediaType,
) -> Result<Descriptor, String> {
    let config = push(store, config_type, "{}").await?;
    let layer = push(store, bytes_type(), mark.to_owned()).await?;
    let mut manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": {"mark": mark},
    });
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = artifact_type.into();
    }
    if let Some(subject) = subject {
        manifest["subject"] = serde_json::to_value(subject.bare()).map_err(|error| error.to_string())?;
    }
    push(store, MediaType::OCI_MANIFEST, manifest.to_string()).await
}

fn tag(name: &str) -> Result<Tag, String> {
    name.parse().map_err(|error| format!("{name}: {error}"))
}

/// A stream that fails after some bytes, or at once: content that must not be read.
struct Failing {
    before: Bytes,
}

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.before.is_empty() {
            return Poll::Ready(Err(std::io::Error::other("this stream fails on purpose")));
        }
        let length = self.before.len().min(buf.remaining());
        let part = self.before.split_to(length);
        buf.put_slice(&part);
        Poll::Ready(Ok(()))
    }
}

/// The folder of outside vectors, if there is one.
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests find the vectors by an environment variable"
)]
pub(crate) fn vectors() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("SAMEBUNDLE_VECTORS");
    if folder.is_none() {
        println!("skipped: SAMEBUNDLE_VECTORS is not set");
    }
    folder.map(Into::into)
}
