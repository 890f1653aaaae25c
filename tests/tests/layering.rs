//! The arrows between the crates, read from `cargo metadata`: tests → all, cli → runtime → registry → spec ← runner. And
//! those between the rooms (the top modules) of a library, read from its sources: they may not form a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use samebundle_tests::{Test, repository, tests};
use serde_json::Value;

use crate::budget::{is_test, test_modules, tracked, without_tests};

pub(crate) const TESTS: &[Test] = tests![
    every_arrow_is_drawn,
    a_wrong_arrow_is_seen,
    no_rooms_form_a_circle,
    a_circle_is_seen
];

const CLI: &str = "samebundle-cli";
const RUNTIME: &str = "samebundle-runtime";
const REGISTRY: &str = "samebundle-registry";
const SPEC: &str = "samebundle-spec";
const RUNNER: &str = "samebundle-runner";
const END_TO_END: &str = "samebundle-tests";

/// What a room may depend on, of the other rooms.
fn allowed(room: &str) -> Option<&'static [&'static str]> {
    match room {
        SPEC => Some(&[]),
        REGISTRY | RUNNER => Some(&[SPEC]),
        RUNTIME => Some(&[SPEC, REGISTRY]),
        CLI => Some(&[SPEC, REGISTRY, RUNTIME]),
        END_TO_END => Some(&[SPEC, REGISTRY, RUNTIME]),
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

fn every_arrow_is_drawn() {
    let metadata = metadata(&repository());
    assert!(
        metadata["packages"].as_array().unwrap().len() >= 6,
        "the workspace was not read"
    );
    assert_eq!(wrong_arrows(&metadata), Vec::<String>::new());
}

/// The check itself, on a workspace that breaks each rule once.
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

/// The libraries whose rooms are looked at, as folders of the tree.
const LIBRARIES: [&str; 3] = ["spec", "registry", "runtime"];

/// A library's root, and its other sources by their path of modules.
struct Library {
    root: String,
    sources: Vec<(Vec<String>, String)>,
}

impl Library {
    fn read(folder: &str) -> Self {
        let top = repository().join(folder).join("src");
        let modules = test_modules();
        let read = |path: &Path| without_tests(&std::fs::read_to_string(path).unwrap());
        let mut sources = Vec::new();
        for path in tracked(".rs") {
            let Ok(inside) = path.strip_prefix(&top) else {
                continue;
            };
            let mut names: Vec<String> = inside
                .with_extension("")
                .iter()
                .map(|name| name.to_str().unwrap().to_owned())
                .collect();
            names.pop_if(|name| name == "mod");
            if names != ["lib"] && !is_test(&path, &modules) {
                sources.push((names, read(&path)));
            }
        }
        let root = read(&top.join("lib.rs"));
        Self { root, sources }
    }

    /// The rooms, and the names that the root has from them (`pub use`).
    fn rooms(&self) -> BTreeMap<String, String> {
        let mut rooms = BTreeMap::new();
        for statement in self.root.split(';') {
            if let Some((_, name)) = statement.rsplit_once("mod ") {
                rooms.insert(name.to_owned(), name.to_owned());
            } else if let Some((_, path)) = statement.rsplit_once("pub use ")
                && let Some((room, names)) = path.split_once("::")
            {
                rooms.extend(heads(names).into_iter().map(|name| (name, room.to_owned())));
            }
        }
        rooms
    }

    /// The arrows that are part of a circle or lie between two circles, each with a source that draws it.
    fn circles(&self) -> Vec<String> {
        let rooms = self.rooms();
        let mut arrows: BTreeMap<(&str, &str), String> = BTreeMap::new();
        for (names, text) in &self.sources {
            for name in names_of_root(text, names.len()) {
                if let Some(to) = rooms.get(&name).filter(|to| **to != names[0]) {
                    arrows.entry((&names[0], to)).or_insert_with(|| names.join("::"));
                }
            }
        }
        // A room that no arrow leaves, or none enters, is in no circle: take it away, until nothing changes.
        loop {
            let from: BTreeSet<&str> = arrows.keys().map(|(from, _)| *from).collect();
            let to: BTreeSet<&str> = arrows.keys().map(|(_, to)| *to).collect();
            let before = arrows.len();
            arrows.retain(|(start, end), _| to.contains(start) && from.contains(end));
            if arrows.len() == before {
                break;
            }
        }
        arrows
            .iter()
            .map(|((from, to), source)| format!("{from} -> {to} ({source})"))
            .collect()
    }
}

/// What a source takes from the root of its library: `crate::x`, `crate::{x::…, y}`, and `super::x` as often as it is deep.
fn names_of_root(text: &str, depth: usize) -> BTreeSet<String> {
    let code = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join("\n");
    ["crate::".to_owned(), "super::".repeat(depth)]
        .iter()
        .flat_map(|root| code.split(root.as_str()).skip(1))
        .flat_map(heads)
        .collect()
}

/// The first name of a path, or those of the paths in braces.
fn heads(path: &str) -> Vec<String> {
    let name = |path: &str| -> String {
        let rest = path.trim_start().chars();
        rest.take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let (mut depth, mut start, mut found) = (0_u32, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

fn no_rooms_form_a_circle() {
    let mut wrong = Vec::new();
    for folder in LIBRARIES {
        let library = Library::read(folder);
        assert!(library.rooms().len() > 5, "the rooms of {folder} were not read");
        assert!(
            library.sources.len() > 20,
            "the sources of {folder} were not read"
        );
        wrong.extend(
            library
                .circles()
                .into_iter()
                .map(|arrow| format!("{folder}: {arrow}")),
        );
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The check itself, on a library with a circle of three rooms, and each way in which a room can be named.
fn a_circle_is_seen() {
    let source = |names: &str, text: &str| {
        let names = names.split('/').map(str::to_owned).collect();
        (names, text.to_owned())
    };
    let broken = Library {
        root: "pub mod cellar;\nmod attic;\npub mod hall;\nmod roof;\n\npub use attic::{Box, Trunk};\n"
            .to_owned(),
        sources: vec![
            source("cellar", "use crate::{\n    hall::{Door, Step},\n    roof,\n};\n"),
            source(
                "hall/door",
                "//! Leads to crate::roof.\nfn open(trunk: crate::Trunk) {}\n",
            ),
            source("attic/stairs", "use super::super::cellar;\nuse super::Box;\n"),
            source("roof", "pub struct Tile;\n"),
        ],
    };
    let wanted = [
        "attic -> cellar (attic::stairs)",
        "cellar -> hall (cellar)",
        "hall -> attic (hall::door)",
    ];
    assert_eq!(broken.circles(), wanted);
}
