//! What the README tells people to type is what works.
//!
//! Blocks that open with ```sh are run in order, in one shell, in a sandbox whose current folder looks like the top of the
//! tree. A block under a line `<!-- not run: why -->` is not, and its reason is printed.

use std::process::Command;

use samebundle_tests::{Ran, Sandbox, command_under_test, digits, repository, skip};

/// The blocks to run, and the reasons of those that are not.
fn blocks(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut run, mut left) = (Vec::new(), Vec::new());
    let mut reason = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(why) = line.trim().strip_prefix("<!-- not run:") {
            reason = Some(why.trim_end_matches("-->").trim().to_owned());
        } else if line.trim() == "```sh" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            match reason.take() {
                Some(why) => left.push(why),
                None => run.push(block.join("\n")),
            }
        } else if !line.trim().is_empty() {
            reason = None;
        }
    }
    (run, left)
}

#[test]
fn blocks_are_found() {
    let text = "a\n```sh\none\ntwo\n```\n<!-- not run: needs a cloud -->\n```sh\nthree\n```\n```text\nfour\n```\n```sh\nfive\n```\n";
    assert_eq!(
        blocks(text),
        (
            vec!["one\ntwo".to_owned(), "five".to_owned()],
            vec!["needs a cloud".to_owned()]
        )
    );
}

#[test]
fn the_readme_works() {
    let Ok(readme) = std::fs::read_to_string(repository().join("README.md")) else {
        return skip("readme: there is no README.md");
    };
    let sandbox = Sandbox::new();
    let (run, left) = blocks(&readme);
    assert!(!run.is_empty(), "the README has no command that is run");
    for why in left {
        println!("a block is not run: {why}");
    }
    // `bundles/digits` with its base image, and the command by both of its names.
    let sources = match digits(&sandbox) {
        Ok(folder) => folder,
        Err(why) => return skip(&format!("readme: {why}")),
    };
    let bundles = sandbox.path().join("bundles");
    std::fs::create_dir(&bundles).unwrap();
    std::fs::rename(sources, bundles.join("digits")).unwrap();
    let bin = sandbox.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in ["samebundle", "same"] {
        std::os::unix::fs::symlink(command_under_test(), bin.join(name)).unwrap();
    }
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}\n",
        run.join("\n")
    );
    let file = sandbox.path().join("readme.sh");
    std::fs::write(&file, script).unwrap();
    let mut command = Command::new("bash");
    command.arg(&file);
    sandbox.home("unused").furnish(&mut command);
    // A newcomer has no SDK that is set up.
    command.env_remove("SAMEBUNDLE_KFP_PYTHON");
    let path = command
        .get_envs()
        .find_map(|(name, value)| (name == "PATH").then_some(value?))
        .unwrap();
    let path = format!("{}:{}", bin.display(), path.to_str().unwrap());
    command.env("PATH", path).env("MAKE", "true");
    let _ = Ran::of(&mut command).ok();
}
