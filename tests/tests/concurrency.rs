//! Sixteen processes with different commands on one home, and collections without any grace all the time: nothing is lost,
//! nothing is broken.

use std::process::Stdio;

use samebundle_tests::{Registry, Running, Sandbox, Test, greet, skip, tell, tests};

pub(crate) const TESTS: &[Test] = tests![sixteen_processes_share_a_home];

fn sixteen_processes_share_a_home() {
    let Some(greet) = greet() else {
        return skip("concurrency: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &sandbox.home("server"));
    let _ = home.ok(["trust", "add", "release", greet.key().to_str().unwrap()]);
    let _ = home.ok(["install", "greet"]);
    let place = registry.reference("team/greet:1.0.0");
    let _ = home.ok(["push", "greet", &place]);
    let sources = greet.sources(&sandbox);
    let path = |name: &str| sandbox.path().join(name).to_str().unwrap().to_owned();

    let mut calls: Vec<Vec<String>> = Vec::new();
    let mut call = |words: &[&str]| calls.push(words.iter().map(|word| (*word).to_owned()).collect());
    for n in 0..4 {
        call(&["run", "greet", &format!("--who=runner{n}"), "--output", "json"]);
        call(&["install", "greet", "--name", &format!("greet-{n}")]);
        call(&[
            "push",
            "greet",
            &registry.reference(&format!("team-{n}/greet:1.0.0")),
        ]);
    }
    call(&["build", sources.to_str().unwrap(), "-t", "greet"]);
    call(&["pull", &place]);
    call(&["export", "greet", "--file", &path("out.tgz")]);
    call(&["key", "generate", "--name", "another", "--no-passphrase"]);
    assert_eq!(calls.len(), 16);

    let start = |words: &Vec<String>| {
        let mut command = home.command(words);
        Running::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    };
    let running: Vec<Running> = calls.iter().map(start).collect();
    let mut running = running;
    let mut collections = 0;
    while running.iter_mut().any(|process| process.ended().is_none()) {
        let gc = home.run(["store", "gc", "--grace", "0s"]);
        assert!(gc.code == 0, "gc: {}{}", gc.stdout, gc.stderr);
        collections += 1;
    }
    tell(&format!("{collections} collections beside sixteen processes"));
    for (process, words) in running.into_iter().zip(&calls) {
        let ran = process.finish();
        assert!(ran.code == 0, "{words:?}: exit {}\n{}", ran.code, ran.stderr);
    }

    let _ = home.ok(["store", "check"]);
    assert_eq!(home.ok(["inspect", "greet"]).digest(), greet.digest());
    let list = home.ok(["list", "--output", "json"]).stdout;
    let keys = home.ok(["key", "list"]).stdout;
    let runs = home.ok(["runs", "greet", "--output", "json"]).json();
    for n in 0..4 {
        assert!(
            list.contains(&format!("greet-{n}")),
            "installation {n} is lost: {list}"
        );
        let copy = registry.reference(&format!("team-{n}/greet:1.0.0"));
        let _ = home.ok(["verify", &copy]);
    }
    let ended = runs["runs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|run| run["status"] == "succeeded");
    assert_eq!(ended.count(), 4, "{runs}");
    assert!(keys.contains("another") && keys.contains("release"), "{keys}");
    let reader = greet.trusting(&sandbox, "reader");
    let _ = reader.ok(["import", &path("out.tgz")]);
}
