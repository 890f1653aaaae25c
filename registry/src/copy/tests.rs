pub(crate) mod processes;

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use samebundle_spec::{Index, Manifest, MediaType, limits};
use tokio::io::{AsyncRead, ReadBuf};

use super::*;
use crate::archive;
use crate::layout;
use crate::layout::Layout;
use crate::store::watched::Watched;
use crate::store::{
    ByteStream, Memory, Pace, Referrers, Resolve, Sink, SinkExt, Source, SourceExt, Store, Tags,
};

/// A bundle: an index of two images that share a layer, a signature of the index and of an image, a receipt of the
/// signature, and a cosign tag.
async fn bundle(store: &dyn Store) -> Descriptor {
    let config = store
        .push_bytes(MediaType::OCI_CONFIG, "{}".into())
        .await
        .unwrap();
    let shared = store
        .push_bytes(MediaType::OCI_LAYER, vec![7; 600_000].into())
        .await
        .unwrap();
    let mut images = Vec::new();
    for mark in ["one", "two"] {
        let own = store.push_bytes(MediaType::OCI_LAYER, mark.into()).await.unwrap();
        let image = Manifest::new(config.clone(), vec![shared.clone(), own]);
        images.push(push_manifest(store, &image).await);
    }
    let index = Index::new(images.clone());
    let root = store
        .push_bytes(MediaType::OCI_INDEX, index.to_bytes().into())
        .await
        .unwrap();
    let signature = refer(store, &root, "signature").await;
    refer(store, &images[0], "signature of an image").await;
    refer(store, &signature, "receipt").await;
    let cosign = push_manifest(
        store,
        &Manifest::new(config, vec![shared]).with_annotation("cosign", "1"),
    )
    .await;
    store.tag(&cosign, &Tag::cosign(&root.digest)).await.unwrap();
    store.tag(&root, &tag()).await.unwrap();
    root
}

fn tag() -> Tag {
    "v1".parse().unwrap()
}

async fn push_manifest(store: &dyn Store, manifest: &Manifest) -> Descriptor {
    let bytes = Bytes::from(manifest.to_bytes());
    store.push_bytes(MediaType::OCI_MANIFEST, bytes).await.unwrap()
}

async fn refer(store: &dyn Store, subject: &Descriptor, mark: &'static str) -> Descriptor {
    let layer = store.push_bytes(MediaType::IN_TOTO, mark.into()).await.unwrap();
    store.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let manifest = Manifest::artifact(MediaType::SIGSTORE_BUNDLE, vec![layer]).with_subject(subject.bare());
    push_manifest(store, &manifest).await
}

/// How many blobs [`bundle`] makes: 3 plain, 2 images, 1 index, 3 referrers with 3 layers and the shared empty config,
/// 1 cosign manifest. The two configs have the same bytes.
const CONTENTS: u64 = 4 + 2 + 1 + 3 + 3 + 1;

/// Everything that was reachable in `from` is in `to`, byte for byte.
async fn assert_complete(from: &Memory, to: &dyn Store, root: &Descriptor) {
    assert_eq!(to.resolve(&tag()).await.unwrap().bare(), root.bare());
    for digest in from.digests() {
        let size = from_size(from, &digest).await;
        let descriptor = Descriptor::new(MediaType::OCI_LAYER, digest, size);
        to.fetch_bytes(&descriptor, u64::MAX).await.unwrap();
    }
    let signatures = to.referrers(root, None).await.unwrap();
    assert_eq!(signatures.len(), 1);
    assert_eq!(to.referrers(&signatures[0], None).await.unwrap().len(), 1);
    to.resolve(&Tag::cosign(&root.digest)).await.unwrap();
}

async fn from_size(from: &Memory, digest: &Digest) -> u64 {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    let any = Descriptor::new(MediaType::OCI_LAYER, *digest, 0);
    from.fetch_unverified(&any, 0)
        .await
        .unwrap()
        .read_to_end(&mut bytes)
        .await
        .unwrap();
    bytes.len() as u64
}

