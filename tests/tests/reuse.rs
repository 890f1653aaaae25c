//! What a run takes over, from the command line: of earlier runs, from a task on, and of itself after it was killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use samebundle_tests::{Home, Running, Sandbox, Test, full, skip, tell, tests};
use serde_json::{Value, json};

use crate::scenarios::left_nothing;
use crate::secrets::program;

pub(crate) const TESTS: &[Test] = tests![
    unchanged_tasks_are_taken_over_here_and_after_an_export,
    tasks_that_are_not_deterministic_are_named,
    a_run_that_was_killed_goes_on_where_it_was,
    a_killed_helper_fails_its_attempt_alone,
    an_exit_handler_is_part_of_each_run,
];

const NONE: &str = "reuse: the busybox image was not made (tests/setup/images)";

/// Two tasks, of which the second reads a file of the first: `script` runs in the first.
fn two(script: &str) -> String {
    let script = Value::from(script);
    format!(
        r#"
components:
  comp-a:
    executorLabel: exec-a
    outputDefinitions: {{artifacts: {{file: {{artifactType: {{schemaTitle: system.Dataset}}}}}}}}
  comp-b:
    executorLabel: exec-b
    inputDefinitions: {{artifacts: {{from: {{artifactType: {{schemaTitle: system.Dataset}}}}}}}}
    outputDefinitions: {{parameters: {{said: {{parameterType: STRING}}}}}}
deploymentSpec:
  executors:
    exec-a: {{container: {{image: "busybox:1", command: [sh, -c, {script}], args: ["{{{{$.outputs.artifacts['file'].path}}}}"]}}}}
    exec-b: {{container: {{image: "busybox:1", command: [sh, -c, 'mkdir -p "$(dirname "$1")"; cat "$0" > "$1"'],
      args: ["{{{{$.inputs.artifacts['from'].path}}}}", "{{{{$.outputs.parameters['said'].output_file}}}}"]}}}}
pipelineInfo: {{name: test}}
root:
  dag:
    outputs: {{parameters: {{said: {{valueFromParameter: {{outputParameterKey: said, producerSubtask: b}}}}}}}}
    tasks:
      a: {{componentRef: {{name: comp-a}}, cachingOptions: {{enableCache: true}}}}
      b: {{componentRef: {{name: comp-b}}, cachingOptions: {{enableCache: true}},
        inputs: {{artifacts: {{from: {{taskOutputArtifact: {{producerTask: a, outputArtifactKey: file}}}}}}}}}}
  outputDefinitions: {{parameters: {{said: {{parameterType: STRING}}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"#
    )
}

const HELLO: &str = "printf hello > \"$0\"";

fn run(home: &Home, words: &[&str]) -> Value {
    home.ok([&["run"], words, &["--output", "json"]].concat()).json()
}

fn taken(report: &Value) -> u64 {
    report["takenOver"].as_u64().unwrap_or_default()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn unchanged_tasks_are_taken_over_here_and_after_an_export() {
    let sandbox = Sandbox::new();
    let Some(folder) = program(&sandbox, "two", &two(HELLO)) else {
        return skip(NONE);
    };
    let home = sandbox.home("home");
    assert_eq!(taken(&run(&home, &[text(&folder)])), 0);
    let first = home.ok(["runs", "last", "--output", "json"]).json();
    let again = home.ok(["run", text(&folder)]);
    assert!(
        again
            .stdout
            .contains("results of 2 tasks were taken over from earlier runs"),
        "{}",
        again.stdout
    );
    assert!(
        again.stderr.contains("task a taken over from run "),
        "{}",
        again.stderr
    );
    let shown = home.ok(["runs", "last"]).stdout;
    let id = first["runs"][0]["id"].as_str().unwrap();
    assert!(shown.contains("TAKEN OVER FROM") && shown.contains(id), "{shown}");
    assert_eq!(taken(&run(&home, &[text(&folder), "--no-cache"])), 0);
    assert_eq!(taken(&run(&home, &[text(&folder), "--from", "b"])), 1);
    assert_eq!(taken(&run(&home, &[text(&folder), "--from", "a"])), 0);
    let wrong = home.run(["run", text(&folder), "--from", "x"]).exits(5);
    assert!(
        wrong.stderr.contains("has no task x; its tasks are a, b"),
        "{}",
        wrong.stderr
    );
    // One component is edited: what does not depend on it is taken over.
    let changed = two(HELLO).replace("cat \"$0\" >", "cat \"$0\" \"$0\" >");
    std::fs::write(folder.join("pipeline.yaml"), changed).unwrap();
    let report = run(&home, &[text(&folder)]);
    assert_eq!(taken(&report), 1, "{report}");
    let page = sandbox.path().join("page.html");
    let _ = home.ok(["show", "last", "--html", text(&page)]);
    assert!(std::fs::read_to_string(&page).unwrap().contains("taken over"));
    travels(&sandbox, &folder);
}

/// Results travel with an export, and are taken where a person names the run: nobody signed them.
fn travels(sandbox: &Sandbox, folder: &Path) {
    let (here, there) = (sandbox.home("here"), sandbox.home("there"));
    let file = sandbox.path().join("two.tgz");
    let _ = here.ok(["build", text(folder), "-t", "two"]);
    let _ = here.ok(["install", "two", "--allow-unsigned"]);
    assert_eq!(taken(&run(&here, &["two"])), 0);
    let _ = here.ok(["export", "two", "--file", text(&file)]);
    let _ = there.ok(["import", text(&file), "--allow-unsigned"]);
    assert_eq!(taken(&run(&there, &["two", "--of", "last"])), 2);
    assert_eq!(taken(&run(&there, &["two"])), 0);
    // With the runs, their results go.
    let _ = there.ok(["runs", "remove", "--keep", "0"]);
    assert_eq!(taken(&run(&there, &["two"])), 0);
    let swept = there.ok(["store", "gc"]);
    assert!(!swept.stderr.contains("error"), "{}", swept.stderr);
    assert_eq!(taken(&run(&there, &["two"])), 2);
}

fn tasks_that_are_not_deterministic_are_named() {
    let sandbox = Sandbox::new();
    let Some(folder) = program(&sandbox, "two", &two("head -c 8 /dev/urandom | od -x > \"$0\"")) else {
        return skip(NONE);
    };
    let home = sandbox.home("home");
    let one = run(&home, &[text(&folder)])["run"].as_str().unwrap().to_owned();
    let _ = run(&home, &[text(&folder), "--no-cache"]);
    let differ = home.ok(["diff", &one, "last"]);
    assert!(
        differ
            .stdout
            .contains("not deterministic: a did the same with the same inputs"),
        "{}",
        differ.stdout
    );
}

/// A loop, a condition that does not hold, a person who is asked, a task after that and one at the end; each appends a line to a
/// volume when it begins.
const MARKS: &str = r#"
components:
  comp-item:
    inputDefinitions: {parameters: {x: {parameterType: STRING}}}
    dag:
      tasks:
        first: {componentRef: {name: comp-mark}, inputs: {parameters: {name: {componentInputParameter: x}}}}
        second: {componentRef: {name: comp-mark}, dependentTasks: [first],
          inputs: {parameters: {name: {runtimeValue: {constant: "{{$.inputs.parameters['x']}}-second"}}, x: {componentInputParameter: x}}}}
  comp-mark:
    executorLabel: exec-mark
    inputDefinitions: {parameters: {name: {parameterType: STRING}, x: {parameterType: STRING, isOptional: true}}}
    outputDefinitions: {parameters: {said: {parameterType: STRING}}}
  comp-gate:
    executorLabel: exec-gate
    outputDefinitions: {parameters: {ok: {parameterType: STRING}}}
deploymentSpec:
  executors:
    exec-gate: {container: {image: "kfp://human-input"}}
    exec-mark: {container: {image: "busybox:1", command: [sh, -c, 'echo "$0" >> /data/log; sleep 0.1; mkdir -p "$(dirname "$1")"; printf "$0" > "$1"'],
      args: ["{{$.inputs.parameters['name']}}", "{{$.outputs.parameters['said'].output_file}}"]}}
pipelineInfo: {name: test}
root:
  dag:
    tasks:
      each: {componentRef: {name: comp-item}, parameterIterator: {itemInput: x, items: {raw: '["i0", "i1", "i2"]'}}}
      never: {componentRef: {name: comp-mark}, inputs: {parameters: {name: {runtimeValue: {constant: never}}}},
        triggerPolicy: {condition: "inputs.parameter_values['name'] == 'yes'"}}
      gate: {componentRef: {name: comp-gate}, dependentTasks: [each]}
      after: {componentRef: {name: comp-mark}, inputs: {parameters: {name: {taskOutputParameter: {producerTask: gate, outputParameterKey: ok}}}}}
      exit: {componentRef: {name: comp-mark}, dependentTasks: [each, after], inputs: {parameters: {name: {runtimeValue: {constant: exit}}}},
        triggerPolicy: {strategy: ALL_UPSTREAM_TASKS_COMPLETED}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
---
platforms: {kubernetes: {deploymentSpec: {executors: {exec-mark: {pvcMount: [{constant: marks, mountPath: /data}]}}}}}
"#;

const MARKED: [&str; 8] = [
    "after",
    "exit",
    "i0",
    "i0-second",
    "i1",
    "i1-second",
    "i2",
    "i2-second",
];

/// Starts a command and kills it when the log of the newest run has so many events. Tells whether it was killed.
fn kill_at(home: &Home, words: &[&str], events: usize) -> bool {
    let mut command = home.command(words);
    let mut running = Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let began = Instant::now();
    while running.ended().is_none() && began.elapsed() < Duration::from_secs(60) {
        if newest_events(home).lines().count() >= events {
            running.kill();
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn newest_events(home: &Home) -> String {
    let runs = std::fs::read_dir(home.path().join("runs"))
        .into_iter()
        .flatten()
        .flatten();
    let newest = runs.map(|run| run.path()).max();
    let log = newest.map(|run| std::fs::read_to_string(run.join("events.jsonl")));
    log.and_then(Result::ok).unwrap_or_default()
}

/// The tasks whose containers had ended, by what they appended to the volume.
fn ended(log: &str) -> Vec<String> {
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let done = events.filter(|event| event["event"] == "task-finished" && event["exitCode"] == 0);
    done.map(|event| {
        let task = event["task"].as_str().unwrap_or_default();
        let (item, second) = (task.split('/').nth(1), task.ends_with("second"));
        match item {
            Some(item) => format!("i{item}{}", if second { "-second" } else { "" }),
            None => task.to_owned(),
        }
    })
    .collect()
}

fn marks(home: &Home) -> Vec<String> {
    let log = std::fs::read_to_string(home.path().join("volumes/marks/log")).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

/// What a person types next to bring the run to its end; none if it has ended.
fn next_step(log: &str) -> Option<&'static [&'static str]> {
    let last: Value = log
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())?;
    let decided = log.contains("\"event\":\"task-decided\"");
    match (last["event"].as_str(), last["status"].as_str()) {
        (Some("run-finished"), Some("succeeded")) => None,
        (Some("run-finished"), Some("suspended")) if !decided => {
            Some(&["approve", "last", "gate", "--set", "ok=after", "--reason", "seen"])
        }
        _ => Some(&["resume", "last"]),
    }
}

fn a_run_that_was_killed_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    let Some(folder) = program(&sandbox, "marks", MARKS) else {
        return skip(NONE);
    };
    let start = sandbox.home("start");
    let _ = start.ok(["key", "generate", "--no-passphrase"]);
    let _ = start.ok(["build", text(&folder), "-t", "marks"]);
    let _ = start.ok(["install", "marks", "--allow-unsigned"]);
    let _ = start.ok(["run", "marks"]);
    let _ = start.ok(["approve", "last", "gate", "--set", "ok=after"]);
    let all = newest_events(&start).lines().count();
    let ended_well = start.run(["resume", "last"]).exits(9);
    let why = "only a run that was interrupted can be resumed";
    assert!(ended_well.stderr.contains(why), "{}", ended_well.stderr);
    // How many events later it is killed again.
    let (step, again): (usize, &[usize]) = if full() { (1, &[1, 4, 9]) } else { (5, &[6]) };
    let mut killed = 0;
    for (at, later) in (1..all)
        .step_by(step)
        .flat_map(|at| again.iter().map(move |later| (at, *later)))
    {
        let home = sandbox.home(&format!("killed-{at}-{later}"));
        samebundle_tests::copy_tree(start.path(), home.path()).unwrap();
        for folder in ["runs", "volumes"] {
            let _ = std::fs::remove_dir_all(home.path().join(folder));
        }
        killed += goes_on(&home, at, later);
        let _ = std::fs::remove_dir_all(home.path());
    }
    tell(&format!(
        "a run with a loop, an approval and an exit handler of {all} events was killed at {killed} points"
    ));
    assert!(killed > 5);
}

/// Kills a run at an event, and once more so many events later; at the end, nothing that had ended was done again, and the
/// decision counts once. Returns how often it was killed.
fn goes_on(home: &Home, at: usize, later: usize) -> usize {
    /// More commands than any run needs.
    const STEPS: usize = 9;
    let mut points = vec![at + later, at];
    let mut counts = Vec::new();
    let mut words: &[&str] = &["run", "marks"];
    for _ in 0..STEPS {
        match points.last() {
            Some(point) => {
                if kill_at(home, words, *point) {
                    points.pop();
                    counts.push((ended(&newest_events(home)), marks(home)));
                }
            }
            None => drop(home.ok(words)),
        }
        // A process that was killed before its log began has left no run.
        match newest_events(home).as_str() {
            "" => {}
            log => match next_step(log) {
                Some(next) => words = next,
                None => break,
            },
        }
    }
    let log = newest_events(home);
    assert_eq!(next_step(&log), None, "{at}+{later}: {log}");
    assert_eq!(
        log.matches("\"event\":\"task-decided\"").count(),
        1,
        "{at}+{later}: {log}"
    );
    let now = marks(home);
    let killed = counts.len();
    for (ended, then) in counts {
        for name in ended {
            let count = |marks: &[String]| marks.iter().filter(|mark| **mark == name).count();
            assert_eq!(
                count(&then),
                count(&now),
                "{at}+{later}: {name} was done again: {now:?}"
            );
        }
    }
    let mut distinct = now;
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct, MARKED, "{at}+{later}");
    left_nothing(home);
    killed
}

/// A task that is watched over by a process which is killed: the attempt failed, the next one does it, and the run goes on.
fn a_killed_helper_fails_its_attempt_alone() {
    let sandbox = Sandbox::new();
    let Some(folder) = program(&sandbox, "watched", WATCHED) else {
        return skip(NONE);
    };
    let home = sandbox.home("home");
    let mut command = home.command(["run", text(&folder), "--output", "json"]);
    let mut running = Running::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let began = Instant::now();
    let mut helper = None;
    while helper.is_none() && began.elapsed() < Duration::from_secs(60) && running.ended().is_none() {
        std::thread::sleep(Duration::from_millis(20));
        let begun = home.path().join("volumes/marks/begun").exists();
        helper = begun.then(|| helper_of(running.id())).flatten();
    }
    let helper = helper.expect("the helper of the task's container");
    let _ = Command::new("kill")
        .args(["-9", &helper.to_string()])
        .status()
        .unwrap();
    let ran = running.finish().exits(0);
    assert_eq!(ran.json()["status"], "succeeded", "{}", ran.stderr);
    let run = home.ok(["runs", "last", "--output", "json"]).json();
    let tasks = run["tasks"].as_array().unwrap();
    let attempts = |name: &str| tasks.iter().find(|task| task["name"] == name).unwrap()["attempts"].clone();
    assert_eq!((attempts("task"), attempts("exit")), (json!(2), json!(1)));
    left_nothing(&home);
}

/// The process that started the container of a command: its child with a child of its own.
fn helper_of(parent: u32) -> Option<u32> {
    let children = |of: u32| -> Vec<u32> {
        let lists = std::fs::read_dir(format!("/proc/{of}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let lists = lists.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        lists
            .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|id| id.parse().ok())
            .collect()
    };
    children(parent)
        .into_iter()
        .find(|child| !children(*child).is_empty())
}

/// A task that takes long the first time only, is tried twice, and is followed by an exit handler.
const WATCHED: &str = r#"
components:
  comp-task: {executorLabel: exec-task}
  comp-exit: {executorLabel: exec-exit}
deploymentSpec:
  executors:
    exec-task: {container: {image: "busybox:1", command: [sh, -c, 'test -e /data/begun && exit 0; touch /data/begun; sleep 600']}}
    exec-exit: {container: {image: "busybox:1", command: ["true"]}}
pipelineInfo: {name: test}
root:
  dag:
    tasks:
      task: {componentRef: {name: comp-task}, retryPolicy: {maxRetryCount: 1, backoffDuration: 0s}}
      exit: {componentRef: {name: comp-exit}, dependentTasks: [task],
        triggerPolicy: {strategy: ALL_UPSTREAM_TASKS_COMPLETED}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
---
platforms: {kubernetes: {deploymentSpec: {executors: {exec-task: {pvcMount: [{constant: marks, mountPath: /data}]}}}}}
"#;

fn an_exit_handler_is_part_of_each_run() {
    let sandbox = Sandbox::new();
    let cached = WATCHED.replace(
        "componentRef:",
        "cachingOptions: {enableCache: true}, componentRef:",
    );
    let Some(folder) = program(&sandbox, "watched", &cached.replace("sleep 600", "true")) else {
        return skip(NONE);
    };
    let home = sandbox.home("home");
    let _ = home.ok(["run", text(&folder)]);
    let _ = home.ok(["run", text(&folder)]);
    let run = home.ok(["runs", "last", "--output", "json"]).json();
    let exit = run["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|task| task["name"] == "exit");
    assert_eq!(exit.unwrap()["takenFrom"], Value::Null, "{run}");
}
