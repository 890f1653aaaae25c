//! Order: no task waits for itself, no component holds itself, and DAGs do not nest without end.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, DagScope};
use crate::limits;
use crate::pipeline::Pipeline;
use crate::pipeline::types::{ArtifactSource, Component, Implementation, ParameterSource, Task};

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

/// Components that hold themselves where no condition can end that, or nest deeper than [`limits::DAG_DEPTH`].
pub(super) fn nesting(checker: &mut Checker<'_>) {
    let held = held(checker.pipeline);
    let Some(left) = peeled(&held) else {
        return too_deep(checker);
    };
    // What is left holds itself, or holds one that does.
    let among = held.into_iter().filter(|(name, _)| left.contains(name));
    let always = among.map(|(name, tasks)| {
        let tasks = tasks
            .into_iter()
            .filter(|(_, task)| task.trigger.condition.is_none());
        (name, tasks.collect())
    });
    let always: Held<'_> = always.collect();
    let Some(endless) = peeled(&always) else {
        return too_deep(checker);
    };
    let circle = always.iter().filter(|(name, _)| endless.contains(*name));
    let closes = |(name, tasks): (&&str, &Vec<Inner<'_>>)| {
        let (held, task) = tasks.iter().find(|(held, _)| endless.contains(held))?;
        Some((
            task.at,
            format!("component {name:?} holds itself by way of {held:?}, without a condition: it never ends"),
        ))
    };
    if let Some((at, problem)) = circle.filter_map(closes).min() {
        let remedy = "put the task by which it holds itself under a condition (triggerPolicy.condition)";
        checker.fault(at, None, problem, remedy);
    }
}

fn too_deep(checker: &mut Checker<'_>) {
    let problem = format!("DAGs nest deeper than {}", limits::DAG_DEPTH);
    checker.fault(checker.pipeline.root.at, None, problem, "flatten the pipeline");
}

/// A component that another holds, and the task by which it does.
type Inner<'a> = (&'a str, &'a Task);

/// What each component holds.
type Held<'a> = BTreeMap<&'a str, Vec<Inner<'a>>>;

fn held(pipeline: &Pipeline) -> Held<'_> {
    let components = pipeline.components.iter();
    components
        .map(|(name, component)| (name.as_str(), tasks_of(component).collect()))
        .collect()
}

fn tasks_of(component: &Component) -> impl Iterator<Item = Inner<'_>> {
    let dag = match &component.implementation {
        Implementation::Dag(dag) => Some(dag),
        Implementation::Executor(_) => None,
    };
    let tasks = dag.into_iter().flat_map(|dag| dag.tasks.values());
    tasks.map(|task| (task.component.as_str(), task))
}

/// Takes away components that hold nothing that is left, until none is left or each of them holds another, and returns those. None
/// if they nest deeper than [`limits::DAG_DEPTH`].
fn peeled<'a>(held: &Held<'a>) -> Option<BTreeSet<&'a str>> {
    let mut left: BTreeSet<&str> = held.keys().copied().collect();
    for _ in 0..=limits::DAG_DEPTH {
        let holds = |name: &&&str| !held[**name].iter().any(|(inner, _)| left.contains(inner));
        let away: Vec<&str> = left.iter().filter(holds).copied().collect();
        if away.is_empty() {
            return Some(left);
        }
        for name in away {
            left.remove(name);
        }
    }
    left.is_empty().then_some(left)
}