#[tokio::test]
async fn copies_everything_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let root = bundle(&from).await;
    let to = Layout::create(folder.path()).await.unwrap();
    let first = copy(&from, &to, &root, &Options::tagged(tag())).await.unwrap();
    assert_eq!((first.contents, first.skipped), (CONTENTS, 0), "{first:?}");
    assert!(first.bytes > 600_000);
    assert_complete(&from, &to, &root).await;
    let second = copy(&from, &to, &root, &Options::tagged(tag())).await.unwrap();
    assert_eq!(
        second,
        Copied {
            contents: 0,
            bytes: 0,
            skipped: CONTENTS,
            reused: 0,
        }
    );
    assert_eq!(layout::check(folder.path(), true).await.unwrap().findings, []);
    let back = Memory::new();
    copy(&to, &back, &root, &Options::tagged(tag())).await.unwrap();
    assert_eq!(back.digests(), from.digests());
}

#[tokio::test]
async fn leaves_referrers_out_when_told_to() {
    let (from, to) = (Memory::new(), Memory::new());
    let root = bundle(&from).await;
    let options = Options {
        referrers: false,
        ..Options::tagged(tag())
    };
    copy(&from, &to, &root, &options).await.unwrap();
    assert!(to.referrers(&root, None).await.unwrap().is_empty());
    assert_eq!(to.tags().await.unwrap(), [tag()]);
}

/// A store that fails at its nth call, or its streams after n bytes in all.
#[derive(Debug)]
struct Fault {
    good: Memory,
    calls: AtomicUsize,
    bytes: Arc<AtomicUsize>,
    events: Mutex<Vec<String>>,
}

impl Fault {
    fn new(good: Memory, calls: usize, bytes: usize) -> Self {
        Self {
            good,
            calls: AtomicUsize::new(calls),
            bytes: Arc::new(AtomicUsize::new(bytes)),
            events: Mutex::default(),
        }
    }

    fn call(&self, event: String) -> Result<(), StoreError> {
        let left = self
            .calls
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            return Err(StoreError::Unavailable {
                place: "fault".to_owned(),
                operation: "answer",
                why: "on purpose".to_owned(),
            });
        }
        self.events.lock().unwrap().push(event);
        Ok(())
    }

    fn cut(&self, inner: ByteStream) -> ByteStream {
        Box::pin(Cut {
            inner,
            left: Arc::clone(&self.bytes),
        })
    }
}

struct Cut {
    inner: ByteStream,
    left: Arc<AtomicUsize>,
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(self.inner.as_mut().poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(bytes));
        if left.is_err() {
            buf.set_filled(before);
            return Poll::Ready(Err(std::io::Error::other("cut on purpose")));
        }
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Source for Fault {
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        self.call(format!("fetch {}", descriptor.digest))?;
        Ok(self.cut(self.good.fetch_unverified(descriptor, from).await?))
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        self.call(format!("contains {}", descriptor.digest))?;
        self.good.contains(descriptor).await
    }
}

#[async_trait]
impl Sink for Fault {
    async fn push(&self, descriptor: &Descriptor, content: ByteStream) -> Result<(), StoreError> {
        self.call(format!("push {}", descriptor.digest))?;
        self.good.push(descriptor, content).await
    }
}

#[async_trait]
impl Resolve for Fault {
    async fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        self.call(format!("resolve {tag}"))?;
        self.good.resolve(tag).await
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.call("tags".to_owned())?;
        self.good.tags().await
    }
}

#[async_trait]
impl Tags for Fault {
    async fn tag(&self, descriptor: &Descriptor, tag: &Tag) -> Result<(), StoreError> {
        self.call(format!("tag {tag}"))?;
        self.good.tag(descriptor, tag).await
    }

    async fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        self.call(format!("untag {tag}"))?;
        self.good.untag(tag).await
    }
}

#[async_trait]
impl Referrers for Fault {
    async fn referrers(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        self.call(format!("referrers {}", subject.digest))?;
        self.good.referrers(subject, artifact_type).await
    }
}

/// Copies with a fault; returns whether it succeeded. After a failure no tag is visible and a second copy succeeds.
async fn survives(source: &Fault, sink: &Fault, root: &Descriptor, side: Side) -> bool {
    let result = copy(source, sink, root, &Options::tagged(tag())).await;
    if result.is_ok() {
        return true;
    }
    assert!(
        matches!(result, Err(StoreError::Copy { side: found, .. }) if found == side),
        "{side}: {result:?}"
    );
    assert!(
        sink.good.resolve(&tag()).await.is_err(),
        "a tag of something incomplete can be seen"
    );
    copy(&source.good, &sink.good, root, &Options::tagged(tag()))
        .await
        .unwrap();
    assert_complete(&source.good, &sink.good, root).await;
    false
}

