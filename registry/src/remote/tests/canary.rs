//! Credentials stay home: what another origin gets to see.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::front::{Fault, Front, answer, authorization};
use super::*;
use crate::store::{SinkExt, SourceExt};

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("bird:{CANARY}")))
}

/// Nothing of a secret or of a token was sent there.
fn assert_clean(front: &Front) {
    for seen in front.seen() {
        let shown = format!("{seen:?}");
        assert_eq!(seen.header("authorization"), "", "{shown}");
        assert!(!shown.contains(CANARY) && !shown.contains("token-"), "{shown}");
        assert!(
            !shown.contains(&STANDARD.encode(format!("bird:{CANARY}"))),
            "{shown}"
        );
    }
}

/// Wants Basic.
fn guard(parts: &axum::http::request::Parts) -> Fault {
    if authorization(parts) == basic() {
        Fault::None
    } else {
        answer(401, &[("www-authenticate", "Basic realm=\"here\"")], "")
    }
}

#[tokio::test]
async fn redirects_elsewhere_carry_no_credentials() {
    let storage = Arc::new(Front::start(|_, _| Fault::None).await);
    let target = repository_at(&storage.address, config());
    let bytes = noise(10_000, 6);
    target
        .push_bytes(MediaType::OCI_LAYER, bytes.clone().into())
        .await
        .unwrap();
    let before = storage.seen().len();
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = storage.address.clone();
        let front = Front::start(move |parts, _| match guard(parts) {
            Fault::None => answer(
                status,
                &[("location", &format!("http://{elsewhere}{}", parts.uri))],
                "",
            ),
            other => other,
        })
        .await;
        let place = repository_at(&front.address, canary_config(&front.address));
        let found = place.fetch_bytes(&layer(&bytes), 1 << 20).await.unwrap();
        assert_eq!(found, bytes);
        assert_eq!(front.seen().last().unwrap().header("authorization"), basic());
    }
    assert_eq!(storage.seen().len(), before + 5);
    assert_clean(&storage);
}

/// Away and back again: the credentials are for the registry, not for the way.
#[tokio::test]
async fn a_redirect_back_is_ours_again() {
    let home = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = home.local_addr().unwrap().to_string();
    let back = address.clone();
    let away = Front::start(move |parts, _| {
        answer(
            307,
            &[("location", &format!("http://{back}{}?back=1", parts.uri.path()))],
            "",
        )
    })
    .await;
    let elsewhere = away.address.clone();
    let front = Front::on(home, move |parts, _| match guard(parts) {
        Fault::None if parts.method == "GET" && parts.uri.query().is_none() => answer(
            307,
            &[("location", &format!("http://{elsewhere}{}", parts.uri))],
            "",
        ),
        other => other,
    })
    .await;
    let place = repository_at(&address, canary_config(&address));
    let descriptor = place.push_bytes(MediaType::OCI_LAYER, "x".into()).await.unwrap();
    place.fetch_bytes(&descriptor, 10).await.unwrap();
    assert_clean(&away);
    assert_eq!(front.seen().last().unwrap().header("authorization"), basic());
}

#[tokio::test]
async fn redirects_in_circles_and_to_forbidden_places_end() {
    for location in [
        "/v2/team/digits/blobs/again",
        "http://169.254.169.254/latest",
        "http://10.1.2.3/",
        "file:///etc/passwd",
    ] {
        let front = Front::start(move |parts, _| {
            let location = if location.ends_with("again") {
                parts.uri.path()
            } else {
                location
            };
            answer(302, &[("location", location)], "")
        })
        .await;
        let place = repository_at(&front.address, config());
        let error = place.fetch_bytes(&layer(b"x"), 10).await.unwrap_err();
        assert!(matches!(error, StoreError::Broken { .. }), "{error:?}");
    }
}

/// A registry that wants tokens; `realm` says where they are to be had.
async fn tokens(realm: impl Fn(&str) -> String + Send + Sync + 'static, uses: usize) -> Front {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let issued = AtomicUsize::new(0);
    let used = AtomicUsize::new(0);
    let realm = realm(&address);
    Front::on(listener, move |parts, _| {
        if parts.uri.path() == "/token" {
            used.store(0, Ordering::SeqCst);
            let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
            return answer(
                200,
                &[],
                &format!("{{\"token\": \"token-{number}\", \"expires_in\": 300}}"),
            );
        }
        let current = format!("Bearer token-{}", issued.load(Ordering::SeqCst));
        if authorization(parts) == current && used.fetch_add(1, Ordering::SeqCst) < uses {
            return Fault::None;
        }
        let challenge = format!("Bearer realm=\"{realm}\",service=\"here\",scope=\"repository:evil:*\"");
        answer(401, &[("www-authenticate", &challenge)], "")
    })
    .await
}

