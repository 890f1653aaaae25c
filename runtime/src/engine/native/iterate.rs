//! Runs a component once for every item of a list (`parameterIterator`, `artifactIterator`).
//!
//! The items are run in their order, as many at the same time as the loop allows and the run has places for containers, so
//! that a loop needs no more memory with more items than what they produce. An item's path is the loop's with its number
//! after it, from 0: `for-loop-1/0`. If one fails, the others are run. What the items produce is collected in the order of
//! the items: parameters as a list, which of a loop inside is a list in it, and artifacts as one list. An item whose task was
//! skipped adds nothing. An item that waits for a person keeps its place among those that the loop runs at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::{self, StreamExt};
use samebundle_spec::limits;
use samebundle_spec::pipeline::{
    ArtifactSource, Component, Implementation, Iteration, IterationOver, ParameterSource, ParameterType,
    Task, coerce,
};
use serde_json::Value;

use super::Execution;
use super::artifact::{Artifact, Produced, TaskEnd, Values};
use super::bind;
use super::dag::failed;
use super::error::TaskError;

/// An item of a loop.
pub(super) enum Item {
    Value(Value),
    Artifact(Box<Artifact>),
}

impl Execution<'_> {
    /// Runs a loop to its end.
    pub(super) async fn iterate(
        &self,
        path: &str,
        (component, iteration): (&Component, &Iteration),
        task: &Task,
        mut inputs: Values,
    ) -> TaskEnd {
        let items = match items(iteration, &inputs) {
            Ok(items) => items,
            Err(error) => return failed(path, &error),
        };
        if let Some(list) = unused_list(component, iteration) {
            // Each item has a copy of the inputs: with the list in it, a loop would cost the square of its items.
            inputs.parameters.remove(list);
            inputs.artifacts.remove(list);
        }
        let most = iteration.parallelism.and_then(|most| usize::try_from(most).ok());
        let places = most.unwrap_or(usize::MAX).min(self.plan.parallelism).max(1);
        let inputs = &inputs;
        let waiting = &AtomicUsize::new(0);
        let runs = stream::iter(items.into_iter().enumerate()).map(async |(number, item)| {
            if most.is_some_and(|most| waiting.load(Ordering::Relaxed) >= most) {
                return (number, TaskEnd::Suspended);
            }
            let path = format!("{path}/{number}");
            let end = self.item(path, (component, iteration), task, inputs, item).await;
            if end == TaskEnd::Suspended {
                waiting.fetch_add(1, Ordering::Relaxed);
            }
            (number, end)
        });
        let mut ends: Vec<(usize, TaskEnd)> = runs.buffer_unordered(places).collect().await;
        ends.sort_by_key(|(number, _)| *number);
        collected(component, ends.into_iter().map(|(_, end)| end))
    }

    /// Runs the component for one item.
    async fn item(
        &self,
        path: String,
        (component, iteration): (&Component, &Iteration),
        task: &Task,
        inputs: &Values,
        item: Item,
    ) -> TaskEnd {
        if self.halt.is_cancelled() {
            return TaskEnd::Cancelled;
        }
        let name = iteration.item_input.as_str();
        let mut values = inputs.clone();
        if let Err(error) = insert(&mut values, component, iteration, item) {
            return self.unbound(&path, component, failed(&path, &error));
        }
        // The other inputs are those of the loop, and stand in the record once.
        let recorded = values.only(name).to_records();
        self.attempts(path, task, component, values, recorded).await
    }
}

/// The input with the list, unless the component reads the list besides its items.
fn unused_list<'a>(component: &Component, iteration: &'a Iteration) -> Option<&'a str> {
    let list = match &iteration.over {
        IterationOver::Values(_) => return None,
        IterationOver::Parameter(input) | IterationOver::Artifact(input) => input.as_str(),
    };
    // The input of a container is given to it whole.
    let Implementation::Dag(dag) = &component.implementation else {
        return None;
    };
    let read = dag.tasks.values().any(|task| {
        let mut parameters = task.parameters.values();
        let mut artifacts = task.artifacts.values();
        parameters.any(|input| matches!(&input.source, ParameterSource::ComponentInput(name) if name == list))
            || artifacts
                .any(|input| matches!(&input.source, ArtifactSource::ComponentInput(name) if name == list))
    });
    (!read && list != iteration.item_input.as_str()).then_some(list)
}

/// Gives a component its item.
pub(super) fn insert(
    values: &mut Values,
    component: &Component,
    iteration: &Iteration,
    item: Item,
) -> Result<(), TaskError> {
    let name = iteration.item_input.as_str();
    match item {
        Item::Value(value) => bind::insert(values, component, name, &value),
        Item::Artifact(artifact) => {
            values.artifacts.insert(name.to_owned(), vec![*artifact]);
            Ok(())
        }
    }
}

/// The items of a loop.
pub(super) fn items(iteration: &Iteration, inputs: &Values) -> Result<Vec<Item>, TaskError> {
    let no_items = |input: &str| TaskError::NoItems {
        input: input.to_owned(),
    };
    let values = |list: Vec<Value>| list.into_iter().map(Item::Value).collect();
    let items: Vec<Item> = match &iteration.over {
        IterationOver::Values(list) => values(list.clone()),
        IterationOver::Parameter(input) => {
            let input = input.as_str();
            let value = inputs.parameters.get(input).ok_or_else(|| no_items(input))?;
            let list = coerce(value, ParameterType::List).map_err(|source| TaskError::Value {
                input: input.to_owned(),
                source,
            })?;
            match list {
                Value::Array(list) => values(list),
                _ => return Err(no_items(input)),
            }
        }
        IterationOver::Artifact(input) => {
            let input = input.as_str();
            let list = inputs.artifacts.get(input).ok_or_else(|| no_items(input))?;
            list.iter().cloned().map(Box::new).map(Item::Artifact).collect()
        }
    };
    match items.len() > limits::ITERATIONS {
        true => Err(TaskError::TooManyItems { count: items.len() }),
        false => Ok(items),
    }
}

/// Collects what the items produced, in their order.
pub(super) fn collected(component: &Component, ends: impl Iterator<Item = TaskEnd>) -> TaskEnd {
    let mut parameters: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut produced = Produced::default();
    for name in component.outputs.parameters.keys() {
        parameters.insert(name.clone(), Vec::new());
    }
    for name in component.outputs.artifacts.keys() {
        produced.artifacts.insert(name.clone(), Vec::new());
    }
    let (mut failed, mut cancelled, mut suspended) = (false, false, false);
    for end in ends {
        let one = match end {
            TaskEnd::Done(one) => one,
            TaskEnd::Failed { .. } => {
                failed = true;
                continue;
            }
            TaskEnd::Cancelled => {
                cancelled = true;
                continue;
            }
            TaskEnd::Suspended => {
                suspended = true;
                continue;
            }
            TaskEnd::Skipped => continue,
        };
        for (name, value) in one.parameters {
            parameters.entry(name).or_default().push(value);
        }
        for (name, list) in one.artifacts {
            produced.artifacts.entry(name).or_default().extend(list);
        }
    }
    if cancelled && !failed {
        return TaskEnd::Cancelled;
    }
    if suspended {
        return TaskEnd::Suspended;
    }
    if failed {
        return TaskEnd::Failed { message: None };
    }
    let lists = parameters
        .into_iter()
        .map(|(name, list)| (name, Value::Array(list)));
    produced.parameters.extend(lists);
    TaskEnd::Done(produced)
}
