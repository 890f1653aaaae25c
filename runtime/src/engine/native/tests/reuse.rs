//! What is taken over of former runs, and of the same run after its process was killed.

use std::path::Path;

use samebundle_spec::record::TakenFrom;

use super::*;
use crate::engine::{Afresh, Resumed};
use crate::record::RunLog;

/// Copies a text to an output file and a text to an artifact.
const COPY: &str = "
    inputDefinitions: {parameters: {in: {parameterType: STRING}}, artifacts: {from: {artifactType: {schemaTitle: system.Dataset}, isOptional: true}}},
    outputDefinitions: {parameters: {out: {parameterType: STRING}}, artifacts: {file: {artifactType: {schemaTitle: system.Dataset}}}}";
const WORDS: &str = "command: [copy, \"{{$.inputs.parameters['in']}}\",
    \"{{$.outputs.parameters['out'].output_file}}\", \"{{$.outputs.artifacts['file'].path}}\"]";

/// Fails if its input begins with `bad`, and in its first attempt if it is `again`.
fn copy(container: &FakeContainer) -> Outcome {
    let command = &container.operation.command;
    let first = container.operation.name.ends_with("-1");
    if command[1].starts_with("bad") || (command[1] == "again" && first) {
        return Outcome::Failed {
            code: 3,
            out_of_memory: false,
        };
    }
    assert!(container.write(&command[2], format!("{}.", command[1])));
    assert!(container.write(&command[3], format!("file of {}", command[1])));
    Outcome::Succeeded
}

const CACHED: &str = "cachingOptions: {enableCache: true}";

/// Two tasks, of which the second reads what the first wrote, and a third of its own.
fn chain(caching: &str) -> String {
    let root = format!(
        "dag: {{tasks: {{
            a: {{componentRef: {{name: comp-c}}, {caching}, inputs: {{parameters: {{in: {{runtimeValue: {{constant: one}}}}}}}}}},
            b: {{componentRef: {{name: comp-c}}, {caching}, inputs: {{
              parameters: {{in: {{taskOutputParameter: {{producerTask: a, outputParameterKey: out}}}}}},
              artifacts: {{from: {{taskOutputArtifact: {{producerTask: a, outputArtifactKey: file}}}}}}}}}},
            c: {{componentRef: {{name: comp-c}}, {caching}, inputs: {{parameters: {{in: {{runtimeValue: {{constant: three}}}}}}}}}}}}}}"
    );
    pipeline(COPY, WORDS, &root)
}

impl Bench {
    fn begin(&mut self) -> RunLog {
        let runs = Runs::new(&self.context.home);
        let number = runs.list(None).unwrap().len();
        let mask = Mask::new(&self.secrets, self.plan.secrets.values());
        let log = runs.begin(&self.context, testing::started(number), mask).unwrap();
        self.plan.run_dir = log.folder().to_owned();
        log
    }

    async fn to_end(&self, log: RunLog, driver: &Fake) -> Ran {
        let engine = Native::new(Arc::new(driver.clone()), self.store.clone());
        let outcome = engine.run(&self.plan, &self.context, &log).await.unwrap();
        let record = log.finish(RunFinished {
            status: outcome.status,
            message: outcome.message.clone(),
            outputs: outcome.outputs.clone(),
            result: testing::started(0).id,
        });
        let record = record.unwrap();
        Ran { outcome, record }
    }

    /// Runs in the run's own folder, and returns what the containers were asked to copy.
    async fn again(&mut self) -> (Ran, Vec<String>) {
        let log = self.begin();
        let driver = Fake::immediate(copy);
        let ran = self.to_end(log, &driver).await;
        (ran, copied(&driver))
    }

    fn pipeline(&mut self, text: &str) {
        self.plan.pipeline = Arc::new(Pipeline::parse("pipeline.yaml", text.as_bytes()).unwrap());
    }
}

fn copied(driver: &Fake) -> Vec<String> {
    let words = driver
        .operations()
        .iter()
        .map(|one| one.command[1].clone())
        .collect();
    let mut words: Vec<String> = words;
    words.sort();
    words
}

