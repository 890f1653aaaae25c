use std::time::Instant;

use tokio::io::AsyncReadExt;

use super::front::{Fault, Front, Seen, answer};
use super::*;
use crate::store::{Memory, SinkExt, SourceExt};

async fn read(place: &RemoteRepository, descriptor: &Descriptor) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let mut stream = place.fetch(descriptor).await?;
    match stream.read_to_end(&mut bytes).await {
        Ok(_) => Ok(bytes),
        Err(error) => Err(StoreError::read(descriptor.digest, error)),
    }
}

fn is_blob_get(line: &str) -> bool {
    line.starts_with("GET") && line.contains("/blobs/sha256:")
}

#[tokio::test]
async fn goes_on_from_the_byte_where_the_connection_broke() {
    let front = Front::start(|parts, number| {
        if is_blob_get(&format!("{} {}", parts.method, parts.uri)) && number < 8 {
            Fault::Cut(3_000_000)
        } else {
            Fault::None
        }
    })
    .await;
    let place = repository_at(&front.address, config());
    let bytes = noise(12_000_000, 1);
    let descriptor = layer(&bytes);
    place
        .push_bytes(MediaType::OCI_LAYER, bytes.clone().into())
        .await
        .unwrap();
    assert!(read(&place, &descriptor).await.unwrap() == bytes);
    let gets: Vec<Seen> = front
        .seen()
        .into_iter()
        .filter(|seen| is_blob_get(&seen.line))
        .collect();
    assert!(gets.len() > 3, "{}", gets.len());
    let mut before = 0;
    for get in &gets {
        // What was on its way when a connection broke may be lost; what was delivered is not asked for again.
        let range = get.header("range").strip_prefix("bytes=");
        let start = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
        assert!(start >= before, "{start} {before}");
        before = start;
        if start > 0 {
            assert_eq!(get.header("if-range"), format!("\"{}\"", descriptor.digest));
        }
    }
    assert!(before > 0);
}

#[tokio::test]
async fn starts_over_where_ranges_are_ignored_or_wrong() {
    // 0: no ranges at all; 1: another range than was asked for; 2: refuses ranges.
    for kind in 0..3 {
        let front = Front::start(move |parts, number| {
            let line = format!("{} {}", parts.method, parts.uri);
            if !is_blob_get(&line) {
                return Fault::None;
            }
            if number < 6 && !parts.headers.contains_key("range") {
                return Fault::Cut(300_000);
            }
            if !parts.headers.contains_key("range") {
                return Fault::None;
            }
            match kind {
                0 => Fault::Change(Box::new(|_| {
                    axum::response::IntoResponse::into_response(noise(2_000_000, 1))
                })),
                1 => Fault::Change(Box::new(|mut response| {
                    let lie = axum::http::HeaderValue::from_static("bytes 0-1999999/2000000");
                    response.headers_mut().insert("content-range", lie);
                    response
                })),
                _ => answer(416, &[], ""),
            }
        })
        .await;
        let place = repository_at(&front.address, config());
        let bytes = noise(2_000_000, 1);
        let descriptor = layer(&bytes);
        place
            .push_bytes(MediaType::OCI_LAYER, bytes.clone().into())
            .await
            .unwrap();
        assert!(read(&place, &descriptor).await.unwrap() == bytes, "{kind}");
    }
}

