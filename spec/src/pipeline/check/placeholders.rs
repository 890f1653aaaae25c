//! Placeholders: well-formed, and for inputs and outputs that are there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Checker, nearest};
use crate::pipeline::placeholder::{Argument, ArtifactProperty, Placeholder, Segment, argument, parts};
use crate::pipeline::position::{Located, Position};
use crate::pipeline::types::{Component, Container, ImportedUri, Importer, ParameterSource, Question, Task};

pub(super) fn task(checker: &mut Checker<'_>, label: &str, task: &Task, component: &Component) {
    for (name, input) in &task.parameters {
        if let ParameterSource::Constant(value) = &input.source {
            let names = Names::of(task, component);
            constant(checker, label, (name, input.at), value, &names);
        }
    }
    let names = Names::of(task, component);
    if let Some(importer) = checker.pipeline.importer_of(component) {
        return self::importer(checker, label, importer, component, &names);
    }
    if let Some(question) = checker.pipeline.question_of(component) {
        return self::question(checker, label, question, component, &names);
    }
    let Some(container) = checker.pipeline.container_of(component) else {
        return;
    };
    for word in container.command.iter().chain(&container.arguments) {
        match argument(&word.value) {
            Ok(argument) => self::argument_of(checker, label, word.at, &argument, &names),
            Err(error) => checker.fault(word.at, Some(label.to_owned()), error.to_string(), REMEDY),
        }
    }
    for text in texts(container) {
        match parts(&text.value) {
            Ok(parts) => argument_of(checker, label, text.at, &Argument::Text(parts), &names),
            Err(error) => checker.fault(text.at, Some(label.to_owned()), error.to_string(), REMEDY),
        }
    }
}

/// The texts of a question may hold placeholders for inputs.
fn question(
    checker: &mut Checker<'_>,
    label: &str,
    question: &Question,
    component: &Component,
    names: &Names<'_>,
) {
    for (at, problem, remedy) in super::super::question::faults(question, component) {
        checker.fault(at, Some(label.to_owned()), problem, remedy);
    }
    let described = question.answers.values().map(|answer| &answer.description);
    for text in described.chain([&question.text]).flatten() {
        constant(
            checker,
            label,
            ("", question.at),
            &Value::from(text.as_str()),
            names,
        );
    }
}

/// The address and the metadata of an importer may hold placeholders, and it makes one artifact.
fn importer(
    checker: &mut Checker<'_>,
    label: &str,
    importer: &Importer,
    component: &Component,
    names: &Names<'_>,
) {
    let at = component.at;
    let mut fault =
        |problem: String, remedy: &str| checker.fault(at, Some(label.to_owned()), problem, remedy);
    if component.outputs.artifacts.len() != 1 {
        let problem = "its importer does not have just one output artifact".to_owned();
        fault(problem, "compile the pipeline again");
    }
    match &importer.uri {
        ImportedUri::Parameter(name) if !names.parameters.contains(name) => {
            let problem = format!("its importer takes its address from {name:?}, which is no input of it");
            fault(problem, &remedy(name, &names.parameters));
        }
        ImportedUri::Constant(text) => {
            constant(checker, label, ("", at), &Value::from(text.as_str()), names);
        }
        ImportedUri::Parameter(_) => {}
    }
    constant(checker, label, ("", at), &importer.metadata, names);
}

const REMEDY: &str = "see the kfp documentation of container components for what there is";

/// Texts of a container besides its command.
fn texts(container: &Container) -> impl Iterator<Item = &Located<String>> {
    let resources = &container.resources;
    let quantities = [
        &resources.cpu_limit,
        &resources.memory_limit,
        &resources.cpu_request,
        &resources.memory_request,
        &resources.accelerator_type,
        &resources.accelerator_count,
    ];
    let environment = container.environment.iter().map(|(_, value)| value);
    environment
        .chain(quantities.into_iter().flatten())
        .chain([&container.image])
}

/// The names that placeholders may refer to.
struct Names<'a> {
    component: &'a Component,
    parameters: BTreeSet<String>,
    input_artifacts: BTreeSet<String>,
    output_parameters: BTreeSet<String>,
    output_artifacts: BTreeSet<String>,
}

