//! The power is cut at each moment of a command ([`samebundle_tests::power`] says what may then be lost): what was there
//! before is whole, and what the command or server said is done is there.
//!
//! The model is tried on itself: without the syncs of any one kind it must find a loss. So a sync that is taken out of the
//! code fails here.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use samebundle_registry::layout::{self, Finding};
use samebundle_tests::power::{self, Judge, Left, Replay};
use samebundle_tests::{Running, Sandbox, Test, copy_tree, full, skip, strace, tell, tests};
use tokio::runtime::Runtime;

use crate::faults::{Content, client, serve};
use crate::scenarios::{self, Scenario};

pub(crate) const TESTS: &[Test] = tests![
    a_build_survives_a_cut,
    a_pull_survives_a_cut,
    an_install_survives_a_cut,
    an_import_survives_a_cut,
    a_signing_survives_a_cut,
    a_collection_survives_a_cut,
    an_exported_file_survives_a_cut,
    what_a_server_acknowledged_survives_a_cut,
    what_was_found_there_already_survives_a_cut
];

/// Folders of a home whose files survive: the rest is caches, locks, and what is half-made.
const KEPT: [&str; 5] = ["store", "installations", "runs", "keys", "trust"];

/// Judges a home.
struct HomeJudge {
    runtime: Runtime,
    folder: tempfile::TempDir,
    /// Whether there was a store before.
    store: bool,
    seen: HashSet<u64>,
}

fn is_kept(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let temporary = name.starts_with('.') || path.contains("/ingest/") || path.contains("/trash/");
    let lock = name == "lock" || name.ends_with(".lock");
    let cut_anywhere = name == "log.jsonl";
    !(temporary || lock || cut_anywhere)
}

impl Judge for HomeJudge {
    fn keeps(&self, path: &str) -> bool {
        let top = path.split('/').next().unwrap_or_default();
        KEPT.contains(&top) && is_kept(path)
    }

    fn judge(&mut self, left: &Left) -> Result<(), String> {
        let store: Vec<_> = left
            .iter()
            .filter(|(path, _)| path.starts_with("store/"))
            .collect();
        let made = left.contains_key("store/oci-layout") && left.contains_key("store/index.json");
        if !self.store && !made {
            return Ok(());
        }
        let mut state = DefaultHasher::new();
        for (path, (bytes, _)) in &store {
            (path, std::rc::Rc::as_ptr(bytes), bytes.len()).hash(&mut state);
        }
        // Bytes that were made for one state only may have the address of others: those are torn, and judged elsewhere.
        if !self.seen.insert(state.finish()) {
            return Ok(());
        }
        let root = self.folder.path().join("store");
        let _ = std::fs::remove_dir_all(&root);
        for (path, (bytes, _)) in store {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes.as_slice()).unwrap();
        }
        let report = self.runtime.block_on(layout::check(&root, false)).unwrap();
        let broken = report
            .findings
            .iter()
            .find(|finding| !matches!(finding, Finding::Stray { .. }));
        broken.map_or(Ok(()), |finding| Err(format!("store check: {finding}")))
    }
}

/// Judges the folder of a server: all but its uploads.
struct ServerJudge;

impl Judge for ServerJudge {
    fn keeps(&self, path: &str) -> bool {
        !path.starts_with("uploads/") && is_kept(path)
    }

    fn judge(&mut self, _: &Left) -> Result<(), String> {
        Ok(())
    }
}

