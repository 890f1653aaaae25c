//! The log of a run, and that every prefix of it is enough for a record.

use super::*;
use crate::record::RecordError;

const NUMBER: &str = "
    inputDefinitions: {parameters: {in: {parameterType: STRING, isOptional: true}}},
    outputDefinitions: {parameters: {out: {parameterType: NUMBER_INTEGER}}}";
const COUNT: &str =
    "command: [count, \"{{$.inputs.parameters['in']}}\", \"{{$.outputs.parameters['out'].output_file}}\"]";

/// Writes the largest integer of 64 bits, and fails for ever if told so.
fn count(container: &FakeContainer) -> Outcome {
    let command = &container.operation.command;
    container.print("counting");
    if command[1] == "fail" {
        return Outcome::Failed {
            code: 3,
            out_of_memory: false,
        };
    }
    assert!(container.write(&command[2], i64::MAX.to_string()));
    Outcome::Succeeded
}

async fn ran() -> (Bench, Ran) {
    let retry = "retryPolicy: {maxRetryCount: 1, backoffDuration: 0s}";
    let fail = "inputs: {parameters: {in: {runtimeValue: {constant: fail}}}}";
    let root = format!(
        "dag: {{tasks: {{bad: {{componentRef: {{name: comp-c}}, {fail}, {retry}}},
          after: {{componentRef: {{name: comp-c}}, dependentTasks: [bad]}},
          good: {{componentRef: {{name: comp-c}}}}}}}}"
    );
    let bench = Bench::new(&pipeline(NUMBER, COUNT, &root));
    let ran = bench.run(&Fake::immediate(count)).await;
    (bench, ran)
}

#[tokio::test]
async fn the_log_has_attempts_inputs_outputs_and_exit_codes() {
    let (bench, ran) = ran().await;
    let logged = bench.seen.logged.lock().unwrap();
    let shown: Vec<String> = logged
        .iter()
        .filter_map(|event| match &event.kind {
            RunEventKind::TaskFinished(end) => Some(format!(
                "{} {} {} {:?} {}",
                end.task,
                end.attempt,
                end.status.word(),
                end.exit_code,
                end.will_retry
            )),
            _ => None,
        })
        .collect();
    let has = |line: &str| assert!(shown.contains(&line.to_owned()), "{line}: {shown:#?}");
    has("bad 1 failed Some(3) true");
    has("bad 2 failed Some(3) false");
    has("after 0 skipped None false");
    has("good 1 succeeded Some(0) false");
    let image = bench.plan.images["alpine"].digest;
    let bad = task(&ran, "bad");
    assert_eq!((bad.attempts, bad.image), (2, Some(image)));
    assert_eq!(bad.inputs["in"], OutputRecord::Value(json!("fail")));
    let good = task(&ran, "good");
    assert_eq!(good.outputs["out"], OutputRecord::Value(json!(i64::MAX)));
    let message =
        "task bad failed: it exited with code 3; its last lines on standard output were:\n    counting";
    assert_eq!(ran.record.message.as_deref(), Some(message));
    assert_eq!(ran.record.status, RunStatus::Failed);
}

#[tokio::test]
async fn any_beginning_of_a_log_folds_to_a_record_that_can_be_resolved() {
    let (bench, ran) = ran().await;
    let folder = Runs::new(&bench.context.home).folder(&ran.record.id);
    let bytes = std::fs::read(folder.join("events.jsonl")).unwrap();
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let other = tempfile::tempdir().unwrap();
    let context = Context {
        home: Home::open(other.path()).unwrap(),
        ..bench.context.clone()
    };
    let runs = Runs::new(&context.home);
    let cut = runs.folder(&ran.record.id);
    std::fs::create_dir(&cut).unwrap();
    for end in 0..=bytes.len() {
        std::fs::write(cut.join("events.jsonl"), &bytes[..end]).unwrap();
        match runs.get(&ran.record.id) {
            Ok(run) if end == bytes.len() => assert_eq!(run, ran.record),
            Ok(run) => assert!(end >= first && run.status == RunStatus::Running, "{end} bytes"),
            Err(error) => assert!(
                end < first && matches!(error, RecordError::NoRun { .. }),
                "{end} bytes"
            ),
        }
        // Each ending costs some syncs.
        if end < first || end % 61 != 0 {
            continue;
        }
        let mut interrupted = runs.interrupted(&context).unwrap();
        let run = interrupted.remove(0).finish(RunFinished {
            status: RunStatus::Interrupted,
            message: None,
            outputs: BTreeMap::new(),
            result: ran.record.id.clone(),
        });
        let run = run.unwrap();
        assert_eq!(runs.get(&ran.record.id).unwrap(), run, "{end} bytes");
        assert!(run.tasks.iter().all(|task| task.status != RunStatus::Running));
        std::fs::remove_file(cut.join("run.json")).unwrap();
    }
}

#[tokio::test]
async fn a_secret_is_in_no_file_of_a_run() {
    let definitions = "
        inputDefinitions: {parameters: {in: {parameterType: STRING}}},
        outputDefinitions: {parameters: {out: {parameterType: STRING}}}";
    let root = "
        inputDefinitions: {parameters: {token: {parameterType: STRING}}},
        outputDefinitions: {parameters: {said: {parameterType: STRING}}},
        dag: {
          outputs: {parameters: {said: {valueFromParameter: {producerSubtask: a, outputParameterKey: out}}}},
          tasks: {
            a: {componentRef: {name: comp-c}, inputs: {parameters: {in: {componentInputParameter: token}}}},
            b: {componentRef: {name: comp-c}, dependentTasks: [a], inputs: {parameters: {in: {runtimeValue: {constant: fail}}}}}}}";
    let mut bench = Bench::new(&pipeline(definitions, COUNT, root)).with("token", json!("hunter2"));
    bench.secrets = vec![json!("hunter2")];
    let driver = Fake::immediate(|container| {
        let command = &container.operation.command;
        container.print(&format!("the token is {}, hunter2", command[1]));
        if command[1] == "fail" {
            return count(container);
        }
        assert_eq!(command[1], "hunter2", "the task itself has it");
        assert!(container.write(&command[2], format!("Bearer {}", command[1])));
        Outcome::Succeeded
    });
    let ran = bench.run(&driver).await;
    let runs = Runs::new(&bench.context.home);
    for name in ["events.jsonl", "run.json", "result.json", "log.jsonl"] {
        let text = std::fs::read_to_string(runs.folder(&ran.record.id).join(name)).unwrap();
        assert!(!text.contains("hunter2"), "{name}: {text}");
    }
    assert_eq!(task(&ran, "a").inputs["in"], OutputRecord::Value(json!("***")));
    assert_eq!(
        task(&ran, "a").outputs["out"],
        OutputRecord::Value(json!("Bearer ***"))
    );
    let message = ran.record.message.as_deref().unwrap();
    assert!(message.contains("the token is fail, ***"), "{message}");
}
