//! Replaces placeholders by values. Values are inserted unchanged and once: a placeholder inside a value is not
//! replaced, and nothing is quoted or passed to a shell.

use samebundle_spec::pipeline::{
    Argument, ArtifactProperty, Placeholder, PlaceholderError, Segment, argument, parts, text_of,
};
use serde_json::Value;

use super::artifact::{Artifact, Values};
use super::facts::RunFacts;

/// The values of placeholders in one task.
pub(super) struct Resolver<'a> {
    pub(super) inputs: &'a Values,
    pub(super) facts: &'a RunFacts,
    /// Path of the task.
    pub(super) task: &'a str,
    /// None in constants, where only inputs are known.
    pub(super) container: Option<ContainerView<'a>>,
}

/// The values for a container, in addition to inputs.
#[derive(Clone, Copy)]
pub(super) struct ContainerView<'a> {
    /// The executor input.
    pub(super) executor_input: &'a Value,
    /// The output artifacts.
    pub(super) outputs: &'a Values,
    /// Container path of the task's outputs.
    pub(super) folder: &'a str,
}

impl Resolver<'_> {
    /// Resolves a command: an `IfPresent` may be any number of arguments.
    pub(super) fn command<'t>(
        &self,
        words: impl Iterator<Item = &'t str>,
    ) -> Result<Vec<String>, PlaceholderError> {
        let mut command = Vec::new();
        for word in words {
            self.argument(&argument(word)?, &mut command);
        }
        Ok(command)
    }

    fn argument(&self, argument: &Argument, out: &mut Vec<String>) {
        match argument {
            Argument::Text(parts) => out.push(self.parts(parts)),
            Argument::Concat(items) => {
                let mut pieces = Vec::new();
                items.iter().for_each(|item| self.argument(item, &mut pieces));
                out.push(pieces.concat());
            }
            Argument::IfPresent {
                input,
                then,
                otherwise,
            } => {
                let chosen = if self.is_present(input) { then } else { otherwise };
                chosen.iter().for_each(|item| self.argument(item, out));
            }
        }
    }

    fn is_present(&self, input: &str) -> bool {
        let parameter = self
            .inputs
            .parameters
            .get(input)
            .is_some_and(|value| !value.is_null());
        parameter
            || self
                .inputs
                .artifacts
                .get(input)
                .is_some_and(|artifacts| !artifacts.is_empty())
    }

    /// Resolves a text.
    pub(super) fn text(&self, text: &str) -> Result<String, PlaceholderError> {
        Ok(self.parts(&parts(text)?))
    }

    /// Resolves the texts in a constant. A text that is one placeholder for an input becomes that input's value.
    pub(super) fn value(&self, value: &Value) -> Result<Value, PlaceholderError> {
        Ok(match value {
            Value::String(text) => match parts(text)?.as_slice() {
                [Segment::Placeholder(Placeholder::InputParameter(name))] => {
                    self.inputs.parameters.get(name).cloned().unwrap_or(Value::Null)
                }
                parts => Value::String(self.parts(parts)),
            },
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.value(item))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| Ok((self.text(key)?, self.value(value)?)));
                Value::Object(fields.collect::<Result<_, _>>()?)
            }
            other => other.clone(),
        })
    }

    fn parts(&self, parts: &[Segment]) -> String {
        let mut text = String::new();
        for part in parts {
            match part {
                Segment::Text(plain) => text.push_str(plain),
                Segment::Placeholder(placeholder) => text.push_str(&self.placeholder(placeholder)),
            }
        }
        text
    }

    fn placeholder(&self, placeholder: &Placeholder) -> String {
        let folder = self.container.map(|view| view.folder).unwrap_or_default();
        match placeholder {
            Placeholder::ExecutorInput => self
                .container
                .map(|view| view.executor_input.to_string())
                .unwrap_or_default(),
            Placeholder::InputParameter(name) => {
                self.inputs.parameters.get(name).map(text_of).unwrap_or_default()
            }
            Placeholder::InputArtifact(name, what) => property(self.inputs.artifacts.get(name), what),
            Placeholder::OutputParameterFile(name) => parameter_file(folder, name),
            Placeholder::OutputArtifact(name, what) => property(
                self.container.and_then(|view| view.outputs.artifacts.get(name)),
                what,
            ),
            Placeholder::OutputFile => output_file(folder),
            Placeholder::Run(fact) => self.facts.get(*fact, self.task),
        }
    }
}

/// Returns all artifacts of a list, or a property of its first; nothing if there is none.
fn property(artifacts: Option<&Vec<Artifact>>, what: &ArtifactProperty) -> String {
    let list = artifacts.map(Vec::as_slice).unwrap_or_default();
    match (what, list.first()) {
        (ArtifactProperty::List, _) => Value::from_iter(list.iter().map(Artifact::to_runtime)).to_string(),
        (_, None) => String::new(),
        (ArtifactProperty::Uri, Some(artifact)) => artifact.uri.clone(),
        (ArtifactProperty::Path, Some(artifact)) => artifact.path_in_container(),
        (ArtifactProperty::Metadata(None), Some(artifact)) => {
            Value::Object(artifact.metadata.clone()).to_string()
        }
        (ArtifactProperty::Metadata(Some(key)), Some(artifact)) => {
            artifact.metadata.get(key).map(text_of).unwrap_or_default()
        }
    }
}

/// Returns the path of an output parameter below a task's folder.
pub(super) fn parameter_file(folder: &str, name: &str) -> String {
    format!("{folder}/parameters/{name}")
}

/// Returns the folder of one output artifact below the task's folder.
pub(super) fn artifact_folder(name: &str) -> String {
    format!("artifacts/{name}")
}

/// Returns the path of the executor output below a task's folder.
pub(super) fn output_file(folder: &str) -> String {
    format!("{folder}/output_metadata.json")
}
