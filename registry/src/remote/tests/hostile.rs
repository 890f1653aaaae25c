//! A malicious registry tries eight ways to bring a credential to another origin (D1 to D8, named at each test; D7 is in
//! `network.rs`). No byte of one arrives: the other origin keeps every byte that it gets.

use std::sync::atomic::AtomicUsize;

use axum::http::request::Parts;

use super::front::{Fault, Front, answer, authorization};
use super::spy::{REFRESH, Spy, TOKEN};
use super::*;
use crate::copy::{Options, copy};
use crate::store::{Memory, SinkExt, SourceExt};
use samebundle_spec::manifest::Manifest;

/// How the registry wants to know who we are, and what we have to say so.
#[derive(Clone, Copy, Debug)]
enum Login {
    /// A password, sent to the registry.
    Basic,
    /// A password, sent to the registry's own token service.
    Token,
    /// A refresh token, likewise.
    Refresh,
    /// An access token from a file.
    Bearer,
}

const LOGINS: [Login; 4] = [Login::Basic, Login::Token, Login::Refresh, Login::Bearer];

impl Login {
    fn config(self, address: &str) -> RemoteConfig {
        let credential = match self {
            Self::Basic | Self::Token => Credential::Basic {
                username: "bird".to_owned(),
                password: CANARY.to_owned().into(),
            },
            Self::Refresh => Credential::Identity(REFRESH.to_owned().into()),
            Self::Bearer => Credential::Bearer(format!("{TOKEN}-file").into()),
        };
        let mut config = RemoteConfig {
            credentials: Credentials::default().with(address, credential),
            ..config()
        };
        // Refused is refused; nothing here gets better by waiting.
        config.retry.attempts = 2;
        config
    }

    /// Lets in who proves who he is, and gives tokens.
    fn guard(self, parts: &Parts) -> Fault {
        if parts.uri.path() == "/token" {
            return answer(
                200,
                &[],
                &format!("{{\"token\":\"{TOKEN}-1\",\"expires_in\":300}}"),
            );
        }
        if !authorization(parts).is_empty() {
            return Fault::None;
        }
        let host = parts.headers["host"].to_str().unwrap();
        let challenge = match self {
            Self::Basic => "Basic realm=\"here\"".to_owned(),
            _ => format!("Bearer realm=\"http://{host}/token\",service=\"here\""),
        };
        answer(401, &[("www-authenticate", &challenge)], "")
    }
}

/// A registry that lets in who logs in, and then does what `evil` says.
async fn registry(login: Login, evil: impl Fn(&Parts) -> Fault + Send + Sync + 'static) -> Front {
    Front::start(move |parts, _| match login.guard(parts) {
        Fault::None => evil(parts),
        other => other,
    })
    .await
}

/// Everything that a client does, and nothing of it has to succeed.
async fn everything(place: &RemoteRepository) {
    let memory = Memory::new();
    let (root, layers) = image_of(&memory, [noise(9_000_000, 1)]).await;
    let layer = &layers[0];
    let tag: Tag = "v1".parse().unwrap();
    let _ = copy(&memory, place, &root, &Options::tagged(tag.clone())).await;
    let _ = place.push_from(layer, &memory).await;
    let _ = place
        .push_bytes(MediaType::OCI_LAYER, noise(5_000, 2).into())
        .await;
    let _ = place
        .push_bytes(MediaType::OCI_MANIFEST, referrer_of(&root))
        .await;
    let _ = place.contains(layer).await;
    let _ = place.fetch_bytes(layer, u64::MAX).await;
    let _ = place.fetch_range_unverified(layer, 10..20).await;
    let _ = place.resolve(&tag).await;
    let _ = place.resolve_digest(&root.digest).await;
    let _ = place.tags().await;
    let _ = place.referrers(&root, None).await;
    let _ = place.untag(&tag).await;
}

/// The client really logs in here, and the spy is really heard: what the other tests rest on.
#[tokio::test(flavor = "multi_thread")]
async fn at_home_they_are_sent() {
    for login in LOGINS {
        let front = registry(login, |_| Fault::None).await;
        let place = repository_at(&front.address, login.config(&front.address));
        everything(&place).await;
        let shown = format!("{:?}", front.seen());
        let wanted = match login {
            Login::Basic => "Basic ",
            _ => TOKEN,
        };
        let sent = front
            .seen()
            .iter()
            .any(|seen| seen.header("authorization").contains(wanted));
        assert!(sent, "{login:?}: {shown}");
        assert_eq!(
            place.tags().await.unwrap().len(),
            0,
            "{login:?}: untagged at the end"
        );
    }
    let spy = Spy::start("200 OK", "{}").await;
    let mut stream = tokio::net::TcpStream::connect(spy.address()).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    while spy.heard() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(std::panic::catch_unwind(|| spy.assert_clean("a secret")).is_err());
}

