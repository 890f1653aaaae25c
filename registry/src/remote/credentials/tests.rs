use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::*;

/// Remembers what it was asked, and knows one server.
#[derive(Debug, Default)]
struct Fake(Mutex<Vec<(String, String)>>);

#[async_trait]
impl CredentialHelper for Fake {
    async fn get(&self, name: &str, server: &str) -> Result<Option<Credential>, CredentialError> {
        self.0.lock().unwrap().push((name.to_owned(), server.to_owned()));
        Ok((server != "unknown.example").then(|| basic(name, server)))
    }
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic {
        username: username.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    }
}

fn load(folder: &tempfile::TempDir, files: &[&str]) -> Result<Credentials, CredentialError> {
    let mut paths = CredentialPaths::default();
    for (index, text) in files.iter().enumerate() {
        let path = folder.path().join(format!("{index}.json"));
        std::fs::write(&path, text).unwrap();
        paths.files.push(path);
    }
    paths.files.insert(0, folder.path().join("absent.json"));
    Credentials::load(&paths)
}

async fn find(credentials: &Credentials, registry: &str, path: &str) -> Option<Credential> {
    let repository = Repository::new(registry, path).unwrap();
    credentials.get(&repository).await.unwrap()
}

#[tokio::test]
async fn finds_entries_by_host_and_longest_path() {
    let folder = tempfile::tempdir().unwrap();
    // user:pass, team:deep, hub:hub
    let first = r#"{"auths": {"a.example": {"auth": "dXNlcjpwYXNz"}, "a.example/team": {"auth": "dGVhbTpkZWVw"},
        "https://index.docker.io/v1/": {"auth": "aHViOmh1Yg=="}, "empty.example": {},
        "t.example": {"identitytoken": "idt"}, "r.example": {"registrytoken": "rt"}}, "HttpHeaders": {"x": "y"}}"#;
    let second =
        r#"{"auths": {"a.example": {"auth": "aHViOmh1Yg=="}, "empty.example": {"auth": "aHViOmh1Yg=="}}}"#;
    let credentials = load(&folder, &[first, second]).unwrap();
    let own = [
        ("a.example", "x", Some(basic("user", "pass"))),
        ("a.example", "team/x", Some(basic("team", "deep"))),
        ("a.example", "teamwork/x", Some(basic("user", "pass"))),
        ("a.example:5000", "x", None),
        ("docker.io", "library/x", Some(basic("hub", "hub"))),
        ("empty.example", "x", Some(basic("hub", "hub"))),
        (
            "t.example",
            "x",
            Some(Credential::Identity(Zeroizing::new("idt".into()))),
        ),
        (
            "r.example",
            "x",
            Some(Credential::Bearer(Zeroizing::new("rt".into()))),
        ),
        ("b.example", "x", None),
    ];
    for (registry, path, expected) in own {
        assert_eq!(
            find(&credentials, registry, path).await,
            expected,
            "{registry}/{path}"
        );
    }
    let given = credentials.with("a.example", basic("me", "mine"));
    assert_eq!(
        find(&given, "a.example", "team/x").await,
        Some(basic("me", "mine"))
    );
}

#[tokio::test]
async fn asks_the_helper_of_the_registry_before_that_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let text = r#"{"auths": {"a.example": {}}, "credsStore": "all", "credHelpers": {"c.example": "own"}}"#;
    let later = r#"{"auths": {"unknown.example": {"auth": "aHViOmh1Yg=="}}}"#;
    let credentials = load(&folder, &[text, later]).unwrap().with_helper(fake.clone());
    let found = find(&credentials, "a.example", "x").await;
    assert_eq!(found, Some(basic("all", "a.example")));
    let found = find(&credentials, "c.example", "x").await;
    assert_eq!(found, Some(basic("own", "c.example")));
    let found = find(&credentials, "docker.io", "library/x").await;
    assert_eq!(found, Some(basic("all", "https://index.docker.io/v1/")));
    let found = find(&credentials, "unknown.example", "x").await;
    assert_eq!(found, Some(basic("hub", "hub")));
    assert_eq!(fake.0.lock().unwrap().len(), 4);
}

