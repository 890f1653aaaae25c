//! Size and shape of the source: what keeps it readable is measured, not hoped for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use samebundle_tests::{Test, repository, tests};

pub(crate) const TESTS: &[Test] = tests![
    files_are_short_and_named_for_what_they_hold,
    functions_are_short,
    functions_are_measured_right,
    nothing_gives_up_outside_tests,
    no_test_is_switched_off,
    no_machine_is_named,
    the_lock_file_does_not_grow_by_itself
];

/// Lines a file may have.
const FILE: usize = 800;
/// Lines a function may have, its head included (clippy has the same figure, without comments).
const FUNCTION: usize = 100;
/// Lines that 95 of 100 functions may have at most.
const FUNCTION_P95: usize = 40;
/// Packages in Cargo.lock. Four large trees make most of them: the Kubernetes-free half of OCI (oci-client and reqwest
/// with rustls), libcontainer, bollard, and JSON Schema. Raise it only with a reason in the commit that does.
const PACKAGES: usize = 520;
/// Words that name nothing.
const NAMELESS: &[&str] = &["util", "utils", "helpers", "common", "misc", "stuff"];

pub(crate) fn tracked(ending: &str) -> Vec<PathBuf> {
    let top = repository();
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(&top)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).unwrap();
    let files = names
        .split('\0')
        .filter(|name| !name.is_empty() && name.ends_with(ending));
    files
        .map(|name| top.join(name))
        .filter(|path| path.is_file())
        .collect()
}

pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(repository())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// (name, lines) of every function: from its `fn` line to the brace that closes it at the same indent, which is where
/// rustfmt puts it.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        let head = bare.split("fn ").next().unwrap_or("");
        let heads = [
            "",
            "pub ",
            "async ",
            "const ",
            "unsafe ",
            "extern ",
            "pub(crate) ",
            "pub(super) ",
        ];
        let is_head = bare.contains("fn ")
            && head
                .split_inclusive(' ')
                .all(|word| heads.contains(&word) || word.starts_with('"') || word.starts_with("pub("));
        if !is_head {
            continue;
        }
        let name: String = bare
            .split_once("fn ")
            .map_or("", |(_, rest)| rest)
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let close = format!("{}}}", " ".repeat(indent));
        let first_end = lines[at..]
            .iter()
            .position(|line| line.trim_end().ends_with([';', '{', '}']));
        let Some(first_end) = first_end else { continue };
        if lines[at + first_end].trim_end().ends_with(';') || lines[at + first_end].trim_end().ends_with('}')
        {
            continue;
        }
        if let Some(length) = lines[at..].iter().position(|line| line.trim_end() == close) {
            found.push((name, length + 1));
        }
    }
    found
}

/// The source without its `#[cfg(test)] mod … { … }` parts.
pub(crate) fn without_tests(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.trim_end().ends_with('{')) {
            let indent = line.len() - line.trim_start().len();
            let close = format!("{}}}", " ".repeat(indent));
            lines.by_ref().find(|line| line.trim_end() == close);
        } else {
            kept.push(line);
        }
    }
    kept.join("\n")
}

/// Where the modules lie that are compiled for tests alone: `#[cfg(test)] mod NAME;` of some file.
pub(crate) fn test_modules() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in tracked(".rs") {
        let folder = path.parent().unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let inside = if ["mod", "lib", "main"].contains(&stem) {
            folder.to_path_buf()
        } else {
            folder.join(stem)
        };
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let name = pair[1]
                .split_once("mod ")
                .and_then(|(_, rest)| rest.strip_suffix(';'));
            found.extend(name.map(|name| inside.join(name)));
        }
    }
    found
}

pub(crate) fn is_test(path: &Path, modules: &[PathBuf]) -> bool {
    let bare = path.with_extension("");
    path.starts_with(repository().join("tests"))
        || modules
            .iter()
            .any(|module| bare == *module || path.starts_with(module))
}

