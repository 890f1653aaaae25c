//! Garbage collection beside clients that push, pull, attach and delete.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use futures::future::join_all;
use tokio::sync::RwLock;

use super::*;

const GRACE: Duration = Duration::from_secs(3_600);

/// Makes everything under a folder look as if it were left alone for years.
fn age(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            age(&entry.path());
        } else if let Ok(file) = std::fs::File::open(entry.path()) {
            file.set_modified(UNIX_EPOCH).unwrap();
        }
    }
}

async fn with_storage() -> (Server, Storage) {
    let root = tempfile::tempdir().unwrap();
    let storage = Storage::open(root.path()).unwrap();
    let server = start_with(root, storage.clone(), Config::default()).await;
    (server, storage)
}

#[tokio::test]
async fn removes_what_nobody_names_after_the_grace_only() {
    let (server, storage) = with_storage().await;
    server.blob("a/b", b"{}").await;
    server.blob("a/b", b"kept").await;
    server.blob("a/b", b"garbage").await;
    let layer = Descriptor::of(MediaType::OCI_LAYER, b"kept");
    let manifest = Manifest::new(Descriptor::empty(), vec![layer]);
    server.manifest("/v2/a/b/manifests/v1", &manifest, &[]).await;
    // Young garbage stays.
    assert_eq!(storage.collect(GRACE).await.unwrap(), Collected::default());
    age(server.root.path());
    // A question renews the lease of the one, the other's is over.
    let garbage = Digest::sha256(b"garbage");
    let path = format!("/v2/a/b/blobs/{garbage}");
    assert_eq!(
        server.send("HEAD", &path, &[], b"").await.status(),
        StatusCode::OK
    );
    assert_eq!(storage.collect(GRACE).await.unwrap(), Collected::default());
    age(server.root.path());
    let collected = Collected {
        entries: 1,
        contents: 1,
        bytes: 7,
    };
    assert_eq!(storage.collect(GRACE).await.unwrap(), collected);
    assert_eq!(code(server.get(&path).await).await, refused(404, "BLOB_UNKNOWN"));
    // The manifest goes: so do its blobs and its own bytes.
    let gone = format!("/v2/a/b/manifests/{}", manifest.descriptor().digest);
    server.send("DELETE", &gone, &[], b"").await;
    assert_eq!(storage.collect(GRACE).await.unwrap().contents, 3);
    assert_eq!(server.content(), 0);
}

#[tokio::test]
async fn what_another_repository_shows_stays_on_disk() {
    let (server, storage) = with_storage().await;
    let digest = server.blob("a", b"x").await;
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    assert_eq!(
        server.send("POST", &mount, &[], b"").await.status(),
        StatusCode::CREATED
    );
    server
        .send("DELETE", &format!("/v2/a/blobs/{digest}"), &[], b"")
        .await;
    age(&server.root.path().join("blobs"));
    assert_eq!(storage.collect(GRACE).await.unwrap(), Collected::default());
    let answer = server.get(&format!("/v2/b/blobs/{digest}")).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

/// What went on: events of each kind, and what may never be said.
#[derive(Default)]
struct Tally {
    events: AtomicU64,
    unknown: AtomicU64,
}

struct Pusher<'a> {
    server: &'a Server,
    tally: &'a Tally,
    /// Held shared from the first question to the last use; alone by who deletes and lets time pass.
    leases: &'a RwLock<()>,
    random: u64,
}