impl<'a> Names<'a> {
    fn of(task: &Task, component: &'a Component) -> Self {
        let (inputs, outputs) = (&component.inputs, &component.outputs);
        Self {
            component,
            parameters: inputs
                .parameters
                .keys()
                .chain(task.parameters.keys())
                .cloned()
                .collect(),
            input_artifacts: inputs
                .artifacts
                .keys()
                .chain(task.artifacts.keys())
                .cloned()
                .collect(),
            output_parameters: outputs.parameters.keys().cloned().collect(),
            output_artifacts: outputs.artifacts.keys().cloned().collect(),
        }
    }
}

fn argument_of(checker: &mut Checker<'_>, label: &str, at: Position, argument: &Argument, names: &Names<'_>) {
    let (mut unknown, mut single) = (Vec::new(), Vec::new());
    argument.visit(&mut |placeholder| {
        unknown.extend(missing(placeholder, names));
        single.extend(no_list(placeholder, names.component).map(str::to_owned));
    });
    argument.visit_conditions(&mut |input| {
        if !names.parameters.contains(input) && !names.input_artifacts.contains(input) {
            unknown.push((format!("input {input:?}"), remedy(input, &names.parameters)));
        }
    });
    for (what, remedy) in unknown {
        let problem = format!("a placeholder names {what}, which the component does not have");
        checker.fault(at, Some(label.to_owned()), problem, &remedy);
    }
    for name in single {
        let problem = format!("a placeholder takes the artifact {name:?} for a list, which it is not");
        let remedy = "ask for its .path or .uri, or declare it as a list of artifacts";
        checker.fault(at, Some(label.to_owned()), problem, remedy);
    }
}

fn remedy(name: &str, names: &BTreeSet<String>) -> String {
    nearest(name, names.iter(), "what the component declares")
}

/// Says what a placeholder refers to if that is not there.
fn missing(placeholder: &Placeholder, names: &Names<'_>) -> Option<(String, String)> {
    let (name, known, what) = match placeholder {
        Placeholder::InputParameter(name) => (name, &names.parameters, "input parameter"),
        Placeholder::InputArtifact(name, _) => (name, &names.input_artifacts, "input artifact"),
        Placeholder::OutputParameterFile(name) => (name, &names.output_parameters, "output parameter"),
        Placeholder::OutputArtifact(name, _) => (name, &names.output_artifacts, "output artifact"),
        Placeholder::ExecutorInput | Placeholder::OutputFile | Placeholder::Run(_) => return None,
    };
    (!known.contains(name)).then(|| (format!("{what} {name:?}"), remedy(name, known)))
}

/// Reports an artifact that a placeholder takes for a list and that is none.
fn no_list<'a>(placeholder: &'a Placeholder, component: &Component) -> Option<&'a str> {
    let (name, specs) = match placeholder {
        Placeholder::InputArtifact(name, ArtifactProperty::List) => (name, &component.inputs.artifacts),
        Placeholder::OutputArtifact(name, ArtifactProperty::List) => (name, &component.outputs.artifacts),
        _ => return None,
    };
    specs.get(name).filter(|spec| !spec.list).map(|_| name.as_str())
}

/// A constant may hold placeholders for other inputs of the same task, and facts about the run.
fn constant(
    checker: &mut Checker<'_>,
    label: &str,
    (name, at): (&str, Position),
    value: &Value,
    names: &Names<'_>,
) {
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| constant(checker, label, (name, at), item, names)),
        Value::Object(fields) => {
            for (key, item) in fields {
                constant(checker, label, (name, at), &Value::from(key.as_str()), names);
                constant(checker, label, (name, at), item, names);
            }
        }
        Value::String(text) => match parts(text) {
            Ok(parts) => {
                let own = Segment::Placeholder(Placeholder::InputParameter(name.to_owned()));
                if parts.contains(&own) {
                    let problem = format!("the constant of input {name:?} is made of itself");
                    checker.fault(at, Some(label.to_owned()), problem, "name another input");
                }
                argument_of(checker, label, at, &Argument::Text(parts), names);
            }
            Err(error) => checker.fault(at, Some(label.to_owned()), error.to_string(), REMEDY),
        },
        _ => {}
    }
}
