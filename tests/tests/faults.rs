//! A command or the registry server is killed before, or gets an error from, its nth write, rename, sync or the like
//! (strace does it): what was acknowledged is there, the store is whole, and the same command then succeeds.
//!
//! `SAMEBUNDLE_FULL=1` tries every place that there is; otherwise some, spread evenly. The number is printed.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use samebundle_registry::remote::{RemoteClient, RemoteConfig, RemoteRepository, RetryPolicy};
use samebundle_registry::store::{Resolve, Sink, SourceExt, Tags};
use samebundle_spec::{Descriptor, MediaType, Tag};
use samebundle_tests::strace::{self, Call, Effect, Point};
use samebundle_tests::{Home, Running, Sandbox, Test, copy_tree, full, skip, tell, tests};

use crate::scenarios::{self, Scenario};

pub(crate) const TESTS: &[Test] = tests![
    a_build_that_fails_anywhere_harms_nothing,
    a_push_that_fails_anywhere_harms_nothing,
    a_pull_that_fails_anywhere_harms_nothing,
    an_install_that_fails_anywhere_harms_nothing,
    an_export_that_fails_anywhere_harms_nothing,
    an_import_that_fails_anywhere_harms_nothing,
    a_signing_that_fails_anywhere_harms_nothing,
    a_collection_that_fails_anywhere_harms_nothing,
    a_removal_of_runs_that_fails_anywhere_harms_nothing,
    a_server_that_fails_anywhere_loses_nothing_that_it_acknowledged
];

/// Calls before which a process is killed.
const KILLED: &[&str] = &[
    "write",
    "pwrite64",
    "pwritev",
    "writev",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "linkat",
    "ftruncate",
    "openat",
    "utimensat",
    "fchmod",
    "flock",
];
/// Calls for which a full disk has no room.
const FULL: &[&str] = &[
    "write",
    "pwrite64",
    "pwritev",
    "writev",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "linkat",
    "ftruncate",
    "fsync",
    "openat",
];
/// Calls that a broken disk fails.
const BROKEN: &[&str] = &[
    "write",
    "pwrite64",
    "pwritev",
    "writev",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "unlink",
    "unlinkat",
    "ftruncate",
    "openat",
    "read",
    "pread64",
    "fchmod",
    "utimensat",
    "flock",
];

/// The kinds of fault with the calls that they hit, and how many a command there are in a short run.
const KINDS: [(&str, &[&str], usize); 4] = [
    ("kill", KILLED, 2),
    ("ENOSPC once", FULL, 1),
    ("ENOSPC from there on", FULL, 1),
    ("EIO", BROKEN, 1),
];

fn effect(kind: &str) -> Effect {
    match kind {
        "kill" => Effect::Kill,
        "ENOSPC once" => Effect::Error("ENOSPC"),
        "EIO" => Effect::Error("EIO"),
        _ => Effect::ErrorsFrom("ENOSPC"),
    }
}

/// Where a fault of a kind can hit.
fn places(calls: &[Call], kind: &str, names: &[&str], folder: &Path) -> Vec<Point> {
    let names: Vec<&str> = match kind {
        // What is written to a thread to wake it is no file, and would fail with the files.
        "ENOSPC from there on" => names.iter().copied().filter(|name| *name != "write").collect(),
        _ => names.to_vec(),
    };
    let creates = |call: &Call| kind == "kill" || kind == "EIO" || !call.opens() || call.creates();
    strace::points(calls, &names, folder, &creates)
}

/// All places, or some of them spread evenly.
fn chosen(points: Vec<Point>, some: usize) -> Vec<Point> {
    if full() || points.len() <= some {
        return points;
    }
    let step = points.len() / some;
    points
        .into_iter()
        .skip(step / 2)
        .step_by(step)
        .take(some)
        .collect()
}

fn can_trace() -> bool {
    let can = strace::available();
    if !can {
        skip("faults: strace is not installed, or may not trace here");
    }
    can
}

/// Waits for an end; after a while there will be none, and it is killed.
fn end(running: &mut Running) -> Option<i32> {
    if running.wait_for(Duration::from_secs(30)) {
        return running.ended();
    }
    running.kill();
    None
}

fn all_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = KINDS
        .iter()
        .flat_map(|(_, names, _)| names.iter().copied())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn record(scenario: &Scenario) -> Vec<Call> {
    let home = scenario.home("recorded");
    let file = scenario.sandbox.path().join("record");
    let names = all_names();
    let mut command = strace::recorded(&home.command((scenario.call)(u32::MAX)), &file, &names);
    let mut running = Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()));
    assert_eq!(end(&mut running), Some(0), "{} under strace", scenario.name);
    let calls = strace::read(&file, running.id());
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_dir_all(home.path()).unwrap();
    calls
}

