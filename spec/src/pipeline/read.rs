//! Documents to a [`Pipeline`]: the spec, its components, and the platform specs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Pipeline;
use super::kubernetes::{self, Kubernetes};
use super::node::{self, Kind, Node};
use super::position::{Located, PipelineError, Position};
use super::read_executor::executor;
use super::read_task::dag;
use super::reader::{Message, Read, Reader};
use super::types::{
    ArtifactSpec, ArtifactType, Component, Implementation, Interface, ParameterSpec, ParameterType,
};
use crate::limits;

/// Reads a file.
pub(super) fn pipeline(file: &str, bytes: &[u8]) -> Result<Pipeline, PipelineError> {
    let documents = node::documents(file, bytes)?;
    let mut reader = Reader::new(file);
    let mut spec = None;
    let mut kubernetes = None;
    for document in &documents {
        let message = reader.message(document, "the document")?;
        if message.has("platforms") && !message.has("root") {
            read_platforms(&mut reader, message, &mut kubernetes)?;
        } else if spec.is_some() {
            return Err(reader.fault(
                document.at,
                "there is a second pipeline in the file".to_owned(),
                "keep one pipeline a file",
            ));
        } else {
            spec = Some(message);
        }
    }
    let Some(message) = spec else {
        return Err(reader.fault(
            Position::START,
            "there is a platform spec but no pipeline".to_owned(),
            "compile the pipeline again",
        ));
    };
    let mut pipeline = job_or_spec(&mut reader, message)?;
    pipeline.kubernetes = kubernetes.unwrap_or_default();
    pipeline.notes = reader.notes;
    Ok(pipeline)
}

fn read_platforms(
    reader: &mut Reader<'_>,
    mut message: Message<'_>,
    kubernetes: &mut Option<Kubernetes>,
) -> Read<()> {
    for (name, at, platform) in reader.entries(message.take("platforms"), "\"platforms\"")? {
        if name != "kubernetes" {
            continue;
        }
        let read = kubernetes::kubernetes(reader, platform)?;
        if kubernetes.replace(read).is_some() {
            return Err(reader.fault(
                at,
                format!("platform {name:?} is specified twice"),
                "keep one platform spec a platform",
            ));
        }
    }
    reader.finish(message);
    Ok(())
}

/// A `PipelineJob` holds a spec and parameter values; a spec is one by itself.
fn job_or_spec(reader: &mut Reader<'_>, mut message: Message<'_>) -> Read<Pipeline> {
    let Some(node) = message.take("pipelineSpec") else {
        return spec(reader, message);
    };
    let inner = reader.message(node, "\"pipelineSpec\"")?;
    let mut pipeline = spec(reader, inner)?;
    if let Some(config) = message.take("runtimeConfig") {
        let mut config = reader.message(config, "\"runtimeConfig\"")?;
        // The proto's older field: values wrapped in a message.
        let old = config.take("parameters");
        for (name, _, value) in reader.entries(old, "\"parameters\" of \"runtimeConfig\"")? {
            let value = unwrap_old_value(value.to_value());
            pipeline.parameter_values.insert(name.to_owned(), value);
        }
        for (name, _, value) in reader.entries(config.take("parameterValues"), "\"parameterValues\"")? {
            pipeline
                .parameter_values
                .insert(name.to_owned(), value.to_value());
        }
        config.take("gcsOutputDirectory");
        reader.finish(config);
    }
    for known in [
        "displayName",
        "name",
        "labels",
        "createTime",
        "startTime",
        "state",
    ] {
        message.take(known);
    }
    reader.finish(message);
    Ok(pipeline)
}

/// `{"intValue": "3"}`, `{"doubleValue": 0.5}`, `{"stringValue": "x"}` of the older proto.
pub(super) fn unwrap_old_value(value: Value) -> Value {
    let Value::Object(fields) = &value else {
        return value;
    };
    let mut entries = fields.iter();
    match (entries.next(), entries.next()) {
        (Some((key, Value::String(text))), None) if key == "intValue" => {
            text.parse::<i64>().map_or(Value::Null, Value::from)
        }
        (Some((key, inner)), None) if matches!(key.as_str(), "intValue" | "doubleValue" | "stringValue") => {
            inner.clone()
        }
        _ => value,
    }
}

