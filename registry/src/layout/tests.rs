use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bytes::Bytes;
use samebundle_spec::Digest;

use super::*;
use crate::store::contract::store_contract;
use crate::store::{SinkExt, SourceExt, Store};

mod collecting;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

async fn push(layout: &Layout, text: &str) -> Descriptor {
    layout
        .push_bytes(MediaType::OCI_LAYER, Bytes::from(text.to_owned()))
        .await
        .unwrap()
}

async fn image(layout: &Layout, mark: &str, subject: Option<&Descriptor>) -> Descriptor {
    let config = layout
        .push_bytes(MediaType::OCI_EMPTY, "{}".into())
        .await
        .unwrap();
    let layer = push(layout, mark).await;
    let mut manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": [layer],
    });
    if let Some(subject) = subject {
        manifest["subject"] = serde_json::to_value(subject.bare()).unwrap();
    }
    layout
        .push_bytes(MediaType::OCI_MANIFEST, manifest.to_string().into())
        .await
        .unwrap()
}

/// Files that are being written, or were.
fn half_there(root: &Path) -> usize {
    let names = fs::read_dir(root.join("ingest"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| !name.to_str().unwrap().starts_with("lease-"))
        .count()
}

fn blob(layout: &Layout, digest: &Digest) -> PathBuf {
    files::blob_path(layout.root(), digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let folder = scratch();
    let count = std::sync::atomic::AtomicU32::new(0);
    let broken = store_contract(|| async {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = folder.path().join(format!("{number}/deep"));
        Arc::new(Layout::create(&root).await.unwrap()) as Arc<dyn Store>
    })
    .await;
    assert!(broken.is_empty(), "{broken:#?}");
    for number in 0..count.into_inner() {
        let report = check(&folder.path().join(format!("{number}/deep")), true)
            .await
            .unwrap();
        assert_eq!(report.findings, []);
    }
}

#[tokio::test]
async fn content_is_read_only_and_a_second_opener_finds_all() {
    let folder = scratch();
    let layout = Layout::create(folder.path()).await.unwrap();
    let one = image(&layout, "one", None).await;
    let signature = image(&layout, "signature", Some(&one)).await;
    layout.tag(&one, &"a".parse().unwrap()).await.unwrap();
    let mode = fs::metadata(blob(&layout, &one.digest))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o444);
    let again = Layout::open(folder.path()).await.unwrap();
    assert_eq!(again.resolve(&"a".parse().unwrap()).await.unwrap(), one);
    assert_eq!(
        again.referrers(&one, None).await.unwrap()[0].digest,
        signature.digest
    );
}

#[tokio::test]
async fn open_changes_nothing_and_wants_a_layout() {
    let folder = scratch();
    assert!(matches!(
        Layout::open(folder.path()).await,
        Err(StoreError::NotFound { .. })
    ));
    fs::write(
        folder.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"2.0.0"}"#,
    )
    .unwrap();
    assert!(matches!(
        Layout::open(folder.path()).await,
        Err(StoreError::Invalid { .. })
    ));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn leftovers_of_the_dead_go_and_those_of_the_living_stay() {
    let folder = scratch();
    let layout = Layout::create(folder.path()).await.unwrap();
    let ingest = folder.path().join("ingest");
    fs::write(ingest.join("dead"), "half").unwrap();
    let living = ingest::Ingest::begin(&ingest, 0o644).unwrap();
    let report = check(folder.path(), false).await.unwrap();
    assert_eq!(
        report.findings,
        [Finding::Stray {
            path: ingest.join("dead")
        }]
    );
    Layout::create(folder.path()).await.unwrap();
    assert!(!ingest.join("dead").exists());
    assert_eq!(half_there(folder.path()), 1);
    drop(living);
    assert_eq!(half_there(folder.path()), 0);
    push(&layout, "goes on").await;
}

#[tokio::test]
async fn a_refused_or_abandoned_push_leaves_no_file() {
    let folder = scratch();
    let layout = Layout::create(folder.path()).await.unwrap();
    let descriptor = Descriptor::of(MediaType::OCI_LAYER, b"right");
    let wrong = layout.push(&descriptor, Box::pin(&b"wrong"[..])).await;
    assert!(matches!(wrong, Err(StoreError::Mismatch { .. })));
    let (reader, _writer) = tokio::io::duplex(10);
    let hanging = layout.push(&descriptor, Box::pin(reader));
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(200), hanging)
            .await
            .is_err()
    );
    assert_eq!(half_there(folder.path()), 0);
    assert_eq!(
        fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn damage_is_seen_by_reads_and_check_and_mended_by_a_push() {
    let folder = scratch();
    let layout = Layout::create(folder.path()).await.unwrap();
    let one = image(&layout, "one", None).await;
    layout.tag(&one, &"a".parse().unwrap()).await.unwrap();
    let layer = Descriptor::of(MediaType::OCI_LAYER, b"one");
    let path = blob(&layout, &layer.digest);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "onE").unwrap();
    assert_eq!(check(folder.path(), false).await.unwrap().findings, []);
    let altered = [Finding::Altered { digest: layer.digest }];
    assert_eq!(check(folder.path(), true).await.unwrap().findings, altered);
    assert!(matches!(
        layout.fetch_bytes(&layer, 10).await,
        Err(StoreError::Mismatch { .. })
    ));
    fs::write(&path, "on").unwrap();
    assert!(!layout.contains(&layer).await.unwrap());
    push(&layout, "one").await;
    assert_eq!(check(folder.path(), true).await.unwrap().findings, []);
    fs::remove_file(&path).unwrap();
    let findings = check(folder.path(), false).await.unwrap().findings;
    assert!(matches!(&findings[..], [Finding::Missing { digest, .. }] if *digest == layer.digest));
}