/// Puts a fault at each place of a command.
fn fail_everywhere(scenario: Option<Scenario>) {
    let Some(scenario) = scenario.filter(|_| can_trace()) else {
        return;
    };
    let calls = record(&scenario);
    let mut nth = 0;
    for (kind, names, some) in KINDS {
        let points = places(&calls, kind, names, scenario.sandbox.path());
        let of = points.len();
        let points = chosen(points, some);
        let mut hit = 0;
        for point in &points {
            nth += 1;
            let home = scenario.home(&format!("{kind}-{nth}"));
            let command = home.command((scenario.call)(nth));
            let mut command = strace::faulty(&command, point, effect(kind));
            let mut running = Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()));
            let code = end(&mut running);
            hit += u32::from(code != Some(0));
            scenario.goes_on(&home, nth, code == Some(0), &format!("{kind} at {point:?}"));
        }
        tell(&format!(
            "{}: {kind} at {} of {of} places, {hit} ended it",
            scenario.name,
            points.len()
        ));
    }
}

fn a_build_that_fails_anywhere_harms_nothing() {
    fail_everywhere(scenarios::build());
}

fn a_push_that_fails_anywhere_harms_nothing() {
    fail_everywhere(scenarios::push());
}

fn a_pull_that_fails_anywhere_harms_nothing() {
    fail_everywhere(scenarios::pull());
}

fn an_install_that_fails_anywhere_harms_nothing() {
    fail_everywhere(scenarios::install());
}

fn an_export_that_fails_anywhere_harms_nothing() {
    fail_everywhere(scenarios::export());
}

fn an_import_that_fails_anywhere_harms_nothing() {
    fail_everywhere(scenarios::import());
}

fn a_signing_that_fails_anywhere_harms_nothing() {
    fail_everywhere(scenarios::sign());
}

fn a_collection_that_fails_anywhere_harms_nothing() {
    fail_everywhere(scenarios::gc());
}

fn a_removal_of_runs_that_fails_anywhere_harms_nothing() {
    fail_everywhere(scenarios::remove_runs());
    fail_everywhere(scenarios::remove_files_of_runs());
}

/// What a client pushes.
pub(crate) struct Content {
    blobs: Vec<(Descriptor, Bytes)>,
    manifest: (Descriptor, Bytes),
    signature: (Descriptor, Bytes),
}

impl Content {
    pub(crate) fn blobs(&self) -> &[(Descriptor, Bytes)] {
        &self.blobs
    }

    /// In the order of a push.
    pub(crate) fn manifests(&self) -> [&(Descriptor, Bytes); 2] {
        [&self.signature, &self.manifest]
    }

    pub(crate) fn new(mark: &str) -> Self {
        let blob =
            |text: String, media_type| (Descriptor::of(media_type, text.as_bytes()), Bytes::from(text));
        let blobs = vec![
            blob("{}".to_owned(), MediaType::OCI_EMPTY),
            blob(format!("small {mark}"), MediaType::OCI_LAYER),
            blob(format!("large {mark} ").repeat(60_000), MediaType::OCI_LAYER),
        ];
        let manifest = |layers: &[&Descriptor], subject: Option<&Descriptor>| {
            let mut manifest = serde_json::json!({
                "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": blobs[0].0, "layers": layers,
            });
            if let Some(subject) = subject {
                manifest["subject"] = serde_json::to_value(subject).unwrap();
            }
            blob(manifest.to_string(), MediaType::OCI_MANIFEST)
        };
        let image = manifest(&[&blobs[1].0, &blobs[2].0], None);
        let signature = manifest(&[&blobs[1].0], Some(&image.0));
        Self {
            manifest: image,
            signature,
            blobs,
        }
    }

    /// Pushes everything, and goes on after an error. Returns what the server acknowledged, and whether that was all.
    pub(crate) async fn push(&self, remote: &RemoteRepository, tag: &Tag) -> (Vec<Descriptor>, bool, bool) {
        let (mut done, mut all) = (Vec::new(), true);
        for (descriptor, bytes) in self.blobs.iter().chain(self.manifests()) {
            match remote
                .push(descriptor, Box::pin(std::io::Cursor::new(bytes.clone())))
                .await
            {
                Ok(()) => done.push(descriptor.clone()),
                Err(_) => all = false,
            }
        }
        let tagged = remote.tag(&self.manifest.0, tag).await.is_ok();
        (done, tagged, all && tagged)
    }

    async fn holds(&self, remote: &RemoteRepository, done: &[Descriptor], tag: Option<&Tag>, what: &str) {
        for descriptor in done {
            if let Err(error) = remote.fetch_bytes(descriptor, 16 << 20).await {
                panic!(
                    "{what}: {} was acknowledged and is lost: {error:?}",
                    descriptor.digest
                );
            }
        }
        if let Some(tag) = tag {
            let found = remote.resolve(tag).await;
            assert!(
                found
                    .as_ref()
                    .is_ok_and(|found| found.digest == self.manifest.0.digest),
                "{what}: the tag was acknowledged and is lost: {found:?}"
            );
        }
    }
}

