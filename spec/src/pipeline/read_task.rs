//! DAGs and their tasks.

use std::collections::BTreeMap;

use serde_json::Value;

use super::node::Node;
use super::position::{Located, Position};
use super::read::{optional_text, unwrap_old_value};
use super::reader::{Message, Read, Reader};
use super::types::{
    ArtifactInput, ArtifactSource, Caching, Dag, DagOutput, Iteration, IterationOver, OutputOf,
    ParameterInput, ParameterSource, Retry, Task, Trigger,
};

pub(super) fn dag(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<Dag> {
    let mut message = reader.message(node, &format!("the DAG of {what}"))?;
    let mut tasks = BTreeMap::new();
    for (name, at, node) in reader.entries(message.take("tasks"), &format!("\"tasks\" of {what}"))? {
        if !sound_task_name(name) {
            return Err(reader.fault(
                at,
                format!("{name:?} is no name for a task"),
                "use letters, digits, '-', '_' and '.', a letter or digit first",
            ));
        }
        let read = task(reader, node, &format!("task {name:?}"))?;
        tasks.insert(name.to_owned(), read);
    }
    let mut dag = Dag {
        at: node.at,
        tasks,
        parameter_outputs: BTreeMap::new(),
        artifact_outputs: BTreeMap::new(),
    };
    if let Some(outputs) = message.take("outputs") {
        dag_outputs(reader, outputs, what, &mut dag)?;
    }
    reader.finish(message);
    Ok(dag)
}

/// A task's name becomes a folder and a part of a container's name.
fn sound_task_name(name: &str) -> bool {
    let first = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    first && rest && name.len() <= crate::limits::COMPONENT_BYTES
}

fn dag_outputs(reader: &mut Reader<'_>, node: &Node, what: &str, dag: &mut Dag) -> Read<()> {
    let mut message = reader.message(node, &format!("the outputs of {what}"))?;
    for (name, _, node) in reader.entries(message.take("parameters"), "output parameters")? {
        let what = format!("output parameter {name:?} of {what}");
        let mut output = reader.message(node, &what)?;
        let mut selectors = Vec::new();
        if let Some(one) = output.take("valueFromParameter") {
            selectors.push(output_of(
                reader,
                one,
                &what,
                "producerSubtask",
                "outputParameterKey",
            )?);
        }
        if let Some(oneof) = output.take("valueFromOneof") {
            let mut oneof = reader.message(oneof, &what)?;
            for one in reader.list(oneof.take("parameterSelectors"), &what)? {
                selectors.push(output_of(
                    reader,
                    one,
                    &what,
                    "producerSubtask",
                    "outputParameterKey",
                )?);
            }
            reader.finish(oneof);
        }
        reader.finish(output);
        dag.parameter_outputs.insert(
            name.to_owned(),
            DagOutput {
                at: node.at,
                selectors,
            },
        );
    }
    for (name, _, node) in reader.entries(message.take("artifacts"), "output artifacts")? {
        let what = format!("output artifact {name:?} of {what}");
        let mut output = reader.message(node, &what)?;
        let mut selectors = Vec::new();
        for one in reader.list(output.take("artifactSelectors"), &what)? {
            selectors.push(output_of(
                reader,
                one,
                &what,
                "producerSubtask",
                "outputArtifactKey",
            )?);
        }
        reader.finish(output);
        dag.artifact_outputs.insert(
            name.to_owned(),
            DagOutput {
                at: node.at,
                selectors,
            },
        );
    }
    reader.finish(message);
    Ok(())
}

fn output_of(reader: &mut Reader<'_>, node: &Node, what: &str, task: &str, key: &str) -> Read<OutputOf> {
    let mut message = reader.message(node, what)?;
    let task = required_text(reader, &mut message, task)?;
    let key = required_text(reader, &mut message, key)?;
    reader.finish(message);
    Ok(OutputOf { task, key })
}

fn required_text(reader: &Reader<'_>, message: &mut Message<'_>, name: &str) -> Read<Located<String>> {
    let found = message.take(name);
    let found = reader.required(message, found, name)?;
    reader.text(found, &format!("{name:?}"))
}

fn task(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<Task> {
    let mut message = reader.message(node, what)?;
    let component = message.take("componentRef");
    let component = reader.required(&message, component, "componentRef")?;
    let mut component = reader.message(component, &format!("\"componentRef\" of {what}"))?;
    let name = required_text(reader, &mut component, "name")?;
    reader.finish(component);
    let display_name = task_info(reader, message.take("taskInfo"), what)?;
    let dependencies = reader.texts(
        message.take("dependentTasks"),
        &format!("\"dependentTasks\" of {what}"),
    )?;
    let mut read = Task {
        at: node.at,
        display_name,
        component: name,
        dependencies,
        parameters: BTreeMap::new(),
        artifacts: BTreeMap::new(),
        iterator: None,
        trigger: Trigger::default(),
        caching: Caching::default(),
        retry: None,
    };
    if let Some(inputs) = message.take("inputs") {
        task_inputs(reader, inputs, what, &mut read)?;
    }
    read.iterator = iteration(reader, &mut message, what)?;
    read.trigger = trigger(reader, message.take("triggerPolicy"), what)?;
    if let Some(caching) = message.take("cachingOptions") {
        let mut caching = reader.message(caching, &format!("\"cachingOptions\" of {what}"))?;
        read.caching.enabled = reader.boolean(caching.take("enableCache"), "\"enableCache\"")?;
        let key = caching
            .take("cacheKey")
            .map(|key| reader.text(key, "\"cacheKey\""));
        read.caching.key = key.transpose()?.filter(|key| !key.value.is_empty());
        reader.finish(caching);
    }
    read.retry = message
        .take("retryPolicy")
        .map(|node| retry(reader, node, what))
        .transpose()?;
    reader.finish(message);
    Ok(read)
}

fn task_info(reader: &mut Reader<'_>, node: Option<&Node>, what: &str) -> Read<Option<String>> {
    let Some(node) = node else { return Ok(None) };
    let mut info = reader.message(node, &format!("\"taskInfo\" of {what}"))?;
    let name = optional_text(reader, &mut info, "name")?;
    info.take("taskName");
    reader.finish(info);
    Ok(name)
}

fn task_inputs(reader: &mut Reader<'_>, node: &Node, what: &str, task: &mut Task) -> Read<()> {
    let mut inputs = reader.message(node, &format!("inputs of {what}"))?;
    for (name, _, node) in
        reader.entries(inputs.take("parameters"), &format!("input parameters of {what}"))?
    {
        let read = parameter_input(reader, node, &format!("input {name:?} of {what}"))?;
        task.parameters.insert(name.to_owned(), read);
    }
    for (name, _, node) in reader.entries(inputs.take("artifacts"), &format!("input artifacts of {what}"))? {
        let what = format!("input artifact {name:?} of {what}");
        let mut message = reader.message(node, &what)?;
        let source = match (
            message.take("taskOutputArtifact"),
            message.take("componentInputArtifact"),
        ) {
            (Some(output), None) => ArtifactSource::TaskOutput(output_of(
                reader,
                output,
                &what,
                "producerTask",
                "outputArtifactKey",
            )?),
            (None, Some(name)) => ArtifactSource::ComponentInput(reader.text(name, &what)?.value),
            _ => return Err(one_source(reader, node.at, &what)),
        };
        reader.finish(message);
        task.artifacts
            .insert(name.to_owned(), ArtifactInput { at: node.at, source });
    }
    reader.finish(inputs);
    Ok(())
}

fn one_source(reader: &Reader<'_>, at: Position, what: &str) -> super::PipelineError {
    reader.fault(
        at,
        format!("{what} has not exactly one source"),
        "take it from a constant, an input of the component or an output of a task",
    )
}

pub(super) fn parameter_input(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<ParameterInput> {
    let mut message = reader.message(node, what)?;
    let mut sources = Vec::new();
    if let Some(value) = message.take("runtimeValue") {
        sources.push(runtime_value(reader, value, what)?);
    }
    if let Some(name) = message.take("componentInputParameter") {
        sources.push(ParameterSource::ComponentInput(reader.text(name, what)?.value));
    }
    if let Some(output) = message.take("taskOutputParameter") {
        let output = output_of(reader, output, what, "producerTask", "outputParameterKey")?;
        sources.push(ParameterSource::TaskOutput(output));
    }
    if let Some(status) = message.take("taskFinalStatus") {
        let mut status = reader.message(status, what)?;
        let task = required_text(reader, &mut status, "producerTask")?;
        reader.finish(status);
        sources.push(ParameterSource::FinalStatus(task));
    }
    let selector = message.take("parameterExpressionSelector");
    let selector = selector.map(|text| reader.text(text, what)).transpose()?;
    let at = message.at;
    reader.finish(message);
    match (sources.pop(), sources.is_empty()) {
        (Some(source), true) => Ok(ParameterInput {
            at,
            source,
            selector: selector.filter(|text| !text.value.is_empty()),
        }),
        _ => Err(one_source(reader, at, what)),
    }
}

fn runtime_value(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<ParameterSource> {
    let mut message = reader.message(node, &format!("the value of {what}"))?;
    let source = if let Some(value) = message.take_value("constant") {
        ParameterSource::Constant(value)
    } else if let Some(value) = message.take_value("constantValue") {
        ParameterSource::Constant(unwrap_old_value(value))
    } else if let Some(name) = message.take("runtimeParameter") {
        ParameterSource::ComponentInput(reader.text(name, what)?.value)
    } else {
        return Err(one_source(reader, node.at, what));
    };
    reader.finish(message);
    Ok(source)
}

fn iteration(reader: &mut Reader<'_>, message: &mut Message<'_>, what: &str) -> Read<Option<Iteration>> {
    let parameter = message.take("parameterIterator");
    let artifact = message.take("artifactIterator");
    let policy = message.take("iteratorPolicy");
    let node = match (parameter, artifact) {
        (None, None) => return Ok(None),
        (Some(_), Some(node)) => {
            return Err(reader.fault(
                node.at,
                format!("{what} iterates over a parameter and an artifact"),
                "nest two tasks instead",
            ));
        }
        (Some(node), None) | (None, Some(node)) => node,
    };
    let mut iterator = reader.message(node, &format!("the iterator of {what}"))?;
    let item_input = required_text(reader, &mut iterator, "itemInput")?;
    let items = iterator.take("items");
    let items = reader.required(&iterator, items, "items")?;
    let mut items = reader.message(items, &format!("the items of {what}"))?;
    let over = if artifact.is_some() {
        IterationOver::Artifact(required_text(reader, &mut items, "inputArtifact")?)
    } else if let Some(raw) = items.take("raw") {
        IterationOver::Values(raw_items(reader, raw, what)?)
    } else {
        IterationOver::Parameter(required_text(reader, &mut items, "inputParameter")?)
    };
    reader.finish(items);
    reader.finish(iterator);
    let parallelism = parallelism(reader, policy, what)?;
    Ok(Some(Iteration {
        at: node.at,
        over,
        item_input,
        parallelism,
    }))
}

fn raw_items(reader: &Reader<'_>, node: &Node, what: &str) -> Read<Vec<Value>> {
    let text = reader.text(node, &format!("the items of {what}"))?;
    serde_json::from_str(&text.value).map_err(|_| {
        reader.fault(
            text.at,
            format!("the items of {what} are not a JSON list"),
            "write them as JSON text, e.g. '[1, 2]'",
        )
    })
}

fn parallelism(reader: &mut Reader<'_>, policy: Option<&Node>, what: &str) -> Read<Option<u32>> {
    let Some(node) = policy else { return Ok(None) };
    let mut policy = reader.message(node, &format!("\"iteratorPolicy\" of {what}"))?;
    let limit = match policy.take("parallelismLimit") {
        Some(node) => Some(count(reader, node, &format!("\"parallelismLimit\" of {what}"))?),
        None => None,
    };
    reader.finish(policy);
    // 0 is the proto's "no limit".
    Ok(limit.filter(|limit| *limit > 0))
}

fn count(reader: &Reader<'_>, node: &Node, what: &str) -> Read<u32> {
    let number = reader.number(node, what)?;
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked just above"
        )]
        return Ok(number as u32);
    }
    Err(reader.fault(
        node.at,
        format!("{what} is {number}"),
        "use a whole number from 0",
    ))
}

fn trigger(reader: &mut Reader<'_>, node: Option<&Node>, what: &str) -> Read<Trigger> {
    let Some(node) = node else {
        return Ok(Trigger::default());
    };
    let mut message = reader.message(node, &format!("\"triggerPolicy\" of {what}"))?;
    let condition = message
        .take("condition")
        .map(|text| reader.text(text, what))
        .transpose()?;
    let mut always = None;
    if let Some(node) = message.take("strategy") {
        let strategy = reader.text(node, &format!("the strategy of {what}"))?;
        match strategy.as_str() {
            "ALL_UPSTREAM_TASKS_COMPLETED" => always = Some(strategy.at),
            "ALL_UPSTREAM_TASKS_SUCCEEDED" | "TRIGGER_STRATEGY_UNSPECIFIED" => {}
            other => {
                return Err(reader.fault(
                    strategy.at,
                    format!("{what} has the trigger strategy {other:?}, which is none"),
                    "use ALL_UPSTREAM_TASKS_SUCCEEDED or ALL_UPSTREAM_TASKS_COMPLETED",
                ));
            }
        }
    }
    reader.finish(message);
    Ok(Trigger {
        condition: condition.filter(|text| !text.value.is_empty()),
        always,
    })
}

fn retry(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<Retry> {
    let mut message = reader.message(node, &format!("\"retryPolicy\" of {what}"))?;
    let retries = message
        .take("maxRetryCount")
        .map(|node| count(reader, node, "\"maxRetryCount\""));
    let factor = message
        .take("backoffFactor")
        .map(|node| reader.number(node, "\"backoffFactor\""));
    let read = Retry {
        retries: retries.transpose()?.unwrap_or(0),
        backoff: duration(reader, message.take("backoffDuration"), 0.0)?,
        factor: factor.transpose()?.filter(|factor| *factor >= 1.0).unwrap_or(2.0),
        longest: duration(reader, message.take("backoffMaxDuration"), 3_600.0)?,
    };
    reader.finish(message);
    Ok(read)
}

/// A protobuf duration in JSON: seconds with an `s`, e.g. `1.5s`.
fn duration(reader: &Reader<'_>, node: Option<&Node>, absent: f64) -> Read<f64> {
    let Some(node) = node else { return Ok(absent) };
    let text = reader.text(node, "a duration")?;
    let seconds = text
        .value
        .strip_suffix('s')
        .and_then(|number| number.parse::<f64>().ok());
    seconds
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
        .ok_or_else(|| {
            reader.fault(
                text.at,
                format!("{:?} is no duration", text.value),
                "write seconds, e.g. \"60s\"",
            )
        })
}