#[tokio::test]
async fn gives_up_a_blob_that_never_moves() {
    let front = Front::start(|parts, _| {
        if is_blob_get(&format!("{} {}", parts.method, parts.uri)) {
            Fault::Cut(0)
        } else {
            Fault::None
        }
    })
    .await;
    let place = repository_at(&front.address, config());
    let bytes = noise(100_000, 1);
    place
        .push_bytes(MediaType::OCI_LAYER, bytes.clone().into())
        .await
        .unwrap();
    let error = read(&place, &layer(&bytes)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let gets = front.lines().iter().filter(|line| is_blob_get(line)).count();
    // Eight breaks of a body; an answer that breaks before its head came is asked for again up to eight times.
    assert!((8..=64).contains(&gets), "{gets}");
}

#[tokio::test]
async fn waits_as_long_as_the_registry_asks() {
    for date in [false, true] {
        let soon = now() + Duration::from_secs(3);
        let after = if date {
            httpdate::fmt_http_date(soon)
        } else {
            "2".to_owned()
        };
        let front = Front::start(move |_, number| {
            if number == 0 {
                answer(429, &[("retry-after", &after)], "slow down")
            } else {
                Fault::None
            }
        })
        .await;
        let place = repository_at(&front.address, config());
        let start = Instant::now();
        assert!(!place.contains(&layer(b"x")).await.unwrap());
        // A date has whole seconds, so that three seconds from now may be two and a bit.
        assert!(
            start.elapsed() >= Duration::from_millis(1_900),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(front.lines().len(), 2);
    }
}

#[tokio::test]
async fn does_not_wait_for_ever() {
    let front = Front::start(|_, _| answer(503, &[("retry-after", "86400")], "come back tomorrow")).await;
    let place = repository_at(&front.address, config());
    let error = place.contains(&layer(b"x")).await.unwrap_err();
    assert!(error.to_string().contains("86400 s"), "{error}");
    assert_eq!(front.lines().len(), 1);
}

#[tokio::test]
async fn asks_again_after_passing_errors_and_then_gives_up() {
    let front = Front::start(|_, number| {
        if number < 5 {
            answer(500, &[], "")
        } else {
            Fault::None
        }
    })
    .await;
    let place = repository_at(&front.address, config());
    assert!(!place.contains(&layer(b"x")).await.unwrap());
    assert_eq!(front.lines().len(), 6);

    let front = Front::start(|_, _| {
        answer(
            502,
            &[("content-type", "text/html")],
            "<html><h1>Bad\u{1b}[2J gateway</h1></html>",
        )
    })
    .await;
    let place = repository_at(&front.address, config());
    let error = place.resolve(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let shown = error.to_string();
    assert!(
        shown.contains("Bad") && shown.contains("502") && shown.contains("8 attempts"),
        "{shown}"
    );
    assert!(!shown.contains('<') && !shown.contains('\u{1b}'), "{shown}");
    assert_eq!(front.lines().len(), 8);
}

#[tokio::test]
async fn does_not_try_long_where_nobody_listens() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let place = repository_at(&address, config());
    let error = place.tags().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable { why, .. } if why.contains("3 attempts")),
        "{error:?}"
    );
}

/// A push whose connection breaks while bytes go out.
#[tokio::test(flavor = "multi_thread")]
async fn sends_anew_what_can_be_read_anew() {
    let plan = |parts: &axum::http::request::Parts, number: usize| {
        if matches!(parts.method.as_str(), "PUT" | "PATCH") && number < 6 {
            Fault::CutRequest(600_000)
        } else {
            Fault::None
        }
    };
    let bytes = noise(3_000_000, 2);
    let descriptor = layer(&bytes);
    let memory = Memory::new();
    memory
        .push_bytes(MediaType::OCI_LAYER, bytes.clone().into())
        .await
        .unwrap();

    let front = Front::start(plan).await;
    let place = repository_at(&front.address, config());
    place.push_from(&descriptor, &memory).await.unwrap();
    assert!(read(&place, &descriptor).await.unwrap() == bytes);
    let puts = front
        .lines()
        .iter()
        .filter(|line| line.starts_with("PUT") || line.starts_with("PATCH"))
        .count();
    assert!(puts > 2, "{puts}");

    let front = Front::start(plan).await;
    let place = repository_at(&front.address, config());
    let stream = Box::pin(std::io::Cursor::new(bytes.clone()));
    let error = place.push(&descriptor, stream).await.unwrap_err();
    assert!(error.to_string().contains("push again"), "{error}");
    assert!(!place.contains(&descriptor).await.unwrap());

    // Small content is held, so that a stream is enough.
    let front = Front::start(|parts, number| {
        if parts.method == "PUT" && number < 4 {
            answer(500, &[], "")
        } else {
            Fault::None
        }
    })
    .await;
    let place = repository_at(&front.address, config());
    place
        .push_bytes(MediaType::OCI_LAYER, noise(100_000, 3).into())
        .await
        .unwrap();
}

#[tokio::test]
async fn mounts_from_siblings_of_the_same_registry() {
    let front = Front::start(|_, _| Fault::None).await;
    let client = Arc::new(RemoteClient::new(config()).unwrap());
    let at = |path: &str| Repository::new(&front.address, path).unwrap();
    let first = RemoteRepository::new(Arc::clone(&client), at("first")).unwrap();
    let descriptor = first
        .push_bytes(MediaType::OCI_LAYER, noise(50_000, 4).into())
        .await
        .unwrap();
    let second = RemoteRepository::new(client, at("second")).unwrap();
    second.add_sibling(first.repository());
    second.add_sibling(&Repository::new("elsewhere.example", "x").unwrap());
    // The bytes are not even looked at.
    second
        .push(&descriptor, Box::pin(tokio::io::empty()))
        .await
        .unwrap();
    assert!(second.contains(&descriptor).await.unwrap());
    assert!(
        !front
            .lines()
            .iter()
            .any(|line| line.starts_with("PUT /v2/second"))
    );
    let other = second
        .push_bytes(MediaType::OCI_LAYER, noise(50_000, 5).into())
        .await
        .unwrap();
    assert!(second.contains(&other).await.unwrap());
    assert!(
        front
            .lines()
            .iter()
            .any(|line| line.starts_with("DELETE /v2/second/blobs/uploads/"))
    );
}
