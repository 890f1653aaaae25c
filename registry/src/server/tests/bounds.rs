//! Clients that are slow, many or large, and what is written down of all.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const SILENCE: Duration = Duration::from_secs(1);
/// A machine that does other things as well may be late, but not by this.
const LATE: Duration = Duration::from_secs(20);

fn short() -> Bounds {
    Bounds {
        header_silence: SILENCE,
        body_silence: SILENCE,
        ..Bounds::default()
    }
}

async fn start_bounded(bounds: Bounds, log: Option<Log>) -> Server {
    let root = tempfile::tempdir().unwrap();
    let storage = Storage::open(root.path()).unwrap();
    let config = Config {
        bounds,
        log,
        ..Config::default()
    };
    start_with(root, storage, config).await
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.base.trim_start_matches("http://"))
            .await
            .unwrap()
    }

    async fn figure(&self, name: &str) -> String {
        let text = self.get("/metrics").await.text().await.unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.map_or_else(String::new, |line| line.rsplit(' ').next().unwrap().to_owned())
    }
}

/// Waits for the server to end a connection, and returns what it said.
async fn end(stream: &mut TcpStream) -> (String, Duration) {
    let began = Instant::now();
    let mut said = Vec::new();
    let read = tokio::time::timeout(LATE, stream.read_to_end(&mut said)).await;
    assert!(read.is_ok(), "the connection does not end");
    (String::from_utf8_lossy(&said).into_owned(), began.elapsed())
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let server = start_bounded(short(), None).await;
    for head in ["", "GET /v2/ HTTP/1.1\r\nhost: x\r\nslow: "] {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let (_, took) = end(&mut stream).await;
        assert!(took >= SILENCE / 2, "{took:?}");
    }
    // One request is answered, and the connection ends when no second one comes.
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let (said, _) = end(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test]
async fn a_body_that_stalls_is_answered_and_the_upload_stays() {
    let server = start_bounded(short(), None).await;
    let location = server.open("a").await;
    let mut stream = server.connect().await;
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (said, _) = end(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    let answer = server.get(&location).await;
    assert_eq!(text(answer.headers(), "range"), "0-2");
    // A manifest likewise.
    let mut stream = server.connect().await;
    let kind = MediaType::OCI_MANIFEST;
    let head = format!(
        "PUT /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: 10\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (said, _) = end(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
}

#[tokio::test]
async fn who_takes_no_bytes_loses_the_connection() {
    let lines = Lines::default();
    let server = start_bounded(short(), Some(Log::new(lines.clone()))).await;
    let digest = server.blob("a", &vec![0; 48 << 20]).await;
    let mut stream = server.connect().await;
    let head = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let began = Instant::now();
    let cut = loop {
        if let Some(line) = lines.read().into_iter().find(|line| line["complete"] == false) {
            break line;
        }
        assert!(began.elapsed() < LATE, "the connection stays");
        tokio::time::sleep(SILENCE / 4).await;
    };
    assert_eq!((&cut["method"], &cut["status"]), (&"GET".into(), &200.into()));
    assert!(cut["bytes"].as_u64().unwrap() < 48 << 20);
}

/// The head of a request whose body does not come.
async fn stalled(server: &Server) -> TcpStream {
    let location = server.open("a").await;
    let mut stream = server.connect().await;
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn connections_at_work_are_waited_for() {
    let bounds = Bounds {
        connections: 3,
        ..short()
    };
    let server = start_bounded(bounds, None).await;
    // The client keeps a connection of its own, which gives way to the third of these.
    let _stalled = [
        stalled(&server).await,
        stalled(&server).await,
        stalled(&server).await,
    ];
    // Until the heads have come these are idle, too.
    tokio::time::sleep(SILENCE / 10).await;
    let began = Instant::now();
    let other = Client::builder().no_proxy().build().unwrap();
    let answer = other.get(format!("{}/v2/", server.base)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(began.elapsed() >= SILENCE / 4, "{:?}", began.elapsed());
}

#[tokio::test]
async fn idle_connections_give_way_to_honest_requests() {
    let bounds = Bounds {
        connections: 4,
        ..Bounds::default()
    };
    let server = start_bounded(bounds, None).await;
    let mut idle = Vec::new();
    for head in [
        "",
        "GET /v2/ HTTP/1.1\r\nslow: ",
        "GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        for _ in 0..5 {
            let mut stream = server.connect().await;
            // Those that gave way already may be gone.
            let _ = stream.write_all(head.as_bytes()).await;
            idle.push(stream);
        }
        tokio::time::sleep(SILENCE / 10).await;
        for _ in 0..3 {
            let honest = Client::builder().no_proxy().build().unwrap();
            let began = Instant::now();
            let answer = honest.get(format!("{}/v2/", server.base)).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(began.elapsed() < LATE / 4, "{:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn a_server_ends_without_waiting_for_a_head() {
    let server = start_bounded(Bounds::default(), None).await;
    let mut streams = Vec::new();
    for head in [
        "",
        "GET /v2/ HTTP/1.1\r\nslow: ",
        "GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    tokio::time::sleep(SILENCE / 4).await;
    server.cancel.cancel();
    let ended = tokio::time::timeout(LATE / 4, server.task).await;
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn content_that_is_too_large_is_refused_and_not_kept() {
    let rules = Rules {
        manifest_bytes: 100,
        blob_bytes: 10,
        ..Rules::default()
    };
    let server = start_at(tempfile::tempdir().unwrap(), rules).await;
    server.blob("a", b"0123456789").await;
    let before = server.content();
    let digest = Digest::sha256(b"0123456789x");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let answer = server.send("POST", &path, &[], b"0123456789x").await;
    assert_eq!(code(answer).await, refused(413, "SIZE_INVALID"));
    let manifest = Manifest::new(Descriptor::empty(), Vec::new());
    assert!(manifest.to_bytes().len() > 100);
    let answer = server.manifest("/v2/a/manifests/x", &manifest, &[]).await;
    assert_eq!(code(answer).await, refused(413, "SIZE_INVALID"));
    assert_eq!(server.content(), before);
    let location = server.open("a").await;
    server.send("PATCH", &location, &[], b"01234567").await;
    let answer = server.send("PATCH", &location, &[], b"89x").await;
    assert_eq!(code(answer).await, refused(413, "SIZE_INVALID"));
}

#[tokio::test]
async fn an_upload_is_asked_to_come_in_large_parts() {
    let bounds = Bounds {
        chunk_bytes: 1 << 20,
        ..Bounds::default()
    };
    for (bounds, expected) in [(bounds, "1048576"), (Bounds::default(), "")] {
        let server = start_bounded(bounds, None).await;
        let answer = server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
        assert_eq!(text(answer.headers(), "oci-chunk-min-length"), expected);
    }
}

#[tokio::test]
async fn every_request_is_a_line_and_a_figure_without_secrets() {
    let lines = Lines::default();
    let server = start_bounded(Bounds::default(), Some(Log::new(lines.clone()))).await;
    let digest = server.blob("a", b"content").await;
    server
        .get(&format!("/v2/a/blobs/{digest}"))
        .await
        .bytes()
        .await
        .unwrap();
    server
        .send(
            "GET",
            "/v2/b/tags/list?secret=sesame",
            &[("authorization", "Bearer sesame")],
            b"",
        )
        .await
        .bytes()
        .await
        .unwrap();
    server.open("a").await;
    let lines_wanted = 4;
    while lines.read().len() < lines_wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fields = |line: &serde_json::Value| {
        [
            "method", "path", "status", "bytes", "received", "user", "complete", "reason",
        ]
        .map(|name| line[name].clone())
    };
    let read = lines.read();
    let expected = serde_json::json!([
        ["POST", "/v2/a/blobs/uploads/", 201, 0, 7, null, true, null],
        [
            "GET",
            format!("/v2/a/blobs/{digest}"),
            200,
            7,
            0,
            null,
            true,
            null
        ],
    ]);
    for (line, expected) in read.iter().zip(expected.as_array().unwrap()) {
        assert_eq!(serde_json::json!(fields(line)), *expected);
        assert!(line["seconds"].as_f64().unwrap() > 0.0);
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(read[2]["path"], "/v2/b/tags/list");
    assert_eq!(read[2]["reason"], "repository b is not known");
    assert!(!lines.text().contains("sesame"));
    for (name, expected) in [
        (
            "samebundle_registry_requests_total{method=\"GET\",route=\"tags\",status=\"404\"}",
            "1",
        ),
        (
            "samebundle_registry_requests_total{method=\"POST\",route=\"upload\",status=\"201\"}",
            "1",
        ),
        ("samebundle_registry_received_bytes_total", "7"),
        ("samebundle_registry_uploads_open", "1"),
        ("samebundle_registry_connections_open", "1"),
        ("samebundle_registry_request_seconds_count{route=\"blob\"}", "1"),
    ] {
        assert_eq!(server.figure(name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn collections_are_counted() {
    let root = tempfile::tempdir().unwrap();
    let storage = Storage::open(root.path()).unwrap();
    let registry = Registry::new(storage, Config::default()).unwrap();
    let cancel = CancellationToken::new();
    let every = Duration::from_millis(1);
    let task = tokio::spawn(
        registry
            .clone()
            .collect_every(every, Duration::ZERO, cancel.clone()),
    );
    let runs = || registry.meter().text(0).unwrap();
    let began = Instant::now();
    while !runs().contains("samebundle_registry_collections_total{result=\"done\"} 2") {
        assert!(began.elapsed() < LATE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cancel.cancel();
    task.await.unwrap();
}