/// Cuts everywhere, then once more without each kind of sync. Prints how much was tried.
fn cut_everywhere(name: &str, replay: &Replay, new_judge: &dyn Fn() -> Box<dyn Judge>) {
    let seeds = if full() { 8 } else { 1 };
    let states = replay
        .cut(new_judge().as_mut(), None, seeds)
        .unwrap_or_else(|why| panic!("{name}: {why}"));
    let judge = new_judge();
    let mut found = Vec::new();
    for kind in replay.kinds() {
        let (what, path) = kind.split_once(' ').unwrap();
        let inside = if what == "folder" {
            format!("{path}/file")
        } else {
            path.to_owned()
        };
        // The top folder's own names are folders of it.
        if !judge.keeps(inside.trim_start_matches('/')) && !path.is_empty() {
            continue;
        }
        let loss = replay.cut(new_judge().as_mut(), Some(&kind), 0);
        assert!(
            loss.is_err(),
            "{name}: nothing is lost without the {} syncs of {kind}",
            replay.count(&kind)
        );
        found.push(format!("{kind} ({})", replay.count(&kind)));
    }
    assert!(!found.is_empty(), "{name}: no sync at all");
    tell(&format!(
        "{name}: {states} states after a cut; without any of these a loss is found: {}",
        found.join(", ")
    ));
}

fn can_trace() -> bool {
    let can = strace::available();
    if !can {
        skip("powercut: strace is not installed, or may not trace here");
    }
    can
}

fn wait(running: &mut Running) -> Option<i32> {
    assert!(running.wait_for(Duration::from_secs(120)));
    running.ended()
}

fn record(scenario: &Scenario) -> (Vec<strace::Call>, std::path::PathBuf) {
    let home = scenario.home("cut");
    let file = scenario.sandbox.path().join("record");
    let mut command = strace::recorded(&home.command((scenario.call)(0)), &file, power::CALLS);
    let mut running = Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()));
    assert_eq!(wait(&mut running), Some(0), "{} under strace", scenario.name);
    (strace::read(&file, running.id()), home.path().to_owned())
}

fn cut_command(scenario: Option<Scenario>) {
    let Some(scenario) = scenario.filter(|_| can_trace()) else {
        return;
    };
    let (calls, root) = record(&scenario);
    let before = scenario.start.path();
    let replay = Replay::new(&calls, &root, before, &|_| false);
    let store = before.join("store/index.json").exists();
    let judge = || -> Box<dyn Judge> {
        Box::new(HomeJudge {
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            store,
            seen: HashSet::new(),
        })
    };
    cut_everywhere(scenario.name, &replay, &judge);
}

fn a_build_survives_a_cut() {
    cut_command(scenarios::build());
}

fn a_pull_survives_a_cut() {
    cut_command(scenarios::pull());
}

fn an_install_survives_a_cut() {
    cut_command(scenarios::install());
}

fn an_import_survives_a_cut() {
    cut_command(scenarios::import());
}

fn a_signing_survives_a_cut() {
    cut_command(scenarios::sign());
}

fn a_collection_survives_a_cut() {
    cut_command(scenarios::gc());
}

/// Judges the folder that a file is written to.
struct FileJudge;

impl Judge for FileJudge {
    fn keeps(&self, path: &str) -> bool {
        is_kept(path)
    }

    fn judge(&mut self, _: &Left) -> Result<(), String> {
        Ok(())
    }
}

fn an_exported_file_survives_a_cut() {
    let Some(scenario) = scenarios::export().filter(|_| can_trace()) else {
        return;
    };
    let (calls, _) = record(&scenario);
    let folder = scenario.sandbox.path().join("exports");
    let replay = Replay::new(&calls, &folder, Path::new("nothing was there"), &|_| false);
    cut_everywhere("export", &replay, &|| Box::new(FileJudge));
}

#[tokio::main(flavor = "current_thread")]
async fn what_a_server_acknowledged_survives_a_cut() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::new();
    let (home, tag) = (sandbox.home("server"), "1.0".parse().unwrap());
    for (name, earlier) in [("server, new folder", false), ("server", true)] {
        let root = sandbox.path().join(format!("root-{earlier}"));
        let before = sandbox.path().join(format!("before-{earlier}"));
        std::fs::create_dir(&before).unwrap();
        if earlier {
            let (mut process, address) = serve(&home, &root, |command| command).unwrap();
            assert!(
                Content::new("before")
                    .push(&client(address, "team/one"), &tag)
                    .await
                    .2
            );
            process.kill();
            copy_tree(&root, &before).unwrap();
        }
        let file = sandbox.path().join("record");
        let (mut process, address) = serve(&home, &root, |command| {
            strace::recorded(&command, &file, power::CALLS)
        })
        .unwrap();
        let content = Content::new("now");
        assert!(content.push(&client(address, "team/one"), &tag).await.2);
        let id = process.id();
        process.end();
        let calls = strace::read(&file, id);
        let created = |bytes: &[u8]| bytes.starts_with(b"HTTP/1.1 201");
        let replay = Replay::new(&calls, &root, &before, &created);
        cut_everywhere(name, &replay, &|| Box::new(ServerJudge));
    }
}

