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
        let mut config = RemoteConfig {
            certificates: certs_d(folder.path(), &address, &ca),
            ..super::config()
        };
        config.retry.connects = 1;
        let place = repository_at(&address, config);
        let pushed = place.push_bytes(MediaType::OCI_LAYER, "x".into()).await;
        match works {
            true => {
                let descriptor = pushed.unwrap();
                assert_eq!(place.fetch_bytes(&descriptor, 10).await.unwrap(), "x".as_bytes());
            }
            false => {
                let error = pushed.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(
                    error.to_string().to_lowercase().contains("certificate"),
                    "{error}"
                );
            }
        }
        cancel.cancel();
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_read_are_an_error_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("ca.crt", "nonsense"), ("client.cert", "without a key")] {
        let own = folder.path().join(name).join("r.example");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join(name), text).unwrap();
        if name == "ca.crt" {
            // No section at all is no certificate; a broken one is an error.
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
        assert!(text.contains("client.") || text.contains("ca.crt"), "{text}");
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
