//! Outputs of DAGs: declared, and from outputs of their tasks that have the same type.

use super::inputs::same_type;
use super::{Checker, DagScope, agrees, made_by_compiler};
use crate::pipeline::types::{ArtifactSpec, ParameterType};

pub(super) fn dag<'a>(checker: &mut Checker<'a>, scope: DagScope<'a>) {
    parameters(checker, scope);
    artifacts(checker, scope);
    let declared = &scope.component.outputs;
    for (name, spec) in &declared.parameters {
        if !scope.dag.parameter_outputs.contains_key(name) {
            let problem = format!("output parameter {name:?} of {} comes from no task", owner(scope));
            checker.fault(spec.at, None, problem, "select an output of a task for it");
        }
    }
    for (name, spec) in &declared.artifacts {
        if !scope.dag.artifact_outputs.contains_key(name) {
            let problem = format!("output artifact {name:?} of {} comes from no task", owner(scope));
            checker.fault(spec.at, None, problem, "select an output of a task for it");
        }
    }
}

fn owner(scope: DagScope<'_>) -> String {
    if scope.name.is_empty() {
        "the pipeline".to_owned()
    } else {
        format!("component {:?}", scope.name)
    }
}

fn parameters<'a>(checker: &mut Checker<'a>, scope: DagScope<'a>) {
    for (name, output) in &scope.dag.parameter_outputs {
        let label = format!("output {name:?} of {}", owner(scope));
        let spec = scope.component.outputs.parameters.get(name);
        if spec.is_none() {
            undeclared(checker, &label, output.at);
        }
        if output.selectors.is_empty() {
            checker.fault(
                output.at,
                None,
                format!("{label} selects nothing"),
                "select an output of a task",
            );
        }
        for selector in &output.selectors {
            let given = checker.output_parameter(scope, &selector.task.value, selector);
            let (Some(given), Some(spec)) = (given, spec) else {
                continue;
            };
            let collects = spec.parameter_type == ParameterType::List && made_by_compiler(name);
            if !collects && !agrees(given, spec.parameter_type) {
                let problem = format!("{label} is a {} and is given a {given}", spec.parameter_type);
                checker.fault(
                    selector.key.at,
                    None,
                    problem,
                    "declare the type that the task gives",
                );
            }
        }
    }
}

fn artifacts<'a>(checker: &mut Checker<'a>, scope: DagScope<'a>) {
    for (name, output) in &scope.dag.artifact_outputs {
        let label = format!("output {name:?} of {}", owner(scope));
        let spec = scope.component.outputs.artifacts.get(name);
        if spec.is_none() {
            undeclared(checker, &label, output.at);
        }
        if output.selectors.is_empty() {
            checker.fault(
                output.at,
                None,
                format!("{label} selects nothing"),
                "select an output of a task",
            );
        }
        for selector in &output.selectors {
            let Some((component, iterates)) = checker.producer(scope, &selector.task.value, selector) else {
                continue;
            };
            let declared = &component.outputs.artifacts;
            let Some(given) = declared.get(&selector.key.value) else {
                checker.no_output(&selector.task.value, selector, declared.keys(), "artifact");
                continue;
            };
            let list = given.list || iterates;
            let collects = made_by_compiler(name);
            let fits = |spec: &ArtifactSpec| {
                same_type(given, spec) && (list == spec.list || (collects && spec.list))
            };
            if spec.is_some_and(|spec| !fits(spec)) {
                let problem = format!(
                    "{label} has another type than what task {:?} gives",
                    selector.task.value
                );
                checker.fault(
                    selector.key.at,
                    None,
                    problem,
                    "declare the type that the task gives",
                );
            }
        }
    }
}

fn undeclared(checker: &mut Checker<'_>, label: &str, at: crate::pipeline::Position) {
    checker.fault(
        at,
        None,
        format!("{label} is not declared"),
        "declare it in outputDefinitions",
    );
}
