//! Layers of installed packages.

use super::*;
use crate::driver::contract::{Entry, LayerBuilder, Packing, push_layer};
use crate::driver::{Content, Operation, Output};
use crate::event::{Amount, Working};

const PIP: &str =
    r#"command: [sh, -c, "python3 -m pip install 'a==1' --index-url https://index && \"$0\" \"$@\"", run]"#;

/// A layer of wheels in the store.
async fn wheels(bench: &Bench, text: &str) -> Descriptor {
    let tar = LayerBuilder::default().add("a.whl", 0o644, 0, Entry::File(text.as_bytes()));
    let pushed = push_layer(
        &*bench.store,
        tar.and_then(LayerBuilder::tar).unwrap(),
        Packing::Plain,
    )
    .await;
    pushed.unwrap().0
}

async fn bench() -> Bench {
    let two = "dag: {tasks: {a: {componentRef: {name: comp-c}}, b: {componentRef: {name: comp-c}}}}";
    let mut bench = Bench::new(&pipeline("", PIP, two));
    bench.plan.wheelhouse = Some(wheels(&bench, "wheels").await);
    bench
}

/// Plays pip: keeps what it installed where it is asked to.
fn install(container: &FakeContainer) -> Outcome {
    if let Some(tar) = &container.root {
        std::fs::write(tar, "packages").unwrap();
    }
    Outcome::Succeeded
}

fn is_install(operation: &Operation) -> bool {
    operation.outputs.contains(&Output::Root)
}

/// Whether a container is asked which wheels fit. Where the fake writes no answer, pip installs.
fn is_question(operation: &Operation) -> bool {
    operation.name.starts_with("choose")
}

