//! The engine with a fake driver, whose containers are closures.

mod approving;
mod control;
mod corpus;
mod inputs;
mod installing;
mod log;
mod mounts;
mod order;
mod outputs;
mod outside;
mod reuse;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use samebundle_registry::store::Memory;
use samebundle_spec::pipeline::Pipeline;
use samebundle_spec::record::{
    OutputRecord, Run, RunEvent, RunEventKind, RunFinished, RunStatus, TaskRecord,
};
use samebundle_spec::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Engine, Native, ProgramError, ProgramOutcome, ProgramPlan, Reuse};
use crate::context::{Clock, Context};
use crate::driver::fake::{Fake, FakeContainer};
use crate::driver::{Limits, Outcome};
use crate::event::{Event, Events, Logged};
use crate::home::Home;
use crate::outside::Access;
use crate::record::{Mask, Runs, testing};

/// A clock that advances by a second every time it is read.
#[derive(Debug, Default)]
struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn new_id(&self) -> String {
        unreachable!("the engine is given its run id")
    }
}

#[derive(Debug, Default)]
struct Seen {
    events: Mutex<Vec<Event>>,
    logged: Mutex<Vec<RunEvent>>,
}

impl Events for Seen {
    fn emit(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    fn logged(&self, logged: Logged<'_>) {
        if let Logged::Event(event) = logged {
            self.logged.lock().unwrap().push(event.clone());
        }
    }
}

/// The outcome of a run, and the fold of its log.
#[derive(Debug)]
struct Ran {
    outcome: ProgramOutcome,
    record: Run,
}

impl std::ops::Deref for Ran {
    type Target = ProgramOutcome;

    fn deref(&self) -> &ProgramOutcome {
        &self.outcome
    }
}

/// A home, a plan and what they need.
struct Bench {
    _folder: tempfile::TempDir,
    plan: ProgramPlan,
    context: Context,
    seen: Arc<Seen>,
    store: Arc<Memory>,
    secrets: Vec<Value>,
}

impl Bench {
    fn new(pipeline: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let pipeline = Pipeline::parse("pipeline.yaml", pipeline.as_bytes()).unwrap();
        let image = |name: &&str| {
            let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, name.as_bytes());
            ((*name).to_owned(), descriptor)
        };
        let images = pipeline.images().iter().map(image).collect();
        let seen = Arc::<Seen>::default();
        let run_dir = home.runs().join("01RUN");
        Self {
            plan: ProgramPlan {
                pipeline: Arc::new(pipeline),
                parameters: BTreeMap::new(),
                secrets: BTreeMap::new(),
                settings: BTreeMap::new(),
                images,
                run_id: "01RUN".to_owned(),
                run_dir,
                wheelhouse: None,
                data: Vec::new(),
                outside: Access::default(),
                limits: Limits::default(),
                parallelism: 2,
                reuse: Reuse::default(),
                approvers: Default::default(),
            },
            context: Context {
                clock: Arc::new(Ticks::default()),
                home,
                cancel: CancellationToken::new(),
                events: seen.clone(),
                offline: true,
            },
            _folder: folder,
            seen,
            store: Arc::new(Memory::new()),
            secrets: Vec::new(),
        }
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.plan.parameters.insert(name.to_owned(), value);
        self
    }

    /// Puts an image whose configuration names this user into the store.
    async fn store_image_config(&mut self, image: &str, user: &str) {
        use samebundle_registry::store::SinkExt;
        let config = json!({"architecture": "amd64", "os": "linux", "config": {"User": user}, "rootfs": {"type": "layers", "diff_ids": []}});
        let push = |kind, value: Value| self.store.push_bytes(kind, value.to_string().into());
        let config = push(MediaType::OCI_CONFIG, config).await.unwrap();
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": []});
        let manifest = push(MediaType::OCI_MANIFEST, manifest).await.unwrap();
        self.plan.images.insert(image.to_owned(), manifest);
    }

    async fn try_run(&self, driver: &Fake) -> Result<Ran, ProgramError> {
        let runs = Runs::new(&self.context.home);
        let number = runs.list(None).unwrap().len();
        let mask = Mask::new(&self.secrets, self.plan.secrets.values());
        let log = runs.begin(&self.context, testing::started(number), mask).unwrap();
        let engine = Native::new(Arc::new(driver.clone()), self.store.clone());
        let outcome = engine.run(&self.plan, &self.context, &log).await?;
        let record = log.finish(RunFinished {
            status: outcome.status,
            message: outcome.message.clone(),
            outputs: outcome.outputs.clone(),
            result: testing::started(0).id,
        });
        let record = record.unwrap();
        Ok(Ran { outcome, record })
    }

    async fn run(&self, driver: &Fake) -> Ran {
        self.try_run(driver).await.unwrap()
    }
}

/// A driver whose containers take a moment, and how many of them were there at once at the most.
fn counting(program: fn(&FakeContainer) -> Outcome) -> (Fake, Arc<AtomicUsize>) {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let peak = Arc::clone(&most);
    let driver = Fake::new(move |container| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        Box::pin(async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            program(&container)
        })
    });
    (driver, most)
}

fn task<'a>(ran: &'a Ran, name: &str) -> &'a TaskRecord {
    ran.record.tasks.iter().find(|task| task.name == name).unwrap()
}

/// One component `comp-c` with one container, and the tasks and root given.
fn pipeline(definitions: &str, container: &str, root: &str) -> String {
    format!(
        "components:\n  comp-c: {{executorLabel: exec-c, {definitions}}}\ndeploymentSpec:\n  executors:\n    exec-c: \
         {{container: {{image: alpine, {container}}}}}\npipelineInfo: {{name: test}}\nroot: {{{root}}}\n\
         schemaVersion: 2.1.0\nsdkVersion: kfp-2.14.6\n"
    )
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_anything_is_made() {
    let inputs = "inputDefinitions: {parameters: {n: {parameterType: NUMBER_INTEGER, literals: [1, 2]}}}";
    let root = format!("dag: {{tasks: {{}}}}, {inputs}");
    let text = pipeline("", "command: [x]", &root);
    let driver = Fake::immediate(|_| Outcome::Succeeded);
    let refused = |bench: Bench| {
        let driver = &driver;
        async move {
            let error = bench.try_run(driver).await.unwrap_err().to_string();
            assert!(!bench.plan.run_dir.exists());
            error
        }
    };
    assert_eq!(
        refused(Bench::new(&text)).await,
        "parameter \"n\" has no value; give it with --n=VALUE"
    );
    assert_eq!(
        refused(Bench::new(&text).with("m", json!(1))).await,
        "the pipeline has no parameter \"m\"; see its parameters with `samebundle explain`"
    );
    assert_eq!(
        refused(Bench::new(&text).with("n", json!("x"))).await,
        "parameter \"n\": \"x\" is not a NUMBER_INTEGER"
    );
    assert_eq!(
        refused(Bench::new(&text).with("n", json!("3"))).await,
        "parameter \"n\" is 3; it must be one of 1, 2"
    );
    let mut bench = Bench::new(&text).with("n", json!(1));
    bench.plan.images.clear();
    assert_eq!(
        refused(bench).await,
        "image alpine is not part of the bundle; build the bundle again"
    );
}
