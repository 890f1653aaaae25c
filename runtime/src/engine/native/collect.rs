//! Collects what a task wrote: parameters and artifacts.
//!
//! A parameter in the executor output has precedence over its own file, as in KFP. An artifact is the file or folder at
//! its path. If the component wrote other files into the same folder (`np.savez` adds `.npz`), the artifact is that
//! whole folder, which belongs to it alone.

use std::collections::BTreeMap;
use std::path::Path;

use samebundle_spec::json::{JsonError, JsonFault};
use samebundle_spec::pipeline::{Component, ParameterSpec, ParameterType, coerce, from_text};
use samebundle_spec::{json, limits};
use serde_json::{Map, Value};

use super::artifact::{Artifact, Produced, Values};
use super::error::TaskError;
use super::folder::{Folder, Listed};
use super::resolve::artifact_folder;

const EXECUTOR_OUTPUT: &str = "output_metadata.json";

/// Reads the outputs of a task. `planned` has the intended paths of its artifacts, `folder` is the path of all outputs
/// in containers, and `path` is their path below the run's folder.
pub(super) fn outputs(
    component: &Component,
    planned: &Values,
    host: &Path,
    folder: &str,
    path: &str,
) -> Result<Produced, TaskError> {
    let written = Folder::open(host, folder)?;
    let said = ExecutorOutput::read(&written)?;
    let mut produced = Produced::default();
    for (name, spec) in &component.outputs.parameters {
        let value = parameter(&written, &said, name, spec)?;
        produced.parameters.insert(name.clone(), value);
    }
    for (name, planned) in &planned.artifacts {
        let spec = component.outputs.artifacts.get(name);
        let several = spec.is_some_and(|spec| spec.list);
        let Some(template) = planned.first() else { continue };
        let said = said.artifacts.get(name).map(Vec::as_slice).unwrap_or_default();
        let many = if several {
            said
        } else {
            said.get(..1).unwrap_or_default()
        };
        let none = [Map::new()];
        let each = if many.is_empty() && !several {
            &none[..]
        } else {
            many
        };
        let mut list = Vec::new();
        for said in each {
            list.push(artifact(&written, template, said, folder, path)?);
        }
        produced.artifacts.insert(name.clone(), list);
    }
    Ok(produced)
}

/// Returns the artifacts that a task left which failed, as far as they can be read.
pub(super) fn left(planned: &Values, host: &Path, folder: &str, path: &str) -> Produced {
    let mut left = Produced::default();
    let Ok(written) = Folder::open(host, folder) else {
        return left;
    };
    let said = ExecutorOutput::read(&written).unwrap_or_default();
    for (name, planned) in &planned.artifacts {
        let Some(template) = planned.first() else { continue };
        let none = [Map::new()];
        let said = said.artifacts.get(name).map_or(&none[..], Vec::as_slice);
        let found = said
            .iter()
            .filter_map(|said| artifact(&written, template, said, folder, path).ok());
        let found: Vec<Artifact> = found.filter(|artifact| artifact.digest.is_some()).collect();
        if !found.is_empty() {
            left.artifacts.insert(name.clone(), found);
        }
    }
    left
}

