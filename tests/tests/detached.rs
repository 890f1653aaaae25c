//! A run that its command does not wait for: it is followed from elsewhere, ended in order, killed, and gone on with.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use samebundle_tests::{Home, Running, Sandbox, Test, skip, tests};
use serde_json::Value;

use crate::scenarios::left_nothing;
use crate::secrets::program;

pub(crate) const TESTS: &[Test] = tests![
    a_detached_run_is_followed_and_ended_from_elsewhere,
    a_detached_run_that_is_killed_goes_on_detached,
    what_keeps_a_run_from_beginning_is_the_error_of_its_command,
];

const NONE: &str = "detached: the busybox image was not made (tests/setup/images)";

/// A loop of thirty items, two at a time, each for `seconds`; a task at the end says the secret, which the run hides.
fn pipeline(seconds: &str) -> String {
    r#"
components:
  comp-item:
    inputDefinitions: {parameters: {x: {parameterType: NUMBER_INTEGER}}}
    dag: {tasks: {one: {componentRef: {name: comp-one}, inputs: {parameters: {x: {componentInputParameter: x}}}}}}
  comp-one:
    executorLabel: exec-one
    inputDefinitions: {parameters: {x: {parameterType: NUMBER_INTEGER}}}
  comp-last: {executorLabel: exec-last}
deploymentSpec:
  executors:
    exec-one: {container: {image: "busybox:1", command: [sh, -c, 'echo "item $0"; sleep SECONDS'], args: ["{{$.inputs.parameters['x']}}"]}}
    exec-last: {container: {image: "busybox:1", command: [sh, -c, 'echo "the key has ${#KEY} letters"']}}
pipelineInfo: {name: test}
root:
  dag:
    tasks:
      each: {componentRef: {name: comp-item}, iteratorPolicy: {parallelismLimit: 2},
        parameterIterator: {itemInput: x, items: {raw: '[0, 1, 2, 3, 4, 5, 6, 7]'}}}
      last: {componentRef: {name: comp-last}, dependentTasks: [each]}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
---
platforms: {kubernetes: {deploymentSpec: {executors: {exec-last: {secretAsEnv: [{secretName: site, keyToEnv: [{secretKey: key, envVar: KEY}]}]}}}}}
"#
    .replace("SECONDS", seconds)
}

/// A home with the program, which takes so long for each item.
fn home(sandbox: &Sandbox, seconds: &str) -> Option<Home> {
    let folder = program(sandbox, "each", &pipeline(seconds))?;
    let home = sandbox.home("home");
    let _ = home.ok(["build", folder.to_str().unwrap(), "-t", "each"]);
    let _ = home.ok(["install", "each", "--allow-unsigned"]);
    Some(home)
}

/// Begins a run, with the secret in the environment.
fn detach(home: &Home, words: &[&str]) -> String {
    let mut command = home.command([words, &["--detach", "-o", "json"]].concat());
    let begun = samebundle_tests::Ran::of(command.env("KEY", "correct-horse"))
        .ok()
        .json();
    assert_eq!(begun["detached"], true, "{begun}");
    begun["run"].as_str().unwrap().to_owned()
}

fn status(home: &Home) -> Value {
    home.ok(["runs", "-o", "json"]).json()["runs"][0]["status"].clone()
}

/// The process that does a run, as the lock of the run says.
fn process(home: &Home, run: &str) -> i32 {
    let lock = std::fs::read(home.path().join("runs").join(run).join("lock")).unwrap();
    let lock: Value = serde_json::from_slice(&lock).unwrap();
    i32::try_from(lock["process"]["pid"].as_i64().unwrap()).unwrap()
}

