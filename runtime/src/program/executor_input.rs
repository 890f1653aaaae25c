//! The executor input: what KFP tells a component about its inputs and where its outputs go.

use samebundle_spec::pipeline::Component;
use serde_json::{Map, Value, json};

use super::artifact::{Artifact, Place, Values};
use super::resolve::{output_file, parameter_file};

/// Says where each output artifact of a task goes. `host` and `folder` are the task's outputs here and in the container.
pub(super) fn planned_outputs(component: &Component, host: &std::path::Path, folder: &str) -> Values {
    let artifacts = component.outputs.artifacts.iter().map(|(name, spec)| {
        let target = format!("{folder}/artifacts/{name}");
        let artifact = Artifact {
            name: name.clone(),
            artifact_type: spec.artifact_type.clone(),
            uri: format!("{target}/{name}"),
            place: Some(Place {
                host: host.join("artifacts").join(name),
                target,
            }),
            metadata: Map::new(),
            digest: None,
            size: 0,
            path: None,
        };
        (name.clone(), vec![artifact])
    });
    Values {
        parameters: Default::default(),
        artifacts: artifacts.collect(),
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