fn spec(reader: &mut Reader<'_>, mut message: Message<'_>) -> Read<Pipeline> {
    let schema_version = schema_version(reader, &mut message)?;
    let sdk_version = message
        .take("sdkVersion")
        .map(|node| reader.text(node, "\"sdkVersion\""))
        .transpose()?
        .map(|text| text.value);
    let info = message.take("pipelineInfo");
    let info = reader.required(&message, info, "pipelineInfo")?;
    let mut info = reader.message(info, "\"pipelineInfo\"")?;
    let name = pipeline_name(reader, &mut info)?;
    let display_name = optional_text(reader, &mut info, "displayName")?;
    let description = optional_text(reader, &mut info, "description")?;
    reader.finish(info);
    let default_root = optional_text(reader, &mut message, "defaultPipelineRoot")?;
    let root = message.take("root");
    let root = reader.required(&message, root, "root")?;
    let root = component(reader, root, "\"root\"")?;
    let mut components = BTreeMap::new();
    for (name, _, node) in reader.entries(message.take("components"), "\"components\"")? {
        let read = component(reader, node, &format!("component {name:?}"))?;
        components.insert(name.to_owned(), read);
    }
    let mut executors = BTreeMap::new();
    if let Some(deployment) = message
        .take("deploymentSpec")
        .or_else(|| message.take("deploymentConfig"))
    {
        let mut deployment = reader.message(deployment, "\"deploymentSpec\"")?;
        for (name, _, node) in reader.entries(deployment.take("executors"), "\"executors\"")? {
            let read = executor(reader, node, &format!("executor {name:?}"))?;
            executors.insert(name.to_owned(), read);
        }
        reader.finish(deployment);
    }
    reader.finish(message);
    Ok(Pipeline {
        file: reader.file.to_owned(),
        name,
        display_name,
        description,
        schema_version,
        sdk_version,
        default_root,
        root,
        components,
        executors,
        kubernetes: Kubernetes::default(),
        parameter_values: BTreeMap::new(),
        notes: Vec::new(),
    })
}

fn schema_version(reader: &Reader<'_>, message: &mut Message<'_>) -> Read<String> {
    let node = message.take("schemaVersion");
    let node = reader.required(message, node, "schemaVersion")?;
    let version = reader.text_or_number(node, "\"schemaVersion\"")?;
    let minor = version
        .value
        .strip_prefix("2.")
        .and_then(|rest| rest.split('.').next());
    if matches!(minor, Some("0" | "1")) {
        return Ok(version.value);
    }
    Err(reader.fault(
        version.at,
        format!(
            "\"schemaVersion\" is {:?}; versions 2.0 and 2.1 are read",
            version.value
        ),
        "compile the pipeline with the kfp SDK 2",
    ))
}

fn pipeline_name(reader: &Reader<'_>, info: &mut Message<'_>) -> Read<Located<String>> {
    let node = info.take("name");
    let node = reader.required(info, node, "name")?;
    let name = reader.text(node, "\"name\" of \"pipelineInfo\"")?;
    let sound = |text: &str| {
        let first = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let rest = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        first && rest && text.len() <= limits::PIPELINE_NAME_BYTES
    };
    if sound(&name.value) {
        return Ok(name);
    }
    Err(reader.fault(
        name.at,
        format!("{:?} is no name for a pipeline", name.value),
        "use small letters, digits and '-', a letter or digit first, at most 128 bytes",
    ))
}

pub(super) fn optional_text(
    reader: &Reader<'_>,
    message: &mut Message<'_>,
    name: &str,
) -> Read<Option<String>> {
    let found = message
        .take(name)
        .map(|node| reader.text(node, &format!("{name:?}")));
    Ok(found.transpose()?.map(|text| text.value))
}

