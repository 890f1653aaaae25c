//! Order: no task waits for itself, no component holds itself, and DAGs do not nest without end.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, DagScope};
use crate::limits;
use crate::pipeline::types::{ArtifactSource, Implementation, ParameterSource, Task};

impl Task {
    /// Returns every task that must end before this one: those it names and those whose outputs it takes.
    pub fn predecessors(&self) -> BTreeSet<&str> {
        let named = self.dependencies.iter().map(|name| name.value.as_str());
        let parameters = self.parameters.values().filter_map(|input| match &input.source {
            ParameterSource::TaskOutput(output) => Some(output.task.value.as_str()),
            ParameterSource::FinalStatus(task) => Some(task.value.as_str()),
            ParameterSource::Constant(_) | ParameterSource::ComponentInput(_) => None,
        });
        let artifacts = self.artifacts.values().filter_map(|input| match &input.source {
            ArtifactSource::TaskOutput(output) => Some(output.task.value.as_str()),
            ArtifactSource::ComponentInput(_) => None,
        });
        named.chain(parameters).chain(artifacts).collect()
    }
}

/// Takes away tasks that wait for nothing that is left, until none is left or they wait for each other.
pub(super) fn tasks(checker: &mut Checker<'_>, scope: DagScope<'_>) {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = scope
        .dag
        .tasks
        .iter()
        .map(|(name, task)| (name.as_str(), task.predecessors()))
        .collect();
    loop {
        let ready: Vec<&str> = waiting
            .iter()
            .filter(|(_, before)| !before.iter().any(|name| waiting.contains_key(name)))
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            break;
        }
        for name in ready {
            waiting.remove(name);
        }
    }
    let Some(circle) = circle(&waiting) else { return };
    let first = circle[0];
    let at = scope.dag.tasks.get(first).map_or(scope.dag.at, |task| task.at);
    let problem = format!("it waits for itself: {} -> {first}", circle.join(" -> "));
    checker.fault(
        at,
        Some(scope.label(first)),
        problem,
        "remove one of these dependencies",
    );
}

/// Follows the first predecessor of each until one comes again. All that is left waits for something that is left.
fn circle<'a>(waiting: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    let mut path: Vec<&str> = vec![waiting.keys().next().copied()?];
    loop {
        let last = path.last().copied()?;
        let next = waiting
            .get(last)?
            .iter()
            .copied()
            .find(|name| waiting.contains_key(name))?;
        if let Some(start) = path.iter().position(|name| *name == next) {
            return Some(path.split_off(start));
        }
        path.push(next);
    }
}

/// Components that hold themselves, or nest deeper than [`limits::DAG_DEPTH`].
pub(super) fn nesting(checker: &mut Checker<'_>) {
    let pipeline = checker.pipeline;
    let held = |name: &str| -> Vec<&str> {
        match pipeline
            .components
            .get(name)
            .map(|component| &component.implementation)
        {
            Some(Implementation::Dag(dag)) => dag
                .tasks
                .values()
                .map(|task| task.component.value.as_str())
                .collect(),
            _ => Vec::new(),
        }
    };
    // A component that is as deep as there are components holds itself.
    let mut depth: BTreeMap<&str, usize> = pipeline
        .components
        .keys()
        .map(|name| (name.as_str(), 1))
        .collect();
    let most = limits::DAG_DEPTH.min(pipeline.components.len() + 1);
    for _ in 0..=most {
        for name in pipeline.components.keys() {
            let deepest = held(name)
                .iter()
                .filter_map(|inner| depth.get(inner))
                .max()
                .copied();
            if let Some(deepest) = deepest {
                depth.insert(name, (deepest + 1).min(most + 1));
            }
        }
    }
    let Some((name, _)) = depth.iter().find(|(_, deep)| **deep > most) else {
        return;
    };
    let at = pipeline.components[*name].at;
    let problem = format!(
        "component {name:?} holds itself, or DAGs nest deeper than {}",
        limits::DAG_DEPTH
    );
    checker.fault(
        at,
        None,
        problem,
        "flatten the pipeline; recursion is not part of KFP",
    );
}
