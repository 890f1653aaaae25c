//! Runs every pipeline of the outside corpus that needs only what is supported, with containers that write a value of
//! the right type to every output.

use std::path::{Path, PathBuf};

use samebundle_spec::pipeline::{Component, Dag, Implementation, ParameterType};

use super::*;
use crate::driver::Bind;
use crate::secret::SecretValue;

fn sample(parameter_type: ParameterType) -> Value {
    match parameter_type {
        ParameterType::Double => json!(0.5),
        ParameterType::Integer => json!(7),
        // A number of cores, of bytes and of devices as well.
        ParameterType::String => json!("1"),
        ParameterType::Boolean => json!(true),
        // Loops pick these keys of their items.
        ParameterType::List => {
            json!([{"a": "1", "b": "2", "A_a": "3", "B_b": "4"}, {"a": "5", "b": "6", "A_a": "7", "B_b": "8"}])
        }
        ParameterType::Struct | ParameterType::TaskFinalStatus | ParameterType::TaskConfig => json!({"a": 1}),
    }
}

/// Finds the components that are containers, by the paths of their tasks.
fn containers(pipeline: &Pipeline, dag: &Dag, path: &str, found: &mut BTreeMap<String, Component>) {
    for (name, task) in &dag.tasks {
        let component = pipeline.component(task.component.as_str()).unwrap();
        let path = format!("{path}/{name}");
        match &component.implementation {
            Implementation::Dag(dag) => containers(pipeline, dag, &path, found),
            Implementation::Executor(_) if pipeline.container_of(component).is_none() => {}
            Implementation::Executor(_) => {
                found.insert(path, component.clone());
            }
        }
    }
}

/// The address of the only input artifact: what a component with one returns as text may be for an importer.
fn located(container: &FakeContainer, component: &Component, kind: ParameterType) -> Option<String> {
    let mut artifacts = component.inputs.artifacts.keys();
    let (Some(name), None, ParameterType::String) = (artifacts.next(), artifacts.next(), kind) else {
        return None;
    };
    let input = container.executor_input()?;
    let uri = &input["inputs"]["artifacts"][name]["artifacts"][0]["uri"];
    uri.as_str().map(str::to_owned)
}

/// Writes all outputs of a container as files; checks that no placeholder of KFP's is left in its command.
fn play(components: &BTreeMap<String, Component>, container: &FakeContainer) -> Outcome {
    let own = |bind: &&Bind| bind.writable && bind.target.starts_with("/samebundle/outputs/");
    let own = container.binds.iter().find(own).unwrap();
    let folder = own.target.clone();
    let path = folder.strip_prefix("/samebundle/outputs").unwrap();
    // A number in the path is that of a loop's item.
    let names = path.split('/').filter(|name| name.parse::<usize>().is_err());
    let component = &components[&names.collect::<Vec<_>>().join("/")];
    for (name, spec) in &component.outputs.parameters {
        let text = match located(container, component, spec.parameter_type) {
            Some(uri) => uri,
            None => samebundle_spec::pipeline::text_of(&sample(spec.parameter_type)),
        };
        assert!(container.write(&format!("{folder}/parameters/{name}"), text));
    }
    for name in component.outputs.artifacts.keys() {
        assert!(container.write(&format!("{folder}/artifacts/{name}/{name}"), name));
    }
    for word in &container.operation.command {
        assert!(
            !word.contains("{{$.inputs.") && !word.contains("{{$.outputs."),
            "{word}"
        );
    }
    if let Some(input) = container.executor_input() {
        let given = &input["inputs"]["parameterValues"];
        for (name, spec) in &component.inputs.parameters {
            if spec.parameter_type == ParameterType::Integer && !given[name].is_null() {
                assert!(given[name].is_i64(), "{name} is {}", given[name]);
            }
        }
    }
    Outcome::Succeeded
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
    found.sort();
}

/// Runs one file. Returns the outcome, and whether it is right.
async fn verdict(file: &Path) -> (bool, String) {
    let text = std::fs::read_to_string(file).unwrap();
    let Ok(pipeline) = Pipeline::parse("pipeline.yaml", text.as_bytes()) else {
        return (true, "refused".to_owned());
    };
    if pipeline.check().is_err() {
        return (true, "refused".to_owned());
    }
    if let Some(missing) = pipeline.unsupported().first() {
        return (true, missing.to_string());
    }
    let mut components = BTreeMap::new();
    if let Implementation::Dag(dag) = &pipeline.root.implementation {
        containers(&pipeline, dag, "", &mut components);
    }
    let tasks = components.len();
    let mut bench = Bench::new(&text);
    for input in pipeline.inputs() {
        if !input.optional {
            let value = input
                .literals
                .first()
                .cloned()
                .unwrap_or_else(|| sample(input.parameter_type));
            bench.plan.parameters.insert(input.name, value);
        }
    }
    let given = bench.plan.run_dir.with_file_name("given.txt");
    for (name, spec) in &pipeline.root.inputs.artifacts {
        if !spec.optional {
            std::fs::create_dir_all(given.parent().unwrap()).unwrap();
            std::fs::write(&given, "given").unwrap();
            let path = json!(given);
            bench.plan.outside.given.add(&path);
            bench.plan.parameters.insert(name.clone(), path);
        }
    }
    for image in pipeline.images() {
        bench.store_image_config(image, "").await;
    }
    let needs = pipeline.needs();
    for (name, need) in needs.secrets {
        let value = match need.key {
            Some(_) => SecretValue::One(b"canary".to_vec()),
            None => SecretValue::Keys([("key".to_owned(), b"canary".to_vec())].into()),
        };
        bench.plan.secrets.insert(name, value);
    }
    for (name, need) in needs.config_maps {
        let value = if need.key.is_some() {
            json!("mode")
        } else {
            json!({"key": "mode"})
        };
        bench.plan.settings.insert(name, value);
    }
    let driver = Fake::immediate(move |container| play(&components, container));
    let outcome = bench.run(&driver).await;
    // How often a loop runs, and which branch of a condition, depends on the values.
    let decided = !text.contains("Iterator:") && !text.contains("condition:");
    let started = driver.operations().len();
    let right = outcome.status == RunStatus::Succeeded && (started == tasks || !decided);
    (
        right,
        format!(
            "{} with {started} containers {}",
            outcome.status.word(),
            outcome.message.clone().unwrap_or_default()
        ),
    )
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "tests take the folder of outside vectors from the environment"
)]
async fn corpus_runs_through_the_engine() {
    let Some(root) = std::env::var_os("SAMEBUNDLE_VECTORS") else {
        println!("skipped: SAMEBUNDLE_VECTORS is not set");
        return;
    };
    let root = PathBuf::from(root).join("kfp");
    let mut found = Vec::new();
    files(&root, &mut found);
    let (mut wrong, mut ran) = (0, 0);
    for file in &found {
        let (right, got) = verdict(file).await;
        println!("{}: {got}", file.strip_prefix(&root).unwrap().display());
        wrong += usize::from(!right);
        ran += usize::from(got.starts_with("succeeded"));
    }
    assert!(ran > 0, "none of {} pipelines was run", found.len());
    assert_eq!(wrong, 0, "{wrong} of {} pipelines went wrong", found.len());
}
