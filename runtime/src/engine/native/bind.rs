//! Binds the inputs of a task: to constants, to inputs of the surrounding component, and to outputs of earlier tasks.

use std::collections::BTreeMap;

use samebundle_spec::pipeline::{
    ArtifactSource, Claim, Component, Expression, OutputOf, ParameterSource, RunFact, Task, coerce, conform,
    task_path,
};
use serde_json::{Value, json};

use super::Execution;
use super::artifact::{TaskEnd, Values};
use super::error::TaskError;
use super::resolve::Resolver;

/// `google.rpc.Code.UNKNOWN`, the code of a task's failure.
const UNKNOWN: u32 = 2;

/// What a task can see of the surrounding DAG.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// Inputs of the surrounding component.
    pub(super) inputs: &'a Values,
    /// How the earlier tasks ended.
    pub(super) ended: &'a BTreeMap<&'a str, TaskEnd>,
    pub(super) execution: &'a Execution<'a>,
    /// Path of the surrounding DAG's task.
    pub(super) dag: &'a str,
    /// Path of the task.
    pub(super) path: &'a str,
}

impl Surroundings<'_> {
    fn value(&self, source: &ParameterSource) -> Option<Value> {
        match source {
            ParameterSource::Constant(value) => Some(value.clone()),
            ParameterSource::ComponentInput(source) => self.inputs.parameters.get(source).cloned(),
            ParameterSource::TaskOutput(output) => self
                .produced(output)
                .and_then(|produced| produced.parameters.get(output.key.as_str()).cloned()),
            ParameterSource::FinalStatus(task) => Some(self.final_status(task.as_str())),
        }
    }

    /// What became of a task, as KFP's `PipelineTaskFinalStatus`, in the words of its driver.
    fn final_status(&self, task: &str) -> Value {
        let (state, failed) = match self.ended.get(task) {
            Some(TaskEnd::Done(_)) => ("COMPLETE", false),
            Some(TaskEnd::Failed { .. }) => ("FAILED", true),
            Some(TaskEnd::Cancelled) => ("CANCELED", false),
            // Nothing is asked about a task that has not ended.
            Some(TaskEnd::Skipped | TaskEnd::Suspended) | None => ("SKIPPED", false),
        };
        let path = task_path(self.dag, task);
        let error = match failed {
            true => json!({ "code": UNKNOWN, "message": self.execution.why_failed(&path) }),
            false => json!({}),
        };
        json!({
            "state": state,
            "error": error,
            "pipelineJobResourceName": self.execution.facts.get(RunFact::JobResourceName, &path),
            "pipelineTaskName": task,
        })
    }

    fn produced(&self, output: &OutputOf) -> Option<&Values> {
        match self.ended.get(output.task.as_str())? {
            TaskEnd::Done(produced) => Some(produced),
            TaskEnd::Failed { .. } | TaskEnd::Cancelled | TaskEnd::Skipped | TaskEnd::Suspended => None,
        }
    }
}

/// Tells whether the condition of a task holds; one that has none runs. An input without a value is null.
pub(super) fn holds(task: &Task, values: &Values) -> Result<bool, TaskError> {
    let Some(text) = &task.trigger.condition else {
        return Ok(true);
    };
    let all = task.parameters.keys().map(|name| {
        let value = values.parameters.get(name).cloned();
        (name.clone(), value.unwrap_or(Value::Null))
    });
    let holds = Expression::condition(text.as_str()).and_then(|condition| condition.holds(&all.collect()));
    holds.map_err(TaskError::Condition)
}