#[tokio::test]
async fn packages_are_installed_once_and_overlaid_from_then_on() {
    let mut bench = bench().await;
    let driver = Fake::immediate(install);
    for round in 0..2 {
        bench.plan.run_dir = bench.context.home.runs().join(format!("r{round}"));
        let outcome = bench.run(&driver).await;
        assert_eq!(outcome.status, RunStatus::Succeeded, "{outcome:?}");
    }
    let operations = driver.operations();
    let asked = operations.iter().filter(|operation| !is_question(operation));
    let (installs, tasks): (Vec<_>, Vec<_>) = asked.partition(|operation| is_install(operation));
    assert_eq!((installs.len(), tasks.len()), (1, 4));
    let line = "python3 -m pip install --no-compile 'a==1' '--index-url' 'https://index'";
    assert!(installs[0].command[2].lines().any(|said| said == line));
    assert_eq!(installs[0].environment["PIP_NO_INDEX"], "1");
    let layer = Descriptor::of(MediaType::OCI_LAYER, b"packages");
    for task in tasks {
        assert_eq!(task.extra_layers, std::slice::from_ref(&layer));
        assert_eq!(task.environment["PIP_FIND_LINKS"], "/samebundle/wheels");
        let wheels = task
            .inputs
            .iter()
            .find(|input| input.target == "/samebundle/wheels");
        assert!(matches!(&wheels.unwrap().content, Content::Layer(_)));
    }
    assert!(bench.store.digests().contains(&layer.digest));
    // Another wheelhouse is another layer; a store that lost the layer gets it again.
    bench.plan.wheelhouse = Some(wheels(&bench, "others").await);
    bench.plan.run_dir = bench.context.home.runs().join("other");
    bench.run(&driver).await;
    bench.store = Arc::new(Memory::new());
    bench.plan.run_dir = bench.context.home.runs().join("again");
    bench.run(&driver).await;
    let installs = driver.operations().into_iter().filter(is_install);
    assert_eq!(installs.count(), 3);
    let left: Vec<_> = std::fs::read_dir(bench.context.home.scratch()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn where_installing_does_not_go_the_task_does_it_itself() {
    let bench = bench().await;
    let driver = Fake::immediate(|container| match container.root {
        Some(_) => Outcome::Failed {
            code: 1,
            out_of_memory: false,
        },
        None => Outcome::Succeeded,
    });
    let outcome = bench.run(&driver).await;
    assert_eq!(outcome.status, RunStatus::Succeeded);
    let tasks = driver
        .operations()
        .into_iter()
        .filter(|operation| !is_install(operation) && !is_question(operation));
    assert!(
        tasks
            .into_iter()
            .all(|operation| operation.extra_layers.is_empty())
    );
    let notices = bench.seen.events.lock().unwrap();
    let said = notices
        .iter()
        .any(|event| matches!(event, Event::Notice { text } if text.contains("pip exited with code 1")));
    assert!(said, "{notices:?}");
}

/// A wheelhouse with one small wheel.
async fn wheel(bench: &Bench) -> Descriptor {
    let zip = super::super::installed::testing::wheel(&[
        ("a/__init__.py", "x = 1\n"),
        (
            "a-1.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: a\nVersion: 1\n",
        ),
        (
            "a-1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n",
        ),
        ("a-1.dist-info/RECORD", "a/__init__.py,,\n"),
    ]);
    let tar = LayerBuilder::default().add("a-1-py3-none-any.whl", 0o644, 0, Entry::File(&zip));
    let tar = tar.and_then(LayerBuilder::tar).unwrap();
    push_layer(&*bench.store, tar, Packing::Plain).await.unwrap().0
}

/// Plays Python: says what fits, and compiles.
fn python(container: &FakeContainer) -> Outcome {
    let answer = r#"{"wheels": ["a-1-py3-none-any.whl"], "python": "/usr/bin/python3", "folders": {"/usr": [493, 0, 0]},
        "places": {"purelib": "/usr/lib/p", "platlib": "/usr/lib/p", "scripts": "/usr/bin", "data": "/usr", "include": "/i"}}"#;
    if is_question(&container.operation) {
        assert!(container.write("/samebundle/choice/answer.json", answer));
    }
    if container.operation.name.starts_with("compile") {
        let code = container.host("/samebundle/bytecode").unwrap();
        let place = code.join("samebundle/packages/usr/lib/p/a");
        std::fs::create_dir_all(&place).unwrap();
        for name in ["__init__.cpython-311.pyc", "absent.cpython-311.pyc"] {
            std::fs::write(place.join(name), "code").unwrap();
        }
        std::os::unix::fs::symlink("/etc", code.join("samebundle/packages/usr/lib/p/b")).unwrap();
    }
    Outcome::Succeeded
}

#[tokio::test]
async fn wheels_that_fit_are_unpacked_once_and_kept_as_a_folder_only() {
    let mut bench = bench().await;
    bench.plan.wheelhouse = Some(wheel(&bench).await);
    let before = bench.store.digests();
    let driver = Fake::immediate(python);
    for round in 0..2 {
        bench.plan.run_dir = bench.context.home.runs().join(format!("r{round}"));
        assert_eq!(bench.run(&driver).await.status, RunStatus::Succeeded);
    }
    assert_eq!(bench.store.digests(), before, "nothing is written twice");
    let operations = driver.operations();
    let tasks: Vec<_> = operations
        .iter()
        .filter(|one| !one.extra_layers.is_empty())
        .collect();
    assert_eq!(
        (tasks.len(), operations.len()),
        (4, 6),
        "one question, one compilation"
    );
    let key = tasks[0].extra_layers[0].digest.hex();
    let folder = bench.context.home.layers().join("installed").join(key);
    let found = std::fs::read_to_string(folder.join("usr/lib/p/a/__init__.py")).unwrap();
    assert_eq!(found, "x = 1\n");
    let cache: Vec<_> = std::fs::read_dir(folder.join("usr/lib/p/a/__pycache__"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(cache, ["__init__.cpython-311.pyc"], "only what has a source");
    let seen = bench.seen.events.lock().unwrap();
    let progress = |event: &Event| {
        matches!(
            event,
            Event::Working(Working {
                parts: Some(Amount {
                    done: 1,
                    total: Some(1)
                }),
                ended: true,
                ..
            })
        )
    };
    assert!(seen.iter().any(progress), "{seen:?}");
}
