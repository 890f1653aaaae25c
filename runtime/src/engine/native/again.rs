//! Makes the container of a task of an ended run once more, for somebody who looks into it. What the task read is bound again
//! from the pipeline and the record, by the code that bound it in the run; nothing but that task is run, and nothing is written
//! to the run's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use futures::future::BoxFuture;
use samebundle_spec::pipeline::{
    ArtifactSource, Component, Container, Dag, Implementation, Iteration, ParameterSource, Task, task_path,
};
use samebundle_spec::record::{Run, RunStatus};

use super::artifact::{TaskEnd, Values};
use super::bind::Surroundings;
use super::error::TaskError;
use super::facts::ROOT;
use super::mounts::Mounted;
use super::reuse::Resumed;
use super::{Execution, Native, ProgramError, dag, executor_input, iterate, root_inputs};
use crate::context::Context;
use crate::driver::{Content, Input, Operation, Staging};
use crate::engine::ProgramPlan;
use crate::record::RunLog;

/// The folder in the container for whoever looks.
const FOLDER: &str = "/samebundle/debug";

/// The container of a task, made once more.
#[derive(Debug)]
pub struct Again {
    /// It, with its own command.
    pub operation: Operation,
    /// Where its inputs are, and the folder for its outputs.
    pub staging: Staging,
    /// Its command, ready for a shell, without secrets.
    pub command: String,
    /// The file in the container that is a script of this command.
    pub script: String,
    /// The file in the container that has the executor input.
    pub executor_input: String,
    /// Its volumes are locked as long as this is there.
    _mounted: Mounted,
}

/// A task with its inputs.
struct Bound<'a> {
    path: String,
    component: &'a Component,
    values: Values,
}

impl Native {
    /// Makes the container of a task of a run that does not go on. `plan` is that of the run, with its folder and another id;
    /// `aside` takes what the container writes, and `log` is no log of a run.
    ///
    /// # Errors
    /// [`ProgramError::NotAgain`] if the task has no container, or did not come to have its inputs; [`ProgramError::InputGone`]
    /// if what it read is not what it was; as `run`.
    pub async fn again(
        &self,
        plan: &ProgramPlan,
        context: &Context,
        log: &RunLog,
        task: &str,
        aside: &Path,
    ) -> Result<Again, ProgramError> {
        let dag = super::admit(plan)?;
        let mut inputs = root_inputs(plan)?;
        let mut execution = self.execution(plan, context, log).await?;
        execution.own_folder = aside.to_owned();
        execution.given_artifacts(&mut inputs, true).await?;
        let run = log.run();
        execution.resumed = Mutex::new(Resumed::of_record(&run));
        let bound = execution.bound_again(&run, task, dag, inputs).await?;
        let refused = |error: TaskError| ProgramError::not_again(task, error.to_string());
        let made = execution.container_again(bound).await;
        made.map_err(refused)?.ok_or_else(|| {
            let why = "it runs no container, or the packages that it needs were not installed";
            ProgramError::not_again(task, why)
        })
    }
}

