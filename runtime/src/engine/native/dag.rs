//! Runs the tasks of a DAG concurrently, each as soon as all its dependencies have ended.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use samebundle_spec::pipeline::{Component, Dag, DagOutput, Task, coerce};
use samebundle_spec::record::{RunEventKind, RunStatus, TaskFinished};

use super::Execution;
use super::artifact::{Produced, TaskEnd, Values};
use super::bind::{self, Surroundings};
use super::error::TaskError;

type Running<'f> = FuturesUnordered<BoxFuture<'f, (&'f str, TaskEnd)>>;

impl Execution<'_> {
    /// Runs a DAG. `path` is the path of its task; empty for the root.
    pub(super) fn dag<'f>(
        &'f self,
        component: &'f Component,
        dag: &'f Dag,
        path: &'f str,
        inputs: Values,
    ) -> BoxFuture<'f, TaskEnd> {
        Box::pin(async move {
            let mut waiting: BTreeMap<&str, &Task> = dag
                .tasks
                .iter()
                .map(|(name, task)| (name.as_str(), task))
                .collect();
            let mut ended: BTreeMap<&str, TaskEnd> = BTreeMap::new();
            let mut running = Running::new();
            loop {
                self.start_ready(path, &inputs, &mut waiting, &mut ended, &running);
                let Some((name, end)) = running.next().await else {
                    break;
                };
                ended.insert(name, end);
            }
            self.dag_end(component, dag, path, &ended)
        })
    }

    /// Starts every task whose dependencies have succeeded, and skips those with a dependency that did not.
    fn start_ready<'f>(
        &'f self,
        path: &'f str,
        inputs: &Values,
        waiting: &mut BTreeMap<&'f str, &'f Task>,
        ended: &mut BTreeMap<&'f str, TaskEnd>,
        running: &Running<'f>,
    ) {
        loop {
            let ready = waiting.iter().find(|(_, task)| {
                task.predecessors()
                    .iter()
                    .all(|before| ended.contains_key(before))
            });
            let Some((name, task)) = ready.map(|(name, task)| (*name, *task)) else {
                return;
            };
            waiting.remove(name);
            let done = |before: &&str| matches!(ended.get(before), Some(TaskEnd::Done(_)));
            let full = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            };
            if self.halt.is_cancelled() || !task.predecessors().iter().all(done) {
                self.skip(&full);
                ended.insert(name, TaskEnd::Skipped);
                continue;
            }
            // The type checker finds a component that does not exist before.
            let Some(component) = self.plan.pipeline.component(task.component.as_str()) else {
                self.skip(&full);
                ended.insert(name, TaskEnd::Skipped);
                continue;
            };
            let around = Surroundings {
                inputs,
                ended,
                facts: &self.facts,
                path: &full,
            };
            let pod = self.plan.pipeline.pod_of(component);
            let claims = pod.map(|pod| pod.claims.as_slice()).unwrap_or_default();
            let bound = bind::inputs(task, component, around).and_then(|mut values| {
                values.claims = bind::claims(claims, around, &values)?;
                Ok(values)
            });
            match bound {
                Ok(values) => running.push(Box::pin(async move {
                    (name, self.task(full, task, component, values).await)
                })),
                Err(error) => {
                    let end = self.unbound(&full, component, failed(&full, &error));
                    ended.insert(name, end);
                }
            }
        }
    }

    fn skip(&self, path: &str) {
        self.log.append(RunEventKind::TaskFinished(TaskFinished {
            task: path.to_owned(),
            attempt: 0,
            status: RunStatus::Skipped,
            started: None,
            exit_code: None,
            will_retry: false,
            message: None,
            outputs: BTreeMap::new(),
        }));
    }

    fn dag_end(
        &self,
        component: &Component,
        dag: &Dag,
        path: &str,
        ended: &BTreeMap<&str, TaskEnd>,
    ) -> TaskEnd {
        if ended.values().any(|end| matches!(end, TaskEnd::Failed { .. })) {
            return TaskEnd::Failed { message: None };
        }
        if self.halt.is_cancelled() && ended.values().any(|end| !matches!(end, TaskEnd::Done(_))) {
            return TaskEnd::Cancelled;
        }
        match outputs(component, dag, ended) {
            Ok(produced) => TaskEnd::Done(produced),
            Err(error) => {
                let name = if path.is_empty() {
                    self.plan.pipeline.name.as_str()
                } else {
                    path
                };
                failed(name, &error)
            }
        }
    }
}

fn failed(path: &str, error: &TaskError) -> TaskEnd {
    TaskEnd::Failed {
        message: Some(format!("task {path} failed: {error}")),
    }
}

/// Selects the outputs of a DAG from those of its tasks: the first that was produced.
fn outputs(component: &Component, dag: &Dag, ended: &BTreeMap<&str, TaskEnd>) -> Result<Produced, TaskError> {
    let mut produced = Produced::default();
    for (name, output) in &dag.parameter_outputs {
        let found = candidates(output, ended).find_map(|(values, key)| values.parameters.get(key));
        let (Some(value), Some(spec)) = (found, component.outputs.parameters.get(name)) else {
            return Err(TaskError::NotProduced { output: name.clone() });
        };
        let value = coerce(value, spec.parameter_type).map_err(|source| TaskError::OutputValue {
            output: name.clone(),
            source,
        })?;
        produced.parameters.insert(name.clone(), value);
    }
    for (name, output) in &dag.artifact_outputs {
        let found = candidates(output, ended).find_map(|(values, key)| values.artifacts.get(key));
        let list = found.ok_or_else(|| TaskError::NotProduced { output: name.clone() })?;
        produced.artifacts.insert(name.clone(), list.clone());
    }
    Ok(produced)
}

fn candidates<'a>(
    output: &'a DagOutput,
    ended: &'a BTreeMap<&str, TaskEnd>,
) -> impl Iterator<Item = (&'a Values, &'a str)> {
    output
        .selectors
        .iter()
        .filter_map(|selector| match ended.get(selector.task.as_str()) {
            Some(TaskEnd::Done(values)) => Some((values, selector.key.as_str())),
            _ => None,
        })
}
