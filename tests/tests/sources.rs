//! Source in a git repository, and names as people write them; the seed's own lines among both.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use samebundle_tests::{Home, Ran, Registry, Sandbox, Test, greet, image, kfp, peer, skip, tests};

use crate::projects::UNPREPARED;

pub(crate) const TESTS: &[Test] = tests![
    the_lines_of_the_seed_work,
    a_moved_tag_is_said_and_needs_consent_again,
    a_signature_of_git_counts_while_its_key_does,
    versions_behind_names_are_those_that_are_meant
];

/// The repository of the seed, with two versions of one paper.
struct Papers {
    sandbox: Sandbox,
}

const PIPELINE: &str = "from kfp import dsl

@dsl.component(base_image='python:3.11')
def train(epochs: int) -> int:
    return epochs * 2

@dsl.pipeline(name='paper')
def paper(epochs: int = 10) -> int:
    return train(epochs=epochs).output
";

impl Papers {
    fn new() -> Option<Self> {
        let python = image("python").filter(|_| kfp().is_some() && peer("ssh-keygen").is_some())?;
        let papers = Self {
            sandbox: Sandbox::new(),
        };
        papers.git(&["init", "--quiet", "-b", "main"]);
        papers.git(&["config", "http.receivepack", "false"]);
        let key = papers.key();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
        papers.commit(&python, "1.0", PIPELINE);
        papers.tag("1.0", true);
        papers.commit(&python, "2.0.0", PIPELINE);
        papers.tag("v2.0", false);
        Some(papers)
    }

    fn repository(&self) -> PathBuf {
        self.sandbox.path().join("srv/uoftoronto/papers")
    }

    fn key(&self) -> PathBuf {
        self.sandbox.path().join("author")
    }

    fn home(&self, name: &str) -> Home {
        self.sandbox.home(name)
    }

    fn git(&self, words: &[&str]) -> String {
        std::fs::create_dir_all(self.repository()).unwrap();
        let mut command = Command::new("git");
        command.args([
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@b.example",
            "-c",
            "gpg.format=ssh",
        ]);
        command
            .arg("-c")
            .arg(format!("user.signingkey={}", self.key().display()));
        command
            .args(words)
            .current_dir(self.repository())
            .env("HOME", self.sandbox.path());
        command.env("GIT_WORK_TREE", self.sandbox.path().join("work"));
        command.env("GIT_DIR", self.repository());
        Ran::of(&mut command).ok().stdout.trim().to_owned()
    }

    /// Commits the paper in a version.
    fn commit(&self, python: &Path, version: &str, pipeline: &str) {
        let folder = self.sandbox.path().join("work/arXiv.5778v1");
        std::fs::create_dir_all(&folder).unwrap();
        let manifest = format!(
            "apiVersion: samebundle.dev/v1\nkind: Program\nname: arXiv.1303.5778v1\nversion: {version}\n\
             program: {{pipeline: pipeline.py}}\nimages: {{\"python:3.11\": {{from: \"layout:{}\"}}}}\n",
            python.display()
        );
        std::fs::write(folder.join("samebundle.yaml"), manifest).unwrap();
        std::fs::write(folder.join("pipeline.py"), pipeline).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "-m", version]);
    }

    fn tag(&self, name: &str, signed: bool) {
        let sign = if signed { "-s" } else { "-a" };
        self.git(&["tag", "--force", sign, "-m", "release", name]);
    }

    fn address(&self, rest: &str) -> String {
        format!("git+file://{}{rest}", self.repository().display())
    }

    fn trust(&self, home: &Home, scope: &str) {
        let key = self.key().with_extension("pub");
        let _ = home.ok(["trust", "add", "toronto", key.to_str().unwrap(), "--scope", scope]);
    }
}

/// `git http-backend` behind TLS, as a host of git serves it.
struct Host {
    server: Child,
    certificate: PathBuf,
    address: String,
}

const SERVER: &str = r#"
import http.server, os, ssl, subprocess, sys
root, certificate, key = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        env = dict(os.environ, GIT_PROJECT_ROOT=root, GIT_HTTP_EXPORT_ALL="1", PATH_INFO=path, QUERY_STRING=query,
                   REQUEST_METHOD=self.command, CONTENT_TYPE=self.headers.get("Content-Type", ""),
                   CONTENT_LENGTH=str(len(body)), HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""),
                   GIT_PROTOCOL=self.headers.get("Git-Protocol", ""))
        made = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True).stdout
        head, _, content = made.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    do_GET = do_POST = answer
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

