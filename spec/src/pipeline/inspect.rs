//! What others ask a pipeline: inputs, outputs, images, containers, install lines.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::types::{
    ArtifactType, Component, Container, ExecutorKind, Implementation, Importer, ParameterType,
};
use super::{InstallLine, Pipeline, install_lines};

/// An input parameter of a pipeline: what becomes a CNAB parameter and a flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The name.
    pub name: String,
    /// The type.
    pub parameter_type: ParameterType,
    /// The value if none is given, in the form of its type.
    pub default: Option<Value>,
    /// Whether it may stay without a value.
    pub optional: bool,
    /// The values that it may have; empty: any.
    pub literals: Vec<Value>,
    /// A sentence for people.
    pub description: Option<String>,
}

/// An output of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The name.
    pub name: String,
    /// What it is.
    pub kind: OutputKind,
    /// A sentence for people.
    pub description: Option<String>,
}

/// What an output of a pipeline is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// A value.
    Parameter(ParameterType),
    /// A file or folder.
    Artifact {
        /// Its type.
        artifact_type: ArtifactType,
        /// Whether it is a list of artifacts.
        list: bool,
    },
}

impl Pipeline {
    /// Returns the input parameters, by name.
    pub fn inputs(&self) -> Vec<Input> {
        let specs = self.root.inputs.parameters.iter();
        specs
            .map(|(name, spec)| Input {
                name: name.clone(),
                parameter_type: spec.parameter_type,
                default: spec.default.as_ref().map(|value| {
                    super::conform(value, spec.parameter_type).unwrap_or_else(|_| value.clone())
                }),
                optional: spec.optional || spec.default.is_some(),
                literals: spec.literals.clone(),
                description: spec.description.clone(),
            })
            .collect()
    }

    /// Returns the outputs: parameters by name, then artifacts by name.
    pub fn outputs(&self) -> Vec<Output> {
        let parameters = self.root.outputs.parameters.iter().map(|(name, spec)| Output {
            name: name.clone(),
            kind: OutputKind::Parameter(spec.parameter_type),
            description: spec.description.clone(),
        });
        let artifacts = self.root.outputs.artifacts.iter().map(|(name, spec)| Output {
            name: name.clone(),
            kind: OutputKind::Artifact {
                artifact_type: spec.artifact_type.clone(),
                list: spec.list,
            },
            description: spec.description.clone(),
        });
        parameters.chain(artifacts).collect()
    }

    /// Returns every container, by the label of its executor.
    pub fn containers(&self) -> impl Iterator<Item = (&str, &Container)> {
        self.executors
            .iter()
            .filter_map(|(label, executor)| match &executor.kind {
                ExecutorKind::Container(container) => Some((label.as_str(), container)),
                _ => None,
            })
    }

    /// Returns every distinct image as the author wrote it. An image that a placeholder chooses is left out.
    pub fn images(&self) -> BTreeSet<&str> {
        let images = self.containers().map(|(_, container)| container.image.as_str());
        images.filter(|image| !image.contains("{{$")).collect()
    }

    /// Returns what the containers of each image install, each line once.
    pub fn installs(&self) -> BTreeMap<&str, BTreeSet<InstallLine>> {
        let mut installs: BTreeMap<&str, BTreeSet<InstallLine>> = BTreeMap::new();
        for (_, container) in self.containers() {
            let lines = container.install_lines();
            if !lines.is_empty() {
                installs
                    .entry(container.image.as_str())
                    .or_default()
                    .extend(lines);
            }
        }
        installs
    }

    /// Returns the importer that does a component's work, if it is one.
    pub fn importer_of(&self, component: &Component) -> Option<&Importer> {
        match &self.executor_of(component)?.kind {
            ExecutorKind::Importer(importer) => Some(importer),
            _ => None,
        }
    }

    /// Returns the component that a name refers to.
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.components.get(name)
    }

    /// Returns the container that does a component's work, if it is one.
    pub fn container_of(&self, component: &Component) -> Option<&Container> {
        let Implementation::Executor(label) = &component.implementation else {
            return None;
        };
        match &self.executors.get(&label.value)?.kind {
            ExecutorKind::Container(container) => Some(container),
            _ => None,
        }
    }
}

impl Container {
    /// Returns what it installs before it runs.
    pub fn install_lines(&self) -> Vec<InstallLine> {
        let words: Vec<&str> = self
            .command
            .iter()
            .chain(&self.arguments)
            .map(|word| word.as_str())
            .collect();
        install_lines(&words)
    }
}