/// D1: the challenge names a token service elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn d1_a_realm_elsewhere() {
    let spy = Arc::new(Spy::start("200 OK", "{\"token\":\"anonymous\"}").await);
    let mut realms: Vec<String> = spy
        .names()
        .iter()
        .map(|name| format!("http://{name}/token"))
        .collect();
    let (port, address) = (spy.port, spy.address());
    realms.extend([
        format!("HTTP://{address}/token"),
        format!("http://HOME@{address}/token"),
        format!("http://HOME:x@{address}/token"),
        format!("http://HOME\\@{address}/token"),
        format!("http://HOME%40{address}/token"),
        format!("//{address}/token"),
        format!("http:\\\\{address}\\token"),
        format!("http://[::1]:{port}/token"),
        format!("http://[::ffff:127.0.0.1]:{port}/token"),
        format!("https://{address}/token"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://l\u{043e}calhost/token".to_owned(),
        "http://metadata.google.internal/".to_owned(),
        "file:///etc/passwd".to_owned(),
        format!("ftp://{address}/token"),
        "http://HOME.example/token".to_owned(),
    ]);
    for realm in realms {
        for (login, scheme) in [
            (Login::Token, "Bearer"),
            (Login::Refresh, "Bearer"),
            (Login::Basic, "bearer"),
        ] {
            let realm = realm.clone();
            let front = Front::start(move |parts, _| {
                let home = parts.headers["host"].to_str().unwrap();
                let realm = realm.replace("HOME", home);
                let challenge = format!("{scheme} realm=\"{realm}\",service=\"s\"");
                let challenge = axum::http::HeaderValue::from_bytes(challenge.as_bytes()).unwrap();
                let Fault::Instead(mut response) = answer(401, &[], "") else {
                    unreachable!()
                };
                response.headers_mut().insert("www-authenticate", challenge);
                Fault::Instead(response)
            })
            .await;
            let place = repository_at(&front.address, login.config(&front.address));
            assert!(place.tags().await.is_err());
            assert!(place.push_bytes(MediaType::OCI_LAYER, "x".into()).await.is_err());
        }
    }
    assert!(spy.heard() > 0, "an anonymous request is allowed");
    spy.assert_clean("D1");
}

/// D2: the token service is at home and redirects.
#[tokio::test(flavor = "multi_thread")]
async fn d2_a_token_service_that_redirects() {
    for login in [Login::Token, Login::Refresh] {
        for status in [301, 302, 303, 307, 308] {
            let spy = Spy::start("200 OK", "{\"token\":\"stolen\"}").await;
            let target = format!("http://{}/token", spy.address());
            let front = Front::start(move |parts, _| match parts.uri.path() {
                "/token" => answer(status, &[("location", &target)], ""),
                _ => login.guard(parts),
            })
            .await;
            let place = repository_at(&front.address, login.config(&front.address));
            assert!(place.tags().await.is_err());
            spy.assert_unheard(&format!("D2 {login:?} {status}"));
        }
    }
}

/// D3: everything is redirected: reads are followed without credentials, writes are not followed, and a challenge that
/// comes from elsewhere is not met.
#[tokio::test(flavor = "multi_thread")]
async fn d3_redirects_elsewhere() {
    for login in LOGINS {
        for status in [301, 302, 303, 307, 308] {
            let spy = Spy::greedy().await;
            for name in spy.names() {
                let front = registry(login, move |parts| {
                    let to = format!("http://{name}{}", parts.uri);
                    answer(status, &[("location", &to)], "")
                })
                .await;
                let place = repository_at(&front.address, login.config(&front.address));
                everything(&place).await;
            }
            assert!(spy.heard() > 0, "reads are followed");
            spy.assert_clean(&format!("D3 {login:?} {status}"));
            let text = spy.text();
            for method in ["PUT ", "POST ", "PATCH ", "DELETE "] {
                assert!(!text.contains(method), "D3 {login:?} {status}: {text}");
            }
        }
    }
}

