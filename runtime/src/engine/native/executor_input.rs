//! The executor input: the document in which KFP gives a component its inputs and the paths of its outputs.

use samebundle_spec::pipeline::Component;
use serde_json::{Map, Value, json};

use super::artifact::{Artifact, Values};
use super::resolve::{artifact_folder, output_file, parameter_file};

/// Returns the path of each output artifact of a task. `folder` is the folder of the task's outputs in the container.
pub(super) fn planned_outputs(component: &Component, folder: &str) -> Values {
    let artifacts = component.outputs.artifacts.iter().map(|(name, spec)| {
        let uri = format!("{folder}/{}/{name}", artifact_folder(name));
        let artifact = Artifact::new(name, &spec.artifact_type, uri);
        (name.clone(), vec![artifact])
    });
    Values {
        artifacts: artifacts.collect(),
        ..Values::default()
    }
}

/// Builds the executor input. Keys are in the order of their names.
pub(super) fn build(component: &Component, inputs: &Values, outputs: &Values, folder: &str) -> Value {
    let artifacts = |values: &Values| -> Map<String, Value> {
        let lists = values.artifacts.iter().map(|(name, list)| {
            let list: Vec<Value> = list.iter().map(Artifact::to_runtime).collect();
            (name.clone(), json!({ "artifacts": list }))
        });
        lists.collect()
    };
    let parameters: Map<String, Value> = inputs
        .parameters
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let files: Map<String, Value> = component
        .outputs
        .parameters
        .keys()
        .map(|name| {
            (
                name.clone(),
                json!({ "outputFile": parameter_file(folder, name) }),
            )
        })
        .collect();
    json!({
        "inputs": { "artifacts": artifacts(inputs), "parameterValues": parameters },
        "outputs": { "artifacts": artifacts(outputs), "outputFile": output_file(folder), "parameters": files },
    })
}
