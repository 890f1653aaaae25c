//! Layers of installed packages.

use super::*;

const PIP: &str =
    r#"command: [sh, -c, "python3 -m pip install 'a==1' --index-url https://index && \"$0\" \"$@\"", run]"#;

fn bench() -> Bench {
    let two = "dag: {tasks: {a: {componentRef: {name: comp-c}}, b: {componentRef: {name: comp-c}}}}";
    let mut bench = Bench::new(&pipeline("", PIP, two));
    let wheels = bench.context.home.root().join("wheels");
    std::fs::create_dir(&wheels).unwrap();
    bench.plan.wheelhouse = Some(Wheelhouse {
        folder: wheels,
        digest: Digest::sha256(b"wheels"),
    });
    bench.plan.installed = Some(bench.context.home.layers().join("installed"));
    bench
}

/// Plays pip: keeps what it installed where it is asked to.
fn install(container: &FakeContainer) -> Outcome {
    if let Some(tar) = &container.operation.keep_upper {
        std::fs::write(tar, "packages").unwrap();
    }
    Outcome::Succeeded
}

#[tokio::test]
async fn packages_are_installed_once_and_overlaid_from_then_on() {
    let mut bench = bench();
    let driver = Fake::immediate(install);
    for round in 0..2 {
        bench.plan.run_dir = bench.context.home.runs().join(format!("r{round}"));
        let outcome = bench.run(&driver).await;
        assert_eq!(outcome.status, RunStatus::Succeeded, "{outcome:?}");
    }
    let operations = driver.operations();
    let (installs, tasks): (Vec<_>, Vec<_>) = operations
        .iter()
        .partition(|operation| operation.keep_upper.is_some());
    assert_eq!((installs.len(), tasks.len()), (1, 4));
    let line = "python3 -m pip install --no-compile 'a==1' '--index-url' 'https://index'";
    assert!(installs[0].command[2].lines().any(|said| said == line));
    assert_eq!(installs[0].environment["PIP_NO_INDEX"], "1");
    let layer = Descriptor::of(MediaType::OCI_LAYER, b"packages");
    for task in tasks {
        assert_eq!(task.extra_layers, std::slice::from_ref(&layer));
        assert_eq!(task.environment["PIP_FIND_LINKS"], "/samebundle/wheels");
        let wheels = task
            .mounts
            .iter()
            .find(|mount| mount.target == "/samebundle/wheels")
            .unwrap();
        assert!(!wheels.writable);
    }
    assert!(bench.store.digests().contains(&layer.digest));
    // Another wheelhouse is another layer; a store that lost the layer gets it again.
    bench.plan.wheelhouse.as_mut().unwrap().digest = Digest::sha256(b"others");
    bench.plan.run_dir = bench.context.home.runs().join("other");
    bench.run(&driver).await;
    bench.store = Memory::new();
    bench.plan.run_dir = bench.context.home.runs().join("again");
    bench.run(&driver).await;
    let installs = driver
        .operations()
        .into_iter()
        .filter(|operation| operation.keep_upper.is_some());
    assert_eq!(installs.count(), 3);
    let left: Vec<_> = std::fs::read_dir(bench.context.home.scratch()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn where_installing_does_not_go_the_task_does_it_itself() {
    let bench = bench();
    let driver = Fake::immediate(|container| match container.operation.keep_upper {
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
        .filter(|operation| operation.keep_upper.is_none());
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
