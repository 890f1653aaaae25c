//! The arrows between the rooms, read from `cargo metadata`: tests → all, cli → runtime → registry → spec ← runner.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use samebundle_tests::repository;
use serde_json::Value;

const CLI: &str = "samebundle-cli";
const RUNTIME: &str = "samebundle-runtime";
const REGISTRY: &str = "samebundle-registry";
const SPEC: &str = "samebundle-spec";
const RUNNER: &str = "samebundle-runner";
const TESTS: &str = "samebundle-tests";

/// What a room may depend on, of the other rooms.
fn allowed(room: &str) -> Option<&'static [&'static str]> {
    match room {
        SPEC => Some(&[]),
        REGISTRY | RUNNER => Some(&[SPEC]),
        RUNTIME => Some(&[SPEC, REGISTRY]),
        CLI => Some(&[SPEC, REGISTRY, RUNTIME]),
        TESTS => Some(&[SPEC, REGISTRY, RUNTIME]),
        _ => None,
    }
}

/// Crates that have no place in the pure room: they do I/O, wait, or ask for time or chance.
const NOT_IN_SPEC: &[&str] = &[
    "tokio",
    "async-trait",
    "futures",
    "reqwest",
    "hyper",
    "axum",
    "tempfile",
    "nix",
    "getrandom",
    "ulid",
    "tracing",
];

/// What is wrong with the arrows of a workspace as `cargo metadata --no-deps` describes it.
fn wrong_arrows(metadata: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let rooms: BTreeMap<String, Value> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (name(&package), package))
        .collect();
    let mut wrong = Vec::new();
    for (room, package) in &rooms {
        let Some(allowed) = allowed(room) else {
            wrong.push(format!("{room} is a room that nobody drew"));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let to = name(&dependency);
            if rooms.contains_key(&to) && to != *room && !allowed.contains(&to.as_str()) {
                wrong.push(format!("{room} -> {to} is not drawn"));
            }
            // What a test of the pure room uses is its own affair.
            if room == SPEC && dependency["kind"] != "dev" && NOT_IN_SPEC.contains(&to.as_str()) {
                wrong.push(format!("{room} is pure, {to} is not"));
            }
        }
    }
    wrong
}

fn metadata(folder: &Path) -> Value {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_arrow_is_drawn() {
    let metadata = metadata(&repository());
    assert!(
        metadata["packages"].as_array().unwrap().len() >= 6,
        "the workspace was not read"
    );
    assert_eq!(wrong_arrows(&metadata), Vec::<String>::new());
}

/// The check itself, on a workspace that breaks each rule once.
#[test]
fn a_wrong_arrow_is_seen() {
    let package = |name: &str, to: &[(&str, Value)]| {
        let dependencies: Vec<Value> = to
            .iter()
            .map(|(name, kind)| serde_json::json!({"name": name, "kind": kind}))
            .collect();
        serde_json::json!({"name": name, "dependencies": dependencies})
    };
    let broken = serde_json::json!({"packages": [
        package(SPEC, &[(REGISTRY, "dev".into()), ("tokio", Value::Null), ("tempfile", "dev".into())]),
        package(REGISTRY, &[(SPEC, Value::Null), (RUNTIME, Value::Null)]),
        package(RUNTIME, &[(REGISTRY, Value::Null), (CLI, "build".into())]),
        package(CLI, &[(RUNTIME, Value::Null)]),
        package(RUNNER, &[(REGISTRY, Value::Null)]),
        package("samebundle-helpers", &[]),
    ]});
    let mut wrong = wrong_arrows(&broken);
    wrong.sort();
    let wanted = [
        "samebundle-helpers is a room that nobody drew",
        "samebundle-registry -> samebundle-runtime is not drawn",
        "samebundle-runner -> samebundle-registry is not drawn",
        "samebundle-runtime -> samebundle-cli is not drawn",
        "samebundle-spec -> samebundle-registry is not drawn",
        "samebundle-spec is pure, tokio is not",
    ];
    assert_eq!(wrong, wanted);
}