fn files_are_short_and_named_for_what_they_hold() {
    let mut wrong = Vec::new();
    let files = tracked(".rs");
    assert!(files.len() > 20, "only {} files were found", files.len());
    for path in files {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > FILE {
            wrong.push(format!(
                "{}: {lines} lines, {FILE} at most: split it by subject",
                shown(&path)
            ));
        }
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if NAMELESS.contains(&stem.as_str()) {
            wrong.push(format!("{}: the name says nothing", shown(&path)));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

fn functions_are_short() {
    let mut wrong = Vec::new();
    let mut lengths = Vec::new();
    for path in tracked(".rs") {
        for (name, lines) in functions(&fs::read_to_string(&path).unwrap()) {
            lengths.push(lines);
            if lines > FUNCTION {
                wrong.push(format!(
                    "{}: {name} has {lines} lines, {FUNCTION} at most",
                    shown(&path)
                ));
            }
        }
    }
    assert!(lengths.len() > 50, "only {} functions were found", lengths.len());
    lengths.sort_unstable();
    let p95 = lengths[lengths.len() * 95 / 100];
    if p95 > FUNCTION_P95 {
        wrong.push(format!(
            "95 of 100 functions have up to {p95} lines, {FUNCTION_P95} is the aim"
        ));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

fn functions_are_measured_right() {
    let text = "pub fn one() {\n    a();\n}\n\nimpl X {\n    async fn two(\n        a: u8,\n    ) -> u8 {\n        b()\n    }\n\n    fn three(&self) -> u8;\n    fn four() {}\n}\n";
    assert_eq!(functions(text), [("one".to_owned(), 3), ("two".to_owned(), 5)]);
    let tested =
        "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n        x.unwrap();\n    }\n}\nfn c() {}";
    assert_eq!(without_tests(tested), "fn a() {}\nfn c() {}");
}

fn nothing_gives_up_outside_tests() {
    let mut wrong = Vec::new();
    let modules = test_modules();
    for path in tracked(".rs").into_iter().filter(|path| !is_test(path, &modules)) {
        let text = without_tests(&fs::read_to_string(&path).unwrap());
        for (at, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for word in [
                ".unwrap()",
                "todo!(",
                "unimplemented!(",
                "#[allow(",
                "#![allow(",
                "#[ignore",
            ] {
                if code.contains(word) {
                    wrong.push(format!("{}:{}: {word}", shown(&path), at + 1));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

fn no_test_is_switched_off() {
    let off = concat!("#[", "ignore");
    let end_to_end = repository().join("tests/tests");
    let mut wrong = Vec::new();
    for path in tracked(".rs") {
        if fs::read_to_string(&path)
            .unwrap()
            .lines()
            .any(|line| line.trim_start().starts_with(off))
        {
            wrong.push(shown(&path));
        }
    }
    // The harness of the end-to-end tests runs what a module's TESTS name; the attribute would remove the function.
    let unseen = concat!("#[", "test]");
    for path in tracked(".rs")
        .into_iter()
        .filter(|path| path.starts_with(&end_to_end))
    {
        if fs::read_to_string(&path).unwrap().contains(unseen) {
            wrong.push(format!(
                "{}: name the test in TESTS, without the attribute",
                shown(&path)
            ));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// No path of somebody's machine is written down anywhere in the tree.
fn no_machine_is_named() {
    let here = repository().display().to_string();
    let cache = samebundle_tests::cache().display().to_string();
    let named = [
        concat!("/wo", "rk/wt"),
        concat!("/wo", "rk/shared"),
        concat!("/ro", "ot/."),
    ];
    let paths = [here.as_str(), cache.as_str()].into_iter().chain(named);
    let paths: Vec<&str> = paths.collect();
    let mut wrong = Vec::new();
    for path in tracked("") {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            if let Some(found) = paths.iter().find(|found| line.contains(**found)) {
                wrong.push(format!("{}:{}: {found}", shown(&path), at + 1));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

fn the_lock_file_does_not_grow_by_itself() {
    let lock = fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    assert!(packages > 100, "Cargo.lock was not read");
    assert!(
        packages <= PACKAGES,
        "{packages} packages, {PACKAGES} at most: raise it with a reason, or do without one"
    );
}
