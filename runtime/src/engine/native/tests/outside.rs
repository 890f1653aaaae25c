//! Importers, and artifacts as inputs of the pipeline.

use std::path::Path;

use async_trait::async_trait;

use super::*;
use crate::outside::{Address, ChosenBy, Given, Outside, OutsideError};

const CONSUMER: &str = "
  comp-use:
    executorLabel: exec-use
    inputDefinitions: {artifacts: {data: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}}
    outputDefinitions: {parameters: {said: {parameterType: STRING}}}
  comp-import:
    executorLabel: exec-import
    inputDefinitions: {parameters: {uri: {parameterType: STRING}, word: {parameterType: STRING, defaultValue: w}}}
    outputDefinitions: {artifacts: {artifact: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}}";

/// A pipeline with an importer, and a task that reads what it imports. The address is the parameter `uri`.
fn importing(importer: &str) -> String {
    format!(
        "components: {CONSUMER}\ndeploymentSpec:\n  executors:\n    exec-use: {{container: {{image: alpine, command: \
         [use, \"{{{{$.inputs.artifacts['data'].path}}}}\", \"{{{{$.inputs.artifacts['data'].uri}}}}\", --executor_input, '{{{{$}}}}']}}}}\n    \
         exec-import: {{importer: {{artifactUri: {{runtimeParameter: uri}}, typeSchema: {{schemaTitle: \
         system.Dataset, schemaVersion: 0.0.1}}, {importer}}}}}\npipelineInfo: {{name: test}}\nroot:\n  \
         inputDefinitions: {{parameters: {{uri: {{parameterType: STRING, defaultValue: 'gs://b/a.txt'}}}}}}\n  \
         dag:\n    tasks:\n      import: {{componentRef: {{name: comp-import}}, inputs: {{parameters: {{uri: \
         {{componentInputParameter: uri}}}}}}}}\n      use: {{componentRef: {{name: comp-use}}, dependentTasks: [import], inputs: \
         {{artifacts: {{data: {{taskOutputArtifact: {{producerTask: import, outputArtifactKey: \
         artifact}}}}}}}}}}\nschemaVersion: 2.1.0\nsdkVersion: kfp-2.14.6\n"
    )
}

/// Has one document at every address, and keeps who asked for what.
#[derive(Debug, Default)]
struct World(Mutex<Vec<(String, ChosenBy)>>);

#[async_trait]
impl Outside for World {
    async fn fetch(&self, address: &Address, by: ChosenBy, to: &Path) -> Result<(), OutsideError> {
        let asked = address.shown();
        let away = asked.contains("nowhere");
        self.0.lock().unwrap().push((asked, by));
        match away {
            true => Err(OutsideError::Away("there is no host \"nowhere\"".to_owned())),
            false => std::fs::write(to, "content").map_err(|error| OutsideError::Failed(error.to_string())),
        }
    }
}

/// Reads the first argument as a file, and says what it found.
fn read(container: &FakeContainer) -> Outcome {
    let path = &container.operation.command[1];
    let input = container.executor_input().unwrap();
    let said = input
        .pointer("/outputs/parameters/said/outputFile")
        .and_then(Value::as_str);
    match container.read(path) {
        Some(text) => {
            container.write(said.unwrap(), text);
            Outcome::Succeeded
        }
        None => Outcome::Failed {
            code: 1,
            out_of_memory: false,
        },
    }
}

/// Says the address.
fn tell(container: &FakeContainer) -> Outcome {
    let input = container.executor_input().unwrap();
    let said = input
        .pointer("/outputs/parameters/said/outputFile")
        .and_then(Value::as_str);
    container.write(said.unwrap(), &container.operation.command[2]);
    Outcome::Succeeded
}

fn said(ran: &Ran) -> &Value {
    match &task(ran, "use").outputs["said"] {
        OutputRecord::Value(value) => value,
        OutputRecord::Artifacts(_) => unreachable!(),
    }
}

fn online(text: &str) -> (Bench, Arc<World>) {
    let world = Arc::<World>::default();
    let mut bench = Bench::new(text);
    bench.context.offline = false;
    bench.plan.outside.reach = world.clone();
    (bench, world)
}

fn give(bench: &mut Bench, name: &str, value: Value) {
    bench.plan.outside.given.add(&value);
    bench.plan.parameters.insert(name.to_owned(), value);
}

