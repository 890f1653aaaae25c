//! The same program in a real Docker engine: the same output digests.

use samebundle_tests::{DockerEngine, Home, Ran, Sandbox, Test, digits, greet, skip, tests};

use crate::flow::outputs;

pub(crate) const TESTS: &[Test] = tests![
    docker_and_embedded_give_equal_outputs,
    docker_runs_digits_to_the_same_digests
];

fn in_docker(home: &Home, engine: &DockerEngine, call: &[&str]) -> Ran {
    let mut command = home.command(call);
    command
        .env("DOCKER_HOST", engine.address())
        .env("SAME_ENVIRONMENT", "docker");
    Ran::of(&mut command).ok()
}

fn docker_and_embedded_give_equal_outputs() {
    let Some(greet) = greet() else {
        return skip("docker: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let engine = match DockerEngine::start(&sandbox) {
        Ok(engine) => engine,
        Err(why) => return skip(&format!("docker: {why}")),
    };
    let home = greet.publisher(&sandbox);
    let _ = home.ok(["trust", "add", "release", greet.key().to_str().unwrap()]);
    let _ = home.ok(["install", "greet"]);
    let call = ["run", "greet", "--who=you", "--times=5", "--output", "json"];
    let embedded = outputs(&home.ok([&call[..], &["--env", "embedded"]].concat()));
    assert_eq!(outputs(&in_docker(&home, &engine, &call)), embedded);
    let left = engine.client(&["ps", "-aq"]).ok();
    assert_eq!(left.stdout.trim(), "", "a container was left behind");
}

fn docker_runs_digits_to_the_same_digests() {
    let sandbox = Sandbox::new();
    let sources = match digits(&sandbox) {
        Ok(folder) => folder,
        Err(why) => return skip(&format!("docker: {why}")),
    };
    let engine = match DockerEngine::start(&sandbox) {
        Ok(engine) => engine,
        Err(why) => return skip(&format!("docker: {why}")),
    };
    let home = sandbox.home("home");
    let _ = home.ok(["build", sources.to_str().unwrap(), "-t", "digits"]);
    let _ = home.ok(["install", "digits", "--allow-unsigned"]);
    let call = ["run", "digits", "--epochs=5", "--output", "json"];
    let embedded = outputs(&home.ok([&call[..], &["--env", "embedded"]].concat()));
    assert_eq!(outputs(&in_docker(&home, &engine, &call)), embedded);
}
