//! What is published: a version keeps its content, and nothing goes along that its author did not ask for.

use std::path::Path;

use samebundle_tests::{Home, Registry, Sandbox, Test, greet, skip, tests};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = tests![
    a_push_never_replaces_a_released_version,
    the_runs_of_an_export_are_not_published,
    the_version_of_an_export_is_said_everywhere,
    a_release_in_a_file_has_the_runs_of_its_folder
];

const UNPREPARED: &str = "released: the busybox image was not made (tests/setup/images)";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Changes what the bundle says of itself, so that it has another digest under the same version.
fn edited(sources: &Path) {
    let manifest = sources.join("samebundle.yaml");
    let changed = std::fs::read_to_string(&manifest).unwrap() + "description: edited\n";
    std::fs::write(&manifest, changed).unwrap();
}

fn a_push_never_replaces_a_released_version() {
    let Some(greet) = greet() else {
        return skip(UNPREPARED);
    };
    let sandbox = Sandbox::new();
    let author = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &author);
    let place = registry.reference("team/greet");
    let _ = author.ok(["push", "greet", &place]);
    let again = author.ok(["push", "greet", &place]);
    assert!(again.stdout.contains("were there"), "{}", again.stdout);

    let sources = greet.sources(&sandbox);
    edited(&sources);
    let file = sandbox.path().join("edited.tar");
    let built = author.ok(["build", text(&sources)]);
    assert_ne!(built.digest(), greet.digest());
    assert!(
        built
            .stderr
            .contains("1.0.0 names other content now than what was signed"),
        "{}",
        built.stderr
    );
    // Every way into the registry keeps the version, and the local store keeps what it has.
    let refused = author.run(["push", "greet:1.0.0", &place]).exits(9);
    let said = &refused.stderr;
    assert!(said.contains("a version never changes"), "{said}");
    let _ = author.run(["push", "greet", &format!("{place}:v1.0.0")]).ok();
    let _ = author.ok(["copy", "greet", text(&file)]);
    for line in [
        ["copy", text(&file), &place],
        ["copy", "greet", &format!("{place}:1.0.0")],
    ] {
        let _ = author.run(line).exits(9);
    }
    let to = ["import", text(&file), "--to", &place, "--allow-unsigned"];
    let _ = author.run(to).exits(9);
    // A word and the beginning of a version may move on; that nobody signed it is said.
    for tag in ["next", "1.0"] {
        let moved = author.ok(["push", "greet", &format!("{place}:{tag}")]);
        assert!(moved.stderr.contains("is not signed"), "{}", moved.stderr);
    }
    let released = author.ok(["inspect", &format!("{place}:1.0.0"), "-o", "json"]);
    assert_eq!(released.json()["digest"].as_str(), Some(greet.digest()));
    // Nor is the same version signed twice without a word.
    let _ = author.run(["sign", "greet", "--key", "release"]).exits(9);
    let _ = author.ok(["sign", "greet", "--key", "release", "--replace"]);
}

fn runs_of(home: &Home) -> usize {
    let runs = home.ok(["runs", "-o", "json"]).json();
    runs.as_array().or_else(|| runs["runs"].as_array()).unwrap().len()
}

fn installed(home: &Home, name: &str) -> Value {
    let listed = home.ok(["list", "-o", "json"]).json();
    let found = listed["installations"].as_array().unwrap().iter();
    let found: Vec<_> = found.filter(|one| one["name"] == name).cloned().collect();
    found[0].clone()
}

/// Makes an export of greet as 3.0.0 with a run.
fn export(author: &Home, sandbox: &Sandbox) -> std::path::PathBuf {
    let _ = author.ok(["install", "greet", "--allow-unsigned"]);
    let _ = author.ok(["run", "greet"]);
    let file = sandbox.path().join("three.tgz");
    let _ = author.ok(["export", "-n", "greet:3.0", "--file", text(&file)]);
    file
}

