//! Inputs of tasks: bound, from something that exists, of the right type; iterators, conditions and retries.

use serde_json::Value;

use super::{Checker, DagScope, agrees, made_by_compiler, nearest};
use crate::pipeline::expression::Expression;
use crate::pipeline::position::{Located, Position};
use crate::pipeline::types::{
    ArtifactInput, ArtifactSource, ArtifactSpec, Component, Implementation, IterationOver, ParameterInput,
    ParameterSource, ParameterSpec, ParameterType, Task,
};
use crate::pipeline::value::conform;

pub(super) fn task<'a>(
    checker: &mut Checker<'a>,
    scope: DagScope<'a>,
    label: &str,
    task: &'a Task,
    component: &'a Component,
) {
    for (name, input) in &task.parameters {
        let spec = component.inputs.parameters.get(name);
        if spec.is_none() {
            undeclared(checker, label, task, component, name, input.at);
        }
        parameter(checker, scope, label, (name, input), spec);
    }
    for (name, input) in &task.artifacts {
        match component.inputs.artifacts.get(name) {
            Some(spec) => artifact(checker, scope, label, (name, input), spec),
            None => {
                let remedy = nearest(
                    name,
                    component.inputs.artifacts.keys(),
                    "an input of the component",
                );
                let problem = format!(
                    "component {:?} has no input artifact {name:?}",
                    task.component.value
                );
                checker.fault(input.at, Some(label.to_owned()), problem, &remedy);
            }
        }
    }
    unbound(checker, label, task, component);
    iterator(checker, label, task, component);
    condition(checker, label, task);
}

/// A container may be given more than it declares: values for placeholders in its resources and texts. A DAG may not; and
/// a name that is nearly that of a declared input without a value is a slip.
fn undeclared(
    checker: &mut Checker<'_>,
    label: &str,
    task: &Task,
    component: &Component,
    name: &str,
    at: Position,
) {
    let free = component
        .inputs
        .parameters
        .keys()
        .filter(|free| !task.parameters.contains_key(*free));
    let remedy = nearest(name, free, "an input that the component declares");
    let slip = remedy.starts_with("did");
    let container = matches!(component.implementation, Implementation::Executor(_));
    if container && (!slip || made_by_compiler(name)) {
        return;
    }
    let problem = format!(
        "component {:?} has no input parameter {name:?}",
        task.component.value
    );
    checker.fault(at, Some(label.to_owned()), problem, &remedy);
}

fn parameter<'a>(
    checker: &mut Checker<'a>,
    scope: DagScope<'a>,
    label: &str,
    (name, input): (&str, &'a ParameterInput),
    spec: Option<&ParameterSpec>,
) {
    if let Some(selector) = &input.selector
        && let Err(error) = Expression::selector(&selector.value)
    {
        let problem = format!("input {name:?}: {error}");
        checker.fault(
            selector.at,
            Some(label.to_owned()),
            problem,
            "pick a part of string_value in CEL",
        );
    }
    let given = match &input.source {
        ParameterSource::Constant(value) => {
            if let Some(spec) = spec {
                constant(checker, label, name, input.at, value, spec);
            }
            return;
        }
        ParameterSource::ComponentInput(source) => {
            component_parameter(checker, scope, label, source, input.at)
        }
        ParameterSource::TaskOutput(output) => checker.output_parameter(scope, label, output),
        ParameterSource::FinalStatus(producer) => checker
            .sibling(scope, label, producer)
            .map(|_| ParameterType::TaskFinalStatus),
    };
    let (Some(given), Some(spec)) = (given, spec) else {
        return;
    };
    if input.selector.is_none() && !agrees(given, spec.parameter_type) {
        let problem = format!(
            "input {name:?} is a {} and is given a {given}",
            spec.parameter_type
        );
        let remedy = "give it a value of its type, or change the type of the one or the other";
        checker.fault(input.at, Some(label.to_owned()), problem, remedy);
    }
}