/// What docker, crane, skopeo and oras read is read.
#[tokio::test]
async fn reads_files_as_other_tools_do() {
    const ME: &str = r#"{"auth": "bWU6bWluZQ=="}"#;
    let own = Some(basic("me", "mine"));
    let helped = Some(basic("all", "a.example"));
    for (text, expected) in [
        (String::new(), None),
        (" \n\t\n".to_owned(), None),
        (
            r#"{"auths": null, "credHelpers": null, "credsStore": null}"#.to_owned(),
            None,
        ),
        (
            format!(r#"{{"auths": {{"other.example": null, "a.example": {ME}}}}}"#),
            own.clone(),
        ),
        (
            r#"{"auths": {"a.example": null}, "credsStore": "all"}"#.to_owned(),
            helped.clone(),
        ),
        (
            r#"{"credHelpers": {"a.example": null}, "credsStore": "all"}"#.to_owned(),
            helped,
        ),
        (r#"{"auths": {}, "credsStore": ""}"#.to_owned(), None),
        (
            format!(r#"{{"auths": {{"a.example": {ME}}}, "credsStore": ""}}"#),
            own.clone(),
        ),
        (
            r#"{"credHelpers": {"a.example": ""}, "credsStore": "all"}"#.to_owned(),
            None,
        ),
        (
            format!(
                r#"{{"auths": {{"a.example": {ME}}}, "credHelpers": {{"a.example": ""}}, "credsStore": "all"}}"#
            ),
            own.clone(),
        ),
        (
            format!(r#"{{"auths": {{"https://a.example": {{}}, "a.example": {ME}}}}}"#),
            own.clone(),
        ),
        (
            format!(r#"{{"auths": {{"https://a.example/v2/": {{"auth": ""}}, "a.example": {ME}}}}}"#),
            own.clone(),
        ),
        (
            r#"{"auths": {"a.example": {"auth": "bWU6\nbWluZQ==\r\n"}}}"#.to_owned(),
            own.clone(),
        ),
        (
            r#"{"auths": {"a.example": {"auth": "bWU6bWluZQ"}}}"#.to_owned(),
            own.clone(),
        ),
        (
            r#"{"auths": {"a.example": {"username": "me", "password": "mine", "auth": null}}}"#.to_owned(),
            own,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let credentials = load(&folder, &[&text])
            .unwrap()
            .with_helper(Arc::new(Fake::default()));
        assert_eq!(find(&credentials, "a.example", "x").await, expected, "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("config.json")).unwrap();
    let files = vec![folder.path().join("config.json")];
    let credentials = Credentials::load(&CredentialPaths { files }).unwrap();
    assert_eq!(find(&credentials, "a.example", "x").await, None);
}

#[tokio::test]
async fn refuses_broken_files_without_quoting_them() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(
        &folder,
        &[r#"{"auths": {"a.example": {"auth": 5}}, "x": "hunter2"}"#],
    )
    .unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
    let credentials = load(&folder, &[r#"{"auths": {"a.example": {"auth": "hunter2"}}}"#]).unwrap();
    let error = credentials
        .get(&Repository::new("a.example", "x").unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, CredentialError::Format { .. }));
    let shown = format!("{error} {error:?} {credentials:?} {:?}", basic("a", "hunter2"));
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// Puts a helper on the PATH of a child only: the test's own environment stays as it is.
async fn run(script: &str, timeout: Duration) -> Result<Option<Credential>, CredentialError> {
    let folder = tempfile::tempdir().unwrap();
    let name = format!(
        "samebundle-test-{}",
        folder
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_start_matches('.')
    );
    let path = folder.path().join(format!("docker-credential-{name}"));
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    helper::ask_program(path.as_os_str(), &name, "server.example", timeout).await
}

#[tokio::test]
async fn runs_helpers_and_reads_their_answers() {
    let limit = Duration::from_secs(20);
    let found = run(
        r#"read server; printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' x "$1" "$server""#,
        limit,
    )
    .await;
    assert_eq!(found.unwrap(), Some(basic("get", "server.example")));
    let found = run(r#"echo '{"Username":"<token>","Secret":"s"}'"#, limit).await;
    assert_eq!(
        found.unwrap(),
        Some(Credential::Identity(Zeroizing::new("s".into())))
    );
    let found = run("echo credentials not found in native keychain; exit 1", limit).await;
    assert_eq!(found.unwrap(), None);
    let found = run("echo locked; exit 1", limit).await;
    assert!(matches!(found, Err(CredentialError::Helper { why, .. }) if why == "locked"));
    let found = run("echo credentials not found in native keychain >&2; exit 1", limit).await;
    assert_eq!(found.unwrap(), None);
    let found = run(r#"echo '{"Username":"","Secret":""}'"#, limit).await;
    assert_eq!(found.unwrap(), None, "anonymous");
    for (script, said) in [
        ("echo no secret key >&2; exit 1", "no secret key"),
        ("exit 3", "it said nothing and ended with exit status: 3"),
    ] {
        let found = run(script, limit).await;
        assert!(
            matches!(&found, Err(CredentialError::Helper { why, .. }) if why == said),
            "{found:?}"
        );
    }
    let found = run(
        r#"i=0; while [ $i -lt 3000 ]; do echo "a long complaint, longer than a pipe has room for" >&2; i=$((i+1)); done
        echo '{"Username":"u","Secret":"s"}'"#,
        limit,
    )
    .await;
    assert_eq!(found.unwrap(), Some(basic("u", "s")));
    let found = run("echo nonsense", limit).await;
    assert!(matches!(found, Err(CredentialError::Helper { .. })));
}

#[tokio::test]
async fn ends_helpers_that_hang() {
    let start = Instant::now();
    let found = run("exec sleep 600", Duration::from_millis(300)).await;
    assert!(matches!(found, Err(CredentialError::HelperTime { .. })));
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn refuses_helper_names_that_are_paths() {
    let helper = ProcessHelper::default();
    for name in ["", "../x", "a/b", "a b", "a;b"] {
        let found = helper.get(name, "s").await;
        assert!(matches!(found, Err(CredentialError::HelperName { .. })), "{name}");
    }
    let found = helper.get("samebundle-no-such-helper", "s").await;
    assert!(matches!(found, Err(CredentialError::HelperStart { .. })));
}
