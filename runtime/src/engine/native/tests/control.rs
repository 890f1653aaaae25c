//! Loops, conditions, branches and exit handlers.

use super::*;

/// Says its input and a dot. An input that begins with `bad` makes it fail.
const WORD: &str = "
    inputDefinitions: {parameters: {in: {parameterType: STRING, isOptional: true}}},
    outputDefinitions: {parameters: {out: {parameterType: STRING}}}";
const SAY: &str =
    "command: [say, \"{{$.inputs.parameters['in']}}\", \"{{$.outputs.parameters['out'].output_file}}\"]";

fn say(container: &FakeContainer) -> Outcome {
    let command = &container.operation.command;
    if command[1].starts_with("bad") {
        container.print("it went wrong");
        return Outcome::Failed {
            code: 3,
            out_of_memory: false,
        };
    }
    assert!(container.write(&command[2], format!("{}.", command[1])));
    Outcome::Succeeded
}

fn with(components: &str, root: &str) -> String {
    pipeline(WORD, SAY, root).replacen("components:\n", &format!("components:\n{components}"), 1)
}

async fn run(text: &str) -> (Ran, Vec<String>) {
    let driver = Fake::immediate(say);
    let ran = Bench::new(text).run(&driver).await;
    let mut said: Vec<String> = driver
        .operations()
        .iter()
        .map(|one| one.command[1].clone())
        .collect();
    said.sort();
    (ran, said)
}

fn status(ran: &Ran, name: &str) -> &'static str {
    task(ran, name).status.word()
}

/// A DAG with one input `x`, which one container says, and the output `y`.
const ITEM: &str = "
  comp-item:
    inputDefinitions: {parameters: {x: {parameterType: STRING}}}
    outputDefinitions: {parameters: {y: {parameterType: STRING}}}
    dag:
      outputs: {parameters: {y: {valueFromParameter: {producerSubtask: a, outputParameterKey: out}}}}
      tasks:
        a: {componentRef: {name: comp-c}, inputs: {parameters: {in: {componentInputParameter: x}}}}
";

fn loop_over(items: &str) -> String {
    let root = format!(
        "outputDefinitions: {{parameters: {{all: {{parameterType: LIST}}}}}},
         dag: {{outputs: {{parameters: {{all: {{valueFromParameter: {{producerSubtask: each, outputParameterKey: y}}}}}}}},
           tasks: {{each: {{componentRef: {{name: comp-item}}, {items}}}}}}}"
    );
    with(ITEM, &root)
}

#[tokio::test]
async fn a_loop_collects_what_its_items_produce_in_their_order() {
    let text = loop_over("parameterIterator: {itemInput: x, items: {raw: '[\"a\", \"b\", \"c\"]'}}");
    let (ran, said) = run(&text).await;
    assert_eq!(ran.status, RunStatus::Succeeded, "{ran:?}");
    assert_eq!(said, ["a", "b", "c"]);
    assert_eq!(ran.outputs["all"], OutputRecord::Value(json!(["a.", "b.", "c."])));
    assert_eq!(task(&ran, "each/1").inputs["x"], OutputRecord::Value(json!("b")));
    assert_eq!(
        task(&ran, "each/1/a").outputs["out"],
        OutputRecord::Value(json!("b."))
    );
    let (ran, said) = run(&loop_over(
        "parameterIterator: {itemInput: x, items: {raw: '[]'}}",
    ))
    .await;
    assert_eq!(ran.outputs["all"], OutputRecord::Value(json!([])));
    assert!(said.is_empty());
}

#[tokio::test]
async fn a_loop_with_a_failing_item_runs_the_others_and_fails() {
    let text = loop_over("parameterIterator: {itemInput: x, items: {raw: '[\"a\", \"bad\", \"c\"]'}}");
    let (ran, said) = run(&text).await;
    assert_eq!(said, ["a", "bad", "c"]);
    assert_eq!(ran.status, RunStatus::Failed);
    let why = ran.message.clone().unwrap();
    assert!(why.contains("each/1/a") && why.contains("it went wrong"), "{why}");
    assert_eq!(
        [
            status(&ran, "each"),
            status(&ran, "each/1"),
            status(&ran, "each/2")
        ],
        ["failed", "failed", "succeeded"]
    );
}

