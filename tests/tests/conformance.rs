//! The official conformance suite of the OCI distribution specification judges our server, from outside.

use std::process::Command;

use samebundle_tests::{Ran, Registry, Sandbox, Test, peer, skip, tell, tests};

pub(crate) const TESTS: &[Test] = tests![
    our_server_conforms_to_the_specification,
    our_server_conforms_to_what_comes_next
];

/// Runs the suite in one of its profiles: nothing may fail or be skipped.
fn conforms(profile: &str) {
    let Some(suite) = peer("conformance") else {
        skip(&format!(
            "conformance {profile}: the suite was not built (tests/setup/peers)"
        ));
        return;
    };
    let sandbox = Sandbox::new();
    let registry = Registry::own(&sandbox, &sandbox.home("server"));
    let results = sandbox.path().join("results");
    let ran = Ran::of(
        Command::new(suite)
            .current_dir(sandbox.path())
            .env_clear()
            .env("OCI_REGISTRY", registry.address())
            .env("OCI_TLS", "disabled")
            .env("OCI_REPO1", "conformance/repo1")
            .env("OCI_REPO2", "conformance/repo2")
            .env("OCI_VERSION", profile)
            .env("OCI_LOG", "error")
            .env("OCI_RESULTS_DIR", &results),
    );
    let report = std::fs::read_to_string(results.join("junit.xml")).unwrap_or_default();
    let count = |name: &str| -> u64 {
        let value = report
            .split_once(&format!("{name}=\""))
            .map_or("", |(_, rest)| rest);
        value.split('"').next().unwrap().parse().unwrap_or(0)
    };
    tell(&format!(
        "conformance {profile}: {} cases, {} failed, {} skipped",
        count("tests"),
        count("failures"),
        count("skipped")
    ));
    let ran = ran.ok();
    assert!(count("tests") > 800, "the suite ran little:\n{}", ran.stdout);
    assert_eq!(count("failures"), 0);
    let skipped = ran.stdout.lines().filter(|line| line.ends_with(": Skip"));
    assert_eq!(skipped.collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(count("skipped"), 0);
}

fn our_server_conforms_to_the_specification() {
    conforms("1.1");
}

fn our_server_conforms_to_what_comes_next() {
    conforms("dev");
}