fn the_runs_of_an_export_are_not_published() {
    let Some(greet) = greet() else {
        return skip(UNPREPARED);
    };
    let sandbox = Sandbox::new();
    let author = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &author);
    let place = registry.reference("au/greet");
    let file = export(&author, &sandbox);
    let _ = author.ok(["create", "program", "-f", text(&file), "--name", "c2"]);
    for (verb, to) in [("push", &place), ("copy", &registry.reference("cp/greet"))] {
        let pushed = author.ok([verb, "greet", to]);
        assert!(!pushed.stdout.contains("with 1 run"), "{}", pushed.stdout);
        assert!(pushed.stderr.contains("stay here"), "{}", pushed.stderr);
    }
    let carried = sandbox.path().join("copied.tgz");
    let _ = author.ok(["copy", "greet", text(&carried)]);

    let stranger = greet.trusting(&sandbox, "stranger");
    let said = stranger.ok(["install", &format!("{place}:1.0.0")]);
    assert!(
        !said.stdout.contains("3.0.0") && !said.stderr.contains("3.0.0"),
        "{said:?}"
    );
    assert_eq!(runs_of(&stranger), 0);
    assert!(installed(&stranger, "greet").get("exported").is_none());
    let other = greet.trusting(&sandbox, "other");
    let _ = other.ok(["import", text(&carried)]);
    assert_eq!(runs_of(&other), 0);

    // Who brings the file itself into a registry is told what goes along, and its version still renames nothing.
    let mirrored = registry.reference("mirror/greet");
    let brought = author.ok(["import", text(&file), "--to", &mirrored]);
    assert!(brought.stdout.contains("with 1 run"), "{}", brought.stdout);
    let reader = greet.trusting(&sandbox, "reader");
    let _ = reader.ok(["install", &format!("{mirrored}:1.0.0")]);
    assert!(installed(&reader, "greet").get("exported").is_none());
    let upgraded = reader.ok(["upgrade", "greet"]);
    assert!(upgraded.stdout.contains("has 1.0.0"), "{}", upgraded.stdout);
}

fn the_version_of_an_export_is_said_everywhere() {
    let Some(greet) = greet() else {
        return skip(UNPREPARED);
    };
    let sandbox = Sandbox::new();
    let author = greet.publisher(&sandbox);
    let file = export(&author, &sandbox);
    let reader = greet.trusting(&sandbox, "reader");
    let explained = reader.ok(["explain", text(&file)]);
    assert!(
        explained.stdout.starts_with("greet 3.0.0"),
        "{}",
        explained.stdout
    );
    let said = reader.ok(["install", text(&file)]);
    assert!(!said.stderr.contains("installed"), "{}", said.stderr);
    let both = said
        .stdout
        .contains("installed greet 3.0.0 (version 1.0.0 of the bundle, ");
    assert!(both, "{}", said.stdout);
    let before = installed(&reader, "greet");

    let upgraded = reader.ok(["upgrade", "greet"]);
    let nothing = upgraded.stdout.contains("nothing changed: greet has 3.0.0");
    assert!(nothing, "{}", upgraded.stdout);
    assert!(!upgraded.stderr.contains("installed"), "{}", upgraded.stderr);
    assert_eq!(installed(&reader, "greet"), before, "a record of nothing changed");

    let ran = reader.ok(["run", "greet"]);
    assert_eq!(ran.stderr.matches("environment: ").count(), 1, "{}", ran.stderr);
    let run = reader.ok(["runs", "last", "-o", "json"]).json();
    assert_eq!(run["runs"][0]["version"], "3.0.0", "{run}");
}

/// Also if the folder was edited after its last run.
fn a_release_in_a_file_has_the_runs_of_its_folder() {
    let Some(greet) = greet() else {
        return skip(UNPREPARED);
    };
    let sandbox = Sandbox::new();
    let author = sandbox.home("author");
    let _ = author.ok(["key", "generate", "--no-passphrase"]);
    let sources = greet.sources(&sandbox);
    let _ = author.ok(["run", text(&sources), "--who=you"]);
    let file = sandbox.path().join("greet.tgz");
    edited(&sources);
    let published = author.ok(["publish", text(&file), text(&sources)]);
    assert!(published.stdout.contains("1 run"), "{published:?}");
    let colleague = sandbox.home("colleague");
    let _ = colleague.ok(["import", text(&file), "--allow-unsigned"]);
    assert_eq!(runs_of(&colleague), 1);
}