#[tokio::test]
async fn a_loop_runs_as_many_items_at_once_as_it_allows() {
    let items = "parameterIterator: {itemInput: x, items: {raw: '[\"a\", \"b\", \"c\", \"d\"]'}}";
    for (limit, most) in [("", 2), (", iteratorPolicy: {parallelismLimit: 1}", 1)] {
        let mut bench = Bench::new(&loop_over(&format!("{items}{limit}")));
        bench.plan.parallelism = 2;
        let (driver, peak) = counting(say);
        let ran = bench.run(&driver).await;
        assert_eq!(ran.status, RunStatus::Succeeded);
        assert_eq!(peak.load(Ordering::SeqCst), most);
    }
}

/// What a loop inside a loop produces is a list in the list of the outer one.
#[tokio::test]
async fn loops_inside_loops_are_collected_into_lists_of_lists() {
    let outer = format!(
        "{ITEM}
  comp-outer:
    inputDefinitions: {{parameters: {{w: {{parameterType: LIST}}}}}}
    outputDefinitions: {{parameters: {{pipelinechannel--y: {{parameterType: LIST}}}}}}
    dag:
      outputs: {{parameters: {{pipelinechannel--y: {{valueFromParameter: {{producerSubtask: inner, outputParameterKey: y}}}}}}}}
      tasks:
        inner:
          componentRef: {{name: comp-item}}
          inputs: {{parameters: {{items: {{componentInputParameter: w}}}}}}
          parameterIterator: {{itemInput: x, items: {{inputParameter: items}}}}
"
    )
    .replace("inputDefinitions: {parameters: {x:", "inputDefinitions: {parameters: {items: {parameterType: LIST, isOptional: true}, x:");
    let root = "
        outputDefinitions: {parameters: {all: {parameterType: LIST}}},
        dag: {outputs: {parameters: {all: {valueFromParameter: {producerSubtask: outer, outputParameterKey: pipelinechannel--y}}}},
          tasks: {outer: {componentRef: {name: comp-outer},
            parameterIterator: {itemInput: w, items: {raw: '[[\"a\", \"b\"], [], [\"c\"]]'}}}}}";
    let (ran, _) = run(&with(&outer, root)).await;
    assert_eq!(ran.status, RunStatus::Succeeded, "{ran:?}");
    assert_eq!(
        ran.outputs["all"],
        OutputRecord::Value(json!([["a.", "b."], [], ["c."]]))
    );
    assert_eq!(status(&ran, "outer/0/inner/1/a"), "succeeded");
}

const IF_ELSE: &str = "
  comp-branches:
    inputDefinitions: {parameters: {x: {parameterType: STRING}}}
    outputDefinitions: {parameters: {y: {parameterType: STRING}}}
    dag:
      outputs: {parameters: {y: {valueFromOneof: {parameterSelectors: [
        {producerSubtask: one, outputParameterKey: y}, {producerSubtask: two, outputParameterKey: y}]}}}}
      tasks:
        one:
          componentRef: {name: comp-item}
          inputs: {parameters: {x: {componentInputParameter: x}}}
          triggerPolicy: {condition: \"inputs.parameter_values['x'] == 'heads'\"}
        two:
          componentRef: {name: comp-item}
          inputs: {parameters: {x: {componentInputParameter: x}}}
          triggerPolicy: {condition: \"!(inputs.parameter_values['x'] == 'heads')\"}
        after-one: {componentRef: {name: comp-c}, dependentTasks: [one]}
";

#[tokio::test]
async fn the_branch_whose_condition_holds_runs_and_its_output_is_the_one() {
    for (x, runs, skipped) in [("heads", "one", "two"), ("tails", "two", "one")] {
        let root = format!(
            "outputDefinitions: {{parameters: {{r: {{parameterType: STRING}}}}}},
             dag: {{outputs: {{parameters: {{r: {{valueFromParameter: {{producerSubtask: b, outputParameterKey: y}}}}}}}},
               tasks: {{b: {{componentRef: {{name: comp-branches}}, inputs: {{parameters: {{x: {{runtimeValue: {{constant: {x}}}}}}}}}}}}}}}"
        );
        let (ran, _) = run(&with(&format!("{ITEM}{IF_ELSE}"), &root)).await;
        assert_eq!(ran.status, RunStatus::Succeeded, "{ran:?}");
        assert_eq!(ran.outputs["r"], OutputRecord::Value(json!(format!("{x}."))));
        assert_eq!(status(&ran, &format!("b/{runs}")), "succeeded");
        assert_eq!(status(&ran, &format!("b/{skipped}")), "skipped");
        let why = task(&ran, &format!("b/{skipped}")).message.clone();
        assert_eq!(why.as_deref(), Some("its condition does not hold"));
        let after = if runs == "one" { "succeeded" } else { "skipped" };
        assert_eq!(status(&ran, "b/after-one"), after);
    }
}

#[tokio::test]
async fn a_condition_that_cannot_be_decided_fails_its_task() {
    let root = "dag: {tasks: {a: {componentRef: {name: comp-c}, inputs: {parameters: {in: {runtimeValue: {constant: word}}}},
        triggerPolicy: {condition: \"int(inputs.parameter_values['in']) > 1\"}}}}";
    let (ran, said) = run(&with("", root)).await;
    assert!(said.is_empty());
    let why = ran.message.clone().unwrap();
    assert!(
        why.contains("task a failed: its condition cannot be decided"),
        "{why}"
    );
}

/// The exit task runs whatever became of what it guards and is told of it, and the run fails if that failed.
#[tokio::test]
async fn an_exit_task_is_told_what_became_of_what_it_guards() {
    let status_of = "
  comp-exit:
    executorLabel: exec-c
    inputDefinitions: {parameters: {in: {parameterType: TASK_FINAL_STATUS}}}
    outputDefinitions: {parameters: {out: {parameterType: STRING}}}
";
    for (word, state, status_word) in [("good", "COMPLETE", "succeeded"), ("bad", "FAILED", "failed")] {
        let root = format!(
            "dag: {{tasks: {{
               guarded: {{componentRef: {{name: comp-item}}, inputs: {{parameters: {{x: {{runtimeValue: {{constant: {word}}}}}}}}}}},
               exit: {{componentRef: {{name: comp-exit}}, dependentTasks: [guarded],
                 inputs: {{parameters: {{in: {{taskFinalStatus: {{producerTask: guarded}}}}}}}},
                 triggerPolicy: {{strategy: ALL_UPSTREAM_TASKS_COMPLETED}}}}}}}}"
        );
        let (ran, said) = run(&with(&format!("{ITEM}{status_of}"), &root)).await;
        assert_eq!(ran.status.word(), status_word, "{ran:?}");
        assert_eq!(status(&ran, "exit"), "succeeded");
        let told = said.iter().find(|word| word.starts_with('{')).unwrap();
        let told: Value = serde_json::from_str(told).unwrap();
        assert_eq!(told["state"], state);
        assert_eq!(told["pipelineTaskName"], "guarded");
        let job = told["pipelineJobResourceName"].as_str().unwrap();
        assert!(job.starts_with("test-"), "{job}");
        let message = told["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(message.contains("it went wrong"), word == "bad", "{told}");
    }
}

