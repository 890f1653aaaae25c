//! What a task is given: the executor input, the command, the environment, the limits.

use super::*;

const DEFINITIONS: &str = "
    inputDefinitions: {
      parameters: {
        text: {parameterType: STRING},
        count: {parameterType: NUMBER_INTEGER, defaultValue: 3.0, isOptional: true},
        rate: {parameterType: NUMBER_DOUBLE, defaultValue: 1.0, isOptional: true},
        flag: {parameterType: BOOLEAN, isOptional: true},
        table: {parameterType: STRUCT, isOptional: true},
        items: {parameterType: LIST, isOptional: true}},
      artifacts: {data: {artifactType: {schemaTitle: system.Artifact, schemaVersion: 0.0.1}, isOptional: true}}},
    outputDefinitions: {
      parameters: {said: {parameterType: STRING}},
      artifacts: {model: {artifactType: {schemaTitle: system.Model, schemaVersion: 0.0.1}}}}";

const ROOT: &str = "
    inputDefinitions: {parameters: {n: {parameterType: NUMBER_INTEGER, defaultValue: 12.0}}},
    dag: {tasks: {
      one: {componentRef: {name: comp-c}, inputs: {parameters: {
        text: {runtimeValue: {constant: \"n is {{$.inputs.parameters['pipelinechannel--n']}}\"}},
        table: {runtimeValue: {constant: {a: 1.0, b: [2.0, 2.5]}}},
        pipelinechannel--n: {componentInputParameter: n}}}},
      two: {componentRef: {name: comp-c}, inputs: {
        parameters: {
          text: {taskOutputParameter: {producerTask: one, outputParameterKey: said}},
          count: {componentInputParameter: n},
          items: {taskOutputParameter: {producerTask: one, outputParameterKey: said},
                  parameterExpressionSelector: 'parseJson(string_value)[\"k\"]'}},
        artifacts: {data: {taskOutputArtifact: {producerTask: one, outputArtifactKey: model}}}}}}}";

/// Plays `one` and `two`: says something that the other takes apart, and writes its model.
fn play(container: &FakeContainer) -> Outcome {
    let input = container.executor_input().unwrap();
    let said = input
        .pointer("/outputs/parameters/said/outputFile")
        .and_then(Value::as_str)
        .unwrap();
    assert!(container.write(said, r#"{"k": [1.0, 2.5]}"#));
    let uri = input
        .pointer("/outputs/artifacts/model/artifacts/0/uri")
        .and_then(Value::as_str)
        .unwrap();
    assert!(container.write(uri, "weights"));
    if let Some(data) = input
        .pointer("/inputs/artifacts/data/artifacts/0/uri")
        .and_then(Value::as_str)
    {
        assert_eq!(container.read(data).as_deref(), Some("weights"));
        assert!(!container.write(data, "changed"), "inputs are read-only");
    }
    Outcome::Succeeded
}

#[tokio::test]
async fn the_executor_input_to_the_byte() {
    let text = pipeline(
        DEFINITIONS,
        "command: [run], args: [--executor_input, '{{$}}']",
        ROOT,
    );
    let driver = Fake::immediate(play);
    let outcome = Bench::new(&text).run(&driver).await;
    assert_eq!(outcome.status, RunStatus::Succeeded, "{outcome:?}");
    let operations = driver.operations();
    assert_eq!(operations[0].command[..2], ["run", "--executor_input"]);
    assert_eq!(
        operations[0].command[2],
        concat!(
            r#"{"inputs":{"artifacts":{},"parameterValues":{"count":3,"pipelinechannel--n":12,"rate":1.0,"#,
            r#""table":{"a":1,"b":[2,2.5]},"text":"n is 12"}},"#,
            r#""outputs":{"artifacts":{"model":{"artifacts":[{"metadata":{},"name":"model","#,
            r#""type":{"schemaTitle":"system.Model","schemaVersion":"0.0.1"},"#,
            r#""uri":"/samebundle/outputs/one/artifacts/model/model"}]}},"#,
            r#""outputFile":"/samebundle/outputs/one/output_metadata.json","#,
            r#""parameters":{"said":{"outputFile":"/samebundle/outputs/one/parameters/said"}}}}"#,
        )
    );
    let second: Value = serde_json::from_str(&operations[1].command[2]).unwrap();
    assert_eq!(
        second["inputs"]["parameterValues"].to_string(),
        r#"{"count":12,"items":[1,2.5],"rate":1.0,"text":"{\"k\": [1.0, 2.5]}"}"#
    );
    assert_eq!(
        second["inputs"]["artifacts"]["data"]["artifacts"][0]["name"],
        "model"
    );
    let record = task(&outcome, "two");
    assert_eq!(record.inputs["count"], OutputRecord::Value(json!(12)));
    let OutputRecord::Artifacts(data) = &record.inputs["data"] else {
        panic!("{record:?}")
    };
    assert_eq!(data[0].digest, Some(Digest::sha256(b"weights")));
    assert_eq!(data[0].path.as_deref(), Some("outputs/one/artifacts/model/model"));
}

#[tokio::test]
async fn nothing_that_a_task_sees_differs_between_runs() {
    let text = pipeline(
        DEFINITIONS,
        "command: [run], args: [--executor_input, '{{$}}']",
        ROOT,
    );
    let mut seen = Vec::new();
    for id in ["01AAA", "01BBB"] {
        let mut bench = Bench::new(&text);
        bench.plan.run_id = id.to_owned();
        bench.plan.run_dir = bench.context.home.runs().join(id);
        let driver = Fake::immediate(play);
        let outcome = bench.run(&driver).await;
        let outputs: Vec<_> = outcome
            .record
            .tasks
            .into_iter()
            .map(|task| (task.name, task.outputs))
            .collect();
        let operations = driver.operations().into_iter().map(|operation| {
            let targets: Vec<_> = operation.targets().map(str::to_owned).collect();
            (operation.name, operation.command, operation.environment, targets)
        });
        seen.push((outputs, operations.collect::<Vec<_>>()));
    }
    assert_eq!(seen[0], seen[1]);
}

/// Runs one task `c` with this container and these inputs, and returns its command.
async fn command(arguments: &str, inputs: &str) -> Vec<String> {
    let definitions = "
        inputDefinitions: {
          parameters: {
            a: {parameterType: STRING, isOptional: true}, b: {parameterType: NUMBER_INTEGER, isOptional: true}},
          artifacts: {d: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}, isOptional: true}}},
        outputDefinitions: {artifacts: {m: {artifactType: {schemaTitle: system.Model, schemaVersion: 0.0.1}}}}";
    let root = format!(
        "dag: {{tasks: {{c: {{componentRef: {{name: comp-c}}, inputs: {{parameters: {{{inputs}}}}}}}}}}}"
    );
    let container = format!("command: [x], args: [{arguments}]");
    let driver = Fake::immediate(|_| Outcome::Succeeded);
    let outcome = Bench::new(&pipeline(definitions, &container, &root))
        .run(&driver)
        .await;
    assert_eq!(outcome.status, RunStatus::Succeeded, "{outcome:?}");
    driver.operations()[0].command[1..].to_vec()
}

#[tokio::test]
async fn placeholders_become_arguments() {
    let both = "a: {runtimeValue: {constant: 'it''s; $(x)'}}, b: {runtimeValue: {constant: 12.0}}";
    let flag = r#"'{"IfPresent": {"InputName": "b", "Then": ["--b", "{{$.inputs.parameters[''b'']}}"], "Else": ["--no-b"]}}'"#;
    let joined = r#"'{"Concat": ["p-", {"IfPresent": {"InputName": "a", "Then": "{{$.inputs.parameters[''a'']}}"}}, "-s"]}'"#;
    let bare = r#"'{"IfPresent": {"InputName": "a", "Then": {"Concat": ["x", "y"]}}}'"#;
    let model = "\"{{$.outputs.artifacts['m'].path}}:{{$.pipeline_job_name}}/{{$.pipeline_task_name}}\"";
    let cases: [(&str, &str, &[&str]); 8] = [
        (flag, both, &["--b", "12"]),
        (flag, "", &["--no-b"]),
        (joined, both, &["p-it's; $(x)-s"]),
        (joined, "", &["p--s"]),
        (bare, both, &["xy"]),
        (bare, "", &[]),
        (model, "", &["/samebundle/outputs/c/artifacts/m/m:test/c"]),
        (
            "\"b={{$.inputs.parameters['b']}} {{$.other}}\"",
            both,
            &["b=12 {{$.other}}"],
        ),
    ];
    for (arguments, inputs, wanted) in cases {
        assert_eq!(
            command(arguments, inputs).await,
            wanted,
            "{arguments} with {inputs}"
        );
    }
    // A value that looks like a placeholder is put in as it is.
    let found = command(
        "\"{{$.inputs.parameters['a']}}\"",
        "a: {runtimeValue: {constant: '{{$.sly}}'}}",
    )
    .await;
    assert_eq!(found, ["{{$.sly}}"]);
}

#[tokio::test]
async fn environment_and_limits_take_placeholders() {
    let definitions = "inputDefinitions: {parameters: {cpu: {parameterType: STRING}}}";
    let container = "command: [x], env: [{name: CPU, value: \"is {{$.inputs.parameters['cpu']}}\"}, {name: E, value: ''}], \
                     resources: {resourceCpuLimit: \"{{$.inputs.parameters['cpu']}}\", resourceMemoryLimit: 1.5Gi}";
    let root = |cpu: &str| {
        format!(
            "dag: {{tasks: {{c: {{componentRef: {{name: comp-c}}, inputs: {{parameters: {{cpu: {{runtimeValue: \
             {{constant: {cpu}}}}}}}}}}}}}}}"
        )
    };
    let driver = Fake::immediate(|_| Outcome::Succeeded);
    Bench::new(&pipeline(definitions, container, &root("500m")))
        .run(&driver)
        .await;
    let operation = &driver.operations()[0];
    assert_eq!(operation.environment["CPU"], "is 500m");
    assert_eq!(operation.environment["E"], "");
    assert_eq!(operation.limits.cpus, Some(0.5));
    assert_eq!(operation.limits.memory, Some(1_610_612_736));
    let outcome = Bench::new(&pipeline(definitions, container, &root("many")))
        .run(&driver)
        .await;
    assert_eq!(outcome.status, RunStatus::Failed);
    assert_eq!(
        outcome.message.clone().unwrap(),
        "task c failed: \"many\" is not a number of cores above zero, such as 500m or 2"
    );
}

#[tokio::test]
async fn gpus_are_part_of_the_limits() {
    let container =
        "command: [x], resources: {accelerator: {resourceType: nvidia.com/gpu, resourceCount: '2'}}";
    let text = pipeline("", container, "dag: {tasks: {c: {componentRef: {name: comp-c}}}}");
    let driver = Fake::immediate(|_| Outcome::Succeeded);
    let outcome = Bench::new(&text).run(&driver).await;
    assert_eq!(outcome.status, RunStatus::Succeeded, "{outcome:?}");
    let limits = &driver.operations()[0].limits;
    assert_eq!(limits.gpus, BTreeMap::from([("nvidia.com/gpu".to_owned(), 2)]));
}

#[tokio::test]
async fn what_no_argument_can_hold_is_refused_before_the_container_starts() {
    let message = |length: usize, container: &'static str| {
        let constant = format!("text: {{runtimeValue: {{constant: {}}}}}", "x".repeat(length));
        let root = format!(
            "dag: {{tasks: {{c: {{componentRef: {{name: comp-c}}, inputs: {{parameters: {{{constant}}}}}}}}}}}"
        );
        let definitions = "inputDefinitions: {parameters: {text: {parameterType: STRING}}}";
        async move {
            let driver = Fake::immediate(|_| Outcome::Succeeded);
            let outcome = Bench::new(&pipeline(definitions, container, &root))
                .run(&driver)
                .await;
            assert_eq!(driver.operations().len(), usize::from(outcome.message.is_none()));
            outcome.message.clone().unwrap_or_default()
        }
    };
    let text = "command: [x, \"{{$.inputs.parameters['text']}}\"]";
    assert_eq!(message(131_071, text).await, "");
    assert_eq!(
        message(131_072, text).await,
        "task c failed: word 2 of its command has 131072 bytes, and one argument may have 131071; pass what is large as \
         an artifact"
    );
    let input = message(131_000, "command: [x, '{{$}}']").await;
    assert!(input.contains("the executor input has 1311"), "{input}");
    let variable = "command: [x], env: [{name: V, value: \"{{$.inputs.parameters['text']}}\"}]";
    let variable = message(131_070, variable).await;
    assert!(
        variable.contains("environment variable V has 131072 bytes"),
        "{variable}"
    );
    let many = vec!["\"{{$.inputs.parameters['text']}}\""; 20].join(", ");
    let many = message(100_000, Box::leak(format!("command: [{many}]").into_boxed_str())).await;
    assert!(
        many.contains("have 2000000 bytes, and may have 1835008"),
        "{many}"
    );
}