/// A server over a folder; none if it ended at its start.
pub(crate) fn serve(
    home: &Home,
    root: &Path,
    around: impl FnOnce(std::process::Command) -> std::process::Command,
) -> Option<(Running, SocketAddr)> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let listen = address.to_string();
    let command = home.command([
        "registry",
        "serve",
        "--listen",
        &listen,
        "--root",
        root.to_str().unwrap(),
    ]);
    let mut command = around(command);
    let mut process = Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        if process.ended().is_some() {
            return None;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "no server over {}",
            root.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Some((process, address))
}

pub(crate) fn client(address: SocketAddr, name: &str) -> RemoteRepository {
    let config = RemoteConfig {
        retry: RetryPolicy {
            attempts: 1,
            connects: 1,
            first: Duration::from_millis(1),
            ..RetryPolicy::default()
        },
        ..RemoteConfig::default()
    };
    let client = RemoteClient::new(config).unwrap();
    let repository = samebundle_spec::Repository::new(&address.to_string(), name).unwrap();
    RemoteRepository::new(Arc::new(client), repository).unwrap()
}

/// The server and its client, and what the server had before.
struct Served {
    sandbox: Sandbox,
    home: Home,
    base: PathBuf,
    before: Content,
    content: Content,
    tag: Tag,
}

impl Served {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let home = sandbox.home("server");
        let base = sandbox.path().join("base");
        Self {
            home,
            base,
            before: Content::new("before"),
            content: Content::new("now"),
            tag: "1.0".parse().unwrap(),
            sandbox,
        }
    }

    async fn prepare(&self) {
        let (mut process, address) = serve(&self.home, &self.base, |command| command).unwrap();
        let (_, _, all) = self.before.push(&client(address, "team/one"), &self.tag).await;
        assert!(all);
        process.kill();
    }

    fn root(&self, name: &str) -> PathBuf {
        let root = self.sandbox.path().join(name);
        copy_tree(&self.base, &root).unwrap();
        root
    }

    async fn record(&self) -> Vec<Call> {
        let file = self.sandbox.path().join("record");
        let names = all_names();
        let root = self.root("recorded");
        let (mut process, address) = serve(&self.home, &root, |command| {
            strace::recorded(&command, &file, &names)
        })
        .unwrap();
        let (_, _, all) = self.content.push(&client(address, "team/one"), &self.tag).await;
        assert!(all);
        let id = process.id();
        process.end();
        let calls = strace::read(&file, id);
        std::fs::rename(root, self.sandbox.path().join("root")).unwrap();
        calls
    }

    async fn try_one(&self, point: &Point, effect: Effect) -> bool {
        let what = format!("{effect:?} at {point:?}");
        let root = self.root("recorded");
        let (mut acknowledged, mut tagged, mut whole) = (Vec::new(), false, false);
        if let Some((mut process, address)) = serve(&self.home, &root, |command| {
            strace::faulty(&command, point, effect)
        }) {
            (acknowledged, tagged, whole) = self.content.push(&client(address, "team/one"), &self.tag).await;
            process.kill();
        }
        let (mut process, address) = serve(&self.home, &root, |command| command)
            .unwrap_or_else(|| panic!("{what}: it does not start again"));
        let remote = client(address, "team/one");
        let before: Vec<Descriptor> = self
            .before
            .blobs
            .iter()
            .map(|(descriptor, _)| descriptor.clone())
            .collect();
        self.before.holds(&remote, &before, None, &what).await;
        self.before
            .holds(
                &remote,
                std::slice::from_ref(&self.before.manifest.0),
                None,
                &what,
            )
            .await;
        self.content
            .holds(&remote, &acknowledged, tagged.then_some(&self.tag), &what)
            .await;
        let (done, _, all) = self.content.push(&remote, &self.tag).await;
        assert!(all, "{what}: the push does not succeed afterwards");
        self.content.holds(&remote, &done, Some(&self.tag), &what).await;
        process.kill();
        std::fs::remove_dir_all(root).unwrap();
        !whole
    }
}

#[tokio::main(flavor = "current_thread")]
async fn a_server_that_fails_anywhere_loses_nothing_that_it_acknowledged() {
    if !can_trace() {
        return;
    }
    let served = Served::new();
    served.prepare().await;
    let calls = served.record().await;
    // Each try is in the same place as the record, so that the same calls touch it.
    let place = served.sandbox.path().join("recorded");
    for (kind, names, some) in KINDS {
        let points = places(&calls, kind, names, &place);
        let of = points.len();
        let points = chosen(points, 2 * some);
        let mut hit = 0;
        for point in &points {
            hit += u32::from(served.try_one(point, effect(kind)).await);
        }
        tell(&format!(
            "server: {kind} at {} of {of} places, {hit} broke the push",
            points.len()
        ));
    }
}
