//! What a task leaves: parameters, artifacts, and what is refused.

use super::*;

const DEFINITIONS: &str = "
    outputDefinitions: {
      parameters: {n: {parameterType: NUMBER_INTEGER}, s: {parameterType: STRING}, b: {parameterType: BOOLEAN}},
      artifacts: {m: {artifactType: {schemaTitle: system.Model, schemaVersion: 0.0.1}}}}";

const ROOT: &str = "
    outputDefinitions: {
      parameters: {n: {parameterType: NUMBER_INTEGER}},
      artifacts: {m: {artifactType: {schemaTitle: system.Model, schemaVersion: 0.0.1}}}},
    dag: {
      outputs: {
        parameters: {n: {valueFromParameter: {producerSubtask: c, outputParameterKey: n}}},
        artifacts: {m: {artifactSelectors: [{producerSubtask: c, outputArtifactKey: m}]}}},
      tasks: {c: {componentRef: {name: comp-c}}}}";

const FOLDER: &str = "/samebundle/outputs/c";

fn write_parameters(container: &FakeContainer) {
    for (name, text) in [("n", " 3.0\n"), ("s", "a\n"), ("b", "TRUE\n")] {
        assert!(container.write(&format!("{FOLDER}/parameters/{name}"), text));
    }
}

async fn outcome(program: impl Fn(&FakeContainer) -> Outcome + Send + Sync + 'static) -> Ran {
    let text = pipeline(DEFINITIONS, "command: [x]", ROOT);
    Bench::new(&text).run(&Fake::immediate(program)).await
}

/// Plays a task that writes its parameters, then does this, and returns why it failed.
async fn refusal(program: impl Fn(&FakeContainer) + Send + Sync + 'static) -> String {
    let outcome = outcome(move |container| {
        write_parameters(container);
        program(container);
        Outcome::Succeeded
    });
    let outcome = outcome.await;
    assert_eq!(outcome.status, RunStatus::Failed, "{outcome:?}");
    outcome.message.clone().unwrap()
}

fn model(outcome: &Ran) -> &samebundle_spec::record::ArtifactRecord {
    match &outcome.outputs["m"] {
        OutputRecord::Artifacts(list) => &list[0],
        OutputRecord::Value(value) => panic!("{value}"),
    }
}

#[tokio::test]
async fn parameters_are_read_in_their_types() {
    let outcome = outcome(|container| {
        write_parameters(container);
        Outcome::Succeeded
    });
    let outcome = outcome.await;
    assert_eq!(outcome.status, RunStatus::Succeeded, "{outcome:?}");
    let record = task(&outcome, "c");
    assert_eq!(record.outputs["n"], OutputRecord::Value(json!(3)));
    assert_eq!(record.outputs["s"], OutputRecord::Value(json!("a\n")));
    assert_eq!(record.outputs["b"], OutputRecord::Value(json!(true)));
    assert_eq!(outcome.outputs["n"], OutputRecord::Value(json!(3)));
    assert_eq!(model(&outcome).digest, None);
    assert_eq!((record.attempts, record.exit_code), (1, Some(0)));
}

#[tokio::test]
async fn the_executor_output_counts_before_the_files() {
    let outcome = outcome(|container| {
        write_parameters(container);
        let said = json!({
            "parameterValues": {"n": 7.0},
            "artifacts": {"m": {"artifacts": [{"name": "m", "metadata": {"accuracy": 0.5},
                "uri": format!("{FOLDER}/artifacts/m/m")}]}},
        });
        container.write(&format!("{FOLDER}/output_metadata.json"), said.to_string());
        container.write(&format!("{FOLDER}/artifacts/m/m"), "weights");
        Outcome::Succeeded
    });
    let outcome = outcome.await;
    assert_eq!(outcome.outputs["n"], OutputRecord::Value(json!(7)));
    let model = model(&outcome);
    assert_eq!(model.metadata["accuracy"], 0.5);
    assert_eq!(model.digest, Some(Digest::sha256(b"weights")));
    assert_eq!((model.size, model.artifact_type.as_str()), (7, "system.Model"));
}

#[tokio::test]
async fn what_lies_beside_an_artifact_belongs_to_it() {
    let outcome = outcome(|container| {
        write_parameters(container);
        container.write(&format!("{FOLDER}/artifacts/m/m.npz"), "z");
        Outcome::Succeeded
    });
    let outcome = outcome.await;
    let listing = format!("file {} 1 m.npz\n", Digest::sha256(b"z").hex());
    assert_eq!(model(&outcome).digest, Some(Digest::sha256(listing.as_bytes())));
    assert_eq!(model(&outcome).path.as_deref(), Some("outputs/c/artifacts/m"));
}

