//! Decides which task of a DAG comes next: a DAG and how its tasks ended go in, and what is to run or to be skipped comes
//! out. Nothing here waits, starts or records anything.
//!
//! A task is decided when all tasks before it have ended. It runs if all of them succeeded, or if its trigger asks only that
//! they ended; otherwise it is skipped, as everything is that would read what a skipped task did not write. This is what
//! kubeflow/pipelines makes of the same DAG for Argo (`backend/src/v2/compiler/argocompiler/dag.go`).

use std::collections::{BTreeMap, BTreeSet};

use samebundle_spec::pipeline::Dag;

/// How a task ended, as far as the order of tasks depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Succeeded,
    /// It failed, was cancelled or was skipped.
    Otherwise,
}

/// What is to be done with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision<'d> {
    Run(&'d str),
    Skip(&'d str),
}

/// The tasks of a DAG that have not ended.
#[derive(Debug)]
pub(super) struct Schedule<'d> {
    waiting: BTreeMap<&'d str, Waiting>,
    /// The tasks that wait for each.
    after: BTreeMap<&'d str, Vec<&'d str>>,
    /// The tasks that wait for nothing, in the order of their names.
    ready: BTreeSet<&'d str>,
}

#[derive(Debug)]
struct Waiting {
    /// How many tasks before it have not ended.
    open: usize,
    /// Whether one of those before it did not succeed.
    spoilt: bool,
    /// Whether it runs whatever became of those before it.
    always: bool,
}

impl<'d> Schedule<'d> {
    /// Begins with no task ended.
    pub(super) fn new(dag: &'d Dag) -> Self {
        let mut schedule = Self {
            waiting: BTreeMap::new(),
            after: BTreeMap::new(),
            ready: BTreeSet::new(),
        };
        for (name, task) in &dag.tasks {
            let before = task.predecessors();
            if before.is_empty() {
                schedule.ready.insert(name);
            }
            let waiting = Waiting {
                open: before.len(),
                spoilt: false,
                always: task.trigger.always.is_some(),
            };
            schedule.waiting.insert(name, waiting);
            for before in before {
                schedule.after.entry(before).or_default().push(name);
            }
        }
        schedule
    }

    /// Takes the next decision; none until another task ends. Each task is decided once.
    pub(super) fn next(&mut self) -> Option<Decision<'d>> {
        let name = self.ready.pop_first()?;
        let waiting = self.waiting.remove(name);
        match waiting.is_some_and(|one| one.always || !one.spoilt) {
            true => Some(Decision::Run(name)),
            false => Some(Decision::Skip(name)),
        }
    }

    /// Takes note that a task ended, one that was skipped as well.
    pub(super) fn ended(&mut self, name: &str, how: Ended) {
        for after in self.after.remove(name).unwrap_or_default() {
            let Some(waiting) = self.waiting.get_mut(after) else {
                continue;
            };
            waiting.open = waiting.open.saturating_sub(1);
            waiting.spoilt |= how != Ended::Succeeded;
            if waiting.open == 0 {
                self.ready.insert(after);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use samebundle_spec::pipeline::{Implementation, Pipeline};
    use serde_json::{Map, Value, json};

    use super::*;

    /// A task: which of the tasks before it in the list it waits for, whether it always runs, and whether it succeeds.
    type Shape = (Vec<bool>, bool, bool);

    fn name(at: usize) -> String {
        format!("t{at:02}")
    }

    fn pipeline(shapes: &[Shape]) -> Pipeline {
        let tasks = shapes.iter().enumerate().map(|(at, (before, always, _))| {
            let before = before.iter().take(at).enumerate().filter(|(_, waits)| **waits);
            let before: Vec<String> = before.map(|(at, _)| name(at)).collect();
            let strategy = match always {
                true => "ALL_UPSTREAM_TASKS_COMPLETED",
                false => "ALL_UPSTREAM_TASKS_SUCCEEDED",
            };
            let task = json!({
                "componentRef": {"name": "c"},
                "dependentTasks": before,
                "triggerPolicy": {"strategy": strategy},
            });
            (name(at), task)
        });
        let tasks: Map<String, Value> = tasks.collect();
        let document = json!({
            "pipelineInfo": {"name": "p"},
            "schemaVersion": "2.1.0",
            "components": {"c": {"executorLabel": "e"}},
            "deploymentSpec": {"executors": {"e": {"container": {"image": "i"}}}},
            "root": {"dag": {"tasks": tasks}},
        });
        Pipeline::parse("p.yaml", document.to_string().as_bytes()).unwrap()
    }

    /// Runs a DAG with tasks that end in the order that `order` chooses, and returns which ran and which were skipped.
    fn run(shapes: &[Shape], order: &[usize]) -> BTreeMap<String, bool> {
        let pipeline = pipeline(shapes);
        let Implementation::Dag(dag) = &pipeline.root.implementation else {
            unreachable!()
        };
        let mut schedule = Schedule::new(dag);
        let mut running: Vec<&str> = Vec::new();
        let mut decided = BTreeMap::new();
        let mut order = order.iter().cycle();
        loop {
            while let Some(decision) = schedule.next() {
                let (task, runs) = match decision {
                    Decision::Run(task) => (task, true),
                    Decision::Skip(task) => (task, false),
                };
                assert!(
                    decided.insert(task.to_owned(), runs).is_none(),
                    "{task} is decided twice"
                );
                match runs {
                    true => running.push(task),
                    false => schedule.ended(task, Ended::Otherwise),
                }
            }
            if running.is_empty() {
                return decided;
            }
            let ends = running.remove(order.next().copied().unwrap_or(0) % running.len());
            let succeeds = shapes[ends[1..].parse::<usize>().unwrap()].2;
            schedule.ended(
                ends,
                if succeeds {
                    Ended::Succeeded
                } else {
                    Ended::Otherwise
                },
            );
        }
    }

    proptest! {
        /// Every task is decided, whatever the order in which tasks end, and as its rule says.
        #[test]
        fn every_task_is_decided_by_those_before_it(
            shapes in prop::collection::vec((prop::collection::vec(any::<bool>(), 12), any::<bool>(), any::<bool>()), 1..12),
            one in prop::collection::vec(0_usize..12, 1..12),
            other in prop::collection::vec(0_usize..12, 1..12),
        ) {
            let decided = run(&shapes, &one);
            prop_assert_eq!(&decided, &run(&shapes, &other));
            prop_assert_eq!(decided.len(), shapes.len());
            for (at, (before, always, _)) in shapes.iter().enumerate() {
                let mut before = before.iter().take(at).enumerate().filter(|(_, waits)| **waits);
                let all = before.all(|(at, _)| decided[&name(at)] && shapes[at].2);
                prop_assert_eq!(decided[&name(at)], *always || all);
            }
        }
    }
}