/// Binds all inputs of a task, in the types that its component declares; all but the item of a loop.
///
/// Constants with placeholders come last, because they may name any other input of the task.
pub(super) fn inputs(
    task: &Task,
    component: &Component,
    around: Surroundings<'_>,
) -> Result<Values, TaskError> {
    let mut values = Values::default();
    let mut later = BTreeMap::new();
    for (name, input) in &task.parameters {
        let value = match &input.source {
            ParameterSource::Constant(value) if value.to_string().contains("{{$") => {
                later.insert(name, value);
                continue;
            }
            source => around.value(source),
        };
        let Some(mut value) = value.filter(|value| !value.is_null()) else {
            continue;
        };
        if let Some(selector) = &input.selector {
            let picked =
                Expression::selector(selector.as_str()).and_then(|expression| expression.pick(&value));
            value = picked.map_err(|source| TaskError::Expression {
                input: name.clone(),
                source,
            })?;
        }
        insert(&mut values, component, name, &value)?;
    }
    for (name, value) in later {
        let resolver = Resolver {
            inputs: &values,
            facts: &around.execution.facts,
            task: around.path,
            container: None,
        };
        let value = resolver.value(value)?;
        insert(&mut values, component, name, &value)?;
    }
    artifacts(task, component, around, &mut values)?;
    defaults(component, task.item_input(), &mut values)?;
    Ok(values)
}

/// Gives an input a value, in the type that the component declares.
pub(super) fn insert(
    values: &mut Values,
    component: &Component,
    name: &str,
    value: &Value,
) -> Result<(), TaskError> {
    let value = match component.inputs.parameters.get(name) {
        Some(spec) => {
            let typed = coerce(value, spec.parameter_type).map_err(|source| TaskError::Value {
                input: name.to_owned(),
                source,
            })?;
            if !spec.allows(&typed) {
                return Err(TaskError::NotALiteral {
                    input: name.to_owned(),
                    value: typed.to_string(),
                });
            }
            typed
        }
        None => value.clone(),
    };
    values.parameters.insert(name.to_owned(), value);
    Ok(())
}

fn artifacts(
    task: &Task,
    component: &Component,
    around: Surroundings<'_>,
    values: &mut Values,
) -> Result<(), TaskError> {
    for (name, input) in &task.artifacts {
        let found = match &input.source {
            ArtifactSource::ComponentInput(source) => around.inputs.artifacts.get(source),
            ArtifactSource::TaskOutput(output) => around
                .produced(output)
                .and_then(|produced| produced.artifacts.get(output.key.as_str())),
        };
        if let Some(list) = found {
            values.artifacts.insert(name.clone(), list.clone());
        }
    }
    let item = task.item_input();
    let missing = component.inputs.artifacts.iter().find(|(name, spec)| {
        !spec.optional && item != Some(name.as_str()) && !values.artifacts.contains_key(*name)
    });
    match missing {
        Some((name, _)) => Err(TaskError::NoArtifact { input: name.clone() }),
        None => Ok(()),
    }
}

/// Binds the names of the volumes that a task claims.
pub(super) fn claims(
    claims: &[Claim],
    around: Surroundings<'_>,
    values: &Values,
) -> Result<Vec<String>, TaskError> {
    let resolver = Resolver {
        inputs: values,
        facts: &around.execution.facts,
        task: around.path,
        container: None,
    };
    let bind = |claim: &Claim| match around.value(&claim.name) {
        Some(Value::String(name)) if name.contains("{{$") => Ok(resolver.text(&name)?),
        Some(Value::String(name)) => Ok(name),
        _ => Err(TaskError::NoValue {
            input: format!("the name of the volume at {}", claim.path),
        }),
    };
    claims.iter().map(bind).collect()
}

/// A component's own default counts if no value is given. The item of a loop has no value yet.
fn defaults(component: &Component, item: Option<&str>, values: &mut Values) -> Result<(), TaskError> {
    for (name, spec) in &component.inputs.parameters {
        if values.parameters.contains_key(name) || item == Some(name.as_str()) {
            continue;
        }
        match &spec.default {
            Some(default) => {
                let value = conform(default, spec.parameter_type).map_err(|source| TaskError::Value {
                    input: name.clone(),
                    source,
                })?;
                values.parameters.insert(name.clone(), value);
            }
            None if spec.optional => {}
            None => return Err(TaskError::NoValue { input: name.clone() }),
        }
    }
    Ok(())
}
