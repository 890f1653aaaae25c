//! What each task of a pipeline leaves, whether the pipeline returns it or not.

use std::collections::BTreeMap;

use super::{Component, Implementation, ParameterType, Pipeline, task_path};
use crate::limits;

impl Pipeline {
    /// The outputs of all tasks that do work themselves, as `TASK.NAME`, each with its type: the schema title of an
    /// artifact, or what a parameter is called in JSON. Of a pipeline that nests more than [`limits::PIPELINE_TASKS`] it has
    /// only some.
    pub fn task_outputs(&self) -> BTreeMap<String, String> {
        let mut outputs = BTreeMap::new();
        for (path, component) in self.working() {
            let artifacts = component.outputs.artifacts.iter();
            let artifacts =
                artifacts.map(|(name, artifact)| (name, artifact.artifact_type.schema_title.as_str()));
            let parameters = component.outputs.parameters.iter();
            let parameters = parameters.map(|(name, parameter)| (name, word(parameter.parameter_type)));
            let all = artifacts.chain(parameters);
            outputs.extend(all.map(|(name, kind)| (format!("{path}.{name}"), kind.to_owned())));
        }
        outputs
    }

    /// The components of all tasks that do work themselves, with the paths of the tasks. Of a pipeline that nests more than
    /// [`limits::PIPELINE_TASKS`] only some.
    pub(super) fn working(&self) -> Vec<(String, &Component)> {
        let mut found = Vec::new();
        let mut waiting: Vec<(String, &Component, usize)> = vec![(String::new(), &self.root, 0)];
        let mut looked_at = 0;
        while let Some((path, component, depth)) = waiting.pop() {
            looked_at += 1;
            if looked_at > limits::PIPELINE_TASKS || depth > limits::DOCUMENT_DEPTH {
                break;
            }
            match &component.implementation {
                Implementation::Dag(dag) => waiting.extend(dag.tasks.iter().filter_map(|(name, task)| {
                    let inner = self.components.get(&task.component.value)?;
                    Some((task_path(&path, name), inner, depth + 1))
                })),
                Implementation::Executor(_) => found.push((path, component)),
            }
        }
        found
    }
}

/// What a parameter of this type is called in JSON.
fn word(parameter: ParameterType) -> &'static str {
    match parameter {
        ParameterType::Double => "number",
        ParameterType::Integer => "integer",
        ParameterType::String => "string",
        ParameterType::Boolean => "boolean",
        ParameterType::List => "array",
        ParameterType::Struct | ParameterType::TaskFinalStatus | ParameterType::TaskConfig => "object",
    }
}
