//! Proxies and certificates, and D7 of the ways of a malicious registry (`hostile.rs`): nothing goes from https to http, and
//! no certificate is believed that nobody vouched for.

use std::path::{Path, PathBuf};
use std::process::Command;

use samebundle_spec::{Classify, ErrorKind};
use tokio_util::sync::CancellationToken;

use super::network::Proxies;
use super::spy::{Spy, TOKEN};
use super::*;
use crate::server::{Config, Server, Storage, Tls};
use crate::store::{SinkExt, SourceExt};

fn through(spy: &Spy, except: &str) -> RemoteConfig {
    let address = format!("http://proxy-user:{CANARY}@{}", spy.address());
    let mut config = RemoteConfig {
        insecure: ["plain.example:5000".to_owned()].into(),
        proxies: Proxies {
            http: Some(address.into()),
            https: None,
            except: except.to_owned(),
        },
        ..config()
    };
    config.retry.attempts = 1;
    config
}

#[tokio::test]
async fn a_proxy_is_used_but_for_this_machine_and_for_exceptions() {
    let spy = Spy::start("200 OK\r\ncontent-type: application/json", "{\"tags\":[\"a\"]}").await;
    let place = repository_at("plain.example:5000", through(&spy, ""));
    assert_eq!(place.tags().await.unwrap().len(), 1);
    let text = spy.text();
    assert!(
        text.starts_with("GET http://plain.example:5000/v2/team/digits/tags/list"),
        "{text}"
    );
    assert!(
        text.to_lowercase().contains("proxy-authorization: basic"),
        "{text}"
    );
    assert!(!format!("{:?}", through(&spy, "")).contains(CANARY));

    let before = spy.heard();
    for except in ["plain.example", ".example", "other.test, plain.example"] {
        // Nobody has that name; what counts is that the proxy is not asked.
        assert!(
            repository_at("plain.example:5000", through(&spy, except))
                .tags()
                .await
                .is_err()
        );
    }
    let home = super::front::Front::start(|_, _| super::front::Fault::None).await;
    let place = repository_at(&home.address, through(&spy, ""));
    assert_eq!(place.tags().await.unwrap(), []);
    assert_eq!(spy.heard(), before);
}

/// An authority and a server's certificate for `name`, made by openssl; `None` where there is none.
fn certificate(folder: &Path, name: &str) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let run = |words: &str| {
        let ran = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(folder)
            .output();
        ran.is_ok_and(|ran| ran.status.success()).then_some(())
    };
    let Some(()) = run("version") else {
        println!("skipped: openssl is not installed");
        return None;
    };
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    run(&format!(
        "req -x509 {curve} -keyout ca.key -out ca.crt -subj /CN=ca -days 2"
    ))
    .unwrap();
    run(&format!(
        "req {curve} -keyout server.key -out server.csr -subj /CN=server"
    ))
    .unwrap();
    std::fs::write(folder.join("names"), format!("subjectAltName={name}\n")).unwrap();
    run("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names")
        .unwrap();
    let at = |name: &str| folder.join(name);
    Some((at("ca.crt"), at("server.crt"), at("server.key")))
}

