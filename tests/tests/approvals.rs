//! Tasks that ask a person, from the command line: who decides, what comes of it, and what of it is checked elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use samebundle_tests::{Home, Sandbox, Test, skip, tests};
use serde_json::{Value, json};

use crate::scenarios::left_nothing;
use crate::secrets::program;

pub(crate) const TESTS: &[Test] = tests![
    a_run_waits_for_the_right_key_and_its_approval_is_checked_elsewhere,
    two_of_three_must_agree_and_one_rejects,
    a_question_ends_when_its_time_is_over,
    a_run_that_waits_is_cancelled,
];

const NONE: &str = "approvals: the busybox image was not made (tests/setup/images)";

/// A task, a question about what it said, and a task that gets the answer. `form` is the question.
fn gated(form: &Value) -> String {
    let form = Value::from(form.to_string());
    format!(
        r#"
components:
  comp-say:
    executorLabel: exec-say
    inputDefinitions: {{parameters: {{words: {{parameterType: STRING}}}}}}
    outputDefinitions: {{parameters: {{said: {{parameterType: STRING}}}}}}
  comp-gate:
    executorLabel: exec-gate
    inputDefinitions: {{parameters: {{score: {{parameterType: STRING}}}}}}
    outputDefinitions: {{parameters: {{decision: {{parameterType: STRING}}, replicas: {{parameterType: NUMBER_INTEGER}}}}}}
deploymentSpec:
  executors:
    exec-say: {{container: {{image: "busybox:1", command: [sh, -c, 'mkdir -p "$(dirname "$1")"; printf "$0" > "$1"'],
      args: ["{{{{$.inputs.parameters['words']}}}}", "{{{{$.outputs.parameters['said'].output_file}}}}"]}}}}
    exec-gate: {{container: {{image: "kfp://human-input", args: [{form}]}}}}
pipelineInfo: {{name: test}}
root:
  dag:
    outputs: {{parameters: {{said: {{valueFromParameter: {{outputParameterKey: said, producerSubtask: after}}}}}}}}
    tasks:
      before: {{componentRef: {{name: comp-say}}, inputs: {{parameters: {{words: {{runtimeValue: {{constant: "0.93"}}}}}}}}}}
      gate: {{componentRef: {{name: comp-gate}},
        inputs: {{parameters: {{score: {{taskOutputParameter: {{producerTask: before, outputParameterKey: said}}}}}}}}}}
      after: {{componentRef: {{name: comp-say}}, dependentTasks: [gate],
        inputs: {{parameters: {{words: {{taskOutputParameter: {{producerTask: gate, outputParameterKey: decision}}}}}}}}}}
  outputDefinitions: {{parameters: {{said: {{parameterType: STRING}}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"#
    )
}

fn form() -> Value {
    json!({"question": "The score is {{$.inputs.parameters['score']}}. Deploy it?", "parameters": {
        "decision": {"description": "deploy?", "enum": ["YES", "NO"]}, "replicas": {"default": 3}}})
}

/// A home with the program and the keys, whose policy lets `keys` decide.
fn home(sandbox: &Sandbox, form: &Value, keys: &[&str], threshold: usize) -> Option<Home> {
    let folder = program(sandbox, "gated", &gated(form))?;
    let home = sandbox.home("home");
    for name in ["default", "alice", "bob", "carol"] {
        let _ = home.ok(["key", "generate", "--name", name, "--no-passphrase"]);
    }
    policy(&home, keys, threshold);
    let _ = home.ok(["build", text(&folder), "-t", "gated"]);
    let _ = home.ok(["install", "gated", "--allow-unsigned"]);
    Some(home)
}

fn policy(home: &Home, keys: &[&str], threshold: usize) {
    let approvals = json!({"keys": keys, "threshold": threshold});
    let rule = json!({"keys": keys, "threshold": 1, "approvals": approvals});
    let policy = json!({"version": 1, "default": "reject", "scopes": {"*": rule}});
    std::fs::write(home.path().join("trust/policy.json"), policy.to_string()).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(home: &Home) -> Value {
    home.ok(["run", "gated", "--output", "json"]).json()
}

/// The folder of the newest run.
fn newest(home: &Home) -> PathBuf {
    let runs = std::fs::read_dir(home.path().join("runs")).unwrap();
    runs.map(|entry| entry.unwrap().path()).max().unwrap()
}

fn events(home: &Home) -> String {
    std::fs::read_to_string(newest(home).join("events.jsonl")).unwrap()
}

fn approvals(home: &Home) -> Value {
    home.ok(["runs", "last", "--output", "json"]).json()["approvals"][0].clone()
}

fn a_run_waits_for_the_right_key_and_its_approval_is_checked_elsewhere() {
    let sandbox = Sandbox::new();
    let Some(home) = home(&sandbox, &form(), &["alice"], 1) else {
        return skip(NONE);
    };
    for command in ["explain", "plan"] {
        let shown = home.ok([command, "gated"]).stdout;
        assert!(shown.contains("person") && shown.contains("gate"), "{shown}");
    }
    let waits = home.ok(["run", "gated"]);
    for part in [
        "suspended",
        "The score is 0.93. Deploy it?",
        " approve ",
        " gate --set decision=…",
    ] {
        assert!(waits.stdout.contains(part), "{part}: {}", waits.stdout);
    }
    left_nothing(&home);
    // Who may not, or answers something else, writes nothing.
    let before = events(&home);
    let refused = home
        .run(["approve", "last", "gate", "--set", "decision=YES"])
        .exits(4);
    assert!(refused.stderr.contains("lets alice decide"), "{}", refused.stderr);
    for wrong in ["decision=MAYBE", "replicas=2", "other=1"] {
        let _ = home
            .run(["approve", "last", "--key", "alice", "--set", wrong])
            .exits(2);
    }
    let _ = home.run(["resume", "last"]).exits(9);
    assert_eq!(events(&home), before);
    let words = [
        "approve",
        "last",
        "--key",
        "alice",
        "--set",
        "decision=YES",
        "--reason",
        "it is good",
    ];
    let report = home.ok(words.iter().chain(&["--output", "json"])).json();
    assert_eq!(report["wentOn"]["status"], "succeeded", "{report}");
    let outputs = home.ok(["outputs", "last"]).stdout;
    let said = outputs.lines().find(|line| line.starts_with("said "));
    assert!(said.is_some_and(|line| line.contains("\"YES\"")), "{outputs}");
    let _ = home.run(words).exits(9);
    left_nothing(&home);
    checked_elsewhere(&sandbox, &home);
}

fn checked_elsewhere(sandbox: &Sandbox, home: &Home) {
    let shown = home.ok(["runs", "last"]).stdout;
    assert!(
        shown.contains("approved by key alice (") && shown.contains("it is good (trusted here)"),
        "{shown}"
    );
    let page = sandbox.path().join("page.html");
    let _ = home.ok(["show", "last", "--html", text(&page)]);
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(
        page.contains("Deploy it?") && page.contains("it is good"),
        "the page has the approval"
    );
    let file = sandbox.path().join("gated.tgz");
    let _ = home.ok(["export", "gated", "--file", text(&file)]);
    let there = sandbox.home("there");
    let _ = there.ok(["import", text(&file), "--allow-unsigned", "--offline"]);
    let known = approvals(&there);
    let decision = &known["decisions"][0];
    assert_eq!(
        (&decision["trusted"], &decision["fault"]),
        (&json!(false), &Value::Null),
        "{known}"
    );
    // The same policy there, with the public key.
    let public = home.path().join("trust/keys/alice.pub");
    let _ = there.ok(["trust", "add", "alice", text(&public)]);
    policy(&there, &["alice"], 1);
    let known = approvals(&there);
    assert_eq!(
        (&known["decisions"][0]["trusted"], &known["problem"]),
        (&json!(true), &Value::Null),
        "{known}"
    );
    flipped(&there);
}

/// A record that was changed is found out.
fn flipped(there: &Home) {
    let path = newest(there).join("run.json");
    let record = std::fs::read_to_string(&path).unwrap();
    let change = |change: &dyn Fn(&mut Value)| {
        let mut record: Value = serde_json::from_str(&record).unwrap();
        let tasks = record["tasks"].as_array_mut().unwrap();
        change(tasks.iter_mut().find(|task| task["name"] == "gate").unwrap());
        std::fs::write(&path, record.to_string()).unwrap();
        approvals(there)
    };
    let known = change(&|gate| gate["outputs"]["decision"] = json!({"value": "NO"}));
    assert!(
        known["problem"]
            .as_str()
            .unwrap()
            .contains("not the answers that were signed"),
        "{known}"
    );
    let known = change(&|gate| {
        let payload = &mut gate["decisions"][0]["document"]["dsseEnvelope"]["payload"];
        let text = STANDARD.decode(payload.as_str().unwrap()).unwrap();
        *payload = json!(STANDARD.encode(String::from_utf8(text).unwrap().replace("YES", "NO")));
    });
    assert!(
        known["decisions"][0]["fault"]
            .as_str()
            .unwrap()
            .contains("does not verify"),
        "{known}"
    );
    assert!(
        known["problem"].as_str().unwrap().contains("nobody signed that"),
        "{known}"
    );
    let known = change(&|gate| gate["question"]["text"] = json!("Is it Monday?"));
    assert_eq!(
        known["decisions"][0]["fault"], "it decides about another question",
        "{known}"
    );
    std::fs::write(&path, record).unwrap();
}

fn two_of_three_must_agree_and_one_rejects() {
    let sandbox = Sandbox::new();
    let Some(home) = home(&sandbox, &form(), &["alice", "bob", "carol"], 2) else {
        return skip(NONE);
    };
    assert_eq!(run(&home)["waiting"][0]["wanted"], 2);
    let first = home.ok([
        "approve",
        "gated",
        "gate",
        "--key",
        "alice",
        "--set",
        "decision=NO",
    ]);
    assert!(
        first.stdout.contains("1 of 2") && first.stdout.contains("another approval"),
        "{}",
        first.stdout
    );
    let before = events(&home);
    // A key counts once, others must agree, and half of the approvals are not enough.
    let _ = home.run(["approve", "gated", "gate", "--key", "alice"]).exits(9);
    let _ = home
        .run([
            "approve",
            "gated",
            "gate",
            "--key",
            "bob",
            "--set",
            "decision=YES",
        ])
        .exits(9);
    let _ = home.run(["resume", "gated"]).exits(9);
    assert_eq!(events(&home), before);
    // Whoever gives no answers agrees. The decision is kept, and the run goes on later.
    let second = home.ok(["approve", "gated", "gate", "--key", "bob", "--no-run"]);
    assert!(second.stdout.contains(" resume "), "{}", second.stdout);
    assert_eq!(
        home.ok(["resume", "gated", "--output", "json"]).json()["status"],
        "succeeded"
    );
    let log = events(&home);
    assert_eq!(log.matches("\"event\":\"task-decided\"").count(), 2);
    assert_eq!(log.matches("\"event\":\"task-suspended\"").count(), 1);
    assert_eq!(
        log.matches("\"task\":\"before\"").count(),
        2,
        "it was not run again"
    );
    assert_eq!(
        run(&home)["status"],
        "suspended",
        "no approval is taken over from another run"
    );
    let rejected = home.ok(["reject", "gated", "--key", "carol", "--reason", "too slow"]);
    assert!(
        rejected.stdout.contains("it was rejected: too slow"),
        "{}",
        rejected.stdout
    );
    assert_eq!(
        home.ok(["runs", "last", "--output", "json"]).json()["runs"][0]["status"],
        "failed"
    );
    // A key that rules need is not removed.
    policy(&home, &["alice", "bob"], 2);
    let _ = home.run(["trust", "remove", "alice"]).exits(9);
}

fn a_question_ends_when_its_time_is_over() {
    let sandbox = Sandbox::new();
    let mut form = form();
    form["timeoutSeconds"] = json!(1);
    let Some(home) = home(&sandbox, &form, &["alice"], 1) else {
        return skip(NONE);
    };
    assert_eq!(run(&home)["status"], "suspended");
    std::thread::sleep(Duration::from_millis(1500));
    let late = home
        .run(["approve", "last", "--key", "alice", "--set", "decision=YES"])
        .exits(9);
    assert!(late.stderr.contains("its time was over at "), "{}", late.stderr);
    let ended = home.run(["resume", "last"]).exits(3);
    assert!(
        ended.stderr.contains("not enough persons approved it"),
        "{}",
        ended.stderr
    );
}

fn a_run_that_waits_is_cancelled() {
    let sandbox = Sandbox::new();
    let Some(home) = home(&sandbox, &form(), &["alice"], 1) else {
        return skip(NONE);
    };
    assert_eq!(run(&home)["status"], "suspended");
    let ended = home.ok(["cancel", "last", "--output", "json"]).json();
    assert_eq!(
        (&ended["status"], &ended["cancelled"]),
        (&json!("cancelled"), &json!(true))
    );
    let before = events(&home);
    let late = [
        "approve",
        "last",
        "gate",
        "--key",
        "alice",
        "--set",
        "decision=YES",
    ];
    let refused = home.run(late).exits(9);
    assert!(refused.stderr.contains("cancelled"), "{}", refused.stderr);
    assert_eq!(events(&home), before);
    let shown = home.ok(["runs", "last"]).stdout;
    assert!(!shown.contains("suspended"), "{shown}");
}