fn from(ran: &Ran, name: &str) -> Option<TakenFrom> {
    task(ran, name).taken_from.clone()
}

#[tokio::test]
async fn unchanged_tasks_are_taken_over_with_their_files() {
    let mut bench = Bench::new(&chain(CACHED));
    let (first, said) = bench.again().await;
    assert_eq!(said, ["one", "one.", "three"]);
    let (second, said) = bench.again().await;
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(second.status, RunStatus::Succeeded);
    for name in ["a", "b", "c"] {
        assert_eq!(task(&second, name).outputs, task(&first, name).outputs);
        assert_eq!(task(&second, name).inputs, task(&first, name).inputs);
        let taken = TakenFrom {
            run: first.record.id.clone(),
            task: name.to_owned(),
        };
        assert_eq!(from(&second, name), Some(taken));
        assert_eq!(
            (task(&second, name).attempts, task(&second, name).image.is_some()),
            (0, true)
        );
    }
    let file = bench.plan.run_dir.join("outputs/b/artifacts/file/file");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "file of one.");
    // Only what depends on a change runs.
    bench.pipeline(&chain(CACHED).replace("constant: three", "constant: four"));
    let (third, said) = bench.again().await;
    assert_eq!(said, ["four"]);
    assert_eq!(from(&third, "a").map(|from| from.run), Some(second.record.id));
    bench.plan.reuse.no_cache = true;
    assert_eq!(bench.again().await.1.len(), 3);
}

#[tokio::test]
async fn what_is_not_to_be_cached_runs_and_is_not_offered() {
    for caching in ["cachingOptions: {enableCache: false}", "cachingOptions: {}"] {
        let mut bench = Bench::new(&chain(caching));
        bench.again().await;
        assert_eq!(bench.again().await.1.len(), 3);
        bench.pipeline(&chain(CACHED));
        assert_eq!(bench.again().await.1.len(), 3, "it was offered");
    }
}

#[tokio::test]
async fn what_was_removed_or_changed_is_no_hit() {
    type Change = fn(&Path);
    let changes: [(&str, Change, usize); 4] = [
        (
            "changed",
            |run| std::fs::write(run.join("outputs/a/artifacts/file/file"), "other").unwrap(),
            1,
        ),
        (
            "one file gone",
            |run| std::fs::remove_file(run.join("outputs/b/artifacts/file/file")).unwrap(),
            1,
        ),
        (
            "files gone",
            |run| std::fs::remove_dir_all(run.join("outputs")).unwrap(),
            3,
        ),
        ("run gone", |run| std::fs::remove_dir_all(run).unwrap(), 3),
    ];
    for (what, change, runs) in changes {
        let mut bench = Bench::new(&chain(CACHED));
        bench.again().await;
        change(&bench.plan.run_dir.clone());
        let (ran, said) = bench.again().await;
        assert_eq!(
            (ran.status, said.len()),
            (RunStatus::Succeeded, runs),
            "{what}: {said:?}"
        );
        let file = bench.plan.run_dir.join("outputs/a/artifacts/file/file");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "file of one", "{what}");
    }
}

