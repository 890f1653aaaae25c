//! Users, rights and tokens, and our own client against them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::remote::credentials::{Credential, Credentials};
use crate::remote::{RemoteClient, RemoteConfig, RemoteRepository};
use crate::store::{Sink, SourceExt, Tags};

const RULES: &str = "version: 1
rules:
  - {users: [anonymous], repositories: [public], may: [pull]}
  - {users: [alice], repositories: [team, public], may: [pull, push, delete]}
  - {users: [bob], repositories: [team], may: [pull]}
  - {users: [carol], repositories: [carol], may: [pull, push]}
";

#[expect(clippy::disallowed_methods, reason = "stands for the command line's clock")]
fn clock() -> SystemTime {
    SystemTime::now()
}

pub(super) fn token_scheme(life: u64) -> Scheme {
    Scheme::Token {
        address: None,
        life: Duration::from_secs(life),
    }
}

/// A server whose users have their name, twice, as password.
pub(super) async fn guarded(scheme: Scheme) -> Server {
    let root = tempfile::tempdir().unwrap();
    let (users, rules) = (root.path().join("users"), root.path().join("rules"));
    let line = |name: &str| format!("{name}:{}\n", bcrypt::hash(name.repeat(2), 4).unwrap());
    std::fs::write(&users, ["alice", "bob", "carol"].map(line).concat()).unwrap();
    std::fs::write(&rules, RULES).unwrap();
    let config = Config {
        access: Some(Access::open(scheme, &users, Some(&rules), clock).unwrap()),
        clock,
        ..Config::default()
    };
    let storage = Storage::open(root.path()).unwrap();
    start_with(root, storage, config).await
}

pub(super) fn basic(name: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{name}{name}")))
}

impl Server {
    pub(super) async fn token(&self, name: &str, scopes: &[&str]) -> String {
        let mut path = "/token?service=x&client_id=test".to_owned();
        for scope in scopes {
            path.push_str(&format!("&scope={scope}"));
        }
        let login = basic(name);
        let headers: &[(&str, &str)] = match name {
            "" => &[],
            _ => &[("authorization", &login)],
        };
        let answer = self.send("GET", &path, headers, b"").await;
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(answer["token"], answer["access_token"]);
        format!("Bearer {}", answer["token"].as_str().unwrap())
    }
}

const TABLE: [(&str, &str, &str, u16); 17] = [
    ("", "GET", "/v2/", 401),
    ("alice", "GET", "/v2/", 200),
    ("", "GET", "/v2/public/tags/list", 404),
    ("", "GET", "/v2/team/a/tags/list", 401),
    ("", "PUT", "/v2/public/manifests/x", 401),
    ("", "DELETE", "/v2/public/manifests/x", 401),
    ("bob", "GET", "/v2/team/a/tags/list", 404),
    ("bob", "HEAD", "/v2/team/a/manifests/x", 404),
    ("bob", "GET", "/v2/teams/tags/list", 403),
    ("bob", "POST", "/v2/team/a/blobs/uploads/", 403),
    ("bob", "PATCH", "/v2/team/a/blobs/uploads/x", 403),
    ("bob", "DELETE", "/v2/team/a/manifests/x", 403),
    ("bob", "GET", "/v2/public/tags/list", 404),
    ("alice", "DELETE", "/v2/team/a/manifests/x", 404),
    ("alice", "POST", "/v2/team/a/blobs/uploads/", 202),
    ("alice", "POST", "/v2/carol/blobs/uploads/", 403),
    ("carol", "GET", "/v2/carol/x/tags/list", 404),
];

#[tokio::test]
async fn every_request_needs_a_login_that_may_do_it() {
    for scheme in [Scheme::Basic, token_scheme(60)] {
        let server = guarded(scheme.clone()).await;
        for (name, method, path, status) in TABLE {
            let authorization = match (name, &scheme) {
                ("", _) => None,
                (_, Scheme::Basic) => Some(basic(name)),
                (_, Scheme::Token { .. }) => {
                    let repository = path.trim_start_matches("/v2/");
                    let end = ["/tags", "/blobs", "/manifests"]
                        .iter()
                        .find_map(|part| repository.find(part));
                    let repository = &repository[..end.unwrap_or(0)];
                    let scope = format!("repository:{repository}:pull,push,delete");
                    Some(server.token(name, &[&scope]).await)
                }
            };
            let headers: Vec<_> = authorization
                .iter()
                .map(|value| ("authorization", value.as_str()))
                .collect();
            let answer = server.send(method, path, &headers, b"").await;
            assert_eq!(
                answer.status().as_u16(),
                status,
                "{scheme:?}: {name} {method} {path}"
            );
            let challenge = text(answer.headers(), "www-authenticate").to_owned();
            let expected = match &scheme {
                _ if status != 401 => "",
                Scheme::Basic => "Basic realm=",
                Scheme::Token { .. } => "Bearer realm=",
            };
            assert!(
                challenge.starts_with(expected) && challenge.is_empty() == expected.is_empty(),
                "{challenge}"
            );
        }
    }
}