/// A loop over artifacts gives each item one of them, and what the items write is one list.
#[tokio::test]
async fn a_loop_goes_over_artifacts() {
    let components = "
  comp-make:
    executorLabel: exec-make
    outputDefinitions: {artifacts: {many: {artifactType: {schemaTitle: system.Dataset}, isArtifactList: true}}}
  comp-use:
    executorLabel: exec-use
    inputDefinitions: {artifacts: {all: {artifactType: {schemaTitle: system.Dataset}, isArtifactList: true}, one: {artifactType: {schemaTitle: system.Dataset}}}}
    outputDefinitions: {artifacts: {copy: {artifactType: {schemaTitle: system.Dataset}}}}
";
    let root = "
        outputDefinitions: {artifacts: {copies: {artifactType: {schemaTitle: system.Dataset}, isArtifactList: true}}},
        dag: {outputs: {artifacts: {copies: {artifactSelectors: [{producerSubtask: use, outputArtifactKey: copy}]}}},
          tasks: {
            make: {componentRef: {name: comp-make}},
            use: {componentRef: {name: comp-use}, inputs: {artifacts: {all: {taskOutputArtifact: {producerTask: make, outputArtifactKey: many}}}},
              artifactIterator: {itemInput: one, items: {inputArtifact: all}}}}}";
    let text = with(components, root).replace(
        "executors:\n",
        "executors:\n    exec-make: {container: {image: alpine, command: [make, \"{{$.outputs.output_file}}\", \"{{$.outputs.artifacts['many'].path}}\"]}}\n    exec-use: {container: {image: alpine, command: [use, \"{{$.inputs.artifacts['one'].path}}\", \"{{$.outputs.artifacts['copy'].path}}\"]}}\n",
    );
    let driver = Fake::immediate(|container| {
        let command = &container.operation.command;
        if command[0] == "use" {
            let content = container.read(&command[1]).unwrap();
            assert!(container.write(&command[2], format!("{content} again")));
            return Outcome::Succeeded;
        }
        let folder = command[2].rsplit_once('/').unwrap().0;
        let files = ["p", "q"].map(|name| format!("{folder}/{name}"));
        files
            .iter()
            .for_each(|file| assert!(container.write(file, file.rsplit('/').next().unwrap())));
        let artifacts = files.map(|uri| json!({"name": "many", "uri": uri, "metadata": {}}));
        let said = json!({"artifacts": {"many": {"artifacts": artifacts}}});
        assert!(container.write(&command[1], said.to_string()));
        Outcome::Succeeded
    });
    let ran = Bench::new(&text).run(&driver).await;
    assert_eq!(ran.status, RunStatus::Succeeded, "{ran:?}");
    let OutputRecord::Artifacts(copies) = &ran.outputs["copies"] else {
        panic!("{ran:?}")
    };
    let paths: Vec<_> = copies.iter().filter_map(|copy| copy.path.as_deref()).collect();
    assert_eq!(
        paths,
        [
            "outputs/use/0/artifacts/copy/copy",
            "outputs/use/1/artifacts/copy/copy"
        ]
    );
}