/// A request by hand: whether the answer's status was `wanted`.
fn answers(address: SocketAddr, method: &str, path: &str, kind: &str, body: &[u8], wanted: u16) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.starts_with(&format!("HTTP/1.1 {wanted} "))
}

/// Pushes all of it by plain requests, which ask nothing before.
fn push_again(content: &Content, address: SocketAddr) {
    for (descriptor, bytes) in content.blobs() {
        let path = format!("/v2/team/one/blobs/uploads/?digest={}", descriptor.digest);
        assert!(answers(
            address,
            "POST",
            &path,
            "application/octet-stream",
            bytes,
            201
        ));
    }
    for ((descriptor, bytes), query) in content.manifests().into_iter().zip(["", "?tag=1.0"]) {
        let path = format!("/v2/team/one/manifests/{}{query}", descriptor.digest);
        let kind = descriptor.media_type.as_str();
        assert!(answers(address, "PUT", &path, kind, bytes, 201));
    }
}

fn mount_again(content: &Content, address: SocketAddr) {
    for (descriptor, _) in content.blobs() {
        let digest = descriptor.digest;
        let path = format!("/v2/team/one/blobs/uploads/?from=team/one&mount={digest}");
        assert!(answers(address, "POST", &path, "", b"", 201));
    }
}

fn ask(_: &Content, address: SocketAddr) {
    assert!(answers(
        address,
        "HEAD",
        "/v2/team/one/manifests/1.0",
        "",
        b"",
        200
    ));
}

/// What a second client is told to be there already, after a server that was killed before it synced it: a way to be told,
/// and the syncs of folders that the first server did not come to.
type Found = (&'static str, fn(&Content, SocketAddr), fn(&str) -> bool);

const FOUND: [Found; 3] = [
    ("pushed again", push_again, |_| true),
    ("mounted again", mount_again, |kind| {
        !["_manifests", "_tags", "_referrers"]
            .iter()
            .any(|part| kind.contains(part))
    }),
    ("asked for", ask, |kind| {
        kind.ends_with("_manifests") || kind.ends_with("_tags")
    }),
];

#[tokio::main(flavor = "current_thread")]
async fn what_was_found_there_already_survives_a_cut() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::new();
    let (home, tag) = (sandbox.home("server"), "1.0".parse().unwrap());
    let content = Content::new("found");
    for (name, way, unsynced) in FOUND {
        let root = sandbox.path().join(name.replace(' ', "-"));
        let mut records = Vec::new();
        for round in ["first", "second"] {
            let file = sandbox.path().join(format!("record-{round}"));
            let (mut process, address) = serve(&home, &root, |command| {
                strace::recorded(&command, &file, power::CALLS)
            })
            .unwrap();
            if round == "first" {
                assert!(content.push(&client(address, "team/one"), &tag).await.2);
            } else {
                way(&content, address);
            }
            let id = process.id();
            process.end();
            records.push(strace::read(&file, id));
        }
        let second = records.pop().unwrap();
        let first = records.pop().unwrap();
        let count = first.len();
        let calls = strace::one_after_the_other(first, second);
        let mut replay = Replay::new(&calls, &root, Path::new("nothing was there"), &|_| false);
        replay.kill_before_syncs(count, &unsynced);
        let states = replay
            .cut(&mut ServerJudge, None, 1)
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        tell(&format!(
            "server, {name} after a kill: {states} states after a cut"
        ));
    }
}
