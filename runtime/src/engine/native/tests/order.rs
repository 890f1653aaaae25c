//! When tasks run: after their dependencies, concurrently, again after a failure, and not at all after a cancel.

use super::*;

const WORD: &str = "
    inputDefinitions: {parameters: {in: {parameterType: STRING, isOptional: true}}},
    outputDefinitions: {parameters: {out: {parameterType: STRING}}}";
const SAY: &str =
    "command: [say, \"{{$.inputs.parameters['in']}}\", \"{{$.outputs.parameters['out'].output_file}}\"]";

fn say(container: &FakeContainer) -> Outcome {
    let command = &container.operation.command;
    assert!(container.write(&command[2], format!("{}.", command[1])));
    Outcome::Succeeded
}

fn tasks(tasks: &str) -> String {
    pipeline(WORD, SAY, &format!("dag: {{tasks: {{{tasks}}}}}"))
}

fn statuses(ran: &Ran) -> Vec<(&str, &str)> {
    ran.record
        .tasks
        .iter()
        .map(|task| (task.name.as_str(), task.status.word()))
        .collect()
}

#[tokio::test]
async fn nested_dags_pass_values_in_and_out() {
    let inner = "
  comp-inner:
    inputDefinitions: {parameters: {x: {parameterType: STRING, defaultValue: d, isOptional: true}}}
    outputDefinitions: {parameters: {y: {parameterType: STRING}}}
    dag:
      outputs: {parameters: {y: {valueFromParameter: {producerSubtask: b, outputParameterKey: out}}}}
      tasks:
        a: {componentRef: {name: comp-c}, inputs: {parameters: {in: {componentInputParameter: x}}}}
        b: {componentRef: {name: comp-c}, inputs: {parameters: {in: {taskOutputParameter: {producerTask: a, outputParameterKey: out}}}}}
";
    let root = "
        inputDefinitions: {parameters: {w: {parameterType: STRING, isOptional: true}}},
        outputDefinitions: {parameters: {r: {parameterType: STRING}, s: {parameterType: STRING}}},
        dag: {
          outputs: {parameters: {
            r: {valueFromParameter: {producerSubtask: given, outputParameterKey: y}},
            s: {valueFromParameter: {producerSubtask: not-given, outputParameterKey: y}}}},
          tasks: {
            given: {componentRef: {name: comp-inner}, inputs: {parameters: {x: {runtimeValue: {constant: v}}}}},
            not-given: {componentRef: {name: comp-inner}, inputs: {parameters: {x: {componentInputParameter: w}}}}}}";
    let text = pipeline(WORD, SAY, root).replacen("components:\n", &format!("components:{inner}"), 1);
    let driver = Fake::immediate(say);
    let outcome = Bench::new(&text).run(&driver).await;
    assert_eq!(outcome.status, RunStatus::Succeeded, "{outcome:?}");
    assert_eq!(outcome.outputs["r"], OutputRecord::Value(json!("v..")));
    assert_eq!(outcome.outputs["s"], OutputRecord::Value(json!("d..")));
    let names: Vec<&str> = outcome
        .record
        .tasks
        .iter()
        .map(|task| task.name.as_str())
        .collect();
    assert!(
        names.contains(&"given/a") && names.contains(&"not-given/b"),
        "{names:?}"
    );
    assert_eq!(driver.operations().len(), 4);
    for operation in driver.operations() {
        let name = &operation.name;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(name.len() <= 63 && name.bytes().all(plain), "{name}");
    }
}

#[tokio::test]
async fn a_failure_stops_what_depends_on_it_and_nothing_else() {
    let text = tasks(
        "bad: {componentRef: {name: comp-c}, inputs: {parameters: {in: {runtimeValue: {constant: bad}}}}},
         after: {componentRef: {name: comp-c}, dependentTasks: [bad]},
         later: {componentRef: {name: comp-c}, dependentTasks: [after]},
         good: {componentRef: {name: comp-c}},
         fine: {componentRef: {name: comp-c}, dependentTasks: [good]}",
    );
    let driver = Fake::immediate(|container| {
        if container.operation.command[1] != "bad" {
            return say(container);
        }
        (1..=12).for_each(|line| container.print(&format!("line {line}")));
        Outcome::Failed {
            code: 3,
            out_of_memory: true,
        }
    });
    let outcome = Bench::new(&text).run(&driver).await;
    assert_eq!(outcome.status, RunStatus::Failed);
    let mut found = statuses(&outcome);
    found.sort_unstable();
    let wanted = [
        ("after", "skipped"),
        ("bad", "failed"),
        ("fine", "succeeded"),
        ("good", "succeeded"),
        ("later", "skipped"),
    ];
    assert_eq!(found, wanted);
    let message = outcome.message.clone().unwrap();
    assert!(
        message.starts_with("task bad failed: it exited with code 3, its memory limit was reached; its last lines on standard output were:\n    line 3\n"),
        "{message}"
    );
    assert!(message.ends_with("line 12"));
    assert!(outcome.error.is_none());
}

