//! Commands that may be killed or fail anywhere, with what must hold afterwards. [`crate::crash`] kills them by time,
//! [`crate::faults`] at each system call, [`crate::powercut`] cuts the power.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use samebundle_tests::{Greet, Home, Registry, Sandbox, copy_tree, greet, skip};
use serde_json::Value;

/// Looks at the home of the nth try.
type Look = Box<dyn Fn(&Home, u32)>;

/// One command, the home that it starts from, and what a home must show when it has succeeded.
pub(crate) struct Scenario {
    /// The command.
    pub(crate) name: &'static str,
    /// Everything is in it.
    pub(crate) sandbox: Rc<Sandbox>,
    /// Copied for every try.
    pub(crate) start: Home,
    /// The command's words for the nth try.
    pub(crate) call: Box<dyn Fn(u32) -> Vec<String>>,
    /// Looks at the home of the nth try after the command has succeeded.
    pub(crate) settled: Look,
    _registry: Option<Registry>,
}

impl Scenario {
    /// A copy of the home to start from.
    pub(crate) fn home(&self, name: &str) -> Home {
        let home = self.sandbox.home(&format!("{}-{name}", self.name));
        copy_tree(self.start.path(), home.path()).unwrap();
        home
    }

    /// After a try that was cut: the store is whole, the same command succeeds, and nothing is left behind.
    /// `done` says that the try itself said that it had succeeded.
    pub(crate) fn goes_on(&self, home: &Home, nth: u32, done: bool, what: &str) {
        let words = (self.call)(nth);
        let check = home.run(["store", "check"]);
        assert!(
            check.code == 0,
            "after {what} of {words:?}: {}{}",
            check.stdout,
            check.stderr
        );
        runs_are_whole(home);
        if done {
            (self.settled)(home, nth);
        }
        let again = home.run(&words);
        assert!(
            again.code == 0,
            "again after {what} of {words:?}: {}",
            again.stderr
        );
        let _ = home.ok(["store", "check"]);
        (self.settled)(home, nth);
        left_nothing(home);
        let _ = std::fs::remove_dir_all(home.path());
    }
}

/// Every run that a home knows has the files that its record names, unless it says that they were removed or its record
/// came without them.
fn runs_are_whole(home: &Home) {
    for run in std::fs::read_dir(home.path().join("runs")).into_iter().flatten() {
        let folder = run.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let Ok(record) = std::fs::read(folder.join("run.json")) else {
            continue;
        };
        let record: Value = serde_json::from_slice(&record).unwrap();
        let without = ["filesRemoved", "importedWith"]
            .iter()
            .any(|key| record.get(key).is_some());
        // A collection ends these.
        if without || name.starts_with('.') || folder.join(".removed-outputs").exists() {
            continue;
        }
        for path in paths(&record) {
            assert!(folder.join(&path).exists(), "run {name} lacks {path}");
        }
    }
}

/// The paths of artifacts in a record.
fn paths(record: &Value) -> Vec<String> {
    match record {
        Value::Object(fields) => {
            let own = fields.get("path").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(paths)).collect()
        }
        Value::Array(values) => values.iter().flat_map(paths).collect(),
        _ => Vec::new(),
    }
}

/// No process and no mount of a home is left, and nothing in its scratch. A container's may take a moment to go.
pub(crate) fn left_nothing(home: &Home) {
    let place = text(home.path()).to_owned();
    let mounted = || {
        std::fs::read_to_string("/proc/self/mounts")
            .unwrap()
            .contains(&place)
    };
    let running = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.any(|line| String::from_utf8_lossy(&line).contains(&place))
    };
    let start = Instant::now();
    while mounted() || running() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "something of {place} is left behind"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let rooms = std::fs::read_dir(home.path().join("scratch"))
        .into_iter()
        .flatten()
        .flatten();
    let left: Vec<_> = rooms
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("process-"))
        .collect();
    assert!(left.is_empty(), "left in scratch: {left:?}");
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn words(call: &[&str]) -> Vec<String> {
    call.iter().map(|word| (*word).to_owned()).collect()
}

fn the_greet() -> Option<&'static Greet> {
    let greet = greet();
    if greet.is_none() {
        skip("crash: the busybox image was not made (tests/setup/images)");
    }
    greet
}