fn component(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<Component> {
    let mut message = reader.message(node, what)?;
    let inputs = interface(
        reader,
        message.take("inputDefinitions"),
        &format!("inputs of {what}"),
    )?;
    let outputs = interface(
        reader,
        message.take("outputDefinitions"),
        &format!("outputs of {what}"),
    )?;
    let implementation = match (message.take("dag"), message.take("executorLabel")) {
        (Some(node), None) => Implementation::Dag(dag(reader, node, what)?),
        (None, Some(node)) => {
            Implementation::Executor(reader.text(node, &format!("\"executorLabel\" of {what}"))?)
        }
        (both, _) => {
            let problem = if both.is_some() { "has both" } else { "has neither" };
            return Err(reader.fault(
                node.at,
                format!("{what} {problem} \"dag\" and \"executorLabel\""),
                "give it exactly one of the two",
            ));
        }
    };
    // Facts about the component that change nothing about how it runs.
    for known in ["singlePlatformSpecs", "taskConfigPassthroughs"] {
        message.take(known);
    }
    reader.finish(message);
    Ok(Component {
        at: node.at,
        implementation,
        inputs,
        outputs,
    })
}

fn interface(reader: &mut Reader<'_>, node: Option<&Node>, what: &str) -> Read<Interface> {
    let mut interface = Interface::default();
    let Some(node) = node else { return Ok(interface) };
    let mut message = reader.message(node, what)?;
    for (name, at, node) in reader.entries(message.take("parameters"), what)? {
        checked_name(reader, name, at, what)?;
        let spec = parameter(reader, node, &format!("parameter {name:?} in {what}"))?;
        interface.parameters.insert(name.to_owned(), spec);
    }
    for (name, at, node) in reader.entries(message.take("artifacts"), what)? {
        checked_name(reader, name, at, what)?;
        let spec = artifact(reader, node, &format!("artifact {name:?} in {what}"))?;
        interface.artifacts.insert(name.to_owned(), spec);
    }
    reader.finish(message);
    Ok(interface)
}

/// Names of outputs become names of files.
fn checked_name(reader: &Reader<'_>, name: &str, at: Position, what: &str) -> Read<()> {
    let control = name
        .chars()
        .any(|character| character == '/' || character.is_control());
    if !control && !["", ".", ".."].contains(&name) && name.len() <= limits::COMPONENT_BYTES {
        return Ok(());
    }
    Err(reader.fault(
        at,
        format!("{name:?} is no name for one of the {what}"),
        "use a name without '/' and control characters, at most 255 bytes",
    ))
}

fn parameter(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<ParameterSpec> {
    let mut message = reader.message(node, what)?;
    let found = message.take("parameterType").or_else(|| message.take("type"));
    let found = reader.required(&message, found, "parameterType")?;
    let parameter_type = parameter_type(reader, found, what)?;
    let spec = ParameterSpec {
        at: node.at,
        parameter_type,
        default: message
            .take_value("defaultValue")
            .filter(|value| !value.is_null()),
        optional: reader.boolean(message.take("isOptional"), what)?,
        literals: reader
            .list(message.take("literals"), what)?
            .iter()
            .map(Node::to_value)
            .collect(),
        description: optional_text(reader, &mut message, "description")?,
    };
    reader.finish(message);
    Ok(spec)
}

fn parameter_type(reader: &Reader<'_>, node: &Node, what: &str) -> Read<ParameterType> {
    let text = reader.text(node, &format!("the type of {what}"))?;
    text.as_str().parse().map_err(|_| {
        let other = text.as_str();
        reader.fault(
            text.at,
            format!("{what} has type {other:?}, which is none"),
            "use NUMBER_INTEGER, NUMBER_DOUBLE, STRING, BOOLEAN, LIST or STRUCT",
        )
    })
}

fn artifact(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<ArtifactSpec> {
    let mut message = reader.message(node, what)?;
    let found = message.take("artifactType");
    let found = reader.required(&message, found, "artifactType")?;
    let spec = ArtifactSpec {
        at: node.at,
        artifact_type: artifact_type(reader, found, what)?,
        list: reader.boolean(message.take("isArtifactList"), what)?,
        optional: reader.boolean(message.take("isOptional"), what)?,
        description: optional_text(reader, &mut message, "description")?,
    };
    message.take("properties");
    message.take("customProperties");
    message.take("metadata");
    reader.finish(message);
    Ok(spec)
}

pub(super) fn artifact_type(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<ArtifactType> {
    if let Kind::Null = node.kind {
        return Ok(ArtifactType::default());
    }
    let mut message = reader.message(node, &format!("the type of {what}"))?;
    let read = ArtifactType {
        schema_title: optional_text(reader, &mut message, "schemaTitle")?.unwrap_or_default(),
        schema_version: optional_text(reader, &mut message, "schemaVersion")?.unwrap_or_default(),
        instance_schema: optional_text(reader, &mut message, "instanceSchema")?.unwrap_or_default(),
    };
    message.take("schemaUri");
    reader.finish(message);
    Ok(read)
}
