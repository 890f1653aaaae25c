//! Tasks that ask a person.

use samebundle_spec::approval::{Approval, Ruling};
use samebundle_spec::record::{RunId, SignedApproval, TaskDecided, TaskQuestion};
use samebundle_spec::signing::{Approvers, SigningKey};
use zeroize::Zeroizing;

use super::*;
use crate::engine::Resumed;

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

/// A gate behind `a`, a task `after` that says the answer, a task `exit` that always runs behind it, and `other` beside them.
fn gated(argument: &str) -> String {
    let root = "dag: {tasks: {
        a: {componentRef: {name: comp-c}, inputs: {parameters: {in: {runtimeValue: {constant: one}}}}},
        gate: {componentRef: {name: comp-gate}, inputs: {parameters: {
          in: {taskOutputParameter: {producerTask: a, outputParameterKey: out}}}}},
        after: {componentRef: {name: comp-c}, inputs: {parameters: {
          in: {taskOutputParameter: {producerTask: gate, outputParameterKey: decision}}}}},
        exit: {componentRef: {name: comp-c}, dependentTasks: [after], inputs: {parameters: {in: {runtimeValue: {constant: exit}}}},
          triggerPolicy: {strategy: ALL_UPSTREAM_TASKS_COMPLETED}},
        other: {componentRef: {name: comp-c}, inputs: {parameters: {in: {runtimeValue: {constant: other}}}}}}}";
    with_gate(root, argument)
}

fn with_gate(root: &str, argument: &str) -> String {
    let text = pipeline(WORD, SAY, root);
    let gate = "components:
  comp-gate:
    executorLabel: exec-gate
    inputDefinitions: {parameters: {in: {parameterType: STRING, isOptional: true}}}
    outputDefinitions: {parameters: {decision: {parameterType: STRING}}}\n";
    let text = text.replacen("components:\n", gate, 1);
    let executor = format!(
        "  executors:\n    exec-gate: {{container: {{image: 'kfp://human-input', args: ['{argument}']}}}}\n"
    );
    text.replacen("  executors:\n", &executor, 1)
}

const ASK: &str = r#"{"question": "Is {{$.inputs.parameters[''in'']}} good?", "parameters": {"decision": {"enum": ["YES", "NO"]}}}"#;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

/// A run that stops, is decided about, and goes on.
struct Gated {
    bench: Bench,
    id: RunId,
}

impl Gated {
    fn new(text: &str) -> Self {
        let mut bench = Bench::new(text);
        let keys = [("a", 1), ("b", 2)].map(|(name, seed)| (name.parse().unwrap(), key(seed).public()));
        bench.plan.approvers = Approvers {
            keys: keys.into(),
            threshold: 1,
        };
        let id = testing::started(0).id;
        bench.plan.run_dir = Runs::new(&bench.context.home).folder(&id);
        Self { bench, id }
    }

    /// Runs until it ends or waits, and returns what the containers said.
    async fn run(&self) -> (Ran, Vec<String>) {
        let driver = Fake::immediate(say);
        let ran = self.bench.run(&driver).await;
        (ran, said(&driver))
    }

    async fn resume(&mut self) -> (Ran, Vec<String>) {
        let runs = Runs::new(&self.bench.context.home);
        let log = runs
            .go_on(&self.bench.context, &self.id, Mask::default())
            .unwrap();
        let mut events = runs.events(&self.id).unwrap();
        let events: Vec<RunEvent> = std::iter::from_fn(|| events.next_event().unwrap()).collect();
        self.bench.plan.reuse.resumed = Resumed::of(events);
        let driver = Fake::immediate(say);
        let engine = Native::new(Arc::new(driver.clone()), self.bench.store.clone());
        let outcome = engine
            .run(&self.bench.plan, &self.bench.context, &log)
            .await
            .unwrap();
        let record = log.finish(RunFinished {
            status: outcome.status,
            message: outcome.message.clone(),
            outputs: outcome.outputs.clone(),
            result: self.id.clone(),
        });
        let record = record.unwrap();
        (Ran { outcome, record }, said(&driver))
    }

    fn question(&self, task: &str) -> TaskQuestion {
        let run = Runs::new(&self.bench.context.home).get(&self.id).unwrap();
        let task = run.tasks.into_iter().find(|one| one.name == task).unwrap();
        task.question.unwrap()
    }

    fn signed(&self, task: &str, seed: u8, ruling: Ruling) -> SignedApproval {
        let question = self.question(task);
        let answers = match ruling {
            Ruling::Approved => [("decision".to_owned(), json!("YES"))].into(),
            Ruling::Rejected => BTreeMap::new(),
        };
        let approval = Approval {
            run: self.id.clone(),
            task: task.to_owned(),
            attempt: 1,
            question: question.digest(),
            ruling,
            answers,
            reason: Some("so it is".to_owned()),
            time: question.since,
            key: key(seed).public().id(),
        };
        let run = Runs::new(&self.bench.context.home).get(&self.id).unwrap();
        approval.sign(run.bundle_digest, &key(seed)).unwrap()
    }