fn file_of(greet: &Greet, sandbox: &Sandbox) -> PathBuf {
    let file = sandbox.path().join("greet.tar");
    let _ = greet.publisher(sandbox).ok(["copy", "greet", text(&file)]);
    file
}

pub(crate) fn build() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let sources = greet.sources(&sandbox);
    let build = words(&["build", text(&sources), "-t", "greet"]);
    let start = sandbox.home("start");
    std::fs::create_dir_all(start.path()).unwrap();
    Some(Scenario {
        name: "build",
        sandbox,
        start,
        call: Box::new(move |_| build.clone()),
        settled: Box::new(|home, _| assert_eq!(home.ok(["inspect", "greet"]).digest(), greet.digest())),
        _registry: None,
    })
}

pub(crate) fn push() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let start = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &start);
    let address = registry.address();
    let place = move |nth: u32| format!("{address}/team-{nth}/greet:1.0.0");
    let (room, seen) = (Rc::clone(&sandbox), place.clone());
    Some(Scenario {
        name: "push",
        sandbox,
        start,
        call: Box::new(move |nth| words(&["push", "greet", &place(nth)])),
        settled: Box::new(move |_, nth| {
            let _ = greet
                .trusting(&room, &format!("reader-{nth}"))
                .ok(["verify", &seen(nth)]);
        }),
        _registry: Some(registry),
    })
}

pub(crate) fn pull() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let publisher = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &publisher);
    let place = registry.reference("team/greet:1.0.0");
    let _ = publisher.ok(["push", "greet", &place]);
    let start = greet.trusting(&sandbox, "start");
    Some(Scenario {
        name: "pull",
        sandbox,
        start,
        call: Box::new(move |_| words(&["pull", &place])),
        settled: Box::new(|home, _| assert_eq!(home.ok(["inspect", "greet"]).digest(), greet.digest())),
        _registry: Some(registry),
    })
}

pub(crate) fn install() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let file = file_of(greet, &sandbox);
    let start = greet.trusting(&sandbox, "start");
    Some(Scenario {
        name: "install",
        sandbox,
        start,
        call: Box::new(move |_| words(&["install", text(&file)])),
        settled: Box::new(|home, _| assert!(home.ok(["show", "greet"]).stdout.contains("greet"))),
        _registry: None,
    })
}

/// A home in which greet is installed.
fn installed(sandbox: &Sandbox, greet: &Greet) -> Home {
    let file = file_of(greet, sandbox);
    let start = greet.trusting(sandbox, "start");
    let _ = start.ok(["install", text(&file)]);
    start
}

pub(crate) fn run() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let start = installed(&sandbox, greet);
    Some(Scenario {
        name: "run",
        sandbox,
        start,
        call: Box::new(|_| words(&["run", "greet", "--times=2", "--output", "json"])),
        settled: Box::new(|home, _| {
            // A run that was cut is resolved: nothing says that it still runs.
            let runs = home.ok(["runs", "greet", "--output", "json"]).stdout;
            assert!(
                !runs.contains("\"running\"") && runs.contains("\"succeeded\""),
                "{runs}"
            );
        }),
        _registry: None,
    })
}

pub(crate) fn export() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let start = installed(&sandbox, greet);
    let _ = start.ok(["run", "greet", "--times=2"]);
    let folder = sandbox.path().join("exports");
    std::fs::create_dir(&folder).unwrap();
    let file = move |nth: u32| folder.join(format!("export-{nth}.tgz"));
    let (room, written) = (Rc::clone(&sandbox), file.clone());
    Some(Scenario {
        name: "export",
        sandbox,
        start,
        call: Box::new(move |nth| words(&["export", "greet", "--file", text(&file(nth))])),
        settled: Box::new(move |_, nth| {
            let reader = greet.trusting(&room, &format!("reader-{nth}"));
            let _ = reader.ok(["import", text(&written(nth))]);
            let _ = std::fs::remove_dir_all(reader.path());
        }),
        _registry: None,
    })
}