/// A `certs.d` that has `authority` for the registry at `address`.
fn certs_d(folder: &Path, address: &str, authority: &Path) -> Vec<PathBuf> {
    let own = folder.join("certs.d").join(address);
    std::fs::create_dir_all(&own).unwrap();
    std::fs::copy(authority, own.join("ca.crt")).unwrap();
    vec![folder.join("absent"), folder.join("certs.d")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrys_own_authority_is_believed_and_no_other() {
    let (good, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, authority, works) in [
        ("IP:127.0.0.1", &good, true),
        ("IP:127.0.0.1", &other, false),
        ("DNS:elsewhere.example", &good, false),
    ] {
        let Some((ca, server, key)) = certificate(good.path(), name) else {
            return;
        };
        certificate(other.path(), name).unwrap();
        let root = tempfile::tempdir().unwrap();
        let storage = Storage::open(root.path()).unwrap();
        let config = Config {
            tls: Some(Tls::open(&server, &key).unwrap()),
            ..Config::default()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = Server::new(storage, config).unwrap();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(serving.serve(listener, cancel.clone()));
        let folder = tempfile::tempdir().unwrap();
        let ca = authority.path().join(ca.file_name().unwrap());
        let config = RemoteConfig {
            certificates: certs_d(folder.path(), &address, &ca),
            ..super::config()
        };
        let place = repository_at(&address, config);
        let pushed = place.push_bytes(MediaType::OCI_LAYER, "x".into()).await;
        match works {
            true => {
                let descriptor = pushed.unwrap();
                assert_eq!(place.fetch_bytes(&descriptor, 10).await.unwrap(), "x".as_bytes());
            }
            false => {
                let error = pushed.unwrap_err();
                // No repetition helps, so none is made.
                assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
                let text = error.to_string();
                let expected = match name {
                    "IP:127.0.0.1" => "SSL_CERT_FILE",
                    _ => "its certificate is for elsewhere.example, not for 127.0.0.1",
                };
                assert!(text.contains(expected) && !text.contains("attempts"), "{text}");
            }
        }
        cancel.cancel();
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_read_are_an_error_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("ca.crt", "nonsense"),
        ("empty.crt", ""),
        ("der.crt", "0\u{82}\u{1}"),
        ("client.cert", "without a key"),
    ] {
        let own = folder.path().join(name).join("r.example");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join(name), text).unwrap();
        if name == "ca.crt" {
            std::fs::write(
                own.join(name),
                "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            )
            .unwrap();
        }
        let config = RemoteConfig {
            certificates: vec![folder.path().join(name)],
            ..config()
        };
        let client = Arc::new(RemoteClient::new(config).unwrap());
        let error = RemoteRepository::new(client, Repository::new("r.example", "x").unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("client.key") || text.contains(name), "{text}");
        assert!(!text.contains("{ "), "{text}");
    }
}

/// A certificate as `openssl req -x509` makes it for a server: it signs itself, and says that it is an authority's.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_trusted_itself_is_believed() {
    let made = tempfile::tempdir().unwrap();
    let make = |name: &str, names: &str| {
        let at = |ending: &str| made.path().join(format!("{name}.{ending}"));
        let words = format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -addext \
             subjectAltName={names} -keyout {name}.key -out {name}.crt"
        );
        let ran = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(made.path())
            .output();
        ran.is_ok_and(|ran| ran.status.success())
            .then(|| (at("crt"), at("key")))
    };
    let Some((certificate, key)) = make("own", "IP:127.0.0.1") else {
        println!("skipped: openssl is not installed");
        return;
    };
    let other = make("other", "IP:127.0.0.1").unwrap();
    let named = make("named", "DNS:elsewhere.example").unwrap();
    for (served, trusted, expected) in [
        ((&certificate, &key), &certificate, None),
        ((&certificate, &key), &other.0, Some("CA:TRUE")),
        ((&named.0, &named.1), &named.0, Some("not for 127.0.0.1")),
    ] {
        let acceptor = super::spy::acceptor(served.0, served.1);
        let spy = Spy::start_tls(
            "200 OK\r\ncontent-type: application/json",
            "{\"tags\":[\"a\"]}",
            acceptor,
        )
        .await;
        let folder = tempfile::tempdir().unwrap();
        let config = RemoteConfig {
            certificates: certs_d(folder.path(), &spy.address(), trusted),
            ..config()
        };
        match (repository_at(&spy.address(), config).tags().await, expected) {
            (Ok(tags), None) => assert_eq!(tags.len(), 1),
            (Err(error), Some(expected)) => {
                assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
                assert!(error.to_string().contains(expected), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Plain http where TLS is spoken, and TLS where it is not: said at once, with the setting that changes it.
#[tokio::test(flavor = "multi_thread")]
async fn tls_and_plain_http_taken_for_each_other_are_told() {
    let made = tempfile::tempdir().unwrap();
    let Some((_, certificate, key)) = certificate(made.path(), "IP:127.0.0.1") else {
        return;
    };
    let tell = |error: StoreError, setting: &str| {
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{text}");
        assert!(text.contains("TLS") && text.contains(setting), "{text}");
        assert!(!text.contains("attempts"), "{text}");
    };
    let spy = Spy::start_tls("200 OK", "", super::spy::acceptor(&certificate, &key)).await;
    let error = repository_at(&spy.address(), config()).tags().await.unwrap_err();
    tell(error, "SAMEBUNDLE_SECURE_REGISTRIES");
    let error = repository_at(&spy.address(), config())
        .push_bytes(MediaType::OCI_LAYER, "x".into())
        .await
        .unwrap_err();
    tell(error, "SAMEBUNDLE_SECURE_REGISTRIES");

    let home = super::front::Front::start(|_, _| super::front::Fault::None).await;
    let secure = RemoteConfig {
        secure: [home.address.clone()].into(),
        ..config()
    };
    let error = repository_at(&home.address, secure).tags().await.unwrap_err();
    tell(error, "SAMEBUNDLE_SECURE_REGISTRIES");
    // A plain registry that says 400 is asked nothing by TLS once it has answered.
    let home = super::front::Front::start(|_, number| match number {
        0 => super::front::Fault::None,
        _ => super::front::answer(400, &[], "no"),
    })
    .await;
    let place = repository_at(&home.address, config());
    place.tags().await.unwrap();
    assert!(matches!(place.tags().await, Err(StoreError::Invalid { .. })));
}

#[tokio::test]
async fn a_name_that_no_host_has_is_not_asked_again() {
    let place = repository_at("samebundle-no-such-host:5000", config());
    let error = place.tags().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("docker.io/library/NAME"), "{error}");
}

#[tokio::test]
async fn trouble_with_a_proxy_names_the_proxy() {
    let head = "407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=\"corp\"";
    let spy = Spy::start(head, "").await;
    for (address, kind) in [
        (spy.address(), ErrorKind::Unreachable),
        ("127.0.0.1:1".to_owned(), ErrorKind::Unavailable),
    ] {
        for registry in ["plain.example:5000", "tls.example:5000"] {
            let proxy = || Some(format!("http://bird:{CANARY}@{address}").into());
            let config = RemoteConfig {
                proxies: Proxies {
                    http: proxy(),
                    https: proxy(),
                    except: String::new(),
                },
                ..through(&spy, "")
            };
            let error = repository_at(registry, config).tags().await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("the proxy {address}")), "{text}");
            assert!(!text.contains(CANARY), "{text}");
        }
    }
}

#[test]
fn exceptions_from_proxies_hold_for_hosts_addresses_and_ports() {
    let through = |proxy: &str, except: &str, url: &str| {
        let proxies = Proxies {
            http: None,
            https: Some(proxy.to_owned().into()),
            except: except.to_owned(),
        };
        proxies.on_the_way_to(&url.parse().unwrap())
    };
    let proxy = "http://bird:secret@proxy.example:3128";
    for (except, url, direct) in [
        ("", "https://10.1.2.3:5000/", false),
        ("*", "https://10.1.2.3:5000/", true),
        ("*", "https://r.example/", true),
        ("a.example, *", "https://[fd00::1]:5000/", true),
        ("10.1.2.3:5000", "https://10.1.2.3:5000/", true),
        ("10.1.2.3:5001", "https://10.1.2.3:5000/", false),
        ("10.1.0.0/16", "https://10.1.2.3:5000/", true),
        ("*.example", "https://r.example/", true),
        ("r.example:5000", "https://r.example:5000/", true),
        ("other.example", "https://r.example/", false),
    ] {
        let expected = (!direct).then(|| "proxy.example:3128".to_owned());
        assert_eq!(through(proxy, except, url), expected, "{except} {url}");
    }
    let socks = through("socks5h://proxy.example:1080", "", "https://r.example/");
    assert_eq!(socks.as_deref(), Some("proxy.example:1080"));
}

#[test]
fn a_proxy_that_cannot_be_used_is_told_before_anything_is_asked() {
    let client = |proxy: &str| {
        RemoteClient::new(RemoteConfig {
            proxies: Proxies {
                https: Some(proxy.to_owned().into()),
                ..Proxies::default()
            },
            ..config()
        })
    };
    for proxy in [
        "proxy.example:3128",
        "http://p.example",
        "socks5h://p.example:1080",
        "socks5://p.example",
    ] {
        assert!(client(proxy).is_ok(), "{proxy}");
    }
    for proxy in ["gopher://p.example:70", "http://"] {
        let error = client(proxy).unwrap_err();
        assert!(error.to_string().contains("https_proxy"), "{error}");
    }
}

/// D7: from https to http goes nothing: no redirect, no token request, no upload.
#[tokio::test(flavor = "multi_thread")]
async fn d7_no_downgrade() {
    let made = tempfile::tempdir().unwrap();
    let Some((ca, server, key)) = certificate(made.path(), "IP:127.0.0.1") else {
        return;
    };
    let acceptor = super::spy::acceptor(&server, &key);
    let spy = Spy::greedy().await;
    let away = spy.address();
    for head in [
        format!("307 Temporary Redirect\r\nlocation: http://{away}/x"),
        format!("302 Found\r\nlocation: http://localhost:{}/x", spy.port),
        format!("401 Unauthorized\r\nwww-authenticate: Bearer realm=\"http://{away}/token\",service=\"s\""),
        format!("202 Accepted\r\nlocation: http://{away}/upload"),
    ] {
        let front = Spy::start_tls(&head, "", acceptor.clone()).await;
        let folder = tempfile::tempdir().unwrap();
        let mut config = RemoteConfig {
            certificates: certs_d(folder.path(), &front.address(), &ca),
            ..canary_config(&front.address())
        };
        config.retry.attempts = 1;
        config.retry.connects = 1;
        let place = repository_at(&front.address(), config);
        assert!(place.tags().await.is_err(), "{head}");
        assert!(
            place.push_bytes(MediaType::OCI_LAYER, "x".into()).await.is_err(),
            "{head}"
        );
        assert!(place.fetch_bytes(&layer(b"x"), 10).await.is_err(), "{head}");
        assert!(front.text().contains("/v2/"), "{head}: the registry was asked");
        assert!(!front.text().contains(TOKEN));
        spy.assert_unheard(&format!("D7 {head}"));
    }
}