fn parameter(
    written: &Folder,
    said: &ExecutorOutput,
    name: &str,
    spec: &ParameterSpec,
) -> Result<Value, TaskError> {
    let wrong = |source| TaskError::OutputValue {
        output: name.to_owned(),
        source,
    };
    if let Some(value) = said.parameters.get(name).filter(|value| !value.is_null()) {
        return coerce(value, spec.parameter_type).map_err(wrong);
    }
    let path = format!("parameters/{name}");
    let bytes = written.read(&path, limits::PARAMETER_BYTES)?;
    let bytes = bytes.ok_or_else(|| TaskError::NoOutput {
        output: name.to_owned(),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| TaskError::ExecutorOutput {
        path,
        why: "not UTF-8".to_owned(),
    })?;
    // A shell's `echo true > file` adds a line end, which is removed; a string is kept to the last byte.
    let text = match spec.parameter_type {
        ParameterType::String => text.as_str(),
        _ => text.trim(),
    };
    from_text(text, spec.parameter_type).map_err(wrong)
}

fn artifact(
    written: &Folder,
    template: &Artifact,
    said: &Map<String, Value>,
    folder: &str,
    path: &str,
) -> Result<Artifact, TaskError> {
    let mut artifact = template.clone();
    if let Some(Value::Object(metadata)) = said.get("metadata") {
        artifact.metadata = metadata.clone();
    }
    if let Some(uri) = said
        .get("uri")
        .and_then(Value::as_str)
        .filter(|uri| !uri.is_empty())
    {
        artifact.uri = uri.to_owned();
    }
    if artifact.uri.contains("://") {
        // The component says that it stored the artifact elsewhere: only the address is kept.
        return Ok(artifact);
    }
    let outside = || TaskError::Outside {
        output: template.name.clone(),
        uri: artifact.uri.clone(),
    };
    let own = artifact
        .uri
        .strip_prefix(folder)
        .and_then(|rest| rest.strip_prefix('/'));
    let own = own
        .filter(|own| own.split('/').all(|name| !["", ".", ".."].contains(&name)))
        .ok_or_else(outside)?;
    let place = artifact_folder(&template.name);
    let at = match own
        .strip_prefix(place.as_str())
        .and_then(|rest| rest.strip_prefix('/'))
    {
        // It is in its own folder: if it is alone there, it is the artifact; otherwise the folder is.
        Some(name) => match written.names(&place)?.as_slice() {
            [only] if only == name => own,
            [] => return Ok(artifact),
            _ => &place,
        },
        None => own,
    };
    if let Some(listed) = written.listed(at)? {
        let content = listed.content();
        artifact.folder = matches!(listed, Listed::Folder(_));
        artifact.digest = Some(content.digest);
        artifact.size = content.size;
        artifact.path = Some(format!("outputs/{path}/{at}"));
    }
    Ok(artifact)
}

/// What the component says about its outputs in `output_metadata.json` (KFP's `ExecutorOutput`).
#[derive(Debug, Default)]
struct ExecutorOutput {
    parameters: BTreeMap<String, Value>,
    artifacts: BTreeMap<String, Vec<Map<String, Value>>>,
}

/// Reads what a component says of its outputs. A loss that is no number, or the first threshold of a ROC curve, is worth more
/// than a failed run, and is kept as text; a parameter has a type.
fn executor_output(bytes: &[u8]) -> Result<Value, JsonError> {
    let read = json::value_wide(bytes, limits::PARAMETER_BYTES);
    match &read {
        Err(JsonError {
            fault: JsonFault::NotANumber { .. },
            place,
        }) if place.pointer.starts_with("/artifacts") => {
            json::value_wide(&json::quote_non_numbers(bytes), limits::PARAMETER_BYTES)
        }
        _ => read,
    }
}

impl ExecutorOutput {
    fn read(written: &Folder) -> Result<Self, TaskError> {
        let Some(bytes) = written.read(EXECUTOR_OUTPUT, limits::PARAMETER_BYTES)? else {
            return Ok(Self::default());
        };
        let broken = |why: String| TaskError::ExecutorOutput {
            path: EXECUTOR_OUTPUT.to_owned(),
            why,
        };
        let value = executor_output(&bytes).map_err(|error| broken(error.to_string()))?;
        let part = |name: &str| match value.get(name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(fields)) => Ok(fields.clone()),
            Some(_) => Err(broken(format!("{name:?} is no mapping"))),
        };
        let mut parameters: BTreeMap<String, Value> = part("parameterValues")?.into_iter().collect();
        // The older form wraps each value: {"parameters": {"x": {"intValue": 1}}}.
        for (name, wrapped) in part("parameters")? {
            let inner = wrapped
                .as_object()
                .and_then(|fields| fields.values().next())
                .cloned();
            parameters.entry(name).or_insert(inner.unwrap_or(wrapped));
        }
        let mut artifacts = BTreeMap::new();
        for (name, entry) in part("artifacts")? {
            let list = entry.get("artifacts").and_then(Value::as_array);
            let list = list.ok_or_else(|| broken(format!("artifact {name:?} has no list of artifacts")))?;
            let maps: Option<Vec<_>> = list.iter().map(|one| one.as_object().cloned()).collect();
            let maps = maps.ok_or_else(|| broken(format!("artifact {name:?} is no mapping")))?;
            artifacts.insert(name, maps);
        }
        Ok(Self {
            parameters,
            artifacts,
        })
    }
}
