//! What a home keeps and what `store gc` takes: tags, installations, roll-back points, runs, unpacked layers.

use std::path::{Path, PathBuf};

use samebundle_tests::{Home, Sandbox, Test, greet, skip, tests};

pub(crate) const TESTS: &[Test] = tests![gc_keeps_what_installations_roll_back_and_runs_need];

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