#[tokio::test]
async fn the_reason_on_standard_error_is_told_first_whatever_else_is_printed_and_when() {
    let text = tasks("c: {componentRef: {name: comp-c}}");
    // Which of its pipes is read first is random: here they take turns.
    for printed_before in 0..=20 {
        let driver = Fake::immediate(move |container| {
            (0..printed_before).for_each(|_| container.print("\"inputs\": {"));
            container.print_to("Traceback (most recent call last):", true);
            container.print_to("ValueError: no data", true);
            (printed_before..20).for_each(|_| container.print("\"inputs\": {"));
            Outcome::Failed {
                code: 1,
                out_of_memory: false,
            }
        });
        let outcome = Bench::new(&text).run(&driver).await;
        let message = outcome.message.clone().unwrap();
        let begin = "task c failed: it exited with code 1; its last lines on standard error were:\n    Traceback (most \
                     recent call last):\n    ValueError: no data\nIts last lines on standard output were:\n    \"inputs";
        assert!(message.starts_with(begin), "{message}");
    }
}

#[tokio::test]
async fn a_task_is_tried_again_with_clean_outputs() {
    let retry = "retryPolicy: {maxRetryCount: 3, backoffDuration: 0.1s, backoffFactor: 2.0, backoffMaxDuration: 0.15s}";
    let text = tasks(&format!("c: {{componentRef: {{name: comp-c}}, {retry}}}"));
    let tries = AtomicUsize::new(0);
    let driver = Fake::immediate(move |container| {
        let left = container.host("/samebundle/outputs/c/left").unwrap();
        assert!(!left.exists(), "an attempt sees what the one before left");
        std::fs::write(left, "x").unwrap();
        if tries.fetch_add(1, Ordering::Relaxed) < 2 {
            return Outcome::Failed {
                code: 1,
                out_of_memory: false,
            };
        }
        say(container)
    });
    let bench = Bench::new(&text);
    let began = std::time::Instant::now();
    let outcome = bench.run(&driver).await;
    assert!(
        began.elapsed() >= Duration::from_millis(250),
        "waits 0.1 s and 0.15 s"
    );
    assert_eq!(
        (outcome.status, outcome.message.as_deref()),
        (RunStatus::Succeeded, None)
    );
    assert_eq!(task(&outcome, "c").attempts, 3);
    let names: Vec<String> = driver
        .operations()
        .into_iter()
        .map(|operation| operation.name)
        .collect();
    assert!(names[0].ends_with("-1") && names[2].ends_with("-3"), "{names:?}");
    let logged = bench.seen.logged.lock().unwrap();
    let ends: Vec<_> = logged
        .iter()
        .filter_map(|event| match &event.kind {
            RunEventKind::TaskFinished(finished) => Some((finished.exit_code, finished.will_retry)),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [(Some(1), true), (Some(1), true), (Some(0), false)]);
}

#[tokio::test]
async fn retries_end() {
    let text =
        tasks("c: {componentRef: {name: comp-c}, retryPolicy: {maxRetryCount: 2, backoffDuration: 0s}}");
    let driver = Fake::immediate(|_| Outcome::Failed {
        code: 9,
        out_of_memory: false,
    });
    let outcome = Bench::new(&text).run(&driver).await;
    assert_eq!(outcome.status, RunStatus::Failed);
    assert_eq!(
        outcome.message.as_deref(),
        Some("task c failed: it exited with code 9")
    );
    assert_eq!(
        (task(&outcome, "c").attempts, task(&outcome, "c").exit_code),
        (3, Some(9))
    );
}

#[tokio::test]
async fn a_cancel_stops_what_runs_and_starts_no_more() {
    let text = tasks(
        "a: {componentRef: {name: comp-c}}, b: {componentRef: {name: comp-c}}, c: {componentRef: {name: comp-c}},
         d: {componentRef: {name: comp-c}, dependentTasks: [a]}",
    );
    let bench = Bench::new(&text);
    let cancel = bench.context.cancel.clone();
    let driver = Fake::new(move |container| {
        let cancel = cancel.clone();
        Box::pin(async move {
            cancel.cancel();
            container.cancel.cancelled().await;
            Outcome::Cancelled
        })
    });
    let outcome = tokio::time::timeout(Duration::from_secs(5), bench.run(&driver))
        .await
        .unwrap();
    assert_eq!(outcome.status, RunStatus::Cancelled);
    assert!(
        outcome
            .record
            .tasks
            .iter()
            .all(|task| task.status != RunStatus::Succeeded),
        "{outcome:?}"
    );
    assert_eq!(task(&outcome, "d").status, RunStatus::Skipped);
    assert!(driver.operations().len() <= 2);
}

#[tokio::test]
async fn as_many_run_side_by_side_as_may_and_no_more() {
    let each = |name: &str| format!("{name}: {{componentRef: {{name: comp-c}}}}");
    let text = tasks(&["a", "b", "c", "d", "e", "f"].map(each).join(", "));
    let mut bench = Bench::new(&text);
    bench.plan.parallelism = 3;
    let (driver, most) = counting(say);
    let outcome = bench.run(&driver).await;
    assert_eq!(outcome.status, RunStatus::Succeeded);
    assert_eq!(most.load(Ordering::SeqCst), 3);
}