impl Pusher<'_> {
    fn next(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    async fn expect(&self, answer: Response, what: &str) {
        if !answer.status().is_success() {
            self.tally.unknown.fetch_add(1, Ordering::Relaxed);
            let (status, code) = code(answer).await;
            println!("{what}: {status} {code}");
        }
    }

    async fn blob(&self, repository: &str, bytes: &[u8]) {
        let path = format!("/v2/{repository}/blobs/{}", Digest::sha256(bytes));
        if self.server.send("HEAD", &path, &[], b"").await.status() != StatusCode::OK {
            self.server.blob(repository, bytes).await;
        }
    }

    async fn push(&self, repository: &str, number: u64, subject: Option<&Manifest>) {
        let layer = format!("layer {}", number % 5);
        self.blob(repository, b"{}").await;
        self.blob(repository, layer.as_bytes()).await;
        let layer = Descriptor::of(MediaType::OCI_LAYER, layer.as_bytes());
        let mut manifest = Manifest::new(Descriptor::empty(), vec![layer]);
        let mut path = format!("/v2/{repository}/manifests/v{number}");
        if let Some(subject) = subject {
            manifest = manifest.with_subject(subject.descriptor());
            path = format!("/v2/{repository}/manifests/{}", manifest.descriptor().digest);
        }
        let answer = self.server.manifest(&path, &manifest, &[]).await;
        self.expect(answer, "push").await;
    }

    async fn pull(&self, repository: &str, number: u64) {
        let answer = self
            .server
            .get(&format!("/v2/{repository}/manifests/v{number}"))
            .await;
        if answer.status() == StatusCode::NOT_FOUND {
            return;
        }
        let manifest: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        for blob in [&manifest["config"], &manifest["layers"][0]] {
            let path = format!("/v2/{repository}/blobs/{}", blob["digest"].as_str().unwrap());
            self.expect(self.server.get(&path).await, "pull").await;
        }
    }

    async fn event(&mut self) {
        let repository = format!("r{}", self.next(3));
        let number = self.next(10);
        match self.next(5) {
            0 | 1 => {
                let _lease = self.leases.read().await;
                self.push(&repository, number, None).await;
            }
            2 => {
                let _lease = self.leases.read().await;
                self.pull(&repository, number).await;
            }
            3 => {
                let _lease = self.leases.read().await;
                let subject = Manifest::new(Descriptor::empty(), Vec::new());
                self.push(&repository, number, Some(&subject)).await;
            }
            _ => {
                let _alone = self.leases.write().await;
                let path = format!("/v2/{repository}/manifests/v{number}");
                let answer = self.server.send("HEAD", &path, &[], b"").await;
                let digest = text(answer.headers(), "docker-content-digest").to_owned();
                if !digest.is_empty() {
                    let path = format!("/v2/{repository}/manifests/{digest}");
                    self.server.send("DELETE", &path, &[], b"").await;
                }
                age(self.server.root.path());
            }
        }
        self.tally.events.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many events: a few, or all that the issue asks for.
fn wanted() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the full count is asked for by the environment"
    )]
    let full = std::env::var_os("SAMEBUNDLE_FULL").is_some();
    if full { 20_000 } else { 400 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_clients_miss_nothing_while_garbage_is_collected() {
    let (server, storage) = with_storage().await;
    let (tally, leases) = (Tally::default(), RwLock::new(()));
    let done = CancellationToken::new();
    let removed = Arc::new(AtomicU64::new(0));
    let collector = tokio::spawn({
        let (done, removed) = (done.clone(), Arc::clone(&removed));
        async move {
            let mut runs = 0_u64;
            while !done.is_cancelled() {
                let collected = storage.collect(GRACE).await.unwrap();
                removed.fetch_add(collected.entries + collected.contents, Ordering::Relaxed);
                runs += 1;
            }
            runs
        }
    });
    let clients = (0..8).map(|seed| {
        let mut client = Pusher {
            server: &server,
            tally: &tally,
            leases: &leases,
            random: seed,
        };
        async move {
            while client.tally.events.load(Ordering::Relaxed) < wanted() {
                client.event().await;
            }
        }
    });
    join_all(clients).await;
    done.cancel();
    let runs = collector.await.unwrap();
    let removed = removed.load(Ordering::Relaxed);
    println!(
        "{} events, {runs} collections, {removed} removed, {} unknown",
        tally.events.load(Ordering::Relaxed),
        tally.unknown.load(Ordering::Relaxed)
    );
    assert_eq!(tally.unknown.load(Ordering::Relaxed), 0);
    assert!(removed > 0, "nothing was collected beside the clients");
}