#[tokio::test]
async fn tokens_are_fetched_and_renewed_when_they_end() {
    let front = tokens(|address| format!("http://{address}/token"), 3).await;
    let place = repository_at(&front.address, canary_config(&front.address));
    let bytes = noise(200_000, 7);
    for seed in 0..6 {
        place
            .push_bytes(MediaType::OCI_LAYER, noise(1_000, seed).into())
            .await
            .unwrap();
    }
    place
        .push_bytes(MediaType::OCI_LAYER, bytes.clone().into())
        .await
        .unwrap();
    assert_eq!(place.fetch_bytes(&layer(&bytes), 1 << 20).await.unwrap(), bytes);
    let seen = front.seen();
    let fetched: Vec<_> = seen.iter().filter(|seen| seen.line.contains("/token")).collect();
    assert!(fetched.len() > 3, "{}", fetched.len());
    for request in fetched {
        assert_eq!(request.header("authorization"), basic());
        assert!(
            request.line.contains("scope=repository%3Ateam%2Fdigits%3Apull"),
            "{}",
            request.line
        );
        assert!(!request.line.contains("evil"), "{}", request.line);
    }
}

#[tokio::test]
async fn a_token_service_elsewhere_sees_no_credentials() {
    let elsewhere = Arc::new(Front::start(|_, _| answer(200, &[], "{\"token\": \"anonymous\"}")).await);
    let other = elsewhere.address.clone();
    let front = tokens(move |_| format!("http://{other}/token"), 100).await;
    let place = repository_at(&front.address, canary_config(&front.address));
    let error = place.tags().await.unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert!(!elsewhere.seen().is_empty());
    assert_clean(&elsewhere);

    // Listed as belonging to the registry, it does.
    let config = RemoteConfig {
        token_hosts: vec![(front.address.clone(), elsewhere.address.clone())],
        ..canary_config(&front.address)
    };
    let place = repository_at(&front.address, config);
    assert!(place.tags().await.is_err());
    assert_eq!(elsewhere.seen().last().unwrap().header("authorization"), basic());
}

#[tokio::test]
async fn token_services_that_smuggle_downgrade_or_redirect_are_refused() {
    for realm in [
        "http://169.254.169.254/token",
        "http://a.example/token",
        "http://user:pw@127.0.0.1/token",
        "file:///etc/passwd",
        "nonsense",
    ] {
        let front = tokens(move |_| realm.to_owned(), 100).await;
        let place = repository_at(&front.address, canary_config(&front.address));
        let error = place.tags().await.unwrap_err();
        assert!(
            matches!(error, StoreError::Denied { .. } | StoreError::Broken { .. }),
            "{realm}: {error:?}"
        );
    }
    let elsewhere = Front::start(|_, _| answer(200, &[], "{\"token\": \"stolen\"}")).await;
    let target = elsewhere.address.clone();
    let front = Front::start(move |parts, _| {
        if parts.uri.path() == "/token" {
            return answer(302, &[("location", &format!("http://{target}/token"))], "");
        }
        let realm = format!(
            "Bearer realm=\"http://{}/token\"",
            parts.headers["host"].to_str().unwrap()
        );
        answer(401, &[("www-authenticate", &realm)], "")
    })
    .await;
    let place = repository_at(&front.address, canary_config(&front.address));
    assert!(place.tags().await.is_err());
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn identity_tokens_are_changed_for_access_tokens() {
    let front = tokens(|address| format!("http://{address}/token"), 100).await;
    let credential = Credential::Identity("refresh-me".to_owned().into());
    let config = RemoteConfig {
        credentials: Credentials::default().with(&front.address, credential),
        ..config()
    };
    let place = repository_at(&front.address, config);
    place.tags().await.unwrap();
    assert!(front.lines().iter().any(|line| line == "POST /token"));
}

#[tokio::test]
async fn denied_is_said_once_and_without_the_secret() {
    let front = Front::start(|_, _| {
        answer(
            401,
            &[("www-authenticate", "Basic realm=\"x\"")],
            "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"go away\"}]}",
        )
    })
    .await;
    let place = repository_at(&front.address, canary_config(&front.address));
    let error = place.tags().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Denied { why, .. } if why.contains("go away")),
        "{error:?}"
    );
    assert_eq!(front.lines().len(), 2);
    assert!(!format!("{error:?} {place:?}").contains(CANARY));
}