impl Host {
    fn new(papers: &Papers) -> Self {
        let folder = papers.sandbox.path().join("certificates");
        let (certificate, key) = crate::serving::certificate(&folder);
        let root = papers.sandbox.path().join("srv");
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).arg(root).arg(&certificate).arg(key);
        let mut server = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        Self {
            server,
            certificate,
            address: format!("127.0.0.1:{}", port.trim()),
        }
    }

    /// A line as a person types it, with this host in place of the seed's.
    fn call(&self, home: &Home, line: &str) -> Ran {
        let line = line.replace("github.com", &self.address);
        let mut command = home.command(line.split(' ').skip(1));
        command
            .env("SSL_CERT_FILE", &self.certificate)
            .env("NO_PROXY", "127.0.0.1");
        Ran::of(&mut command)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn said(ran: &Ran, wanted: &str) {
    assert!(
        ran.stderr.contains(wanted) || ran.stdout.contains(wanted),
        "{wanted}: {} {}",
        ran.stdout,
        ran.stderr
    );
}

fn installation(home: &Home, name: &str) -> serde_json::Value {
    home.ok(["show", name, "--output", "json"]).json()["installation"].take()
}

fn the_lines_of_the_seed_work() {
    let Some(papers) = Papers::new().filter(|_| peer("openssl").is_some()) else {
        return skip(UNPREPARED);
    };
    let host = Host::new(&papers);
    let (create, run, export) = (
        "same create program -f https://github.com/uoftoronto/papers/arXiv.5778v1:1.0",
        "same run program arXiv.1303.5778v1:1.0 --epochs=1000",
        "same export program -n arXiv.1303.5778v1:1.1",
    );
    let home = papers.home("receiver");
    let refused = host.call(&home, create).exits(4);
    said(&refused, "trust add NAME FILE --scope SCOPE");
    said(&refused, &format!("{}/uoftoronto/papers", host.address));
    papers.trust(&home, &format!("{}/uoftoronto", host.address));
    let created = host.call(&home, create).ok();
    said(&created, "trusted by key toronto");
    said(&created, "is read as 1.0.0");
    let ran = host.call(&home, &format!("{run} --output json")).ok();
    said(&ran, "arXiv.1303.5778v1 is read as arxiv.1303.5778v1");
    assert_eq!(ran.json()["outputs"]["Output"], 2000);
    let exported = host.call(&home, export).ok();
    said(&exported, "arxiv.1303.5778v1-1.1.0.tgz");
    assert!(papers.sandbox.path().join("arxiv.1303.5778v1-1.1.0.tgz").exists());
    // The commit is recorded, and the same commit is the same bundle in every home and by every address.
    let commit = papers.git(&["rev-parse", "1.0^{commit}"]);
    let here = installation(&home, "arxiv.1303.5778v1");
    let source = format!(
        "git+https://{}/uoftoronto/papers:1.0@{commit}#arXiv.5778v1",
        host.address
    );
    assert_eq!(here["source"], source.as_str());
    let other = papers.home("other");
    let pinned = papers.address(&format!("@{commit}#arXiv.5778v1"));
    let _ = other.ok(["install", &pinned, "--allow-unsigned"]);
    let there = installation(&other, "arxiv.1303.5778v1");
    assert_eq!(there["index"]["digest"], here["index"]["digest"]);
    assert_eq!(there["verification"]["by"], "consent");
    // What is not installed is not run.
    let wrong = host
        .call(&home, "same run program arXiv.1303.5778v1:2.0 --epochs=1")
        .exits(5);
    said(&wrong, "is installed with version 1.0.0, not 2.0.0");
    // Without a socket, the cache has what was fetched, and nothing else.
    let again = "same upgrade arXiv.1303.5778v1:1.0 --offline";
    said(&host.call(&home, again).ok(), "nothing changed");
    let offline =
        "same run https://github.com/uoftoronto/papers/arXiv.5778v1:v2.0 --offline --allow-unsigned";
    let _ = host.call(&home, offline).exits(7);
    // What is not there, or shows a certificate that is not trusted, is said.
    let absent = host
        .call(
            &home,
            "same install https://github.com/uoftoronto/papers/arXiv.5778v1:3.0",
        )
        .exits(5);
    said(&absent, "has no tag, branch or commit 3.0; it has");
    let nowhere = host
        .call(&home, "same install https://github.com/nobody/nothing:1.0")
        .exits(5);
    said(&nowhere, "there is no git repository at");
    let stranger = home
        .run([
            "install",
            &format!("https://{}/uoftoronto/papers/x:1.0", host.address),
        ])
        .exits(7);
    said(&stranger, "GIT_SSL_CAINFO");
}

fn a_moved_tag_is_said_and_needs_consent_again() {
    let Some(papers) = Papers::new() else {
        return skip(UNPREPARED);
    };
    let home = papers.home("receiver");
    let _ = home.run(["run", &papers.address("/arXiv.5778v1:v2.0")]).exits(4);
    let first = home.ok([
        "run",
        &papers.address("/arXiv.5778v1:2.0.0"),
        "--allow-unsigned",
        "--output",
        "json",
    ]);
    said(&first, "v2.0 is taken");
    assert_eq!(first.json()["outputs"]["Output"], 20);
    let asked = || {
        let status = home.ok(["status", "--check", "-o", "json"]).json();
        status["installations"][0]["origin"]["is"].clone()
    };
    assert_eq!(asked(), "same");
    let python = image("python").unwrap();
    papers.commit(&python, "2.0.1", &PIPELINE.replace("* 2", "* 3"));
    papers.tag("v2.0", false);
    assert_eq!(asked(), "commit");
    let refused = home.run(["upgrade", "arXiv.1303.5778v1"]).exits(4);
    said(&refused, "has moved");
    let upgraded = home.ok(["upgrade", "arXiv.1303.5778v1", "--allow-unsigned"]);
    said(&upgraded, "from 2.0.0 to 2.0.1");
    let ran = home.ok(["run", "arxiv.1303.5778v1", "--output", "json"]);
    assert_eq!(ran.json()["outputs"]["Output"], 30);
}

fn a_signature_of_git_counts_while_its_key_does() {
    let Some(papers) = Papers::new() else {
        return skip(UNPREPARED);
    };
    let home = papers.home("receiver");
    papers.trust(&home, "local:");
    let _ = home.ok(["install", &papers.address("@1.0#arXiv.5778v1")]);
    let plan = ["plan", "arxiv.1303.5778v1"];
    let _ = home.ok(plan);
    let _ = home.ok(["trust", "remove", "toronto"]);
    let _ = home.run(plan).exits(4);
    // A server that shows an old signed tag under a new name is refused, whatever is consented to.
    papers.trust(&home, "local:");
    let old = papers.git(&["rev-parse", "refs/tags/1.0"]);
    papers.git(&["update-ref", "refs/tags/9.0", &old]);
    let lied = home
        .run([
            "install",
            &papers.address("@9.0#arXiv.5778v1"),
            "--allow-unsigned",
        ])
        .exits(4);
    said(&lied, "it is signed as tag \"1.0\"");
}

fn versions_behind_names_are_those_that_are_meant() {
    let Some(greet) = greet() else {
        return skip("sources: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &publisher);
    let place = registry.reference("ds/greet");
    said(
        &publisher.ok(["push", "greet:1", &place]),
        &format!("{place}:1.0.0"),
    );
    let _ = publisher.run(["push", "greet:2.0", &place]).exits(5);
    let hub = publisher.run(["push", "greet", "team/greet"]).exits(2);
    said(&hub, "names no registry");
    let home = greet.trusting(&sandbox, "receiver");
    let short = format!("oci://{place}:1.0");
    said(&home.ok(["install", &short]), "1.0.0 is taken");
    assert_eq!(home.run(["install", &format!("{place}:1.1")]).code, 5);
    assert_eq!(home.run(["install", &format!("http://{place}:1.0.0")]).code, 2);
    assert_eq!(home.run(["pull", &format!("https://{place}:1.0.0")]).code, 2);
    for line in [
        "run Greet:1.0 --output json",
        "plan greet:1",
        "show greet:1.0.0",
        "explain greet:1.0",
        "verify greet:1",
    ] {
        let _ = home.ok(line.split(' '));
    }
    for line in [
        "run greet:1.1",
        "plan greet:1.1",
        "show greet:1.1",
        "uninstall greet:1.1",
        "upgrade greet:1.1",
    ] {
        said(
            &home.run(line.split(' ')).exits(5),
            "is installed with version 1.0.0, not 1.1.0",
        );
    }
    said(
        &home.run(["explain", "greet:1.1"]).exits(5),
        "it has greet in version 1.0.0",
    );
    // A short tag that names another version than the one that was asked for is not it.
    let _ = publisher.ok(["copy", "greet", &format!("{place}:latest")]);
    let _ = publisher.ok(["copy", "greet", &registry.reference("ds/short:1.0")]);
    let found = home.ok(["pull", &registry.reference("ds/short:1.0.0")]);
    said(&found, "1.0 is taken");
    let _ = home.ok(["uninstall", "greet:1.0"]);
}