#[tokio::test]
async fn wrong_passwords_other_schemes_and_foreign_tokens_are_refused() {
    let other = guarded(token_scheme(60)).await;
    let foreign = other.token("alice", &["repository:team/a:pull"]).await;
    let wrong = format!("Basic {}", STANDARD.encode("alice:alice"));
    let unknown = format!("Basic {}", STANDARD.encode("dave:davedave"));
    for scheme in [Scheme::Basic, token_scheme(60)] {
        let server = guarded(scheme.clone()).await;
        let right = basic("alice");
        let own = match scheme {
            Scheme::Basic => "Bearer x".to_owned(),
            Scheme::Token { .. } => right.clone(),
        };
        for value in [&wrong, &unknown, &foreign, &own] {
            let headers = [("authorization", value.as_str())];
            let answer = server.send("GET", "/v2/team/a/tags/list", &headers, b"").await;
            assert_eq!(
                code(answer).await,
                refused(401, "UNAUTHORIZED"),
                "{scheme:?} {value}"
            );
            let answer = server.send("GET", "/v2/public/tags/list", &headers, b"").await;
            assert_eq!(
                answer.status(),
                StatusCode::UNAUTHORIZED,
                "a wrong login is not nobody"
            );
        }
        for (value, status) in [(&wrong, 401), (&right, 200)] {
            let headers = [("authorization", value.as_str())];
            let answer = server.send("GET", "/metrics", &headers, b"").await;
            assert_eq!(answer.status().as_u16(), status);
        }
        assert_eq!(server.get("/metrics").await.status(), StatusCode::UNAUTHORIZED);
    }
    for value in [&wrong, &unknown] {
        let headers = [("authorization", value.as_str())];
        let answer = other.send("GET", "/token", &headers, b"").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_token_gives_what_was_asked_for_and_no_more() {
    let server = guarded(token_scheme(60)).await;
    let token = server.token("alice", &["repository:team/a:pull"]).await;
    let headers = [("authorization", token.as_str())];
    let answer = server.send("GET", "/v2/team/a/tags/list", &headers, b"").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer = server
        .send("POST", "/v2/team/a/blobs/uploads/", &headers, b"")
        .await;
    let challenge = text(answer.headers(), "www-authenticate").to_owned();
    assert!(
        challenge.contains("scope=\"repository:team/a:pull,push\",error=\"insufficient_scope\""),
        "{challenge}"
    );
    // Nobody's token, for what is public.
    let token = server.token("", &["repository:public:pull,push"]).await;
    let headers = [("authorization", token.as_str())];
    let answer = server.send("GET", "/v2/public/tags/list", &headers, b"").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer = server.send("PUT", "/v2/public/manifests/x", &headers, b"").await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    // By a form, as containerd asks.
    let form = b"grant_type=password&username=alice&password=alicealice&scope=repository:team/a:push";
    let answer = server.send("POST", "/token", &[], form).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let form = b"grant_type=refresh_token&refresh_token=x";
    assert_eq!(
        server.send("POST", "/token", &[], form).await.status(),
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_token_that_ends_inside_an_upload_is_challenged_and_the_upload_goes_on() {
    // Tokens end at a whole second: this one lives for two to three.
    let server = guarded(token_scheme(3)).await;
    let scope = ["repository:team/a:pull,push"];
    let token = server.token("alice", &scope).await;
    let old = [("authorization", token.as_str())];
    let answer = server.send("POST", "/v2/team/a/blobs/uploads/", &old, b"").await;
    let location = text(answer.headers(), "location").to_owned();
    let part = |token: &'static str| [("authorization", token), ("content-range", "0-4")];
    let token: &'static str = token.clone().leak();
    let answer = server.send("PATCH", &location, &part(token), b"first").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    // A body of some size: its sender hears the answer all the same.
    let body = vec![7; 4 << 20];
    let answer = server.send("PATCH", &location, &old, &body).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let challenge = text(answer.headers(), "www-authenticate").to_owned();
    assert!(
        challenge.ends_with("scope=\"repository:team/a:pull,push\",error=\"invalid_token\""),
        "{challenge}"
    );
    let token = server.token("alice", &scope).await;
    let new = [("authorization", token.as_str())];
    let answer = server.send("GET", &location, &new, b"").await;
    assert_eq!(text(answer.headers(), "range"), "0-4");
    let digest = Digest::sha256(b"first last");
    let path = format!("{location}?digest={digest}");
    let answer = server.send("PUT", &path, &new, b" last").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn everybody_mounts_what_they_may_pull_and_nothing_else() {
    for scheme in [Scheme::Basic, token_scheme(60)] {
        let is_token = scheme != Scheme::Basic;
        let server = guarded(scheme).await;
        // A token for the repository that is pushed to, and for no other.
        let login = async |name: &str, to: &str| match is_token {
            true => server.token(name, &[&format!("repository:{to}:pull,push")]).await,
            false => basic(name),
        };
        let digest = Digest::sha256(b"x");
        let path = format!("/v2/team/a/blobs/uploads/?digest={digest}");
        let alice = login("alice", "team/a").await;
        let answer = server
            .send("POST", &path, &[("authorization", &alice)], b"x")
            .await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        for (user, to, from, status) in [
            ("carol", "carol", "&from=team/a", 202),
            ("carol", "carol", "", 202),
            ("alice", "team/b", "&from=team/a", 201),
            ("alice", "public", "", 201),
            // It is public now: also for carol, who may pull there.
            ("carol", "carol", "&from=public", 201),
        ] {
            let path = format!("/v2/{to}/blobs/uploads/?mount={digest}{from}");
            let login = login(user, to).await;
            let answer = server
                .send("POST", &path, &[("authorization", &login)], b"")
                .await;
            assert_eq!(answer.status().as_u16(), status, "{user} {to} {from}");
        }
    }
}

#[tokio::test]
async fn our_own_client_logs_in_both_ways() {
    for scheme in [Scheme::Basic, token_scheme(2)] {
        let server = guarded(scheme).await;
        let address = server.base.trim_start_matches("http://").to_owned();
        let repository = |name: &str, password: &str| {
            let credential = Credential::Basic {
                username: name.to_owned(),
                password: password.to_owned().into(),
            };
            let client = RemoteClient::new(RemoteConfig {
                credentials: Credentials::default().with(&address, credential),
                ..RemoteConfig::default()
            });
            let repository = samebundle_spec::Repository::new(&address, "team/a").unwrap();
            RemoteRepository::new(Arc::new(client.unwrap()), repository).unwrap()
        };
        let alice = repository("alice", "alicealice");
        for text in ["{}", "layer"] {
            let descriptor = Descriptor::of(MediaType::OCI_LAYER, text.as_bytes());
            let content = Box::pin(std::io::Cursor::new(text.as_bytes().to_vec()));
            alice.push(&descriptor, content).await.unwrap();
        }
        // Longer than the life of a token.
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        let layer = Descriptor::of(MediaType::OCI_LAYER, b"layer");
        let manifest = Manifest::new(Descriptor::empty(), vec![layer.clone()]);
        let content = Box::pin(std::io::Cursor::new(manifest.to_bytes()));
        alice.push(&manifest.descriptor(), content).await.unwrap();
        alice
            .tag(&manifest.descriptor(), &"v1".parse().unwrap())
            .await
            .unwrap();
        let bob = repository("bob", "bobbob");
        assert_eq!(bob.fetch_bytes(&layer, 10).await.unwrap(), "layer");
        let other = Descriptor::of(MediaType::OCI_LAYER, b"other");
        for (who, name) in [
            (bob, "may not push"),
            (repository("bob", "wrong"), "wrong password"),
        ] {
            let content = Box::pin(std::io::Cursor::new(b"other".to_vec()));
            let refused = who.push(&other, content).await;
            assert!(
                matches!(refused, Err(StoreError::Denied { .. })),
                "{name}: {refused:?}"
            );
        }
    }
}
