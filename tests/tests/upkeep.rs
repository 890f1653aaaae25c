//! What a home keeps and what `store gc` takes: tags, installations, roll-back points, runs, unpacked layers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use samebundle_tests::{Greet, Home, Sandbox, Test, greet, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    gc_keeps_what_installations_roll_back_and_runs_need,
    gc_takes_locks_of_packages_and_volumes_that_are_gone,
    runs_are_removed_by_id_by_name_and_by_how_they_ended,
    a_run_that_goes_on_is_not_removed,
    the_files_of_a_run_are_removed_and_its_record_says_so
];

/// A file with greet in another version.
fn version(sandbox: &Sandbox, publisher: &Home, sources: &Path, version: &str) -> (PathBuf, String) {
    let manifest = sources.join("samebundle.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.starts_with("version:") {
            true => format!("version: {version}"),
            false => line.to_owned(),
        })
        .collect();
    std::fs::write(&manifest, lines.join("\n")).unwrap();
    let digest = publisher.ok(["build", sources.to_str().unwrap()]).digest();
    let _ = publisher.ok(["sign", "greet", "--key", "release"]);
    let file = sandbox.path().join(format!("greet-{version}.tar"));
    let _ = publisher.ok(["copy", "greet", file.to_str().unwrap()]);
    (file, digest)
}

fn has(home: &Home, digest: &str) -> bool {
    let name = digest.trim_start_matches("sha256:");
    home.path().join("store/blobs/sha256").join(name).exists()
}

fn gc(home: &Home, arguments: &[&str]) -> serde_json::Value {
    let words = ["store", "gc", "--grace", "0s", "--output", "json"];
    home.ok(words.iter().chain(arguments)).json()
}