#[tokio::test]
async fn an_importer_keeps_content_by_digest_and_its_reader_finds_it_where_the_sdk_looks() {
    for (uri, path, seen) in [
        ("gs://b/a.txt", "/gcs/b/a.txt", "gs://b/a.txt"),
        ("minio://b/dir/a.txt?endpoint=x", "", ""),
        (
            "https://me:pass@host/x/a.csv?token=t0ken&x=1",
            "/samebundle/outputs/import/artifacts/artifact/a.csv",
            "/samebundle/outputs/import/artifacts/artifact/a.csv",
        ),
    ] {
        let (mut bench, world) = online(&importing(
            "metadata: {note: \"{{$.inputs.parameters['word']}}\", \"{{$.inputs.parameters['word']}}\": [1.0]}",
        ));
        give(&mut bench, "uri", json!(uri));
        let driver = Fake::immediate(read);
        let ran = bench.run(&driver).await;
        assert_eq!(ran.status, RunStatus::Succeeded, "{uri}: {ran:?}");
        assert_eq!(said(&ran), "content");
        assert_eq!(world.0.lock().unwrap()[0].1, ChosenBy::Person);
        let [artifact] = task(&ran, "import").outputs["artifact"].artifacts() else {
            panic!("{ran:?}")
        };
        assert_eq!(artifact.digest, Some(Digest::sha256(b"content")));
        assert_eq!(artifact.metadata["note"], "w");
        assert_eq!(artifact.metadata["w"], json!([1]));
        assert_eq!(
            task(&ran, "use").inputs["data"].artifacts(),
            std::slice::from_ref(artifact)
        );
        let kept = bench.plan.run_dir.join(artifact.path.as_ref().unwrap());
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "content");
        if !path.is_empty() {
            let command = &driver.operations()[0].command;
            assert_eq!((command[1].as_str(), command[2].as_str()), (path, seen));
        }
        if uri.contains("pass") {
            let shown = "https://***@host/x/a.csv?token=***&x=1";
            assert_eq!(artifact.uri.as_deref(), Some(shown));
        }
    }
}