const ALL: usize = usize::MAX;

#[tokio::test]
async fn a_copy_cut_at_any_call_leaves_no_tag_and_goes_on() {
    let from = Memory::new();
    let root = bundle(&from).await;
    for side in [Side::Source, Side::Destination] {
        let mut calls = 0;
        loop {
            let (good, limited) = (Fault::new(from.clone(), ALL, ALL), Memory::new());
            let done = match side {
                Side::Source => {
                    survives(
                        &Fault::new(from.clone(), calls, ALL),
                        &Fault::new(limited, ALL, ALL),
                        &root,
                        side,
                    )
                    .await
                }
                Side::Destination => survives(&good, &Fault::new(limited, calls, ALL), &root, side).await,
            };
            if done {
                break;
            }
            calls += 1;
        }
        assert!(calls > 20, "{side}: only {calls} calls");
    }
}

#[tokio::test]
async fn a_copy_cut_at_any_byte_leaves_no_tag_and_goes_on() {
    let from = Memory::new();
    let root = bundle(&from).await;
    let mut cuts = 0;
    for bytes in (0..).step_by(20_011) {
        let source = Fault::new(from.clone(), ALL, bytes);
        if survives(&source, &Fault::new(Memory::new(), ALL, ALL), &root, Side::Source).await {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 20, "only {cuts} cuts");
}

#[tokio::test]
async fn children_come_before_parents_and_the_root_and_its_tag_last() {
    let from = Memory::new();
    let root = bundle(&from).await;
    let sink = Fault::new(Memory::new(), ALL, ALL);
    copy(&from, &sink, &root, &Options::tagged(tag())).await.unwrap();
    let events = sink.events.lock().unwrap().clone();
    let pushes: Vec<&String> = events.iter().filter(|event| event.starts_with("push")).collect();
    assert_eq!(**pushes.last().unwrap(), format!("push {}", root.digest));
    assert_eq!(events.last().unwrap(), "tag v1");
    let place = |digest: &Digest| {
        pushes
            .iter()
            .position(|event| ***event == format!("push {digest}"))
            .unwrap()
    };
    for node in Graph::walk(&from, std::slice::from_ref(&root), Follow::Referrers, 1)
        .await
        .unwrap()
        .nodes()
    {
        if node.descriptor.media_type.has_children() {
            let bytes = from.fetch_bytes(&node.descriptor, u64::MAX).await.unwrap();
            for child in crate::store::document(&node.descriptor, &bytes)
                .unwrap()
                .children()
            {
                assert!(place(&child.digest) < place(&node.descriptor.digest));
            }
        }
    }
}

#[tokio::test]
async fn altered_content_is_the_sources_fault_and_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let from = Layout::create(folder.path()).await.unwrap();
    let root = bundle(&from).await;
    let layer = Descriptor::of(MediaType::OCI_LAYER, b"one");
    let path = folder.path().join("blobs/sha256").join(layer.digest.hex());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "oNe").unwrap();
    let to = Memory::new();
    let result = copy(&from, &to, &root, &Options::tagged(tag())).await;
    let Err(StoreError::Copy {
        side: Side::Source,
        source,
    }) = result
    else {
        panic!("{result:?}")
    };
    assert!(matches!(*source, StoreError::Mismatch { .. }), "{source:?}");
    assert!(!to.contains(&layer).await.unwrap());
    assert!(to.tags().await.unwrap().is_empty());
}

#[derive(Debug, Default)]
struct Counter {
    planned: AtomicU64,
    done: Mutex<std::collections::BTreeMap<Digest, u64>>,
}

impl Progress for Counter {
    fn planned(&self, _contents: usize, bytes: u64) {
        self.planned.store(bytes, Ordering::SeqCst);
    }

    fn advanced(&self, digest: &Digest, done: u64, total: u64) {
        assert!(done <= total);
        self.done.lock().unwrap().insert(*digest, done);
    }
}

#[tokio::test]
async fn progress_adds_up_and_cancelling_ends_the_copy() {
    let (from, to) = (Memory::new(), Memory::new());
    let root = bundle(&from).await;
    let counter = Arc::new(Counter::default());
    let options = Options {
        progress: Some(Arc::clone(&counter) as _),
        ..Options::tagged(tag())
    };
    let copied = copy(&from, &to, &root, &options).await.unwrap();
    let done: u64 = counter.done.lock().unwrap().values().sum();
    assert_eq!(
        (copied.bytes, counter.planned.load(Ordering::SeqCst)),
        (done, done)
    );
    options.cancel.cancel();
    let result = copy(&from, &Memory::new(), &root, &options).await;
    assert!(matches!(result, Err(StoreError::Cancelled)));
}