fn component_parameter(
    checker: &mut Checker<'_>,
    scope: DagScope<'_>,
    label: &str,
    source: &str,
    at: Position,
) -> Option<ParameterType> {
    let declared = &scope.component.inputs.parameters;
    let found = declared.get(source).map(|spec| spec.parameter_type);
    if found.is_none() {
        let owner = if scope.name.is_empty() {
            "the pipeline"
        } else {
            scope.name
        };
        let remedy = nearest(source, declared.keys(), &format!("an input parameter of {owner}"));
        let problem = format!("{owner} has no input parameter {source:?}");
        checker.fault(at, Some(label.to_owned()), problem, &remedy);
    }
    found
}

fn constant(
    checker: &mut Checker<'_>,
    label: &str,
    name: &str,
    at: Position,
    value: &Value,
    spec: &ParameterSpec,
) {
    let filled_later = value.as_str().is_some_and(|text| text.contains("{{$"));
    if filled_later || (value.is_null() && spec.optional) {
        return;
    }
    if let Err(error) = conform(value, spec.parameter_type) {
        let problem = format!("constant of input {name:?}: {error}");
        checker.fault(
            at,
            Some(label.to_owned()),
            problem,
            "give a constant of the declared type",
        );
    } else if !spec.allows(value) {
        let allowed: Vec<String> = spec.literals.iter().map(Value::to_string).collect();
        let problem = format!("constant {value} of input {name:?} is none of its literals");
        let remedy = format!("use one of {}", allowed.join(", "));
        checker.fault(at, Some(label.to_owned()), problem, &remedy);
    }
}

fn artifact<'a>(
    checker: &mut Checker<'a>,
    scope: DagScope<'a>,
    label: &str,
    (name, input): (&str, &'a ArtifactInput),
    spec: &ArtifactSpec,
) {
    let given = match &input.source {
        ArtifactSource::ComponentInput(source) => {
            let declared = &scope.component.inputs.artifacts;
            let found = declared.get(source).map(|spec| (spec, spec.list));
            if found.is_none() {
                let owner = if scope.name.is_empty() {
                    "the pipeline"
                } else {
                    scope.name
                };
                let remedy = nearest(source, declared.keys(), &format!("an input artifact of {owner}"));
                let problem = format!("{owner} has no input artifact {source:?}");
                checker.fault(input.at, Some(label.to_owned()), problem, &remedy);
            }
            found
        }
        ArtifactSource::TaskOutput(output) => {
            checker
                .producer(scope, label, output)
                .and_then(|(component, iterates)| {
                    let declared = &component.outputs.artifacts;
                    let found = declared.get(&output.key.value);
                    if found.is_none() {
                        checker.no_output(label, output, declared.keys(), "artifact");
                    }
                    found.map(|spec| (spec, spec.list || iterates))
                })
        }
    };
    let Some((given, list)) = given else { return };
    let loose =
        matches!(&input.source, ArtifactSource::TaskOutput(output) if made_by_compiler(&output.key.value));
    if !same_type(given, spec) {
        let problem = format!(
            "input artifact {name:?} is a {} and is given a {}",
            type_name(spec),
            type_name(given)
        );
        checker.fault(
            input.at,
            Some(label.to_owned()),
            problem,
            "give it an artifact of its type",
        );
    } else if list != spec.list && !loose {
        let (one, other) = if list {
            ("one artifact", "a list")
        } else {
            ("a list of artifacts", "one")
        };
        let problem = format!("input artifact {name:?} is {one} and is given {other}");
        checker.fault(
            input.at,
            Some(label.to_owned()),
            problem,
            "give it one or a list, as it is declared",
        );
    }
}

/// Artifacts agree if their titles do; `system.Artifact` is any of them, as in the SDK.
pub(super) fn same_type(one: &ArtifactSpec, other: &ArtifactSpec) -> bool {
    const ANY: &str = "system.Artifact";
    let (one, other) = (&one.artifact_type.schema_title, &other.artifact_type.schema_title);
    one == other || [one, other].iter().any(|title| title.is_empty() || *title == ANY)
}

fn type_name(spec: &ArtifactSpec) -> &str {
    &spec.artifact_type.schema_title
}