pub(crate) fn import() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let from = installed(&sandbox, greet);
    let _ = from.ok(["run", "greet", "--times=2"]);
    let file = sandbox.path().join("greet.tgz");
    let _ = from.ok(["export", "greet", "--file", text(&file)]);
    let start = greet.trusting(&sandbox, "importer");
    Some(Scenario {
        name: "import",
        sandbox,
        start,
        call: Box::new(move |_| words(&["import", text(&file)])),
        settled: Box::new(|home, _| {
            let runs = home.ok(["runs", "greet", "--output", "json"]).stdout;
            assert!(runs.contains("\"succeeded\""), "{runs}");
        }),
        _registry: None,
    })
}

pub(crate) fn sign() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let start = greet.publisher(&sandbox);
    let _ = start.ok(["key", "generate", "--name", "second", "--no-passphrase"]);
    let key = start.ok(["key", "export", "second"]).stdout;
    let file = sandbox.path().join("second.pub");
    std::fs::write(&file, key).unwrap();
    let _ = start.ok(["trust", "add", "second", text(&file)]);
    Some(Scenario {
        name: "sign",
        sandbox,
        start,
        call: Box::new(|_| words(&["sign", "greet", "--key", "second"])),
        settled: Box::new(|home, _| {
            let _ = home.ok(["verify", "greet"]);
        }),
        _registry: None,
    })
}

/// Collects what a second build of the same name left without one: its index, its configuration, its signature.
pub(crate) fn gc() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let start = greet.publisher(&sandbox);
    let sources = greet.sources(&sandbox);
    let manifest = sources.join("samebundle.yaml");
    let text_before = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(
        &manifest,
        format!("{text_before}\ndescription: Built a second time.\n"),
    )
    .unwrap();
    let second = start.ok(["build", text(&sources), "-t", "greet"]).digest();
    let _ = start.ok(["sign", "greet", "--key", "release", "--replace"]);
    assert_ne!(second, greet.digest());
    Some(Scenario {
        name: "gc",
        sandbox,
        start,
        call: Box::new(|_| words(&["store", "gc", "--grace", "0s"])),
        settled: Box::new(move |home, _| {
            assert_eq!(home.ok(["inspect", "greet"]).digest(), second);
            let first = greet.digest().trim_start_matches("sha256:").to_owned();
            let blobs = home.path().join("store/blobs/sha256");
            assert!(!blobs.join(first).exists(), "the first build is still there");
            assert!(home.ok(["inspect", "greet"]).stdout.contains("referrer"));
        }),
        _registry: None,
    })
}

/// A home with two runs of greet.
fn with_runs(sandbox: &Sandbox, greet: &Greet) -> Home {
    let start = installed(sandbox, greet);
    for _ in 0..2 {
        let _ = start.ok(["run", "greet", "--times=2"]);
    }
    start
}

pub(crate) fn remove_runs() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let start = with_runs(&sandbox, greet);
    Some(Scenario {
        name: "remove runs",
        sandbox,
        start,
        call: Box::new(|_| words(&["runs", "remove", "greet", "--keep", "0"])),
        settled: Box::new(|home, _| {
            let _ = home.ok(["store", "gc"]);
            let left = std::fs::read_dir(home.path().join("runs")).unwrap();
            assert_eq!(left.count(), 0);
        }),
        _registry: None,
    })
}

pub(crate) fn remove_files_of_runs() -> Option<Scenario> {
    let greet = the_greet()?;
    let sandbox = Rc::new(Sandbox::new());
    let start = with_runs(&sandbox, greet);
    Some(Scenario {
        name: "remove files of runs",
        sandbox,
        start,
        call: Box::new(|_| words(&["runs", "remove", "greet", "--keep", "0", "--outputs-only"])),
        settled: Box::new(|home, _| {
            let _ = home.ok(["store", "gc"]);
            let runs = home.ok(["runs", "--output", "json"]).json();
            for run in runs["runs"].as_array().unwrap() {
                let folder = home.path().join("runs").join(run["id"].as_str().unwrap());
                assert!(run["filesRemoved"].is_string(), "{run}");
                assert!(!folder.join("outputs").exists() && !folder.join(".removed-outputs").exists());
                assert!(folder.join("events.jsonl").exists() && folder.join("log.jsonl").exists());
            }
            assert_eq!(runs["runs"].as_array().map(Vec::len), Some(2));
        }),
        _registry: None,
    })
}
