//! The same pipeline, by the native engine, over the driver of this machine and over one of another: the same outputs by
//! digest, task by task.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use samebundle_registry::layout::Layout;
use samebundle_registry::store::{Memory, Resolve, Store};
use samebundle_runtime::driver::{Driver, Limits};
use samebundle_runtime::engine::native::Native;
use samebundle_runtime::engine::{Engine, ProgramPlan};
use samebundle_runtime::opened::{Kind, OpenedBundle};
use samebundle_runtime::record::{Mask, Runs, testing};
use samebundle_runtime::{Clock, Context, Event, Events, Home, image};
use samebundle_spec::pipeline::Pipeline;
use samebundle_spec::record::{OutputRecord, RunStatus, TaskRecord};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A task that leaves a file, a folder and a value, and one that reads all of it and more.
const PIPELINE: &str = r#"
components:
  comp-make:
    executorLabel: exec-make
    outputDefinitions:
      parameters: {word: {parameterType: STRING}}
      artifacts:
        file: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}
        folder: {artifactType: {schemaTitle: system.Model, schemaVersion: 0.0.1}}
  comp-use:
    executorLabel: exec-use
    inputDefinitions:
      parameters: {word: {parameterType: STRING}}
      artifacts:
        file: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}
        folder: {artifactType: {schemaTitle: system.Model, schemaVersion: 0.0.1}}
    outputDefinitions:
      artifacts: {all: {artifactType: {schemaTitle: system.Artifact, schemaVersion: 0.0.1}}}
deploymentSpec:
  executors:
    exec-make:
      container:
        image: busybox
        command: [sh, -ec]
        args:
        - |
          echo data > "$0"
          mkdir "$1"
          echo weights > "$1/weights"
          echo beside > "$1.txt"
          printf word > "$2"
        - "{{$.outputs.artifacts['file'].path}}"
        - "{{$.outputs.artifacts['folder'].path}}"
        - "{{$.outputs.parameters['word'].output_file}}"
    exec-use:
      container:
        image: busybox
        command: [sh, -ec]
        args:
        - |
          cat "$1" "$2/weights" "$2.txt" > "$0"
          echo "$3" >> "$0"
          ls /samebundle/outputs >> "$0"
          if echo x 2>/dev/null >> "$1"; then exit 9; fi
        - "{{$.outputs.artifacts['all'].path}}"
        - "{{$.inputs.artifacts['file'].path}}"
        - "{{$.inputs.artifacts['folder'].path}}"
        - "{{$.inputs.parameters['word']}}"
pipelineInfo: {name: handed-on}
root:
  dag:
    outputs:
      artifacts: {all: {artifactSelectors: [{producerSubtask: use, outputArtifactKey: all}]}}
    tasks:
      make: {componentRef: {name: comp-make}}
      use:
        componentRef: {name: comp-use}
        dependentTasks: [make]
        inputs:
          parameters: {word: {taskOutputParameter: {producerTask: make, outputParameterKey: word}}}
          artifacts:
            file: {taskOutputArtifact: {producerTask: make, outputArtifactKey: file}}
            folder: {taskOutputArtifact: {producerTask: make, outputArtifactKey: folder}}
  outputDefinitions:
    artifacts: {all: {artifactType: {schemaTitle: system.Artifact, schemaVersion: 0.0.1}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.14.6
"#;

/// The time of every event.
#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn new_id(&self) -> String {
        "01PIPELINE0000000000000000".to_owned()
    }
}

/// Prints what tasks print, for whoever looks for why a test failed.
#[derive(Debug)]
struct Printed;

impl Events for Printed {
    fn emit(&self, event: Event) {
        println!("{event:?}");
    }
}

/// What a run left, as far as it must be the same everywhere.
type Left = BTreeMap<String, BTreeMap<String, OutputRecord>>;