#[tokio::test]
async fn a_task_that_says_it_succeeded_but_left_something_wrong_has_failed() {
    let path = |name: &str| format!("{FOLDER}/{name}");
    let link = |from: String| {
        move |container: &FakeContainer| {
            let host = container.host(&from).unwrap();
            let _ = std::fs::remove_file(&host);
            std::os::unix::fs::symlink("/etc/passwd", host).unwrap();
        }
    };
    let write = |to: String, text: &'static str| {
        move |container: &FakeContainer| {
            assert!(container.write(&to, text));
        }
    };
    let cases = [
        (
            refusal(link(path("parameters/s"))).await,
            "output parameters/s is a link; an output must be a file or a folder of files, folders and links inside of it",
        ),
        (
            refusal(link(path("artifacts/m/m"))).await,
            "output artifacts/m/m is a link; an output must be a file or a folder of files, folders and links inside of it",
        ),
        (
            refusal(write(path("parameters/n"), "x")).await,
            "output \"n\": \"x\" is not a NUMBER_INTEGER",
        ),
        (
            refusal(write(path("parameters/n"), "1.5")).await,
            "output \"n\": \"1.5\" is not a NUMBER_INTEGER",
        ),
        (
            refusal(|container| {
                std::fs::remove_file(container.host(&format!("{FOLDER}/parameters/n")).unwrap()).unwrap();
            })
            .await,
            "it wrote no value for its output \"n\"",
        ),
    ];
    for (got, wanted) in cases {
        assert_eq!(got, format!("task c failed: {wanted}"));
    }
    let outside = r#"{"artifacts": {"m": {"artifacts": [{"uri": "/samebundle/outputs/c/../x/m"}]}}}"#;
    let message = refusal(write(path("output_metadata.json"), outside)).await;
    assert!(message.contains("outside of the task's own outputs"), "{message}");
    let message = refusal(write(path("output_metadata.json"), "{\"parameterValues\": {}, ")).await;
    assert!(
        message.contains("the executor output output_metadata.json cannot be read"),
        "{message}"
    );
}

/// What a failed task left is recorded, as far as it can be read: the model is whole, or of use to find out why it failed.
#[tokio::test]
async fn a_failed_task_leaves_its_artifacts() {
    for exits in [true, false] {
        let outcome = outcome(move |container| {
            container.write(&format!("{FOLDER}/artifacts/m/m"), "half");
            match exits {
                true => Outcome::Failed {
                    code: 139,
                    out_of_memory: false,
                },
                // It leaves its parameters unwritten.
                false => Outcome::Succeeded,
            }
        });
        let outcome = outcome.await;
        assert_eq!(outcome.status, RunStatus::Failed);
        let OutputRecord::Artifacts(left) = &task(&outcome, "c").outputs["m"] else {
            panic!("{outcome:?}")
        };
        assert_eq!(left[0].digest, Some(Digest::sha256(b"half")));
        assert_eq!(left[0].path.as_deref(), Some("outputs/c/artifacts/m/m"));
        let message = outcome.message.clone().unwrap();
        assert_eq!(
            message.contains("SIGSEGV (segmentation fault)"),
            exits,
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_number_that_is_none_is_named_where_it_is_a_parameter() {
    let said = r#"{"parameterValues": {"n": NaN}}"#;
    let message = refusal(move |container| {
        container.write(&format!("{FOLDER}/output_metadata.json"), said);
    });
    let message = message.await;
    assert!(
        message.contains("NaN is no number in JSON; leave it out, or write null or a string"),
        "{message}"
    );
    assert!(message.contains("/parameterValues/n"), "{message}");
}

#[tokio::test]
async fn a_metric_that_is_no_number_is_kept_as_text() {
    let said =
        r#"{"artifacts": {"m": {"artifacts": [{"metadata": {"loss": NaN, "best": -Infinity, "ok": 0.5}}]}}}"#;
    let outcome = outcome(move |container| {
        write_parameters(container);
        container.write(&format!("{FOLDER}/output_metadata.json"), said);
        Outcome::Succeeded
    });
    let outcome = outcome.await;
    assert_eq!(outcome.status, RunStatus::Succeeded, "{outcome:?}");
    let metadata = &model(&outcome).metadata;
    assert_eq!(
        (&metadata["loss"], &metadata["best"]),
        (&"NaN".into(), &"-Infinity".into())
    );
    assert_eq!(metadata["ok"], 0.5);
}