#[tokio::test]
async fn a_damaged_manifest_is_mended_by_a_push_and_never_hides_referrers() {
    let folder = scratch();
    let layout = Layout::create(folder.path()).await.unwrap();
    let one = image(&layout, "one", None).await;
    let signature = image(&layout, "signature", Some(&one)).await;
    let path = blob(&layout, &signature.digest);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![b' '; bytes.len()]).unwrap();
    let fresh = Layout::open(folder.path()).await.unwrap();
    assert!(matches!(
        fresh.referrers(&one, None).await,
        Err(StoreError::Mismatch { .. })
    ));
    image(&fresh, "signature", Some(&one)).await;
    assert_eq!(fresh.referrers(&one, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_referrer_that_was_cut_off_before_its_listing_is_listed_by_the_next_push() {
    let folder = scratch();
    let layout = Layout::create(folder.path()).await.unwrap();
    let one = image(&layout, "one", None).await;
    let before = fs::read(folder.path().join("index.json")).unwrap();
    let signature = image(&layout, "signature", Some(&one)).await;
    fs::write(folder.path().join("index.json"), before).unwrap();
    assert!(layout.referrers(&one, None).await.unwrap().is_empty());
    image(&layout, "signature", Some(&one)).await;
    assert_eq!(
        layout.referrers(&one, None).await.unwrap()[0].digest,
        signature.digest
    );
}

#[tokio::test]
async fn links_and_pipes_in_place_of_content_are_refused() {
    let folder = scratch();
    let layout = Layout::create(folder.path()).await.unwrap();
    let one = push(&layout, "one").await;
    let path = blob(&layout, &one.digest);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(layout.fetch(&one).await.is_err());
    assert_eq!(
        check(folder.path(), true).await.unwrap().findings,
        [Finding::Stray { path }]
    );
}

#[tokio::test]
async fn reads_what_other_tools_wrote() {
    let folder = scratch();
    let layout = Layout::create(folder.path()).await.unwrap();
    let one = image(&layout, "one", None).await;
    let two = image(&layout, "two", None).await;
    let entry = |one: &Descriptor, name: Option<&str>| {
        let mut entry = serde_json::to_value(one.bare()).unwrap();
        if let Some(name) = name {
            entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
        }
        entry
    };
    let write = |entries: serde_json::Value| {
        let text = serde_json::json!({"schemaVersion": 2, "manifests": entries}).to_string();
        fs::write(folder.path().join("index.json"), text).unwrap();
    };
    write(serde_json::json!([
        entry(&one, Some("t")),
        entry(&one, Some("t")),
        entry(&two, None),
        entry(&two, Some("r.io/x:1")),
    ]));
    assert_eq!(layout.entries().await.unwrap().len(), 3);
    assert_eq!(layout.tags().await.unwrap(), ["t".parse().unwrap()]);
    assert_eq!(layout.resolve(&"t".parse().unwrap()).await.unwrap(), one);
    layout.tag(&two, &"u".parse().unwrap()).await.unwrap();
    assert_eq!(
        layout.entries().await.unwrap().len(),
        3,
        "the entry of a foreign name stays"
    );
    write(serde_json::json!([
        entry(&one, Some("t")),
        entry(&two, Some("t"))
    ]));
    assert!(matches!(
        layout.resolve(&"t".parse().unwrap()).await,
        Err(StoreError::Invalid { .. })
    ));
    fs::write(
        folder.path().join("index.json"),
        r#"{"schemaVersion":2,"manifests":null}"#,
    )
    .unwrap();
    assert_eq!(layout.tags().await.unwrap(), []);
}

/// Reads every image layout below the vectors' CNAB folder.
#[tokio::test]
async fn vector_layouts_open_and_check() {
    let Some(vectors) = crate::store::contract::vectors() else {
        return;
    };
    let mut open = vec![vectors.join("cnab")];
    let mut seen = 0;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with("oci-layout") {
                seen += 1;
                let layout = Layout::open(&folder).await.unwrap();
                let entries = layout.entries().await.unwrap();
                let report = check(&folder, true).await.unwrap();
                println!(
                    "{}: wanted sound, got {report:?}, {} entries",
                    folder.display(),
                    entries.len()
                );
                assert_eq!(report.findings, []);
                let mut digests: Vec<_> = entries.iter().map(|entry| entry.digest).collect();
                digests.sort();
                digests.dedup();
                assert_eq!(digests.len(), entries.len(), "an entry is held once");
            }
        }
    }
    assert!(seen > 0, "no image layout below {}", vectors.display());
}