fn unbound(checker: &mut Checker<'_>, label: &str, task: &Task, component: &Component) {
    let item = task
        .iterator
        .as_ref()
        .map(|iterator| iterator.item_input.value.as_str());
    for (name, spec) in &component.inputs.parameters {
        let needed = !spec.optional && spec.default.is_none() && item != Some(name);
        if needed && !task.parameters.contains_key(name) {
            let problem = format!("required input {name:?} ({}) has no value", spec.parameter_type);
            checker.fault(
                task.at,
                Some(label.to_owned()),
                problem,
                "give it a value, or make it optional",
            );
        }
    }
    for (name, spec) in &component.inputs.artifacts {
        if !spec.optional && item != Some(name) && !task.artifacts.contains_key(name) {
            let problem = format!("required input artifact {name:?} is not given");
            checker.fault(
                task.at,
                Some(label.to_owned()),
                problem,
                "give it an artifact, or make it optional",
            );
        }
    }
}

fn iterator(checker: &mut Checker<'_>, label: &str, task: &Task, component: &Component) {
    let Some(iterator) = &task.iterator else { return };
    let mut missing = |input: &Located<String>, what: &str, remedy: &str| {
        let problem = format!("the iterator's {what} {:?} does not exist", input.value);
        checker.fault(input.at, Some(label.to_owned()), problem, remedy);
    };
    let (source, declared) = match &iterator.over {
        IterationOver::Artifact(source) => (
            Some((source, task.artifacts.contains_key(&source.value))),
            component
                .inputs
                .artifacts
                .contains_key(&iterator.item_input.value),
        ),
        IterationOver::Parameter(source) => (
            Some((source, task.parameters.contains_key(&source.value))),
            component
                .inputs
                .parameters
                .contains_key(&iterator.item_input.value),
        ),
        IterationOver::Values(_) => (
            None,
            component
                .inputs
                .parameters
                .contains_key(&iterator.item_input.value),
        ),
    };
    if let Some((source, false)) = source {
        missing(source, "list", "iterate over an input of the same task");
    }
    if !declared {
        missing(
            &iterator.item_input,
            "item input",
            "declare it as an input of the component",
        );
    }
    item_types(checker, label, task, component);
}

fn item_types(checker: &mut Checker<'_>, label: &str, task: &Task, component: &Component) {
    let Some(iterator) = &task.iterator else { return };
    let (IterationOver::Values(items), Some(spec)) = (
        &iterator.over,
        component.inputs.parameters.get(&iterator.item_input.value),
    ) else {
        return;
    };
    // A text is the JSON of anything; the SDK declares items of mixed types as STRUCT or STRING.
    let loose = matches!(spec.parameter_type, ParameterType::String | ParameterType::Struct);
    for item in items.iter().filter(|_| !loose) {
        if let Err(error) = conform(item, spec.parameter_type) {
            let problem = format!("an item of the loop: {error}");
            checker.fault(
                iterator.at,
                Some(label.to_owned()),
                problem,
                "give items of the declared type",
            );
        }
    }
}

/// The inputs that a condition names must be given to the task.
fn condition(checker: &mut Checker<'_>, label: &str, task: &Task) {
    const VALUES: &str = "inputs.parameter_values[";
    let Some(condition) = &task.trigger.condition else {
        return;
    };
    if let Err(error) = Expression::condition(&condition.value) {
        let remedy = "write a condition on inputs.parameter_values in CEL";
        checker.fault(
            condition.at,
            Some(label.to_owned()),
            format!("the condition {error}"),
            remedy,
        );
        return;
    }
    for piece in condition.value.split(VALUES).skip(1) {
        let name = piece.split(']').next().unwrap_or_default();
        let name = name.trim_matches(['\'', '"']);
        if !task.parameters.contains_key(name) {
            let remedy = nearest(name, task.parameters.keys(), "an input of the task");
            let problem = format!("the condition names input {name:?}, which the task is not given");
            checker.fault(condition.at, Some(label.to_owned()), problem, &remedy);
        }
    }
}