async fn run(plan: &ProgramPlan, driver: Arc<dyn Driver>, store: Arc<dyn Store>, home: &Path) -> Left {
    let context = Context {
        clock: Arc::new(Stopped),
        home: Home::open(home).expect("a home"),
        cancel: CancellationToken::new(),
        events: Arc::new(Printed),
        offline: true,
    };
    let started = testing::started(0);
    let log = Runs::new(&context.home).begin(&context, started, Mask::default());
    let log = log.expect("a log");
    let plan = ProgramPlan {
        run_dir: log.folder().to_owned(),
        ..plan.clone()
    };
    let outcome = Native::new(driver, store).run(&plan, &context, &log).await;
    let outcome = outcome.expect("a pipeline that can be run");
    assert_eq!(outcome.status, RunStatus::Succeeded, "{outcome:?}");
    let tasks = log.run().tasks;
    for path in tasks.iter().flat_map(artifacts) {
        assert!(plan.run_dir.join(path).exists(), "{path} was not handed back");
    }
    let tasks = tasks.into_iter().map(|task| (task.name, task.outputs));
    tasks.chain([(String::new(), outcome.outputs)]).collect()
}

/// The paths of all artifacts that a task left, below the run's folder.
fn artifacts(task: &TaskRecord) -> impl Iterator<Item = &str> {
    let artifacts = task.outputs.values().flat_map(|output| match output {
        OutputRecord::Artifacts(artifacts) => artifacts.as_slice(),
        OutputRecord::Value(_) => &[],
    });
    artifacts.filter_map(|artifact| artifact.path.as_deref())
}

fn plan(pipeline: Arc<Pipeline>, parameters: BTreeMap<String, Value>) -> ProgramPlan {
    ProgramPlan {
        pipeline,
        parameters,
        secrets: BTreeMap::new(),
        settings: BTreeMap::new(),
        images: BTreeMap::new(),
        run_id: Stopped.new_id(),
        run_dir: Default::default(),
        wheelhouse: None,
        data: Vec::new(),
        outside: Default::default(),
        limits: Limits::default(),
        parallelism: 2,
        approvers: Default::default(),
        reuse: Default::default(),
    }
}

/// Two tasks of busybox that hand files, folders and values on.
pub(crate) async fn handed_on(
    busybox: samebundle_spec::Descriptor,
    store: Arc<Memory>,
    drivers: [Arc<dyn Driver>; 2],
    folder: &Path,
) {
    let pipeline = Pipeline::parse("pipeline.yaml", PIPELINE.as_bytes()).expect("a pipeline");
    let mut plan = plan(Arc::new(pipeline), BTreeMap::new());
    plan.images.insert("busybox".to_owned(), busybox);
    let [here, elsewhere] = drivers;
    let here = run(&plan, here, Arc::clone(&store) as _, &folder.join("here")).await;
    assert_eq!(here.len(), 3, "{here:?}");
    let elsewhere = run(&plan, elsewhere, store, &folder.join("elsewhere")).await;
    assert_eq!(here, elsewhere);
}

/// The bundle `digits` of a home, whose tasks install packages from its wheelhouse and train a model.
pub(crate) async fn digits<F: Fn(&Arc<Layout>) -> [Arc<dyn Driver>; 2]>(
    home: &Path,
    folder: &Path,
    drivers: F,
) {
    let store = Arc::new(Layout::open(&home.join("store")).await.expect("a store"));
    let tag = "digits".parse().expect("a tag");
    let index = store.resolve(&tag).await.expect("the bundle");
    let bundle = OpenedBundle::open(&*store, &index).await.expect("a bundle");
    let Kind::Program(program) = bundle.kind else {
        panic!("{:?} is no program", bundle.kind)
    };
    let mut plan = plan(
        Arc::clone(&program.pipeline),
        [("epochs".to_owned(), json!(5))].into(),
    );
    for (name, descriptor) in &program.images {
        let image = image::read(&*store, descriptor).await.expect("an image");
        plan.images.insert(name.clone(), image.manifest);
    }
    plan.wheelhouse = program.wheelhouse.clone();
    plan.data = program.data.clone();
    let [here, elsewhere] = drivers(&store);
    let here = run(&plan, here, Arc::clone(&store) as _, &folder.join("here")).await;
    let elsewhere = run(&plan, elsewhere, store, &folder.join("elsewhere")).await;
    assert_eq!(here, elsewhere);
}
