use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use samebundle_spec::signing::PublicKey;
use samebundle_spec::{Classify, ErrorKind};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::context::testing::Still;
use crate::home::Home;

/// A folder for repositories and a home.
struct Bench {
    folder: tempfile::TempDir,
    context: Context,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = Context {
            clock: Arc::new(Still),
            home: Home::open(&folder.path().join("home")).unwrap(),
            cancel: CancellationToken::new(),
            events: Arc::new(crate::event::Silent),
            offline: false,
        };
        Self { folder, context }
    }

    fn offline(&self) -> Context {
        Context {
            offline: true,
            ..self.context.clone()
        }
    }

    fn git(&self, words: &[&str]) -> String {
        let folder = self.repository();
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("git");
        command.args([
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@b.example",
            "-c",
            "protocol.file.allow=always",
        ]);
        command.current_dir(&folder).args(words);
        let done = command.env("HOME", self.folder.path()).output().unwrap();
        assert!(
            done.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("srv/papers")
    }

    /// A repository with a tag for each version.
    fn with_versions(tags: &[&str]) -> Self {
        let bench = Self::new();
        bench.git(&["init", "--quiet", "-b", "main"]);
        for tag in tags {
            bench.write("a/file", tag);
            bench.git(&["add", "."]);
            bench.git(&["commit", "--quiet", "-m", tag]);
            bench.git(&["tag", tag]);
        }
        bench
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.repository().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn source(&self, rest: &str) -> GitSource {
        format!("git+file://{}{rest}", self.repository().display())
            .parse()
            .unwrap()
    }

    async fn fetch(&self, rest: &str) -> Result<Fetched, GitError> {
        fetch(&self.source(rest), &BuildTools::default(), &self.context).await
    }

    async fn files(&self, rest: &str) -> (PathBuf, Exported) {
        let folder = self.folder.path().join(format!("out{}", rest.len()));
        std::fs::create_dir(&folder).unwrap();
        let exported = self.fetch(rest).await.unwrap().export(&folder).await.unwrap();
        (folder, exported)
    }
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[tokio::test]
async fn a_tag_a_branch_and_a_commit_are_found() {
    let bench = Bench::with_versions(&["1.0.0", "v1.1", "2.0"]);
    let head = bench.git(&["rev-parse", "HEAD"]);
    let first = bench.git(&["rev-parse", "1.0.0"]);
    for (rest, commit) in [
        ("@1.0.0", first.as_str()),
        (":1.0", &first),
        ("/a:1", &first),
        ("/a/file:v1.0.0", &first),
        ("@2.0.0#a", &head),
        ("@v2", &head),
        ("@main", &head),
        ("#", &head),
        ("", &head),
        (&format!("@{first}"), &first),
        (&format!("@{}#a", &first[..9]), &first),
    ] {
        let fetched = bench
            .fetch(rest)
            .await
            .unwrap_or_else(|error| panic!("{rest}: {error}"));
        assert_eq!(fetched.commit.as_str(), commit, "{rest}");
        drop(fetched);
        let again = fetch(&bench.source(rest), &BuildTools::default(), &bench.offline()).await;
        let again = again.unwrap_or_else(|error| panic!("{rest}: {error}"));
        assert_eq!(again.commit.as_str(), commit, "{rest}, offline");
    }
    let path = bench.fetch("/a/file:1.0.0").await.unwrap().place.path.unwrap();
    assert_eq!(path.as_str(), "a/file");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let bench = Bench::with_versions(&["1.0.0"]);
    let offline = fetch(&bench.source("@1.0.0"), &BuildTools::default(), &bench.offline()).await;
    let offline = offline.unwrap_err();
    assert_eq!(offline.kind(), ErrorKind::Unreachable, "{offline}");
    let missing = bench.fetch("@1.0.1").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains("it has 1.0.0"), "{missing}");
    let missing = bench.fetch("@0123456").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    let path = bench
        .fetch("@1.0.0#b")
        .await
        .unwrap()
        .export(&bench.folder.path().join("x"))
        .await;
    let path = path.unwrap_err();
    assert_eq!(path.kind(), ErrorKind::NotFound, "{path}");
    let nowhere = "git+file:///nosuch/repository:1.0".parse().unwrap();
    let nowhere = fetch(&nowhere, &BuildTools::default(), &bench.context)
        .await
        .unwrap_err();
    assert!(matches!(nowhere, GitError::NoRepository { .. }), "{nowhere}");
    let tools = BuildTools {
        git: "/nonexistent/git".into(),
        ..BuildTools::default()
    };
    let start = fetch(&bench.source("@1.0.0"), &tools, &bench.context)
        .await
        .unwrap_err();
    assert_eq!(start.kind(), ErrorKind::Environment, "{start}");
}

#[tokio::test]
async fn nothing_of_a_repository_runs_and_nothing_leads_outside() {
    let bench = Bench::with_versions(&["1.0.0"]);
    let ran = bench.folder.path().join("ran");
    let touch = format!("touch {}", ran.display());
    bench.write(
        ".gitattributes",
        "* filter=evil export-ignore text eol=crlf ident\n",
    );
    bench.write("lines", "a $Id$\nb\n");
    bench.write("run.sh", "#!/bin/sh\n");
    bench.write(
        "large.bin",
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    );
    bench.write("nul.txt", "");
    bench.git(&["config", "core.fsmonitor", &touch]);
    std::fs::write(
        bench.folder.path().join(".gitconfig"),
        format!("[filter \"evil\"]\nsmudge = {touch}\n"),
    )
    .unwrap();
    for (target, name) in [
        ("a/file", "inside"),
        ("/etc/passwd", "absolute"),
        ("../../../x", "above"),
        ("nosuch", "nowhere"),
        (".", "deep/x"),
        ("deep/x/../..", "winding"),
    ] {
        let path = bench.repository().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }
    bench.git(&["-c", "core.fsmonitor=false", "add", "."]);
    bench.git(&[
        "-c",
        "core.fsmonitor=false",
        "update-index",
        "--chmod=+x",
        "run.sh",
    ]);
    let head = bench.git(&["rev-parse", "HEAD"]);
    let submodule = format!("160000,{head},sub");
    bench.git(&[
        "-c",
        "core.fsmonitor=false",
        "update-index",
        "--add",
        "--cacheinfo",
        &submodule,
    ]);
    bench.git(&["-c", "core.fsmonitor=false", "commit", "--quiet", "-m", "all"]);
    for hook in ["post-checkout", "reference-transaction", "post-upload-pack"] {
        bench.write(&format!(".git/hooks/{hook}"), &format!("#!/bin/sh\n{touch}\n"));
        let hook = bench.repository().join(".git/hooks").join(hook);
        std::fs::set_permissions(hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let (folder, exported) = bench.files("@main").await;
    assert_eq!(read(&folder, "lines"), "a $Id$\nb\n");
    assert_eq!(read(&folder, "inside"), "1.0.0");
    assert!(!ran.exists(), "something of the repository ran");
    let is_there = |name: &str| folder.join(name).symlink_metadata().is_ok();
    for name in ["absolute", "above", "nowhere", "sub", "nul.txt"] {
        assert!(!is_there(name), "{name}");
    }
    let mode = std::fs::metadata(folder.join("run.sh")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o100,
        0o100
    );
    let notes = exported.notes.join("\n");
    for said in [
        "submodule",
        "safe on every system",
        "outside of the repository",
        "LFS",
    ] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
}

#[tokio::test]
async fn signatures_of_tags_and_commits_are_found() {
    let bench = Bench::with_versions(&["1.0.0"]);
    let key = bench.folder.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let with = format!("user.signingkey={}", key.display());
    let signed = ["-c", "gpg.format=ssh", "-c", &with];
    bench.git(&[&signed[..], &["tag", "-s", "-m", "release", "1.1.0"]].concat());
    bench.git(
        &[
            &signed[..],
            &["commit", "--quiet", "--allow-empty", "-S", "-m", "signed"],
        ]
        .concat(),
    );
    bench.git(&["tag", "light"]);
    bench.git(&["tag", "-f", "-m", "plain", "plain", "1.0.0"]);
    let trusted = key_of(&key.with_extension("pub"));
    let keys: KeyRing = [("me".parse().unwrap(), trusted)].into();
    for (rest, by) in [
        ("@1.0.0", false),
        ("@1.1.0", true),
        ("@light", true),
        ("@plain", false),
        ("@main", true),
    ] {
        let fetched = bench.fetch(rest).await.unwrap();
        let examined = fetched.signature(&keys).await.unwrap().unwrap();
        assert_eq!(
            examined.map(|signed| signed.key),
            by.then(|| trusted.id()),
            "{rest}"
        );
    }
    // An old signed tag under a new name is what a server that lies would show.
    let old = bench.git(&["rev-parse", "refs/tags/1.1.0"]);
    bench.git(&["update-ref", "refs/tags/2.0.0", &old]);
    let fault = bench
        .fetch("@2.0.0")
        .await
        .unwrap()
        .signature(&keys)
        .await
        .unwrap();
    assert!(
        matches!(fault, Err(SignatureFault::BadStatement { .. })),
        "{fault:?}"
    );
}

fn key_of(path: &Path) -> PublicKey {
    samebundle_registry::trust::keys::load_public(path).unwrap()
}

#[test]
fn what_git_says_is_understood() {
    for (said, fault) in [
        ("fatal: repository 'https://h/o/r/' not found", GitFault::Missing),
        (
            "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
            GitFault::Missing,
        ),
        (
            "fatal: https://h/x/info/refs not valid: is this a git repository?",
            GitFault::Missing,
        ),
        (
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            GitFault::Denied,
        ),
        ("git@h: Permission denied (publickey).", GitFault::Denied),
        (
            "Host key verification failed.\nfatal: Could not read from remote repository.",
            GitFault::HostKey,
        ),
        (
            "fatal: unable to access 'https://h/': server certificate verification failed",
            GitFault::Certificate,
        ),
        (
            "fatal: unable to access 'https://h/': Could not resolve host: h",
            GitFault::Name,
        ),
        (
            "fatal: unable to access 'https://h/': Failed to connect to h port 443",
            GitFault::Other,
        ),
    ] {
        assert_eq!(GitFault::of(said), fault, "{said}");
    }
}
