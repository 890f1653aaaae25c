//! Servers that only read: on media that cannot be written, several at one time, beside the one that writes.

use super::*;

const READING: Rules = Rules {
    read_only: true,
    immutable_tags: false,
    manifest_bytes: limits::MANIFEST_BYTES,
    blob_bytes: limits::BLOB_BYTES,
};

async fn read(root: &std::path::Path) -> Server {
    let storage = Storage::open_with(root, READING).unwrap();
    // The folder of the fixture is another one; this server has its own root.
    start_with(tempfile::tempdir().unwrap(), storage, Config::default()).await
}

/// All that is under a folder, with its times.
fn tree(folder: &std::path::Path) -> Vec<(std::path::PathBuf, SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        found.push((entry.path(), metadata.modified().unwrap()));
        if metadata.is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn several_read_beside_one_that_writes() {
    let writer = start().await;
    let (one, two) = (read(writer.root.path()).await, read(writer.root.path()).await);
    writer.blob("a", b"{}").await;
    let manifest = Manifest::new(Descriptor::empty(), Vec::new());
    let answer = writer.manifest("/v2/a/manifests/v1", &manifest, &[]).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    for reader in [&one, &two] {
        let answer = reader.get("/v2/a/manifests/v1").await;
        assert_eq!(answer.bytes().await.unwrap(), manifest.to_bytes());
        let answer = reader.send("PUT", "/v2/a/manifests/v1", &[], b"").await;
        assert_eq!(code(answer).await, refused(403, "DENIED"));
    }
    let gone = format!("/v2/a/manifests/{}", manifest.descriptor().digest);
    writer.send("DELETE", &gone, &[], b"").await;
    assert_eq!(one.get(&gone).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nothing_is_made_renewed_or_collected() {
    let writer = start().await;
    let digest = writer.blob("a", b"content").await;
    writer.cancel.cancel();
    writer.task.await.unwrap().unwrap();
    let root = writer.root.path();
    std::fs::remove_file(root.join("lock")).unwrap();
    std::fs::remove_dir(root.join("uploads")).unwrap();
    let before = tree(root);
    let storage = Storage::open_with(root, READING).unwrap();
    assert_eq!(
        storage.collect(Duration::ZERO).await.unwrap(),
        Collected::default()
    );
    let reader = read(root).await;
    for method in ["HEAD", "GET"] {
        let answer = reader
            .send(method, &format!("/v2/a/blobs/{digest}"), &[], b"")
            .await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(reader.get("/metrics").await.status(), StatusCode::OK);
    assert_eq!(tree(root), before);
}

#[test]
fn what_is_no_registry_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for root in [folder.path().to_owned(), folder.path().join("absent")] {
        let refused = Storage::open_with(&root, READING).unwrap_err();
        assert!(matches!(&refused, StoreError::Invalid { .. }), "{refused}");
    }
    assert!(tree(folder.path()).is_empty());
}