#[tokio::test]
async fn a_record_that_leads_out_of_its_run_is_no_hit() {
    let mut bench = Bench::new(&chain(CACHED));
    let (ran, _) = bench.again().await;
    let path = bench.plan.run_dir.join("run.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(bench.plan.run_dir.join("stolen"), "file of one").unwrap();
    let forged = text.replace("outputs/a/artifacts/file/file", "outputs/a/../../stolen");
    assert_ne!(forged, text);
    std::fs::write(&path, forged).unwrap();
    let (second, said) = bench.again().await;
    assert_eq!(said, ["one"]);
    assert_eq!(from(&second, "c").map(|from| from.run), Some(ran.record.id));
}

#[tokio::test]
async fn the_results_of_an_imported_run_count_only_for_who_names_it() {
    let mut bench = Bench::new(&chain(CACHED));
    let (first, _) = bench.again().await;
    let path = bench.plan.run_dir.join("run.json");
    let mut run: Run = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    run.imported_with = Some(run.bundle_digest);
    std::fs::write(&path, serde_json::to_vec(&run).unwrap()).unwrap();
    bench.plan.reuse.of = Some(first.record.id.clone());
    assert_eq!(bench.again().await.1.len(), 0);
    bench.plan.reuse.of = None;
    assert_eq!(bench.again().await.1.len(), 3, "nor is it taken by a detour");
}

#[tokio::test]
async fn the_key_of_the_author_counts_instead_of_what_the_task_sees() {
    let keyed =
        |value: &str| chain("cachingOptions: {enableCache: true, cacheKey: mine}").replace("three", value);
    let mut bench = Bench::new(&keyed("three"));
    bench.again().await;
    bench.pipeline(&keyed("changed"));
    let (ran, said) = bench.again().await;
    assert!(said.is_empty(), "{said:?}");
    assert!(from(&ran, "c").is_some());
}

#[tokio::test]
async fn a_task_that_sees_a_secret_or_the_time_has_no_key() {
    let root = "
        inputDefinitions: {parameters: {token: {parameterType: STRING}}},
        dag: {tasks: {a: {componentRef: {name: comp-c}, cachingOptions: {enableCache: true},
          inputs: {parameters: {in: {componentInputParameter: token}}}}}}";
    let mut bench = Bench::new(&pipeline(COPY, WORDS, root)).with("token", json!("hunter2"));
    bench.secrets = vec![json!("hunter2")];
    let (ran, _) = bench.again().await;
    assert_eq!(task(&ran, "a").cache_key, None);
    assert_eq!(bench.again().await.1.len(), 1);
    let timed = chain(CACHED).replace(
        "command: [copy,",
        "env: [{name: T, value: '{{$.pipeline_job_create_time_utc}}'}], command: [copy,",
    );
    assert_eq!(task(&Bench::new(&timed).again().await.0, "a").cache_key, None);
}

#[tokio::test]
async fn a_run_from_a_task_on_takes_over_the_others_even_if_they_are_not_to_be_cached() {
    let mut bench = Bench::new(&chain("cachingOptions: {}"));
    let (first, _) = bench.again().await;
    bench.plan.reuse.of = Some(first.record.id.clone());
    bench.plan.reuse.afresh = Afresh::from(&bench.plan.pipeline, "b").unwrap();
    let (second, said) = bench.again().await;
    assert_eq!(said, ["one."]);
    assert_eq!(from(&second, "c").map(|from| from.run), Some(first.record.id));
    bench.plan.reuse.afresh = Afresh::from(&bench.plan.pipeline, "a").unwrap();
    assert_eq!(bench.again().await.1, ["one", "one."]);
    let error = Afresh::from(&bench.plan.pipeline, "x").unwrap_err().to_string();
    assert_eq!(error, "the pipeline has no task x; its tasks are a, b, c");
}

/// A loop over two items with two tasks each, one of which is tried twice; a task after it; a condition that does not hold;
/// a part that fails; and a task that always runs at the end.
fn everything() -> String {
    let both = "
  comp-item:
    inputDefinitions: {parameters: {x: {parameterType: STRING}}}
    outputDefinitions: {parameters: {y: {parameterType: STRING}}}
    dag:
      outputs: {parameters: {y: {valueFromParameter: {producerSubtask: second, outputParameterKey: out}}}}
      tasks:
        first: {componentRef: {name: comp-c}, inputs: {parameters: {in: {componentInputParameter: x}}},
          retryPolicy: {maxRetryCount: 1, backoffDuration: 0s}}
        second: {componentRef: {name: comp-c}, inputs: {parameters: {in: {taskOutputParameter: {producerTask: first, outputParameterKey: out}}}}}
  comp-part:
    dag:
      tasks:
        good: {componentRef: {name: comp-c}, inputs: {parameters: {in: {runtimeValue: {constant: good}}}}}
        bad: {componentRef: {name: comp-c}, inputs: {parameters: {in: {runtimeValue: {constant: bad}}}}, dependentTasks: [good]}
        never: {componentRef: {name: comp-c}, inputs: {parameters: {in: {runtimeValue: {constant: never}}}}, dependentTasks: [bad]}
";
    let root = "
        dag: {tasks: {
            each: {componentRef: {name: comp-item}, parameterIterator: {itemInput: x, items: {raw: '[\"again\", \"b\"]'}}},
            after: {componentRef: {name: comp-c}, dependentTasks: [each], inputs: {parameters: {in: {runtimeValue: {constant: after}}}}},
            no: {componentRef: {name: comp-c}, inputs: {parameters: {in: {runtimeValue: {constant: no}}}},
              triggerPolicy: {condition: 'inputs.parameter_values[''in''] == ''yes'''}},
            part: {componentRef: {name: comp-part}, retryPolicy: {maxRetryCount: 1, backoffDuration: 0s}},
            exit: {componentRef: {name: comp-c}, dependentTasks: [part, after], inputs: {parameters: {in: {runtimeValue: {constant: exit}}}},
              triggerPolicy: {strategy: ALL_UPSTREAM_TASKS_COMPLETED}}}}";
    pipeline(COPY, WORDS, root).replacen("components:\n", &format!("components:{both}"), 1)
}

/// Cuts what the log has after so many events, as if the process had been killed then, and records the end as the next
/// command does.
fn killed(bench: &Bench, id: &samebundle_spec::record::RunId, events: usize) {
    let runs = Runs::new(&bench.context.home);
    let path = runs.folder(id).join("events.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: String = text.split_inclusive('\n').take(events).collect();
    std::fs::write(&path, kept).unwrap();
    std::fs::remove_file(runs.folder(id).join("run.json")).unwrap();
    for log in runs.interrupted(&bench.context).unwrap() {
        let _ = log
            .finish(RunFinished {
                status: RunStatus::Interrupted,
                message: Some("killed".to_owned()),
                outputs: BTreeMap::new(),
                result: id.clone(),
            })
            .unwrap();
    }
}

fn events(bench: &Bench, id: &samebundle_spec::record::RunId) -> Vec<RunEvent> {
    let mut events = Runs::new(&bench.context.home).events(id).unwrap();
    std::iter::from_fn(|| events.next_event().unwrap()).collect()
}

async fn resumed(bench: &mut Bench, id: &samebundle_spec::record::RunId) -> (Ran, Vec<String>) {
    let mask = Mask::new(&bench.secrets, bench.plan.secrets.values());
    let log = Runs::new(&bench.context.home)
        .go_on(&bench.context, id, mask)
        .unwrap();
    bench.plan.reuse.resumed = Resumed::of(events(bench, id));
    let driver = Fake::immediate(copy);
    let ran = bench.to_end(log, &driver).await;
    let names = driver.operations().iter().map(|one| one.name.clone()).collect();
    (ran, names)
}

/// The containers of the tasks that had ended, as a record names them.
fn ended(events: &[RunEvent]) -> Vec<String> {
    let mut ended = Vec::new();
    for event in events {
        match &event.kind {
            RunEventKind::TaskStarted(one) => {
                ended.retain(|name: &String| !name.starts_with(&format!("{}/", one.task)));
            }
            RunEventKind::TaskFinished(one) if !one.will_retry && one.exit_code.is_some() => {
                ended.push(one.task.clone());
            }
            _ => {}
        }
    }
    ended
}

fn in_short(ran: &Ran) -> Vec<String> {
    let tasks = ran.record.tasks.iter();
    let mut all: Vec<String> = tasks
        .map(|task| {
            format!(
                "{} {} {:?} {:?}",
                task.name,
                task.status.word(),
                task.outputs,
                task.inputs
            )
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_run_that_was_killed_anywhere_goes_on_and_runs_nothing_again_that_had_ended() {
    let mut bench = Bench::new(&everything());
    let log = bench.begin();
    let undisturbed = bench.to_end(log, &Fake::immediate(copy)).await;
    let all = events(&bench, &undisturbed.record.id).len();
    assert_eq!(undisturbed.status, RunStatus::Failed);
    assert!(all > 30, "{all}");
    for cut in 1..all {
        let mut bench = Bench::new(&everything());
        let log = bench.begin();
        let id = log.run().id;
        bench.to_end(log, &Fake::immediate(copy)).await;
        killed(&bench, &id, cut);
        let before = events(&bench, &id);
        // It is killed a second time in the middle of what is left.
        resumed(&mut bench, &id).await;
        let (there, now) = (before.len(), events(&bench, &id).len());
        killed(&bench, &id, (there + 1 + (now - there) / 2).min(now - 1));
        let before = events(&bench, &id);
        let (ran, containers) = resumed(&mut bench, &id).await;
        assert_eq!(ran.status, undisturbed.status, "{cut}");
        assert_eq!(in_short(&ran), in_short(&undisturbed), "{cut}");
        assert!(ran.record.message.is_some(), "{cut}");
        for name in ended(&before) {
            let container = super::super::container::operation_name(&name, 1);
            let container = container.trim_end_matches('1');
            // The second attempt of the part runs all of it again, as it would have anyway.
            let anew = name.starts_with("part/");
            let again = containers.iter().find(|one| one.starts_with(container));
            assert!(anew || again.is_none(), "{cut}: {name} ran again: {containers:?}");
        }
        assert_eq!(Runs::new(&bench.context.home).get(&id).unwrap(), ran.record);
    }
}

#[tokio::test]
async fn a_run_that_ended_is_not_resumed() {
    let mut bench = Bench::new(&chain(CACHED));
    let (ran, _) = bench.again().await;
    let runs = Runs::new(&bench.context.home);
    let error = runs
        .go_on(&bench.context, &ran.record.id, Mask::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is succeeded; only a run that was interrupted can be resumed"),
        "{error}"
    );
    let log = bench.begin();
    let id = log.run().id;
    let error = Runs::new(&bench.context.home).go_on(&bench.context, &id, Mask::default());
    assert!(error.unwrap_err().to_string().contains("is running"));
    drop(log);
}

#[tokio::test]
async fn outputs_that_the_log_hides_are_read_from_their_files() {
    let root = "
        inputDefinitions: {parameters: {token: {parameterType: STRING}}},
        dag: {tasks: {
          a: {componentRef: {name: comp-c}, inputs: {parameters: {in: {componentInputParameter: token}}}},
          b: {componentRef: {name: comp-c}, inputs: {parameters: {in: {taskOutputParameter: {producerTask: a, outputParameterKey: out}}}}}}}";
    let mut bench = Bench::new(&pipeline(COPY, WORDS, root)).with("token", json!("hunter2"));
    bench.secrets = vec![json!("hunter2")];
    let log = bench.begin();
    let id = log.run().id;
    bench.to_end(log, &Fake::immediate(copy)).await;
    killed(&bench, &id, 3);
    let mask = Mask::new(&bench.secrets, []);
    let log = Runs::new(&bench.context.home)
        .go_on(&bench.context, &id, mask)
        .unwrap();
    bench.plan.reuse.resumed = Resumed::of(events(&bench, &id));
    let driver = Fake::immediate(copy);
    bench.to_end(log, &driver).await;
    assert_eq!(copied(&driver), ["hunter2."]);
}

/// The time that it takes to take over 1,000 tasks.
#[tokio::test]
async fn a_thousand_tasks_are_taken_over_in_little_time() {
    let item = "
  comp-item:
    inputDefinitions: {parameters: {x: {parameterType: STRING}}}
    dag: {tasks: {a: {componentRef: {name: comp-c}, cachingOptions: {enableCache: true}, inputs: {parameters: {in: {componentInputParameter: x}}}}}}
";
    let items: Vec<String> = (0..1_000).map(|number| format!("item {number}")).collect();
    let root = format!(
        "dag: {{tasks: {{each: {{componentRef: {{name: comp-item}}, parameterIterator: {{itemInput: x, items: {{raw: '{}'}}}}}}}}}}",
        json!(items)
    );
    let text = pipeline(COPY, WORDS, &root).replacen("components:\n", &format!("components:{item}"), 1);
    let mut bench = Bench::new(&text);
    assert_eq!(bench.again().await.1.len(), 1_000);
    let began = std::time::Instant::now();
    let (ran, said) = bench.again().await;
    assert!(said.is_empty());
    assert_eq!(ran.status, RunStatus::Succeeded);
    println!("1,000 tasks were taken over in {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20));
}
