use std::path::Path;
use std::time::Duration;

use samebundle_spec::MediaType;

use super::*;
use crate::layout;
use crate::layout::Layout;
use crate::store::{Begun, Sink, SourceExt};

fn content(length: usize) -> (Descriptor, Bytes) {
    let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + at / 251) as u8).collect();
    (Descriptor::of(MediaType::OCI_LAYER, &bytes), bytes.into())
}

async fn begin(layout: &Layout, descriptor: &Descriptor) -> Arc<dyn Parts> {
    match layout.begin(descriptor).await.unwrap() {
        Begun::Parts(parts) => parts,
        other => panic!("{other:?}"),
    }
}

async fn put(parts: &dyn Parts, bytes: &Bytes, range: Range<usize>) {
    let middle = range.start + (range.end - range.start) / 3;
    let pieces = vec![bytes.slice(range.start..middle), bytes.slice(middle..range.end)];
    parts.write(range.start as u64, pieces).await.unwrap();
}

/// How much is missing.
fn total(parts: &dyn Parts) -> u64 {
    parts.missing().iter().map(|range| range.end - range.start).sum()
}

fn partials(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("ingest")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    // A writer's lease is no blob.
    paths
        .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("lease-"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_in_any_order_become_content_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).await.unwrap();
    let (descriptor, bytes) = content(3_000_000);
    let parts = begin(&layout, &descriptor).await;
    for range in [2_000_000..3_000_000, 0..1, 1_000_000..2_000_000, 1..1_000_000] {
        assert!(parts.finish().await.is_err(), "not complete yet");
        put(&*parts, &bytes, range).await;
    }
    assert_eq!(parts.missing(), []);
    parts.finish().await.unwrap();
    assert_eq!(layout.fetch_bytes(&descriptor, u64::MAX).await.unwrap(), bytes);
    let blob = folder.path().join("blobs/sha256").join(descriptor.digest.hex());
    assert_eq!(
        fs::metadata(blob).unwrap().len(),
        3_000_000,
        "records are cut off"
    );
    assert!(partials(folder.path()).is_empty());
    assert!(matches!(layout.begin(&descriptor).await.unwrap(), Begun::There));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_known_after_the_writer_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (descriptor, bytes) = content(3_000_000);
    {
        let layout = Layout::create(folder.path()).await.unwrap();
        let parts = begin(&layout, &descriptor).await;
        put(&*parts, &bytes, 0..700_000).await;
        put(&*parts, &bytes, 700_000..1_000_000).await;
        put(&*parts, &bytes, 2_000_000..2_500_000).await;
    }
    // Opening the layout again removes what nobody goes on with, but not this; a check has nothing to say about it.
    let layout = Layout::create(folder.path()).await.unwrap();
    assert_eq!(layout::check(folder.path(), true).await.unwrap().findings, []);
    let parts = begin(&layout, &descriptor).await;
    assert_eq!(parts.missing(), [1_000_000..2_000_000, 2_500_000..3_000_000]);
    put(&*parts, &bytes, 1_000_000..2_000_000).await;
    put(&*parts, &bytes, 2_500_000..3_000_000).await;
    parts.finish().await.unwrap();
    assert_eq!(layout.fetch_bytes(&descriptor, u64::MAX).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_not_kept_and_the_next_attempt_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).await.unwrap();
    let (descriptor, bytes) = content(2_000_000);
    let parts = begin(&layout, &descriptor).await;
    put(&*parts, &bytes, 0..1_000_000).await;
    drop(parts);
    // What a power cut may leave: a record of bytes that are not there.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&partials(folder.path())[0])
        .unwrap();
    file.write_all_at(&[0; 4096], 500_000).unwrap();
    drop(file);
    let parts = begin(&layout, &descriptor).await;
    put(&*parts, &bytes, 1_000_000..2_000_000).await;
    let error = parts.finish().await.unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error:?}");
    drop(parts);
    assert!(partials(folder.path()).is_empty());
    let parts = begin(&layout, &descriptor).await;
    assert_eq!(total(&*parts), 2_000_000);
    let error = parts.write(1_999_999, vec![bytes.slice(..2)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).await.unwrap();
    let (descriptor, bytes) = content(2_000_000);
    let first = begin(&layout, &descriptor).await;
    put(&*first, &bytes, 0..1_000_000).await;
    let second = begin(&layout, &descriptor).await;
    assert_eq!(total(&*second), 2_000_000, "a file of its own");
    put(&*second, &bytes, 0..2_000_000).await;
    second.finish().await.unwrap();
    put(&*first, &bytes, 1_000_000..2_000_000).await;
    first.finish().await.unwrap();
    assert_eq!(layout.fetch_bytes(&descriptor, u64::MAX).await.unwrap(), bytes);
    drop((first, second));
    assert!(partials(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_goes_on_with_is_removed_after_a_week() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).await.unwrap();
    let (descriptor, bytes) = content(2_000_000);
    let parts = begin(&layout, &descriptor).await;
    put(&*parts, &bytes, 0..1_000_000).await;
    drop(parts);
    let path = partials(folder.path()).remove(0);
    for (age, stays) in [
        (limits::PARTIAL_SECONDS - 600, true),
        (limits::PARTIAL_SECONDS + 600, false),
    ] {
        let file = File::options().write(true).open(&path).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        let now = tempfile::tempfile_in(folder.path()).unwrap().metadata().unwrap();
        let age = Duration::from_secs(age);
        file.set_modified(now.modified().unwrap() - age).unwrap();
        assert!(written > file.metadata().unwrap().modified().unwrap());
        drop(file);
        Layout::create(folder.path()).await.unwrap();
        assert_eq!(path.exists(), stays, "{age:?}");
    }
}

#[test]
fn ranges_that_touch_are_one() {
    assert_eq!(merged(&[5..9, 0..5, 20..30, 25..26]), [0..9, 20..30]);
    assert_eq!(merged(&[]), []);
}