#[tokio::test]
async fn what_is_too_deep_or_contradicts_itself_is_refused() {
    let from = Memory::new();
    let mut deep = push_manifest(&from, &Manifest::artifact(MediaType::CONTENT, Vec::new())).await;
    from.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    for _ in 0..limits::GRAPH_DEPTH + 2 {
        let index = Index::new(vec![deep]);
        deep = from
            .push_bytes(MediaType::OCI_INDEX, index.to_bytes().into())
            .await
            .unwrap();
    }
    let result = copy(&from, &Memory::new(), &deep, &Options::default()).await;
    assert!(result.is_err_and(|error| format!("{error:?}").contains("deeper")));
    let layer = from.push_bytes(MediaType::OCI_LAYER, "x".into()).await.unwrap();
    let longer = Descriptor {
        size: 2,
        ..layer.clone()
    };
    let twice = push_manifest(&from, &Manifest::new(Descriptor::empty(), vec![layer, longer])).await;
    let result = copy(&from, &Memory::new(), &twice, &Options::default()).await;
    assert!(result.is_err_and(|error| format!("{error:?}").contains("1 and 2 bytes")));
}

#[tokio::test]
async fn content_that_is_both_manifest_and_layer_is_copied_as_both() {
    let from = Memory::new();
    from.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let inner = push_manifest(&from, &Manifest::artifact(MediaType::CONTENT, Vec::new())).await;
    let as_layer = Descriptor {
        media_type: MediaType::OCI_LAYER,
        ..inner.clone()
    };
    let outer = push_manifest(&from, &Manifest::new(Descriptor::empty(), vec![as_layer])).await;
    let index = Index::new(vec![outer, inner]);
    let root = from
        .push_bytes(MediaType::OCI_INDEX, index.to_bytes().into())
        .await
        .unwrap();
    let to = Memory::new();
    copy(&from, &to, &root, &Options::default()).await.unwrap();
    assert_eq!(to.digests(), from.digests());
}

/// What was asked for of one layer.
#[derive(Debug, Default)]
struct Asked {
    bytes: u64,
    questions: usize,
    /// The most bytes that were asked for and not recorded.
    most: u64,
}