/// D3: away and back, twice.
#[tokio::test(flavor = "multi_thread")]
async fn d3_away_and_back() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = listener.local_addr().unwrap().to_string();
    let spy = Spy::start(
        &format!("307 Temporary Redirect\r\nlocation: http://{home}/v2/team/digits/tags/list?back"),
        "",
    )
    .await;
    let away = spy.address();
    let front = Front::on(listener, move |parts, _| match Login::Token.guard(parts) {
        Fault::None if parts.uri.query() != Some("back") => {
            answer(307, &[("location", &format!("http://{away}/"))], "")
        }
        Fault::None => answer(200, &[], "{\"name\":\"x\",\"tags\":[\"a\"]}"),
        other => other,
    })
    .await;
    let place = repository_at(&home, Login::Token.config(&home));
    assert_eq!(place.tags().await.unwrap().len(), 1);
    assert!(
        front
            .seen()
            .last()
            .unwrap()
            .header("authorization")
            .contains(TOKEN)
    );
    spy.assert_clean("D3 away and back");
}

/// D4: where an upload goes on: at its opening, after a part, when asked how far it came, and in a record that was tampered
/// with. Nothing goes there; where the user allows that host, the bytes of the blob do, and no credentials.
#[tokio::test(flavor = "multi_thread")]
async fn d4_an_upload_that_goes_on_elsewhere() {
    for login in LOGINS {
        for method in ["POST", "PATCH", "GET"] {
            let spy = Spy::greedy().await;
            let names = spy.names();
            let count = AtomicUsize::new(0);
            let front = registry(login, move |parts| {
                let upload = parts.uri.path().contains("/blobs/uploads/");
                // A part that is lost makes the client ask.
                if method == "GET" && parts.method == "PATCH" && count.fetch_add(1, Ordering::SeqCst) == 0 {
                    return answer(500, &[], "");
                }
                if !upload || parts.method != method {
                    return Fault::None;
                }
                let number = count.fetch_add(1, Ordering::SeqCst);
                let to = format!("http://{}/upload", names[number % names.len()]);
                Fault::Change(Box::new(move |mut response| {
                    response.headers_mut().insert("location", to.parse().unwrap());
                    response
                }))
            })
            .await;
            let place = repository_at(&front.address, login.config(&front.address));
            everything(&place).await;
            spy.assert_unheard(&format!("D4 {login:?} {method}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_an_allowed_upload_host_sees_no_credentials() {
    for login in LOGINS {
        let spy = Spy::greedy().await;
        let away = spy.address();
        let front = registry(login, move |parts| {
            let to = format!("http://{away}/upload");
            match parts.method.as_str() {
                "POST" => answer(202, &[("location", &to)], ""),
                _ => Fault::None,
            }
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let mut file = profile::ProfileFile::new(&front.address, "2026-01-01T00:00:00Z".parse().unwrap());
        file.profile.upload_hosts.insert(spy.address());
        file.write(folder.path()).unwrap();
        let config = RemoteConfig {
            profiles: Some(folder.path().to_owned()),
            ..login.config(&front.address)
        };
        everything(&repository_at(&front.address, config)).await;
        assert!(spy.heard() > 0);
        spy.assert_clean(&format!("D4 allowed, {login:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_a_note_that_was_tampered_with() {
    let spy = Spy::greedy().await;
    let folder = tempfile::tempdir().unwrap();
    let front = registry(Login::Token, |parts| match parts.method.as_str() {
        "PATCH" => answer(403, &[], ""),
        _ => Fault::None,
    })
    .await;
    let config = RemoteConfig {
        uploads: Some(folder.path().to_owned()),
        ..Login::Token.config(&front.address)
    };
    // An upload that fails leaves its record.
    everything(&repository_at(&front.address, config.clone())).await;
    let notes: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(!notes.is_empty());
    for note in notes {
        let mut text: serde_json::Value =
            serde_json::from_slice(&std::fs::read(note.path()).unwrap()).unwrap();
        text["location"] = format!("http://{}/upload", spy.address()).into();
        std::fs::write(note.path(), text.to_string()).unwrap();
    }
    everything(&repository_at(&front.address, config)).await;
    spy.assert_unheard("D4 note");
}

/// D5: a descriptor says that its content is to be had elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn d5_urls_of_foreign_layers() {
    let spy = Spy::start("200 OK", "x").await;
    let front = registry(Login::Basic, |_| Fault::None).await;
    let place = repository_at(&front.address, Login::Basic.config(&front.address));
    let config = place.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&Manifest::new(config, vec![layer(b"x")]).to_bytes()).unwrap();
    let away = spy.address();
    manifest["layers"][0]["urls"] = serde_json::json!([
        format!("http://{away}/x"),
        format!("http://localhost:{}/x", spy.port),
        "file:///etc/passwd",
        "http://169.254.169.254/"
    ]);
    let memory = Memory::new();
    let bytes = manifest.to_string().into_bytes();
    let root = memory
        .push_bytes(MediaType::OCI_MANIFEST, bytes.clone().into())
        .await
        .unwrap();
    // The registry itself would not take it without its layer.
    let served = bytes.clone();
    let front = registry(Login::Basic, move |parts| {
        if parts.uri.path().contains("/manifests/") {
            let body = String::from_utf8(served.clone()).unwrap();
            answer(200, &[("content-type", MediaType::OCI_MANIFEST.as_str())], &body)
        } else {
            Fault::None
        }
    })
    .await;
    let place = repository_at(&front.address, Login::Basic.config(&front.address));
    let to = Memory::new();
    let error = copy(&place, &to, &root, &Options::default()).await;
    assert!(error.is_err(), "the layer is not in the registry");
    spy.assert_unheard("D5");
}

/// D6: the next page is elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn d6_a_next_page_elsewhere() {
    for login in LOGINS {
        let spy = Spy::greedy().await;
        for name in spy.names() {
            let front = registry(login, move |parts| {
                if !parts.uri.path().ends_with("/list") && !parts.uri.path().contains("/referrers/") {
                    return Fault::None;
                }
                let link = format!("<http://{name}{}?last=a>; rel=\"next\"", parts.uri.path());
                Fault::Change(Box::new(move |mut response| {
                    response.headers_mut().insert("link", link.parse().unwrap());
                    response
                }))
            })
            .await;
            let place = repository_at(&front.address, login.config(&front.address));
            everything(&place).await;
            assert!(place.tags().await.is_err());
        }
        spy.assert_unheard(&format!("D6 {login:?}"));
    }
}

/// D8: nothing that a reference or a challenge holds becomes a header or a second parameter.
#[tokio::test(flavor = "multi_thread")]
async fn d8_injection() {
    for text in [
        "r.example/x:v1\r\nX-Evil: 1",
        "r.example/x%0d%0aX-Evil:v1",
        "r.example/x\u{0}:v1",
        "r.example/x?scope=repository:evil:push",
        "r.example/x&scope=repository:evil:push:v1",
        "r.example/x#y:v1",
        "r.example/../x:v1",
        "user:pass@r.example/x:v1",
        "r.example@evil.example/x:v1",
        "r.example:80:90/x:v1",
        "r.example /x:v1",
    ] {
        assert!(text.parse::<samebundle_spec::Reference>().is_err(), "{text:?}");
    }
    let front = Front::start(|parts, _| {
        if parts.uri.path() == "/token" {
            return answer(200, &[], &format!("{{\"token\":\"{TOKEN}\"}}"));
        }
        if !authorization(parts).is_empty() {
            return Fault::None;
        }
        let host = parts.headers["host"].to_str().unwrap();
        let challenge = format!(
            "Bearer realm=\"http://{host}/token?a=b\",service=\"s&scope=repository:evil:push,pull\",\
             scope=\"repository:evil:*\",error=\"x\""
        );
        answer(401, &[("www-authenticate", &challenge)], "")
    })
    .await;
    let place = repository_at(&front.address, Login::Token.config(&front.address));
    place.tags().await.unwrap();
    let asked: Vec<_> = front
        .lines()
        .into_iter()
        .filter(|line| line.contains("/token"))
        .collect();
    let query = url::Url::parse(&format!("http://h{}", asked[0].split(' ').nth(1).unwrap())).unwrap();
    let scopes: Vec<_> = query
        .query_pairs()
        .filter(|(name, _)| name == "scope")
        .map(|(_, value)| value.into_owned())
        .collect();
    assert_eq!(scopes, ["repository:team/digits:pull"]);
    // A token that would be two headers is no token.
    let front = Front::start(|parts, _| match parts.uri.path() {
        "/token" => answer(200, &[], "{\"token\":\"a\\r\\nX-Evil: 1\"}"),
        _ => {
            let host = parts.headers["host"].to_str().unwrap();
            let challenge = format!("Bearer realm=\"http://{host}/token\"");
            answer(401, &[("www-authenticate", &challenge)], "")
        }
    })
    .await;
    let place = repository_at(&front.address, Login::Token.config(&front.address));
    let error = place.tags().await.unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert!(front.seen().iter().all(|seen| seen.header("x-evil").is_empty()));
}