fn stat(process: i32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().map(str::to_owned).collect()
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn has_ended_tasks(home: &Home, run: &str) -> bool {
    let events = home.path().join("runs").join(run).join("events.jsonl");
    let events = std::fs::read_to_string(events).unwrap_or_default();
    events.matches("\"exitCode\":0").count() >= 2
}

fn signal(process: u32, name: &str) {
    let killed = Command::new("kill")
        .args(["-s", name, &process.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

fn a_detached_run_is_followed_and_ended_from_elsewhere() {
    let sandbox = Sandbox::new();
    let Some(home) = home(&sandbox, "1") else {
        return skip(NONE);
    };
    let run = detach(&home, &["run", "each"]);
    let of_run = process(&home, &run);
    // Fields from the state on: parent, group, session, terminal.
    let fields = stat(of_run);
    assert_eq!(
        (&fields[3], fields[4].as_str()),
        (&of_run.to_string(), "0"),
        "it has its own session"
    );
    let line = std::fs::read(format!("/proc/{of_run}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&line).contains("correct-horse"));

    let follow = || {
        let mut command = home.command(["attach", "last"]);
        Running::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    };
    let (one, other) = (follow(), follow());
    wait_for("no task ended", || has_ended_tasks(&home, &run));
    signal(one.id(), "INT");
    let left = one.finish().exits(130);
    assert!(left.stderr.contains("detached from run"), "{}", left.stderr);
    assert!(left.stderr.contains("each/0/one | item 0"), "{}", left.stderr);
    assert_eq!(status(&home), "running", "whoever leaves it does not end it");

    let cancelled = home.ok(["cancel", &run, "-o", "json"]).json();
    assert_eq!(
        (&cancelled["cancelled"], &cancelled["status"]),
        (&true.into(), &"cancelled".into())
    );
    let seen = other.finish().exits(130);
    assert!(seen.stderr.contains("task each cancelled"), "{}", seen.stderr);
    // Whoever takes over orphans may not have collected it yet.
    let is_there = Path::new(&format!("/proc/{of_run}")).exists() && stat(of_run)[0] != "Z";
    assert!(!is_there, "its process is gone");
    left_nothing(&home);
    let again = home.ok(["cancel", &run]);
    assert!(
        again
            .stdout
            .contains("had ended before (cancelled), and nothing was changed"),
        "{}",
        again.stdout
    );
    let _ = home.run(["attach", &run]).exits(130);
    let _ = home.run(["cancel", "nothing"]).exits(5);
}

fn a_detached_run_that_is_killed_goes_on_detached() {
    let sandbox = Sandbox::new();
    let Some(home) = home(&sandbox, "0.3") else {
        return skip(NONE);
    };
    let run = detach(&home, &["run", "each"]);
    wait_for("no task ended", || has_ended_tasks(&home, &run));
    signal(u32::try_from(process(&home, &run)).unwrap(), "KILL");
    let followed = home.run(["attach", &run]).exits(3);
    assert!(
        followed.stderr.contains("its process is gone"),
        "{}",
        followed.stderr
    );
    assert_eq!(status(&home), "interrupted");
    let unchanged = home.ok(["cancel", &run]);
    assert!(
        unchanged.stdout.contains("nothing was changed"),
        "{}",
        unchanged.stdout
    );

    assert_eq!(detach(&home, &["resume", &run]), run);
    let followed = home.ok(["attach", &run]);
    assert!(followed.stdout.contains("succeeded"), "{}", followed.stdout);
    let said = home.ok(["logs", &run]).stdout;
    assert!(said.contains("last | the key has 13 letters"), "{said}");
    let kept = std::fs::read_to_string(home.path().join("runs").join(&run).join("detached.log")).unwrap();
    assert!(kept.contains("task last succeeded"), "{kept}");
    left_nothing(&home);
}

fn what_keeps_a_run_from_beginning_is_the_error_of_its_command() {
    let sandbox = Sandbox::new();
    let Some(home) = home(&sandbox, "0") else {
        return skip(NONE);
    };
    let secret = home.run(["run", "each", "--detach"]).exits(1);
    assert!(secret.stderr.contains("site"), "{}", secret.stderr);
    let _ = home.run(["run", "other", "--detach"]).exits(5);
    // What only the other process finds.
    let runs = home.path().join("runs");
    std::fs::remove_dir_all(&runs).unwrap();
    std::fs::write(&runs, "no folder").unwrap();
    let mut command = home.command(["run", "each", "--detach"]);
    let failed = samebundle_tests::Ran::of(command.env("KEY", "correct-horse")).exits(8);
    assert!(
        failed.stderr.starts_with("error: ") || failed.stderr.contains("\nerror: "),
        "{}",
        failed.stderr
    );
    assert!(!failed.stdout.contains("goes on"), "{}", failed.stdout);
}