    fn decide(&self, task: &str, decision: SignedApproval) {
        let runs = Runs::new(&self.bench.context.home);
        let log = runs.waiting(&self.bench.context, &self.id).unwrap();
        let task = task.to_owned();
        log.decide(TaskDecided { task, decision }).unwrap();
    }
}

fn said(driver: &Fake) -> Vec<String> {
    let operations = driver.operations();
    let mut said: Vec<String> = operations.iter().map(|one| one.command[1].clone()).collect();
    said.sort();
    said
}

#[tokio::test]
async fn a_run_waits_for_a_person_and_goes_on_with_the_answers() {
    let mut gated = Gated::new(&gated(ASK));
    let (ran, said) = gated.run().await;
    assert_eq!(ran.status, RunStatus::Suspended, "{ran:?}");
    assert_eq!(
        said,
        ["one", "other"],
        "everything else was run, and nothing behind it"
    );
    assert_eq!(task(&ran, "gate").status, RunStatus::Suspended);
    assert_eq!(gated.question("gate").text.as_deref(), Some("Is one. good?"));
    // Nobody decided: it waits on, and nothing is done or asked again.
    let (ran, said) = gated.resume().await;
    assert_eq!((ran.status, said.len()), (RunStatus::Suspended, 0));
    let events = gated.bench.seen.logged.lock().unwrap().clone();
    let asked = |event: &&RunEvent| matches!(event.kind, RunEventKind::TaskSuspended(_));
    assert_eq!(events.iter().filter(asked).count(), 1);
    // A key that may not does not count.
    gated.decide("gate", gated.signed("gate", 9, Ruling::Approved));
    assert_eq!(gated.resume().await.0.status, RunStatus::Suspended);
    gated.decide("gate", gated.signed("gate", 1, Ruling::Approved));
    let (ran, said) = gated.resume().await;
    assert_eq!(ran.status, RunStatus::Succeeded, "{ran:?}");
    assert_eq!(said, ["YES", "exit"]);
    let gate = task(&ran, "gate");
    assert_eq!(
        (gate.status, gate.attempts, gate.exit_code),
        (RunStatus::Succeeded, 1, None)
    );
    assert_eq!(gate.outputs["decision"], OutputRecord::Value(json!("YES")));
    assert_eq!(gate.decisions.len(), 2);
}

#[tokio::test]
async fn who_rejects_it_fails_the_task_and_exit_handlers_run() {
    let mut gated = Gated::new(&gated(ASK));
    gated.run().await;
    gated.decide("gate", gated.signed("gate", 2, Ruling::Rejected));
    let (ran, said) = gated.resume().await;
    assert_eq!((ran.status, said), (RunStatus::Failed, vec!["exit".to_owned()]));
    let why = task(&ran, "gate").message.as_deref();
    assert_eq!(why, Some("task gate failed: it was rejected: so it is"));
    assert_eq!(task(&ran, "after").status, RunStatus::Skipped);
}

#[tokio::test]
async fn what_nobody_answers_in_time_fails() {
    let limited = ASK.replace("{\"question\"", "{\"timeoutSeconds\": 100, \"question\"");
    let mut gated = Gated::new(&gated(&limited));
    gated.run().await;
    assert_eq!(gated.resume().await.0.status, RunStatus::Suspended);
    for _ in 0..100 {
        gated.bench.context.clock.now();
    }
    let (ran, _) = gated.resume().await;
    assert_eq!(ran.status, RunStatus::Failed);
    let why = task(&ran, "gate").message.clone().unwrap();
    assert!(
        why.contains("not enough persons approved it until 1970-01-01T00:0"),
        "{why}"
    );
}

#[tokio::test]
async fn every_item_of_a_loop_asks_and_one_that_waits_keeps_its_place() {
    for (limit, asked) in [("", 3), ("iteratorPolicy: {parallelismLimit: 1},", 1)] {
        let root = format!(
            "dag: {{tasks: {{each: {{componentRef: {{name: comp-gate}}, {limit}
               parameterIterator: {{itemInput: in, items: {{raw: '[\"x\", \"y\", \"z\"]'}}}}}}}}}}"
        );
        let mut gated = Gated::new(&with_gate(&root, ASK));
        let (ran, _) = gated.run().await;
        assert_eq!(ran.status, RunStatus::Suspended);
        let suspended = |ran: &Ran| {
            let tasks = ran.record.tasks.iter();
            tasks
                .filter(|task| task.question.is_some() && task.status == RunStatus::Suspended)
                .count()
        };
        assert_eq!(suspended(&ran), asked, "{limit}");
        // What was decided about one item counts for no other.
        let first = gated.signed("each/0", 1, Ruling::Approved);
        if asked > 1 {
            gated.decide("each/1", first.clone());
        }
        gated.decide("each/0", first);
        let (ran, _) = gated.resume().await;
        assert_eq!(
            (ran.status, suspended(&ran)),
            (RunStatus::Suspended, if asked > 1 { 2 } else { 1 })
        );
        for item in 1..3 {
            let name = format!("each/{item}");
            gated.decide(&name, gated.signed(&name, 1, Ruling::Approved));
            gated.resume().await;
        }
        let run = Runs::new(&gated.bench.context.home).get(&gated.id).unwrap();
        assert_eq!(run.status, RunStatus::Succeeded, "{run:?}");
    }
}