impl Execution<'_> {
    /// Binds the inputs of a task as they were in a run.
    async fn bound_again<'a>(
        &'a self,
        run: &Run,
        target: &str,
        root: &'a Dag,
        inputs: Values,
    ) -> Result<Bound<'a>, ProgramError> {
        let refused = |why: &str| ProgramError::not_again(target, why);
        let (mut dag, mut path, mut inputs) = (root, String::new(), inputs);
        loop {
            let within = |(name, _): &(&'a String, &'a Task)| is_within(target, &task_path(&path, name));
            let found = dag.tasks.iter().find(within);
            let (name, task) = found.ok_or_else(|| refused("the pipeline has no such task"))?;
            let component = self.plan.pipeline.component(task.component.as_str());
            let component = component.ok_or_else(|| refused("it has no component"))?;
            let mut own = task_path(&path, name);
            let ended = self.ended_again(run, dag, task, component, &path).await?;
            let around = Surroundings {
                inputs: &inputs,
                ended: &ended,
                execution: self,
                dag: &path,
                path: &own,
            };
            let bound = self.bind(task, component, around);
            let mut values = bound.map_err(|error| refused(&error.to_string()))?;
            if let Some(iteration) = &task.iterator {
                (own, values) = item(component, iteration, (target, &own), values)?;
            }
            match &component.implementation {
                Implementation::Executor(_) if own == target => {
                    return Ok(Bound {
                        path: own,
                        component,
                        values,
                    });
                }
                Implementation::Dag(inner) if own != target => dag = inner,
                Implementation::Dag(_) => return Err(refused("it is a group of tasks: name one of them")),
                Implementation::Executor(_) => return Err(refused("there is nothing in a container's task")),
            }
            (path, inputs) = (own, values);
        }
    }

    /// Returns how the tasks ended that a task reads.
    async fn ended_again<'a>(
        &'a self,
        run: &Run,
        dag: &'a Dag,
        task: &'a Task,
        component: &'a Component,
        path: &str,
    ) -> Result<BTreeMap<&'a str, TaskEnd>, ProgramError> {
        let pod = self.plan.pipeline.pod_of(component);
        let claims = pod.into_iter().flat_map(|pod| &pod.claims);
        let mut names: BTreeSet<&str> = claims.filter_map(|claim| read_of(&claim.name)).collect();
        names.extend(
            task.parameters
                .values()
                .filter_map(|input| read_of(&input.source)),
        );
        names.extend(task.artifacts.values().filter_map(|input| match &input.source {
            ArtifactSource::TaskOutput(output) => Some(output.task.as_str()),
            ArtifactSource::ComponentInput(_) => None,
        }));
        self.ends(run, dag, names, path).await
    }

    async fn ends<'a>(
        &'a self,
        run: &Run,
        dag: &'a Dag,
        names: BTreeSet<&'a str>,
        path: &str,
    ) -> Result<BTreeMap<&'a str, TaskEnd>, ProgramError> {
        let mut ended = BTreeMap::new();
        for name in names {
            let found = dag.tasks.get(name);
            let found =
                found.and_then(|task| Some((task, self.plan.pipeline.component(task.component.as_str())?)));
            if let Some((task, component)) = found {
                let end = self.end_again(run, task_path(path, name), task, component);
                ended.insert(name, end.await?);
            }
        }
        Ok(ended)
    }

    /// Returns how a task ended, with what it produced.
    fn end_again<'a>(
        &'a self,
        run: &'a Run,
        path: String,
        task: &'a Task,
        component: &'a Component,
    ) -> BoxFuture<'a, Result<TaskEnd, ProgramError>> {
        Box::pin(async move {
            let looped = task.iterator.is_some();
            if !looped || status(run, &path) != RunStatus::Succeeded {
                return self.one_end_again(run, path, component).await;
            }
            let mut ends = Vec::new();
            let item = |number: usize| format!("{path}/{number}");
            while run.tasks.iter().any(|one| one.name == item(ends.len())) {
                ends.push(self.one_end_again(run, item(ends.len()), component).await?);
            }
            Ok(iterate::collected(component, ends.into_iter()))
        })
    }

    async fn one_end_again(
        &self,
        run: &Run,
        path: String,
        component: &Component,
    ) -> Result<TaskEnd, ProgramError> {
        match status(run, &path) {
            RunStatus::Succeeded => {}
            RunStatus::Failed => return Ok(TaskEnd::Failed { message: None }),
            RunStatus::Skipped => return Ok(TaskEnd::Skipped),
            _ => return Ok(TaskEnd::Cancelled),
        }
        if let Implementation::Dag(inner) = &component.implementation {
            let parameters = inner.parameter_outputs.values();
            let outputs = parameters.chain(inner.artifact_outputs.values());
            let selectors = outputs.flat_map(|output| &output.selectors);
            let names: BTreeSet<&str> = selectors.map(|one| one.task.as_str()).collect();
            let ended = self.ends(run, inner, names, &path).await?;
            let produced = dag::outputs(component, inner, &ended);
            return produced
                .map(TaskEnd::Done)
                .map_err(|_| ProgramError::InputGone { task: path });
        }
        if let Some(end) = self.ended_before(&path, component).await {
            return Ok(end);
        }
        let past = self.resumed().past(&path).and_then(|past| past.end);
        let kept = match past {
            Some(end) => self.kept(&path, component, &end).await,
            None => None,
        };
        kept.map(TaskEnd::Done)
            .ok_or(ProgramError::InputGone { task: path })
    }

    /// Describes the container of a task, with what whoever looks into it gets. None if it has none.
    async fn container_again(&self, bound: Bound<'_>) -> Result<Option<Again>, TaskError> {
        let Bound {
            path,
            component,
            values,
        } = bound;
        let Some(container) = self.plan.pipeline.container_of(component) else {
            return Ok(None);
        };
        let image = self.image(container, &values, &path)?;
        let planned = executor_input::planned_outputs(component, &format!("{ROOT}/{path}"));
        let mounted = self.mounted(component, &values.claims).await?;
        let made = self.operation(&path, (component, container), image, &values, &planned, 1);
        let Some((mut operation, mut staging)) = made.await? else {
            return Ok(None);
        };
        operation.volumes = mounted.stage(&mut staging);
        let input = executor_input::build(component, &values, &planned, &format!("{ROOT}/{path}"));
        let words = self.words(container, &operation).await?;
        let line = words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" ");
        let file = |name: &str, text: String| Input {
            target: format!("{FOLDER}/{name}"),
            content: Content::Bytes(text.into_bytes()),
        };
        let executor_input = file("executor_input.json", input.to_string());
        let script = file("command", format!("#!/bin/sh\nexec {line}\n"));
        let (script_path, input_path) = (script.target.clone(), executor_input.target.clone());
        operation.inputs.extend([executor_input, script]);
        Ok(Some(Again {
            command: self.log.text(&line),
            script: script_path,
            executor_input: input_path,
            operation,
            staging,
            _mounted: mounted,
        }))
    }

    /// Returns the words of a container's command; its image has them if the pipeline does not.
    async fn words(&self, container: &Container, operation: &Operation) -> Result<Vec<String>, TaskError> {
        if !operation.command.is_empty() {
            return Ok(operation.command.clone());
        }
        let config = self.image_config(container, &operation.image).await?.config;
        Ok([config.entrypoint, config.cmd].concat())
    }
}