#[tokio::test]
async fn an_address_without_content_serves_who_needs_no_content_and_the_others_learn_why() {
    let (bench, world) = online(&importing("metadata: {}"));
    let ran = bench.run(&Fake::immediate(tell)).await;
    assert_eq!(ran.status, RunStatus::Succeeded, "{ran:?}");
    assert_eq!(said(&ran), "gs://b/a.txt");
    let [artifact] = task(&ran, "import").outputs["artifact"].artifacts() else {
        panic!("{ran:?}")
    };
    assert_eq!(
        (artifact.digest, artifact.uri.as_deref()),
        (None, Some("gs://b/a.txt"))
    );
    assert!(
        world.0.lock().unwrap().is_empty(),
        "the bundle asks for no network"
    );
    let notice = |event: &Event| matches!(event, Event::Notice { text } if text.contains("only the address of gs://b/a.txt"));
    assert!(bench.seen.events.lock().unwrap().iter().any(notice));
    let ran = bench.run(&Fake::immediate(read)).await;
    let message = ran.message.clone().unwrap();
    assert!(
        message.contains("gs://b/a.txt is not here: the bundle chose the address"),
        "{message}"
    );
    assert!(message.contains("requires.rights.network"), "{message}");
    let (bench, _) = online(&importing("downloadToWorkspace: true"));
    let ran = bench.run(&Fake::immediate(tell)).await;
    assert!(
        ran.message
            .as_ref()
            .unwrap()
            .contains("task import failed: the content of gs://b/a.txt"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_bundle_reaches_out_with_its_own_rights_and_never_to_files_of_this_machine() {
    let (mut bench, world) = online(&importing("metadata: {}"));
    bench.plan.limits.network = true;
    let ran = bench.run(&Fake::immediate(read)).await;
    assert_eq!(ran.status, RunStatus::Succeeded, "{ran:?}");
    assert_eq!(
        *world.0.lock().unwrap(),
        [("gs://b/a.txt".to_owned(), ChosenBy::Bundle)]
    );
    let wanted = Digest::sha256(b"other content");
    bench
        .plan
        .outside
        .stated
        .insert("gs://b/a.txt".to_owned(), wanted);
    let message = bench.run(&Fake::immediate(read)).await.message.clone().unwrap();
    assert!(message.contains("and the bundle states"), "{message}");
    for uri in ["/etc/hostname", "file:///etc/hostname"] {
        let (bench, world) = online(&importing("metadata: {}").replace("gs://b/a.txt", uri));
        let ran = bench.run(&Fake::immediate(read)).await;
        let message = ran.message.clone().unwrap();
        assert!(
            message.contains("a bundle reads only those that the person who runs gives"),
            "{message}"
        );
        assert!(world.0.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_run_that_is_offline_or_finds_nobody_goes_on_with_the_address() {
    for (uri, offline, why) in [
        ("https://host/a.txt", true, "the run is offline"),
        ("https://nowhere/a.txt", false, "there is no host"),
        ("ftp://host/a.txt", false, "nothing is fetched by ftp here"),
    ] {
        let (mut bench, world) = online(&importing("metadata: {}"));
        bench.context.offline = offline;
        give(&mut bench, "uri", json!(uri));
        assert_eq!(said(&bench.run(&Fake::immediate(tell)).await), uri);
        let message = bench.run(&Fake::immediate(read)).await.message.clone().unwrap();
        assert!(message.contains(why), "{message}");
        assert_eq!(world.0.lock().unwrap().is_empty(), why != "there is no host");
    }
}

#[tokio::test]
async fn files_and_folders_that_a_person_gives_are_copied_into_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.csv");
    std::fs::write(&file, "1,2").unwrap();
    let uri = format!("file://{}", file.display());
    for (given, uri) in [
        (json!(uri), uri.as_str()),
        (json!(folder.path()), file.to_str().unwrap()),
    ] {
        let text = importing("metadata: {}").replace("gs://b/a.txt", uri);
        let (mut bench, _) = online(&text);
        bench.context.offline = true;
        bench.plan.outside.given.add(&given);
        let ran = bench.run(&Fake::immediate(read)).await;
        assert_eq!(said(&ran), "1,2");
    }
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
    let (mut bench, _) = online(&importing("metadata: {}"));
    give(&mut bench, "uri", json!(folder.path()));
    let message = bench.run(&Fake::immediate(tell)).await.message.clone().unwrap();
    assert!(
        message.contains("link to /etc/hostname, which leads out"),
        "{message}"
    );
    let (mut bench, _) = online(&importing("metadata: {}"));
    give(&mut bench, "uri", json!("/no/such/file"));
    let message = bench.run(&Fake::immediate(tell)).await.message.clone().unwrap();
    assert!(
        message.contains("/no/such/file could not be imported: No such file"),
        "{message}"
    );
}

/// A task writes a file and returns its path; an importer takes it.
#[tokio::test]
async fn an_importer_takes_what_a_task_of_the_run_wrote_and_nothing_else_of_the_run() {
    let text = importing("downloadToWorkspace: true")
        .replace(
            "components: ",
            "components:\n  comp-make: {executorLabel: exec-make, outputDefinitions: {artifacts: {out: {artifactType: \
             {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}, parameters: {where: {parameterType: STRING}}}}",
        )
        .replace("    exec-use:", "    exec-make: {container: {image: alpine, command: [make]}}\n    exec-use:")
        .replace("    tasks:\n", "    tasks:\n      make: {componentRef: {name: comp-make}}\n")
        .replace(
            "{componentInputParameter: uri}",
            "{taskOutputParameter: {producerTask: make, outputParameterKey: where}}",
        )
        .replace("import: {componentRef", "import: {dependentTasks: [make], componentRef");
    let below = "/samebundle/outputs/make/artifacts/out/out";
    for (says, wanted) in [
        (below.to_owned(), Ok("deep")),
        (format!("{below}/x"), Err("is no artifact of this run")),
        (
            "/samebundle/outputs/make/../../run.json".to_owned(),
            Err("is no artifact of this run"),
        ),
        (
            "/samebundle/outputs/make/parameters/where".to_owned(),
            Err("is no artifact of this run"),
        ),
    ] {
        let driver = Fake::immediate(move |container: &FakeContainer| {
            if container.operation.command[0] == "make" {
                container.write(below, "deep");
                container.write("/samebundle/outputs/make/parameters/where", &says);
                return Outcome::Succeeded;
            }
            read(container)
        });
        let (bench, _) = online(&text);
        let ran = bench.run(&driver).await;
        match wanted {
            Ok(content) => assert_eq!(said(&ran), content),
            Err(why) => assert!(ran.message.as_ref().unwrap().contains(why), "{ran:?}"),
        }
    }
}

const INPUT: &str = "
    inputDefinitions: {artifacts: {data: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}},
    dag: {tasks: {use: {componentRef: {name: comp-c}, inputs: {artifacts: {data: {componentInputArtifact: data}}}}}}";
const DEFINITIONS: &str = "
    inputDefinitions: {artifacts: {data: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}, isOptional: true}}},
    outputDefinitions: {parameters: {said: {parameterType: STRING}}}";

#[tokio::test]
async fn a_pipeline_takes_artifacts_as_inputs() {
    let command = "command: [use, \"{{$.inputs.artifacts['data'].path}}\", --executor_input, '{{$}}']";
    let text = pipeline(DEFINITIONS, command, INPUT);
    let refused = Bench::new(&text)
        .try_run(&Fake::immediate(read))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("the pipeline takes an artifact \"data\"; give a file"),
        "{refused}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.csv");
    std::fs::write(&file, "1,2").unwrap();
    let mut bench = Bench::new(&text);
    give(&mut bench, "data", json!(file));
    let ran = bench.run(&Fake::immediate(read)).await;
    assert_eq!(said(&ran), "1,2");
    let [artifact] = task(&ran, "use").inputs["data"].artifacts() else {
        panic!("{ran:?}")
    };
    assert_eq!(artifact.digest, Some(Digest::sha256(b"1,2")));
    assert_eq!(artifact.path.as_deref(), Some("outputs/.inputs/data/in.csv"));
    assert_eq!(artifact.uri.as_deref(), file.to_str());
    let mut bench = Bench::new(&text);
    give(&mut bench, "data", json!("/no/such"));
    let refused = bench
        .try_run(&Fake::immediate(read))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("the artifact \"data\" cannot be read: /no/such"),
        "{refused}"
    );
    let optional = INPUT.replace("0.0.1}}}},\n    dag", "0.0.1}, isOptional: true}}},\n    dag");
    let bench = Bench::new(&pipeline(
        DEFINITIONS,
        "command: [use, x, --executor_input, '{{$}}']",
        &optional,
    ));
    let driver = Fake::immediate(|_| Outcome::Failed {
        code: 3,
        out_of_memory: false,
    });
    let ran = bench.run(&driver).await;
    assert_eq!(
        task(&ran, "use").exit_code,
        Some(3),
        "it began without the artifact"
    );
    assert!(Given::default() == bench.plan.outside.given);
}

#[tokio::test]
async fn an_input_chooses_among_the_images_that_the_bundle_carries() {
    let definitions = "inputDefinitions: {parameters: {image: {parameterType: STRING}}}";
    let root = "inputDefinitions: {parameters: {image: {parameterType: STRING, defaultValue: alpine}}}, dag: {tasks: {use: \
                {componentRef: {name: comp-c}, inputs: {parameters: {image: {componentInputParameter: image}}}}}}";
    let text = pipeline(definitions, "command: [x]", root);
    let text = text.replace("image: alpine,", "image: \"{{$.inputs.parameters['image']}}\",");
    let driver = Fake::immediate(|_| Outcome::Succeeded);
    for (image, carried) in [
        ("alpine", true),
        ("docker.io/library/alpine", true),
        ("debian", false),
    ] {
        let mut bench = Bench::new(&text).with("image", json!(image));
        let alpine = Descriptor::of(MediaType::OCI_MANIFEST, b"alpine");
        bench.plan.images.insert("alpine".to_owned(), alpine.clone());
        let ran = bench.run(&driver).await;
        assert_eq!(ran.status == RunStatus::Succeeded, carried, "{ran:?}");
        assert_eq!(task(&ran, "use").image, carried.then_some(alpine.digest));
        if !carried {
            let message = ran.message.clone().unwrap();
            assert!(
                message.contains("image \"debian\", which the bundle does not carry; it carries alpine;"),
                "{message}"
            );
        }
    }
}
