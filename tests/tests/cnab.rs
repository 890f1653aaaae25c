//! The CNAB reference library judges our bundles and runs their invocation image, in a real Docker engine.

use std::path::PathBuf;
use std::process::Command;

use samebundle_tests::{DockerEngine, Ran, Registry, Sandbox, Test, greet, peer, skip, tell, tests};

pub(crate) const TESTS: &[Test] = tests![a_foreign_runtime_runs_our_invocation_image];

/// A bundle of ours as `cnab-to-oci pull` gives it to a foreign runtime: its description and its relocation map.
fn pulled(sandbox: &Sandbox, registry: &Registry) -> Option<(PathBuf, PathBuf)> {
    let Some(tool) = peer("cnab-to-oci") else {
        skip("cnab: cnab-to-oci was not built (tests/setup/peers)");
        return None;
    };
    let (bundle, map) = (
        sandbox.path().join("bundle.json"),
        sandbox.path().join("map.json"),
    );
    let mut pull = Command::new(tool);
    pull.args(["pull", &registry.reference("team/greet:1.0.0"), "--bundle"])
        .arg(&bundle);
    pull.arg("--relocation-map")
        .arg(&map)
        .args(["--insecure-registries", &registry.address()]);
    let _ = Ran::of(pull.env("HOME", sandbox.path())).ok();
    Some((bundle, map))
}

fn a_foreign_runtime_runs_our_invocation_image() {
    let (Some(greet), Some(judge)) = (greet(), peer("cnab-go-judge")) else {
        return skip("cnab: cnab-go-judge was not built or the busybox image was not made (tests/setup)");
    };
    let sandbox = Sandbox::new();
    let Some(registry) = Registry::debian(&sandbox) else {
        return skip("cnab: docker-registry is not installed (tests/setup/packages)");
    };
    let _ = greet
        .publisher(&sandbox)
        .ok(["push", "greet", &registry.reference("team/greet:1.0.0")]);
    let Some((bundle, map)) = pulled(&sandbox, &registry) else {
        return;
    };
    let debug = Ran::of(
        Command::new(&judge)
            .args(["debug", "install"])
            .arg(&bundle)
            .arg(&map),
    )
    .ok();
    assert!(debug.stdout.contains("CNAB_BUNDLE_NAME"), "{}", debug.stdout);

    let engine = match DockerEngine::start(&sandbox) {
        Ok(engine) => engine,
        Err(why) => return skip(&format!("cnab: {why}")),
    };
    let act = |action: &str| {
        let mut command = Command::new(&judge);
        command.args(["docker", action]).arg(&bundle).arg(&map);
        Ran::of(
            command
                .env("DOCKER_HOST", engine.address())
                .env("HOME", sandbox.path()),
        )
    };
    for action in [
        "install",
        "upgrade",
        "io.cnab.help",
        "io.cnab.status",
        "io.cnab.dry-run",
        "uninstall",
    ] {
        let ran = act(action).ok();
        tell(&format!(
            "cnab {action}: wanted 0, got {}: {}",
            ran.code,
            ran.stdout.lines().next().unwrap_or_default()
        ));
        assert!(
            ran.stdout.contains("greet"),
            "{action} does not say what it is about: {}",
            ran.stdout
        );
    }
    let run = act("run");
    assert_ne!(run.code, 0, "run cannot have worked there");
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        said.contains("samebundle"),
        "it does not say what run needs: {said}"
    );
}
