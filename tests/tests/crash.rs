//! `kill -9` at any moment: the store stays whole, and the same command then succeeds.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use samebundle_tests::{Home, Registry, Sandbox, copy_tree, greet, skip};

/// Moments a command; the six commands below make 204.
const POINTS: u32 = 34;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Kill a command at moments spread over its duration, each time in a copy of the same home. `call` gives the command's
/// words for the nth try; `settled` looks at the home after the second, undisturbed call.
fn kill_everywhere(
    sandbox: &Sandbox,
    start: &Home,
    call: &dyn Fn(u32) -> Vec<String>,
    settled: &dyn Fn(&Home, u32),
) {
    let copy = |name: &str| {
        let home = sandbox.home(name);
        copy_tree(start.path(), home.path()).unwrap();
        home
    };
    let undisturbed = copy("undisturbed").ok(call(POINTS)).took;
    let mut cut = 0;
    for point in 0..POINTS {
        let home = copy(&format!("killed-{point}"));
        let mut command = home.command(call(point));
        let began = Instant::now();
        let mut running = samebundle_tests::Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let moment = undisturbed * (2 * point + 1) / (2 * POINTS);
        std::thread::sleep(moment.saturating_sub(began.elapsed()));
        cut += u32::from(running.ended().is_none());
        running.kill();
        let words = call(point);
        let check = home.run(["store", "check"]);
        assert!(
            check.code == 0,
            "after kill -9 at {moment:?} of {words:?}: {}{}",
            check.stdout,
            check.stderr
        );
        let again = home.run(&words);
        assert!(
            again.code == 0,
            "again after kill -9 at {moment:?} of {words:?}: {}",
            again.stderr
        );
        let _ = home.ok(["store", "check"]);
        settled(&home, point);
        left_nothing(&home);
        let _ = std::fs::remove_dir_all(home.path());
    }
    // Later moments may fall after the end when the machine gets faster; most must not, or nothing was tried.
    assert!(cut >= POINTS / 2, "only {cut} of {POINTS} were cut");
}

/// No process and no mount of a home is left. A container's may take a moment to go.
fn left_nothing(home: &Home) {
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
}

fn words(call: &[&str]) -> Vec<String> {
    call.iter().map(|word| (*word).to_owned()).collect()
}

const NO_IMAGE: &str = "crash: the busybox image was not made (tests/setup/images)";

#[test]
fn a_killed_build_harms_nothing() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    let sources = greet.sources(&sandbox);
    let build = words(&["build", text(&sources), "-t", "greet"]);
    let start = sandbox.home("start");
    std::fs::create_dir_all(start.path()).unwrap();
    kill_everywhere(&sandbox, &start, &|_| build.clone(), &|home, _| {
        assert_eq!(home.ok(["inspect", "greet"]).digest(), greet.digest());
    });
}

#[test]
fn a_killed_push_harms_nothing() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    let start = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &start);
    let place = |point: u32| registry.reference(&format!("team-{point}/greet:1.0.0"));
    kill_everywhere(
        &sandbox,
        &start,
        &|point| words(&["push", "greet", &place(point)]),
        &|_, point| {
            let _ = greet
                .trusting(&sandbox, &format!("reader-{point}"))
                .ok(["verify", &place(point)]);
        },
    );
}

#[test]
fn a_killed_pull_harms_nothing() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &publisher);
    let place = registry.reference("team/greet:1.0.0");
    let _ = publisher.ok(["push", "greet", &place]);
    let start = greet.trusting(&sandbox, "start");
    kill_everywhere(&sandbox, &start, &|_| words(&["pull", &place]), &|home, _| {
        assert_eq!(home.ok(["inspect", "greet"]).digest(), greet.digest());
    });
}

#[test]
fn a_killed_install_harms_nothing() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("greet.tar");
    let _ = greet.publisher(&sandbox).ok(["copy", "greet", text(&file)]);
    let start = greet.trusting(&sandbox, "start");
    kill_everywhere(
        &sandbox,
        &start,
        &|_| words(&["install", text(&file)]),
        &|home, _| {
            assert!(home.ok(["show", "greet"]).stdout.contains("greet"));
        },
    );
}

/// A home in which greet is installed.
fn installed(sandbox: &Sandbox, greet: &samebundle_tests::Greet) -> Home {
    let file = sandbox.path().join("greet.tar");
    let _ = greet.publisher(sandbox).ok(["copy", "greet", text(&file)]);
    let start = greet.trusting(sandbox, "start");
    let _ = start.ok(["install", text(&file)]);
    start
}

#[test]
fn a_killed_run_harms_nothing() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    let start = installed(&sandbox, greet);
    let run = words(&["run", "greet", "--times=2", "--output", "json"]);
    kill_everywhere(&sandbox, &start, &|_| run.clone(), &|home, _| {
        // A run that was cut is resolved: nothing says that it still runs.
        let runs = home.ok(["runs", "greet", "--output", "json"]).stdout;
        assert!(
            !runs.contains("\"running\"") && runs.contains("\"succeeded\""),
            "{runs}"
        );
    });
}

#[test]
fn a_killed_export_harms_nothing() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    let start = installed(&sandbox, greet);
    let _ = start.ok(["run", "greet", "--times=2"]);
    let file = |point: u32| sandbox.path().join(format!("export-{point}.tgz"));
    let export = |point: u32| words(&["export", "greet", "-o", text(&file(point))]);
    kill_everywhere(&sandbox, &start, &export, &|_, point| {
        let reader = greet.trusting(&sandbox, &format!("reader-{point}"));
        let _ = reader.ok(["import", text(&file(point))]);
    });
}
