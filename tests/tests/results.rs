//! What a run left: seen here, and carried to somebody else.

use std::path::Path;

use samebundle_tests::{Greet, Home, Ran, Sandbox, Test, greet, skip, tests};
use serde_json::Value;

use crate::flow::find;

pub(crate) const TESTS: &[Test] = tests![
    every_output_of_every_task_has_a_name,
    a_page_is_opened_in_the_browser,
    the_files_of_past_runs_travel_and_what_stays_is_said,
    a_file_that_is_not_what_the_run_left_stays
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A home with greet installed, and one run of it.
fn with_a_run(sandbox: &Sandbox, subject: &str) -> Option<(&'static Greet, Home)> {
    let Some(greet) = greet() else {
        skip(&format!(
            "{subject}: the busybox image was not made (tests/setup/images)"
        ));
        return None;
    };
    let home = greet.publisher(sandbox);
    let _ = home.ok(["copy", "greet", "greet.tgz"]);
    let home = greet.trusting(sandbox, "home");
    let _ = home.ok(["install", "greet.tgz"]);
    let _ = home.ok(["run", "greet", "--who=you"]);
    Some((greet, home))
}

fn every_output_of_every_task_has_a_name() {
    let sandbox = Sandbox::new();
    let Some((_, home)) = with_a_run(&sandbox, "results") else {
        return;
    };
    let all = home.ok(["outputs", "-o", "json"]).json();
    let names: Vec<&String> = all["outputs"].as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["greet.greeting", "greet.words", "greeting", "loud", "shout.loud"]
    );
    // What the program returns is shown under that name, and not again as an output of its task.
    let shown = home.ok(["outputs"]).stdout;
    assert!(
        shown.contains("\nloud ") && !shown.contains("shout.loud"),
        "{shown}"
    );
    let one = home
        .ok(["outputs", "--task", "shout", "--to", "one", "-o", "json"])
        .json();
    assert_eq!(one["outputs"].as_object().unwrap().len(), 1, "{one}");
    let written = one["written"][0]["path"].as_str().unwrap().to_owned();
    assert_eq!(
        std::fs::read_to_string(written).unwrap().lines().next(),
        Some("0 YOU")
    );
    assert!(
        home.run(["outputs", "--task", "nope"])
            .exits(5)
            .stderr
            .contains("nope")
    );
}

fn a_page_is_opened_in_the_browser() {
    let sandbox = Sandbox::new();
    let Some((_, home)) = with_a_run(&sandbox, "results") else {
        return;
    };
    let open = |browser: &str| {
        let mut command = home.command(["outputs", "--open"]);
        Ran::of(command.env("BROWSER", browser))
    };
    // The browser is a program that shows that the page is there.
    let shown = open("cat").ok().stdout;
    assert!(
        shown.contains("<!DOCTYPE html>") && shown.contains("hello"),
        "{shown}"
    );
    let with_words = open("/nothing/browser:grep -c DOCTYPE %s").ok().stdout;
    assert!(with_words.starts_with('1'), "{with_words}");
    let refused = open("/nothing/browser").exits(8);
    assert!(refused.stderr.contains("set BROWSER"), "{}", refused.stderr);
}

fn the_files_of_past_runs_travel_and_what_stays_is_said() {
    let sandbox = Sandbox::new();
    let Some((greet, home)) = with_a_run(&sandbox, "results") else {
        return;
    };
    let _ = home.ok(["run", "greet", "--who=a longer name than that"]);
    let outputs = |home: &Home, run: &str, to: &str| -> Value {
        let report = home.ok(["outputs", run, "--to", to, "-o", "json"]).json();
        report["absent"].clone()
    };
    assert_eq!(outputs(&home, "last", "there"), Value::Null);
    // Two runs with two files each: the newest goes first, and of it the smallest.
    let report = home
        .ok([
            "export",
            "greet",
            "--file",
            "some.tgz",
            "--outputs",
            "40",
            "-o",
            "json",
        ])
        .json();
    let left = report["outputs"]["left"].as_array().unwrap();
    assert!(
        !left.is_empty() && report["outputs"]["artifacts"].as_u64() > Some(0),
        "{report}"
    );
    assert!(
        left.iter()
            .all(|left| left["why"] == "size" && left["digest"].is_string()),
        "{report}"
    );
    let said = home
        .ok(["export", "greet", "--file", "none.tgz", "--outputs", "none"])
        .stdout;
    assert!(
        said.contains("only their digests go along") && said.contains("--outputs all"),
        "{said}"
    );
    let _ = home.ok(["export", "greet", "--file", "all.tgz"]);

    let reader = greet.trusting(&sandbox, "reader");
    let _ = reader.ok(["import", "some.tgz"]);
    let shown = reader.ok(["outputs"]).stdout;
    assert!(shown.contains("these files are not here"), "{shown}");
    // A fuller export brings what was missing, and the runs stay two.
    let _ = reader.ok(["import", "all.tgz"]);
    assert_eq!(
        reader.ok(["runs", "-o", "json"]).json()["runs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    for run in reader.ok(["runs", "-o", "json"]).json()["runs"]
        .as_array()
        .unwrap()
    {
        let id = run["id"].as_str().unwrap();
        assert_eq!(outputs(&reader, id, &format!("here-{id}")), Value::Null);
    }
    let _ = reader.ok(["outputs", "last", "--to", "here"]);
    for name in ["loud", "greeting.json"] {
        let read = |folder: &str| std::fs::read(sandbox.path().join(folder).join(name)).unwrap();
        assert_eq!(read("here"), read("there"), "{name}");
    }
    assert!(reader.ok(["logs", "last"]).stdout.contains("shouted"));
}

fn a_file_that_is_not_what_the_run_left_stays() {
    let sandbox = Sandbox::new();
    let Some((_, home)) = with_a_run(&sandbox, "results") else {
        return;
    };
    let folder = home.ok(["outputs", "last", "-o", "json"]).json()["folder"]
        .as_str()
        .unwrap()
        .to_owned();
    std::fs::write(find(Path::new(&folder), "loud"), "no").unwrap();
    let said = home
        .ok([
            "export",
            "greet",
            "--file",
            text(&sandbox.path().join("altered.tgz")),
        ])
        .stdout;
    assert!(said.contains("is not what the run left"), "{said}");
}
