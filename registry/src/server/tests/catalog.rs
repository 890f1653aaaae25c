//! The catalog of repositories.

use super::access::{basic, guarded, token_scheme};
use super::*;

async fn names(answer: Response) -> Vec<String> {
    assert_eq!(answer.status(), StatusCode::OK);
    let body: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    serde_json::from_value(body["repositories"].clone()).unwrap()
}

#[tokio::test]
async fn lists_repositories_in_pages() {
    let server = start().await;
    assert_eq!(
        server.get("/v2/_catalog").await.text().await.unwrap(),
        r#"{"repositories":[]}"#
    );
    for name in ["b/x", "a", "a/b", "a-b", "c"] {
        server.blob(name, b"{}").await;
    }
    std::fs::write(server.root.path().join("repositories/a/README"), "stray").unwrap();
    for (query, expected, next) in [
        ("", &["a", "a-b", "a/b", "b/x", "c"][..], ""),
        ("?n=2", &["a", "a-b"], "</v2/_catalog?n=2&last=a-b>; rel=\"next\""),
        (
            "?n=2&last=a-b",
            &["a/b", "b/x"],
            "</v2/_catalog?n=2&last=b%2Fx>; rel=\"next\"",
        ),
        ("?n=2&last=b%2Fx", &["c"], ""),
        ("?n=2&last=b", &["b/x", "c"], ""),
        ("?last=z", &[], ""),
        ("?n=0", &[], ""),
    ] {
        let answer = server.get(&format!("/v2/_catalog{query}")).await;
        assert_eq!(text(answer.headers(), "link"), next, "{query}");
        assert_eq!(names(answer).await, expected, "{query}");
    }
    let answer = server.get("/v2/_catalog?n=x").await;
    assert_eq!(code(answer).await, refused(400, "PAGINATION_NUMBER_INVALID"));
    let answer = server.send("DELETE", "/v2/_catalog", &[], b"").await;
    assert_eq!(code(answer).await, refused(405, "UNSUPPORTED"));
}

#[tokio::test]
async fn shows_each_user_what_they_may_pull() {
    for scheme in [Scheme::Basic, token_scheme(60)] {
        let is_token = scheme != Scheme::Basic;
        let server = guarded(scheme).await;
        let answer = server.get("/v2/_catalog").await;
        let challenge = text(answer.headers(), "www-authenticate").to_owned();
        assert_eq!(code(answer).await, refused(401, "UNAUTHORIZED"));
        if is_token {
            assert!(challenge.contains("scope=\"registry:catalog:*\""), "{challenge}");
        }
        let login = async |name: &str, scope: &str| match is_token {
            true => server.token(name, &[scope]).await,
            false => basic(name),
        };
        for (name, repository) in [("alice", "team/a"), ("alice", "public/x"), ("carol", "carol")] {
            let login = login(name, &format!("repository:{repository}:pull,push")).await;
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::sha256(b"x"));
            let answer = server
                .send("POST", &path, &[("authorization", &login)], b"x")
                .await;
            assert_eq!(answer.status(), StatusCode::CREATED);
        }
        for (name, expected) in [
            ("alice", &["public/x", "team/a"][..]),
            ("bob", &["public/x", "team/a"]),
            ("carol", &["carol", "public/x"]),
        ] {
            let login = login(name, "registry:catalog:*").await;
            let answer = server
                .send("GET", "/v2/_catalog", &[("authorization", &login)], b"")
                .await;
            assert_eq!(names(answer).await, expected, "{name}");
        }
        if is_token {
            let nobody = server.token("", &["registry:catalog:*"]).await;
            let answer = server
                .send("GET", "/v2/_catalog", &[("authorization", &nobody)], b"")
                .await;
            assert_eq!(names(answer).await, ["public/x"]);
            // A token for a repository called "catalog", or for nothing, is none for the list.
            for scope in ["repository:catalog:pull", "x"] {
                let login = login("alice", scope).await;
                let answer = server
                    .send("GET", "/v2/_catalog", &[("authorization", &login)], b"")
                    .await;
                assert_eq!(code(answer).await, refused(401, "UNAUTHORIZED"), "{scope}");
            }
        }
    }
}
