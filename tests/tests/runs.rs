//! The log of a run, read from another process: while it goes on, when it is killed, and after.

use std::process::Stdio;
use std::time::{Duration, Instant};

use samebundle_runtime::Home;
use samebundle_runtime::record::Runs;
use samebundle_spec::record::{RunEvent, RunEventKind, RunId, RunStatus};
use samebundle_tests::{Running, Sandbox, Test, greet, skip, tests};

pub(crate) const TESTS: &[Test] = tests![a_run_of_another_process_is_followed_to_its_end_or_its_death];

/// Waits for the first run of a home that is none of these.
fn another_run(home: &Home, known: &[RunId]) -> RunId {
    let start = Instant::now();
    loop {
        let runs = Runs::new(home).list(None).unwrap();
        if let Some(run) = runs.into_iter().find(|run| !known.contains(&run.id)) {
            return run.id;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no run began");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn words(events: &[RunEvent]) -> Vec<String> {
    let word = |event: &RunEvent| match &event.kind {
        RunEventKind::RunStarted(started) => format!("{} started", started.bundle),
        RunEventKind::TaskStarted(started) => format!("{} started", started.task),
        RunEventKind::TaskFinished(finished) => format!("{} {}", finished.task, finished.status.word()),
        RunEventKind::RunFinished(finished) => format!("run {}", finished.status.word()),
        _ => "unknown".to_owned(),
    };
    events.iter().map(word).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn a_run_of_another_process_is_followed_to_its_end_or_its_death() {
    let Some(greet) = greet() else {
        return skip("runs: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let file = sandbox.path().join("greet.tar");
    let _ = publisher.ok(["copy", "greet", file.to_str().unwrap()]);
    let consumer = greet.trusting(&sandbox, "consumer");
    let _ = consumer.ok(["install", file.to_str().unwrap()]);
    let home = Home::open(consumer.path()).unwrap();
    let runs = Runs::new(&home);

    let mut killed = consumer.start(["run", "greet", "--times=100000000"]);
    let first = another_run(&home, &[]);
    let mut follow = runs.follow(&first).unwrap();
    let mut seen = vec![follow.next_event().await.unwrap().unwrap()];
    seen.push(follow.next_event().await.unwrap().unwrap());
    killed.kill();
    assert_eq!(follow.next_event().await.unwrap(), None, "its process is gone");
    assert_eq!(words(&seen), ["greet started", "greet started"]);
    assert_eq!(runs.get(&first).unwrap().status, RunStatus::Running);
    let shown = consumer
        .ok(["runs", "--status", "interrupted", "-o", "json"])
        .json();
    assert_eq!(shown["runs"][0]["id"], first.to_string());

    let mut command = consumer.command(["run", "greet", "--times=20000", "--output", "json"]);
    let going = Running::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let second = another_run(&home, std::slice::from_ref(&first));
    let mut follow = runs.follow(&second).unwrap();
    let mut seen = Vec::new();
    while let Some(event) = follow.next_event().await.unwrap() {
        seen.push(event);
    }
    let wanted = [
        "greet started",
        "greet started",
        "greet succeeded",
        "shout started",
        "shout succeeded",
        "run succeeded",
    ];
    assert_eq!(words(&seen), wanted);
    let ran = going.finish().ok();
    // What the command shows as JSON is the same log.
    let shown: Vec<RunEvent> = ran
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(words(&shown), wanted);

    let run = runs.get(&first).unwrap();
    assert_eq!(run.status, RunStatus::Interrupted, "the next command resolved it");
    assert_eq!(run.tasks[0].status, RunStatus::Interrupted);
    let mut events = runs.events(&first).unwrap();
    let all: Vec<RunEvent> = std::iter::from_fn(|| events.next_event().unwrap()).collect();
    assert_eq!(words(&all), ["greet started", "greet started", "run interrupted"]);
}