fn gc_keeps_what_installations_roll_back_and_runs_need() {
    let Some(greet) = greet() else {
        return skip("upkeep: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let sources = greet.sources(&sandbox);
    let [one, two, three] =
        ["1.1.0", "1.2.0", "1.3.0"].map(|name| version(&sandbox, &publisher, &sources, name));
    let home = greet.trusting(&sandbox, "home");
    let file = |(path, _): &(PathBuf, String)| path.to_str().unwrap().to_owned();

    let _ = home.ok(["install", &file(&one)]);
    let _ = home.ok(["run", "greet", "--times=1"]);
    let _ = home.ok(["upgrade", "greet", &file(&two)]);
    let _ = home.ok(["upgrade", "greet", &file(&three)]);
    let _ = home.ok(["store", "forget", "greet"]);
    assert!(home.run(["store", "forget", "greet"]).code == 5);

    // 1.1.0 has a run, 1.2.0 is where an upgrade can go back to, 1.3.0 is installed.
    let _ = gc(&home, &[]);
    assert!(has(&home, &one.1) && has(&home, &two.1) && has(&home, &three.1));
    let usage = home.ok(["store", "usage", "--output", "json"]).json();
    let names = usage["bundles"].to_string();
    for name in ["installation greet", "roll-back of greet", "run 01"] {
        assert!(names.contains(name), "{names}");
    }
    let would = gc(&home, &["--runs", "none", "--dry-run"]);
    assert!(has(&home, &one.1));
    let did = gc(&home, &["--runs", "none"]);
    assert_eq!(would["contents"], did["contents"]);
    assert!(!has(&home, &one.1) && has(&home, &two.1) && has(&home, &three.1));

    // The image is the same in all versions: its layer is unpacked as long as one of them is here.
    let layers = || std::fs::read_dir(home.path().join("layers")).unwrap().count();
    assert!(layers() > 0);
    let _ = home.ok(["run", "greet", "--times=1"]);
    let _ = home.ok(["uninstall", "greet"]);
    let did = gc(&home, &["--runs", "none"]);
    assert!(!has(&home, &two.1) && !has(&home, &three.1));
    assert_eq!(layers(), 0, "{did}");
    let check = home.ok(["store", "check"]).stdout;
    assert!(check.starts_with("0 contents"), "{check}");

    // A record that cannot be read may name anything.
    let _ = home.ok(["install", &file(&three)]);
    std::fs::write(home.path().join("installations/other.json"), "{").unwrap();
    let _ = home.ok(["store", "forget", "greet"]);
    assert_ne!(home.run(["store", "gc", "--grace", "0s"]).code, 0);
    assert!(has(&home, &three.1));
}

/// A home in which a greet is installed that writes `--times` thousand bytes. With 13 it fails then, and with 77 it waits.
pub(crate) fn writer(greet: &Greet, sandbox: &Sandbox) -> Home {
    let home = greet.publisher(sandbox);
    let sources = greet.sources(sandbox);
    let pipeline = sources.join("pipeline.yaml");
    let before = std::fs::read_to_string(&pipeline).unwrap();
    let from = r#"i=0; while [ $i -lt $1 ]; do echo "$i $0"; i=$((i+1)); done > "$3""#;
    let to = r#"head -c "${1}000" /dev/zero > "$3" && test $1 -ne 13 && if [ $1 = 77 ]; then sleep 600; fi"#;
    let after = before.replace(from, to);
    assert_ne!(before, after);
    std::fs::write(&pipeline, after).unwrap();
    let _ = home.ok(["build", sources.to_str().unwrap(), "-t", "greet"]);
    let _ = home.ok(["sign", "greet", "--key", "release", "--replace"]);
    let _ = home.ok(["trust", "add", "release", greet.key().to_str().unwrap()]);
    let _ = home.ok(["install", "greet"]);
    home
}

/// The ids of the runs of a home, newest first.
fn ids(home: &Home) -> Vec<String> {
    let runs = home.ok(["runs", "--output", "json"]).json();
    let runs = runs["runs"].as_array().unwrap().iter();
    runs.map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

fn remove(home: &Home, line: &str) -> serde_json::Value {
    let words = format!("runs remove {line} --output json");
    home.ok(words.split_whitespace()).json()
}

fn gc_takes_locks_of_packages_and_volumes_that_are_gone() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("home");
    let _ = home.ok(["list"]);
    let key = "a".repeat(64);
    let locks = [
        format!("layers/installed/{key}.lock"),
        format!("layers/{key}.lock"),
        "volumes/.gone.lock".to_owned(),
    ];
    std::fs::create_dir_all(home.path().join("layers/installed")).unwrap();
    for lock in &locks {
        std::fs::write(home.path().join(lock), "").unwrap();
    }
    std::fs::create_dir(home.path().join("volumes/there")).unwrap();
    std::fs::write(home.path().join("volumes/.there.lock"), "").unwrap();
    let report = gc(&home, &[]);
    assert_eq!(report["files"].as_array().map(Vec::len), Some(3), "{report}");
    assert!(locks.iter().all(|lock| !home.path().join(lock).exists()));
    assert!(home.path().join("volumes/.there.lock").exists());
    // A volume that is removed leaves nothing either.
    let _ = home.ok(["volume", "remove", "there"]);
    let _ = gc(&home, &[]);
    assert_eq!(std::fs::read_dir(home.path().join("volumes")).unwrap().count(), 0);
}

fn runs_are_removed_by_id_by_name_and_by_how_they_ended() {
    let Some(greet) = greet() else {
        return skip("upkeep: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = writer(greet, &sandbox);
    for times in ["100", "13", "100", "100", "13", "100"] {
        let _ = home.run(["run", "greet", &format!("--times={times}")]);
    }
    let all = ids(&home);
    assert_eq!(all.len(), 6);

    // One run is shown by its id, the beginning of it, in small letters too, and by `last`.
    for word in [&all[1][..], &all[1][..25], &all[1].to_lowercase()] {
        let one = home.ok(["runs", word]).stdout;
        assert!(one.contains(&all[1]) && !one.contains(&all[0]), "{one}");
        assert!(one.contains("exited with code") && one.contains("shout"), "{one}");
    }
    assert_eq!(
        home.ok(["runs", "last", "--output", "json"]).json()["runs"][0]["id"],
        *all[0]
    );
    for (line, code, says) in [
        ("runs nothing", 5, "neither an installation nor a run nothing"),
        ("runs 01ZZ", 5, "`runs` shows runs"),
        ("runs remove 01ZZ", 5, "neither an installation nor a run"),
        ("runs remove", 2, "say which runs"),
        ("runs remove greet", 2, "greet is an installation: give --keep N"),
        ("runs remove last --keep 2", 2, "--keep goes with names"),
        ("runs remove 01", 2, "is the beginning or the end of 6 runs"),
    ] {
        let ran = home.run(line.split(' ')).exits(code);
        assert!(ran.stderr.contains(says), "{line}: {}", ran.stderr);
    }
    assert_eq!(ids(&home), all, "nothing was removed");

    // By id and its beginning, together.
    let report = remove(&home, &format!("{} {}", all[5], &all[3][..25]));
    let gone: Vec<_> = report["removed"].as_array().unwrap().iter().collect();
    assert_eq!([&gone[0]["run"], &gone[1]["run"]], [&all[3], &all[5]]);
    let bytes = report["bytes"].as_u64().unwrap();
    assert!(bytes > 400_000, "two artifacts of each: {report}");
    assert_eq!(ids(&home), [0, 1, 2, 4].map(|n: usize| all[n].clone()));
    // Those that failed, without the newest two; then all but the newest.
    assert_eq!(
        remove(&home, "greet --failed --keep 2")["removed"][0]["run"],
        *all[4]
    );
    let would = remove(&home, "greet --keep 1 --dry-run");
    assert_eq!(ids(&home).len(), 3);
    let did = remove(&home, "greet --keep 1");
    assert_eq!(would["removed"], did["removed"]);
    assert_eq!(ids(&home), [all[0].clone()]);
    assert_eq!(
        remove(&home, "--failed")["removed"],
        serde_json::json!([]),
        "none failed"
    );
    let text = home.ok(["runs", "rm", "last"]).stdout;
    assert!(
        text.contains("removed 1 run") && text.contains("store gc"),
        "{text}"
    );
    assert_eq!(std::fs::read_dir(home.path().join("runs")).unwrap().count(), 0);
    assert_eq!(ids(&home).len(), 0);
    let _ = home.run(["outputs"]).exits(5);
}

fn a_run_that_goes_on_is_not_removed() {
    let Some(greet) = greet() else {
        return skip("upkeep: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = writer(greet, &sandbox);
    let _ = home.ok(["run", "greet", "--times=1"]);
    let ended = ids(&home);
    let mut going = home.start(["run", "greet", "--times=77"]);
    let start = Instant::now();
    while ids(&home).len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(60), "no run began");
    }
    let both = ids(&home);
    let refused = home.run(["runs", "remove", &both[1], &both[0]]).exits(9);
    assert!(refused.stderr.contains("goes on"), "{}", refused.stderr);
    assert_eq!(ids(&home), both);
    assert_eq!(remove(&home, "greet --keep 0")["removed"][0]["run"], *ended[0]);
    assert_eq!(ids(&home), both[..1]);
    // When its process is killed, it may go, and takes its container with it.
    going.kill();
    assert_eq!(remove(&home, &both[0])["removed"][0]["status"], *"interrupted");
    assert_eq!(std::fs::read_dir(home.path().join("runs")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(home.path().join("scratch")).unwrap().count(), 0);
}

fn the_files_of_a_run_are_removed_and_its_record_says_so() {
    let Some(greet) = greet() else {
        return skip("upkeep: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = writer(greet, &sandbox);
    let _ = home.ok(["run", "greet", "--times=100"]);
    let id = ids(&home).remove(0);
    let before = home.ok(["outputs", "--output", "json"]).json();
    let report = remove(&home, "last --outputs-only");
    assert!(report["bytes"].as_u64().unwrap() >= 200_000, "{report}");
    assert_eq!(remove(&home, "last --outputs-only")["bytes"], 0);
    let folder = home.path().join("runs").join(&id);
    assert!(!folder.join("outputs").exists());
    assert!(home.ok(["logs"]).stdout.contains("shouted"));
    let after = home.ok(["outputs", "--output", "json"]).json();
    assert_eq!(after["outputs"], before["outputs"]);
    assert!(after["filesRemoved"].is_string(), "{after}");
    assert!(home.ok(["outputs"]).stdout.contains("the files were removed at"));
    assert!(home.ok(["runs", &id]).stdout.contains("were removed at"));
    let to = sandbox.path().join("to");
    let refused = home.run(["outputs", "--to", to.to_str().unwrap()]).exits(5);
    assert!(
        refused.stderr.contains("`run greet` with the parameters that"),
        "{}",
        refused.stderr
    );
    // Other runs are as they were, and so is this one in an export.
    let _ = home.ok([
        "export",
        "greet",
        "--file",
        sandbox.path().join("x.tgz").to_str().unwrap(),
    ]);
}