/// Copies one layer into a layout; returns the most bytes that were asked for and not recorded, and in how many questions.
async fn ask_for(size: u64) -> (u64, usize) {
    let good = Memory::new();
    let bytes = vec![7; usize::try_from(size).unwrap()];
    let layer = good.push_bytes(MediaType::OCI_LAYER, bytes.into()).await.unwrap();
    let config = good.push_bytes(MediaType::OCI_CONFIG, "{}".into()).await;
    let root = push_manifest(&good, &Manifest::new(config.unwrap(), vec![layer.clone()])).await;
    let (recorded, asked) = (
        Arc::new(Counter::default()),
        Arc::new(Mutex::new(Asked::default())),
    );
    let pace = Pace {
        streams: limits::RANGE_STREAMS,
        ..Pace::default()
    };
    let (done, watched) = (Arc::clone(&recorded), Arc::clone(&asked));
    let from = Watched::new(good, pace, move |descriptor, range| {
        if descriptor.digest == layer.digest {
            let done = done.done.lock().unwrap();
            let done = done.get(&layer.digest).copied().unwrap_or_default();
            let mut asked = watched.lock().unwrap();
            asked.questions += 1;
            asked.bytes += range.end - range.start;
            asked.most = asked.most.max(asked.bytes - done);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let to = Layout::create(&folder.path().join("to")).await.unwrap();
    let options = Options {
        progress: Some(recorded),
        ..Options::tagged(tag())
    };
    copy(&from, &to, &root, &options).await.unwrap();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.bytes, size, "nothing is asked for twice");
    (asked.most, asked.questions)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_and_not_recorded_is_bounded_and_small_content_is_one_question() {
    let (least, _) = limits::ASKED_BYTES;
    let (most, questions) = ask_for(64 << 20).await;
    assert!(most <= least, "{most}");
    assert!(
        most > least / 2,
        "the next range is asked for while one ends: {most}"
    );
    assert!(questions >= 8, "{questions}");
    assert_eq!(ask_for(limits::ASKED_WHOLE).await, (limits::ASKED_WHOLE, 1));
}

mod parts {
    //! Documents that are no image manifests.

    use samebundle_spec::{Classify, ErrorKind};

    use super::*;

    fn typed(text: &str) -> MediaType {
        text.parse().unwrap()
    }

    async fn push(store: &Memory, media_type: &MediaType, content: impl Into<Bytes>) -> Descriptor {
        store
            .push_bytes(media_type.clone(), content.into())
            .await
            .unwrap()
    }

    async fn index_of(store: &Memory, entry: &Descriptor) -> Descriptor {
        let index = Index::new(vec![entry.clone()]);
        push(store, &MediaType::OCI_INDEX, index.to_bytes()).await
    }

    #[tokio::test]
    async fn an_artifact_manifest_goes_with_its_blobs() {
        let folder = tempfile::tempdir().unwrap();
        let from = Memory::new();
        let subject = push_manifest(&from, &Manifest::artifact(typed("application/vnd.x"), Vec::new())).await;
        push(&from, &MediaType::OCI_EMPTY, "{}").await;
        let blob = push(&from, &typed("text/plain"), "scan result").await;
        let artifact = serde_json::json!({
            "mediaType": MediaType::OCI_ARTIFACT, "artifactType": "application/vnd.scan", "blobs": [blob],
            "subject": subject,
        });
        let artifact = push(&from, &MediaType::OCI_ARTIFACT, artifact.to_string()).await;
        // As an entry of an index, by itself, and as what refers to the root.
        for root in [index_of(&from, &artifact).await, artifact.clone(), subject] {
            let path = folder.path().join(format!("{}.tar", root.digest.hex()));
            let options = archive::Options {
                format: archive::ArchiveFormat::Tar,
                copy: Options::default(),
                since: None,
                cut: None,
            };
            archive::write(&from, &[(root.clone(), Some(tag()))], &path, &options)
                .await
                .unwrap();
            let archive = archive::open(&path, folder.path()).await.unwrap();
            let layout = Layout::create(&folder.path().join(root.digest.hex()))
                .await
                .unwrap();
            copy(&archive, &layout, &root, &Options::default()).await.unwrap();
            assert!(layout.contains(&blob).await.unwrap());
            assert_eq!(layout::check(layout.root(), true).await.unwrap().findings, []);
        }
    }

    #[tokio::test]
    async fn what_has_parts_that_are_not_known_is_refused() {
        let schema1 = typed("application/vnd.docker.distribution.manifest.v1+prettyjws");
        let part = r#"{"a": [{"digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "size": 2}]}"#;
        let layers = r#"{"schemaVersion": 1, "fsLayers": [{"blobSum": "sha256:4413"}]}"#;
        for (media_type, content, refused) in [
            (&schema1, "{}", true),
            (&typed("application/vnd.thing+json"), part, true),
            (&typed("application/vnd.thing+json"), layers, true),
            (
                &typed("application/vnd.thing+json"),
                r#"{"digest": "sha256", "size": 2}"#,
                false,
            ),
            (&typed("text/plain"), "text", false),
            // The cache of BuildKit has layers as entries of an index.
            (&MediaType::OCI_LAYER_GZIP, part, false),
        ] {
            let (from, to) = (Memory::new(), Memory::new());
            let entry = push(&from, media_type, content).await;
            for root in [index_of(&from, &entry).await, entry] {
                match copy(&from, &to, &root, &Options::default()).await {
                    Ok(_) => assert!(!refused, "{media_type} {content}"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Input);
                        let why = std::error::Error::source(&error).unwrap().to_string();
                        assert!(refused && why.contains(media_type.as_str()), "{why}");
                        assert!(to.digests().is_empty());
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn a_foreign_layer_is_named_as_one() {
        let from = Memory::new();
        let config = push(&from, &MediaType::OCI_CONFIG, "{}").await;
        let mut layer = Descriptor::of(MediaType::OCI_LAYER, b"elsewhere");
        layer.urls = vec!["https://publisher.example/layer".to_owned()];
        let root = push_manifest(&from, &Manifest::new(config, vec![layer])).await;
        let error = copy(&from, &Memory::new(), &root, &Options::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            why.contains("foreign") && why.contains("publisher.example"),
            "{why}"
        );
    }
}
