//! What the server cannot do: what its log, its access log and its clients hear of it.

use tracing::subscriber::DefaultGuard;

use super::access::{basic, guarded};
use super::*;

/// What is logged in this thread from now on.
fn logged() -> (Lines, DefaultGuard) {
    let lines = Lines::default();
    let to = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || to.clone())
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

async fn start_logged() -> (Server, Lines) {
    let root = tempfile::tempdir().unwrap();
    let storage = Storage::open(root.path()).unwrap();
    let lines = Lines::default();
    let config = Config {
        log: Some(Log::new(lines.clone())),
        ..Config::default()
    };
    (start_with(root, storage, config).await, lines)
}

#[tokio::test]
async fn a_failure_is_logged_once_and_its_reason_with_each_request() {
    let (log, _guard) = logged();
    let (server, access) = start_logged().await;
    let root = server.root.path().display().to_string();
    std::fs::remove_dir(server.root.path().join("uploads")).unwrap();
    for _ in 0..3 {
        let answer = server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let told = answer.text().await.unwrap();
        assert!(
            told.contains("the storage of the registry failed (No such file"),
            "{told}"
        );
        assert!(!told.contains(&root), "{told}");
    }
    let line = format!("ERROR POST /v2/a/blobs/uploads/ failed: could not create {root}/uploads/");
    let log = log.text();
    assert!(log.contains(&line) && log.contains("(os error 2)"), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    let lines = access.read();
    assert_eq!(lines.len(), 3);
    for line in lines {
        let reason = line["reason"].as_str().unwrap();
        assert!(
            reason.starts_with(&format!("could not create {root}/uploads/")),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_is_logged() {
    let (log, _guard) = logged();
    let (server, access) = start_logged().await;
    let digest = server.blob("a", b"content").await;
    // A folder can be opened like a file, and not be read.
    let content = server.root.path().join("blobs/sha256").join(digest.hex());
    std::fs::remove_file(&content).unwrap();
    std::fs::create_dir(&content).unwrap();
    std::fs::write(content.join("x"), "x").unwrap();
    let url = format!("{}/v2/a/blobs/{digest}", server.base);
    let answer = server.client.get(url).send().await;
    // The head may have come, or not.
    let body = async { answer?.bytes().await };
    assert!(body.await.is_err());
    let began = Instant::now();
    while access.read().len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let log = log.text();
    let line = format!("ERROR the answer to GET /v2/a/blobs/{digest} failed: ");
    assert!(log.contains(&line) && log.contains("(os error 21)"), "{log}");
    let line = &access.read()[1];
    assert_eq!(line["complete"], false);
    assert!(
        line["reason"].as_str().unwrap().contains("(os error 21)"),
        "{line}"
    );
}

#[tokio::test]
async fn users_that_cannot_be_read_again_are_logged() {
    let (log, _guard) = logged();
    let server = guarded(Scheme::Basic).await;
    let users = server.root.path().join("users");
    std::fs::write(&users, "alice:secret").unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let alice = basic("alice");
    for _ in 0..3 {
        let answer = server
            .send("GET", "/v2/", &[("authorization", &alice)], b"")
            .await;
        assert_eq!(
            answer.status(),
            StatusCode::OK,
            "what was read before is in force"
        );
    }
    let expected = format!(
        "ERROR the users were not read again, and what was read before stays in force: {}:1 is not valid: ",
        users.display()
    );
    let log = log.text();
    assert!(log.contains(&expected), "{log}");
    assert!(!log.contains("secret"), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}

#[tokio::test]
async fn a_collection_that_fails_again_and_again_is_logged_once() {
    let (log, _guard) = logged();
    let root = tempfile::tempdir().unwrap();
    let storage = Storage::open(root.path()).unwrap();
    let blobs = root.path().join("blobs/sha256");
    std::fs::remove_dir(&blobs).unwrap();
    std::fs::write(&blobs, "").unwrap();
    let registry = Registry::new(storage, Config::default()).unwrap();
    let cancel = CancellationToken::new();
    let task = registry
        .clone()
        .collect_every(Duration::from_millis(1), Duration::ZERO, cancel.clone());
    let watch = async {
        let failed = "samebundle_registry_collections_total{result=\"failed\"} 3";
        while !registry.meter().text(0).unwrap().contains(failed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cancel.cancel();
    };
    tokio::join!(task, watch);
    let log = log.text();
    let expected = format!(
        "ERROR the collection of garbage failed: could not list {}: ",
        blobs.display()
    );
    assert!(log.contains(&expected), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}