/// Tells whether a path is that of a task or of one in it.
fn is_within(path: &str, task: &str) -> bool {
    let rest = path.strip_prefix(task);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The task that a parameter is read of.
fn read_of(source: &ParameterSource) -> Option<&str> {
    match source {
        ParameterSource::TaskOutput(output) => Some(output.task.as_str()),
        ParameterSource::FinalStatus(task) => Some(task.as_str()),
        ParameterSource::Constant(_) | ParameterSource::ComponentInput(_) => None,
    }
}

fn status(run: &Run, path: &str) -> RunStatus {
    let found = run.tasks.iter().find(|task| task.name == path);
    found.map_or(RunStatus::Skipped, |task| task.status)
}

/// Returns the path of the item of a loop in which a task stands, and the inputs of the item.
fn item(
    component: &Component,
    iteration: &Iteration,
    (target, path): (&str, &str),
    mut values: Values,
) -> Result<(String, Values), ProgramError> {
    let refused = |why: &str| ProgramError::not_again(target, why);
    let number = target.get(path.len()..).and_then(|rest| rest.split('/').nth(1));
    let number = number.and_then(|number| number.parse::<usize>().ok());
    let number = number.ok_or_else(|| refused("it is a loop: name a task of one of its items"))?;
    let items = iterate::items(iteration, &values).map_err(|error| refused(&error.to_string()))?;
    let item = items.into_iter().nth(number);
    let item = item.ok_or_else(|| refused("the loop has no such item"))?;
    let bound = iterate::insert(&mut values, component, iteration, item);
    bound.map_err(|error| refused(&error.to_string()))?;
    Ok((format!("{path}/{number}"), values))
}

/// Writes a word so that a shell reads it as it is.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_words_as_they_are() {
        for (word, shown) in [
            ("a/b.py", "a/b.py"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's $x", r"'it'\''s $x'"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }

    #[test]
    fn a_task_is_within_its_parents() {
        assert!(is_within("loop/3/train", "loop"));
        assert!(is_within("loop", "loop"));
        assert!(!is_within("loop-2", "loop"));
    }
}
