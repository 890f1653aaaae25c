//! `make bench` in its small form: every row of every table measures something. Its figures mean nothing and are not looked
//! at; speed is never tested.

use std::process::Command;

use samebundle_tests::{Ran, Sandbox, Test, cache, command_under_test, image, peer, repository, skip, tests};

pub(crate) const TESTS: &[Test] = tests![every_row_of_the_small_bench_measures];

/// The tools that the tables compare.
const RIVALS: [&str; 6] = ["skopeo", "crane", "regctl", "cosign3", "docker-registry", "runc"];

fn every_row_of_the_small_bench_measures() {
    let missing = RIVALS.iter().find(|name| peer(name).is_none());
    if let Some(name) = missing {
        return skip(&format!("bench: {name} is not there (tests/setup)"));
    }
    if image("busybox").is_none() {
        return skip("bench: the busybox image was not made (tests/setup/images)");
    }
    let sandbox = Sandbox::new();
    let path = RIVALS.map(|name| peer(name).unwrap().parent().unwrap().to_owned());
    let ran = Ran::of(
        Command::new("python3")
            .arg("tests/bench/measure.py")
            .arg("--samebundle")
            .arg(command_under_test())
            .arg("--work")
            .arg(sandbox.path())
            .arg("--cache")
            .arg(cache())
            .args(["--size", "small", "--strict"])
            .current_dir(repository())
            .env(
                "PATH",
                std::env::join_paths(
                    path.iter()
                        .map(|folder| folder.as_path())
                        .chain(["/usr/bin".as_ref(), "/bin".as_ref()]),
                )
                .unwrap(),
            ),
    )
    .ok();
    let failed = ran.stdout.lines().find(|line| line.contains("failed"));
    assert_eq!(failed, None, "{}\n{}", ran.stdout, ran.stderr);
    let tables = ran.stdout.matches("### ").count();
    assert_eq!(tables, 3 + 3 + 2 * 6, "{}", ran.stdout);
}