/// A coin that is flipped until it shows heads, or for ever: the component of the round holds itself under a condition, and gives
/// what the innermost round gave.
fn flips(heads_at: usize) -> String {
    const ROUND: &str = "
  comp-round:
    inputDefinitions: {parameters: {x: {parameterType: STRING}}}
    outputDefinitions: {parameters: {y: {parameterType: STRING}}}
    dag:
      outputs: {parameters: {y: {valueFromOneof: {parameterSelectors: [
        {producerSubtask: again, outputParameterKey: y}, {producerSubtask: flip, outputParameterKey: out}]}}}}
      tasks:
        flip: {componentRef: {name: comp-c}, inputs: {parameters: {in: {componentInputParameter: x}}}}
        again:
          componentRef: {name: comp-again}
          inputs: {parameters: {x: {taskOutputParameter: {producerTask: flip, outputParameterKey: out}}}}
          triggerPolicy: {condition: \"inputs.parameter_values['x'] != 'HEADS'\"}
  comp-again:
    inputDefinitions: {parameters: {x: {parameterType: STRING}}}
    outputDefinitions: {parameters: {y: {parameterType: STRING}}}
    dag:
      outputs: {parameters: {y: {valueFromParameter: {producerSubtask: round, outputParameterKey: y}}}}
      tasks: {round: {componentRef: {name: comp-round}, inputs: {parameters: {x: {componentInputParameter: x}}}}}
";
    let root = "outputDefinitions: {parameters: {y: {parameterType: STRING}}},
         dag: {outputs: {parameters: {y: {valueFromParameter: {producerSubtask: round, outputParameterKey: y}}}},
           tasks: {round: {componentRef: {name: comp-round}, inputs: {parameters: {x: {runtimeValue: {constant: c}}}}}}}";
    with(
        &ROUND.replace("HEADS", &format!("c{}", ".".repeat(heads_at))),
        root,
    )
}

#[tokio::test]
async fn a_component_holds_itself_until_a_condition_ends_that() {
    let (ran, said) = run(&flips(4)).await;
    assert_eq!(ran.status, RunStatus::Succeeded, "{ran:?}");
    assert_eq!(said, ["c", "c.", "c..", "c..."]);
    assert_eq!(ran.outputs["y"], OutputRecord::Value(json!("c....")));
    assert_eq!(status(&ran, "round/again/round/again/round/flip"), "succeeded");
    assert_eq!(
        status(&ran, "round/again/round/again/round/again/round/again"),
        "skipped"
    );
}

/// The main thread of a program has more stack than one of a test.
#[test]
fn a_component_that_holds_itself_for_ever_is_stopped() {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(run(&flips(1_000)))
    };
    let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(work);
    let (ran, said) = thread.unwrap().join().unwrap();
    assert_eq!((ran.status, said.len()), (RunStatus::Failed, 32));
    let why = ran.message.clone().unwrap();
    assert!(
        why.contains("more than 64 tasks would be within each other"),
        "{why}"
    );
}

/// The form that docs/compatibility.md shows: the task that holds the component again stands in it, and is under the condition.
#[tokio::test]
async fn a_component_holds_itself_without_another_one_between() {
    let text = flips(4);
    let direct = text.replacen(
        "componentRef: {name: comp-again}",
        "componentRef: {name: comp-round}",
        1,
    );
    let (ran, said) = run(&direct).await;
    assert_eq!(ran.status, RunStatus::Succeeded, "{ran:?}");
    assert_eq!(said, ["c", "c.", "c..", "c..."]);
    assert_eq!(ran.outputs["y"], OutputRecord::Value(json!("c....")));
    assert_eq!(status(&ran, "round/again/again/again/flip"), "succeeded");
}
