//! Runs the tasks of a DAG concurrently, each as soon as it is decided that it runs.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use samebundle_spec::limits;
use samebundle_spec::pipeline::{
    Component, Dag, DagOutput, ParameterType, Task, coerce, made_by_compiler, task_path,
};
use samebundle_spec::record::{RunStatus, TaskFinished};

use super::Execution;
use super::artifact::{Produced, TaskEnd, Values};
use super::bind::{self, Surroundings};
use super::error::TaskError;
use super::schedule::{Decision, Ended, Schedule};

type Running<'f> = FuturesUnordered<BoxFuture<'f, (&'f str, TaskEnd)>>;

/// A DAG that is running.
struct Dagging<'f> {
    dag: &'f Dag,
    /// The path of its task; empty for the root.
    path: &'f str,
    inputs: Values,
    schedule: Schedule<'f>,
    ended: BTreeMap<&'f str, TaskEnd>,
    running: Running<'f>,
}

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
            let mut this = Dagging {
                dag,
                path,
                inputs,
                schedule: Schedule::new(dag),
                ended: BTreeMap::new(),
                running: Running::new(),
            };
            loop {
                while let Some(decision) = this.schedule.next() {
                    self.decided(&mut this, decision);
                }
                let Some((name, end)) = this.running.next().await else {
                    break;
                };
                this.end(name, end);
            }
            self.dag_end(component, &this)
        })
    }

    /// Starts a task or skips it, as it was decided.
    fn decided<'f>(&'f self, this: &mut Dagging<'f>, decision: Decision<'f>) {
        let (name, runs) = match decision {
            Decision::Run(name) => (name, !self.halt.is_cancelled()),
            Decision::Skip(name) => (name, false),
        };
        let path = task_path(this.path, name);
        // The type checker finds a component that does not exist before.
        let task = this.dag.tasks.get(name).filter(|_| runs);
        let found =
            task.and_then(|task| Some((task, self.plan.pipeline.component(task.component.as_str())?)));
        let Some((task, component)) = found else {
            self.skip(&path, None);
            return this.end(name, TaskEnd::Skipped);
        };
        let around = Surroundings {
            inputs: &this.inputs,
            ended: &this.ended,
            execution: self,
            dag: this.path,
            path: &path,
        };
        let bound = match path.split('/').count() > limits::NESTED_TASKS {
            true => Err(TaskError::TooDeep {
                component: task.component.value.clone(),
            }),
            false => self.bound(task, component, around),
        };
        match bound {
            Ok(Some(values)) => this.running.push(Box::pin(async move {
                (name, self.task(path, task, component, values).await)
            })),
            Ok(None) => {
                self.skip(&path, Some("its condition does not hold"));
                this.end(name, TaskEnd::Skipped);
            }
            Err(error) => {
                let end = self.unbound(&path, component, failed(&path, &error));
                this.end(name, end);
            }
        }
    }

    /// Binds the inputs of a task; none if its condition does not hold.
    fn bound(
        &self,
        task: &Task,
        component: &Component,
        around: Surroundings<'_>,
    ) -> Result<Option<Values>, TaskError> {
        let values = self.bind(task, component, around)?;
        Ok(bind::holds(task, &values)?.then_some(values))
    }

    /// Binds the inputs of a task, whether its condition holds or not.
    pub(super) fn bind(
        &self,
        task: &Task,
        component: &Component,
        around: Surroundings<'_>,
    ) -> Result<Values, TaskError> {
        let mut values = bind::inputs(task, component, around)?;
        let pod = self.plan.pipeline.pod_of(component);
        let claims = pod.map(|pod| pod.claims.as_slice()).unwrap_or_default();
        values.claims = bind::claims(claims, around, &values)?;
        Ok(values)
    }

    fn skip(&self, path: &str, why: Option<&str>) {
        self.append_end(TaskFinished {
            task: path.to_owned(),
            attempt: 0,
            status: RunStatus::Skipped,
            started: None,
            exit_code: None,
            will_retry: false,
            message: why.map(str::to_owned),
            outputs: BTreeMap::new(),
            cache_key: None,
            taken_from: None,
        });
    }

    fn dag_end(&self, component: &Component, this: &Dagging<'_>) -> TaskEnd {
        let ended = &this.ended;
        let waits = ended.values().any(|end| *end == TaskEnd::Suspended);
        if waits && !self.halt.is_cancelled() {
            return TaskEnd::Suspended;
        }
        if ended.values().any(|end| matches!(end, TaskEnd::Failed { .. })) {
            return TaskEnd::Failed { message: None };
        }
        if self.halt.is_cancelled() && ended.values().any(|end| !matches!(end, TaskEnd::Done(_))) {
            return TaskEnd::Cancelled;
        }
        match outputs(component, this.dag, ended) {
            Ok(produced) => TaskEnd::Done(produced),
            Err(error) if this.path.is_empty() => failed(self.plan.pipeline.name.as_str(), &error),
            Err(error) => failed(this.path, &error),
        }
    }
}

impl<'f> Dagging<'f> {
    fn end(&mut self, name: &'f str, end: TaskEnd) {
        match &end {
            TaskEnd::Done(_) => self.schedule.ended(name, Ended::Succeeded),
            TaskEnd::Failed { .. } | TaskEnd::Cancelled | TaskEnd::Skipped => {
                self.schedule.ended(name, Ended::Otherwise);
            }
            // It has not ended, and what waits for it waits on.
            TaskEnd::Suspended => {}
        }
        self.ended.insert(name, end);
    }
}

pub(super) fn failed(path: &str, error: &TaskError) -> TaskEnd {
    TaskEnd::Failed {
        message: Some(format!("task {path} failed: {error}")),
    }
}

/// Selects the outputs of a DAG from those of its tasks: the first that was produced. An output that no task produced,
/// because all of them were skipped, is absent.
pub(super) fn outputs(
    component: &Component,
    dag: &Dag,
    ended: &BTreeMap<&str, TaskEnd>,
) -> Result<Produced, TaskError> {
    let mut produced = Produced::default();
    for (name, output) in &dag.parameter_outputs {
        let found = candidates(output, ended).find_map(|(values, key)| values.parameters.get(key));
        let Some(value) = found else { continue };
        let declared = component
            .outputs
            .parameters
            .get(name)
            .map(|spec| spec.parameter_type);
        // The compiler declares a list wherever something might be collected, whether it is or not.
        let carried = made_by_compiler(name)
            || output
                .selectors
                .iter()
                .any(|one| made_by_compiler(one.key.as_str()));
        let single = declared == Some(ParameterType::List) && !value.is_array() && carried;
        let value = match declared.filter(|_| !single) {
            None => value.clone(),
            Some(wanted) => coerce(value, wanted).map_err(|source| TaskError::OutputValue {
                output: name.clone(),
                source,
            })?,
        };
        produced.parameters.insert(name.clone(), value);
    }
    for (name, output) in &dag.artifact_outputs {
        let found = candidates(output, ended).find_map(|(values, key)| values.artifacts.get(key));
        if let Some(list) = found {
            produced.artifacts.insert(name.clone(), list.clone());
        }
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
