//! What a pipeline says to Kubernetes: the platform spec that kfp-kubernetes writes.
//!
//! Source: kubeflow/pipelines `kubernetes_platform/proto/kubernetes_executor_config.proto`. A name of a secret, a config map
//! or a claim is a constant, an input of the component that the task is in, or an output of another task, as an input of a
//! task is. What it means for the pipeline as a whole stands in [`super::needs`].

use std::collections::BTreeMap;

use serde_json::Value;

use super::node::Node;
use super::position::{Located, Position};
use super::read_task::parameter_input;
use super::reader::{Message, Read, Reader};
use super::types::{OutputOf, ParameterSource};

/// What a pipeline says to Kubernetes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kubernetes {
    /// What each executor says of its pod, by the executor's label.
    pub pods: BTreeMap<String, Pod>,
    /// The workspace that the tasks of one run share, if the pipeline asks for one.
    pub workspace: Option<Position>,
    /// Options of the whole pipeline that only mean something in a cluster.
    pub placement: Vec<Placement>,
}

/// What an executor says of its pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Secrets in the environment or as files.
    pub secrets: Vec<Projection>,
    /// Config maps in the environment or as files.
    pub config_maps: Vec<Projection>,
    /// Volumes that outlive the task.
    pub claims: Vec<Claim>,
    /// Volumes that end with the task.
    pub scratch: Vec<Scratch>,
    /// Facts about the pod, by the variable that holds each.
    pub facts: BTreeMap<String, String>,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations.
    pub annotations: BTreeMap<String, String>,
    /// How long an attempt may take, seconds.
    pub deadline_seconds: Option<u64>,
    /// The size of `/dev/shm`, a Kubernetes quantity.
    pub shared_memory: Option<String>,
    /// The first init container, if there is one.
    pub init_container: Option<Position>,
    /// Options that only mean something in a cluster.
    pub placement: Vec<Placement>,
}

/// Where shared memory is in every container.
const SHARED_MEMORY: &str = "/dev/shm";

/// The keys of a secret or a config map, and where a task finds them.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The name of the secret or the config map.
    pub name: ParameterSource,
    /// Where the keys are.
    pub target: ProjectionTarget,
    /// Whether it may be missing.
    pub optional: bool,
}

/// Where a task finds the keys of a secret or a config map.
#[derive(Clone, Debug, PartialEq)]
pub enum ProjectionTarget {
    /// In environment variables: a key, and the variable that holds it.
    Variables(Vec<(String, String)>),
    /// In a folder with a file for each key: its absolute path.
    Folder(String),
}

/// A claim of a volume that outlives the task.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The name of the claim.
    pub name: ParameterSource,
    /// The absolute path in the container.
    pub path: String,
    /// The folder of the volume that is mounted; empty: the whole volume.
    pub sub_path: String,
}

/// A volume that is empty at first and ends with the task.
#[derive(Clone, Debug, PartialEq)]
pub struct Scratch {
    /// The absolute path in the container.
    pub path: String,
}

/// An option that only means something in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its position.
    pub at: Position,
    /// What it asks for.
    pub what: &'static str,
}

/// The options of a pod that say where and how it is placed.
const PLACEMENT: [(&str, &str); 9] = [
    ("nodeSelector", "a node selector"),
    ("tolerations", "tolerations"),
    ("nodeAffinity", "a node affinity"),
    ("podAffinity", "a pod affinity"),
    ("imagePullSecret", "a secret to pull its image"),
    ("imagePullPolicy", "a policy to pull its image"),
    ("podResourceClaims", "claims of devices"),
    ("securityContext", "a security context"),
    ("priorityClass", "a priority"),
];

/// Reads the platform spec of Kubernetes.
pub(super) fn kubernetes(reader: &mut Reader<'_>, node: &Node) -> Read<Kubernetes> {
    let mut message = reader.message(node, "the platform \"kubernetes\"")?;
    let mut read = Kubernetes::default();
    if let Some(deployment) = message.take("deploymentSpec") {
        let mut deployment = reader.message(deployment, "\"deploymentSpec\" of the platform")?;
        for (label, _, node) in reader.entries(deployment.take("executors"), "\"executors\"")? {
            let pod = pod(reader, node, &format!("executor {label:?} on Kubernetes"))?;
            read.pods.insert(label.to_owned(), pod);
        }
        reader.finish(deployment);
    }
    if let Some(config) = message.take("pipelineConfig") {
        let mut config = reader.message(config, "\"pipelineConfig\"")?;
        read.workspace = config.take("workspace").map(|node| node.at);
        for (name, what) in [
            ("pipelineTtl", "a time to live"),
            ("ttlSecondsAfterFinished", "a time to live"),
            ("semaphoreKey", "a semaphore"),
            ("mutexName", "a mutex"),
        ] {
            if let Some(node) = config.take(name) {
                read.placement.push(Placement { at: node.at, what });
            }
        }
        reader.finish(config);
    }
    reader.finish(message);
    Ok(read)
}

fn pod(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<Pod> {
    let mut message = reader.message(node, what)?;
    let mut pod = Pod::default();
    for node in reader.list(message.take("secretAsEnv"), what)? {
        let keys = ["secretKey", "secretName", "secretNameParameter"];
        pod.secrets
            .push(as_variables(reader, node, keys, &format!("a secret of {what}"))?);
    }
    for node in reader.list(message.take("secretAsVolume"), what)? {
        let keys = ["secretName", "secretNameParameter"];
        pod.secrets
            .push(as_folder(reader, node, keys, &format!("a secret of {what}"))?);
    }
    for node in reader.list(message.take("configMapAsEnv"), what)? {
        let keys = ["configMapKey", "configMapName", "configMapNameParameter"];
        pod.config_maps.push(as_variables(
            reader,
            node,
            keys,
            &format!("a config map of {what}"),
        )?);
    }
    for node in reader.list(message.take("configMapAsVolume"), what)? {
        let keys = ["configMapName", "configMapNameParameter"];
        pod.config_maps
            .push(as_folder(reader, node, keys, &format!("a config map of {what}"))?);
    }
    for node in reader.list(message.take("pvcMount"), what)? {
        pod.claims
            .push(claim(reader, node, &format!("a volume of {what}"))?);
    }
    for field in ["emptyDirMounts", "genericEphemeralVolume"] {
        for node in reader.list(message.take(field), what)? {
            let (scratch, size) = scratch(reader, node, &format!("a volume of {what}"))?;
            // Shared memory is not a folder of its own: every container has it, and this says how large it is.
            match scratch.path.trim_end_matches('/') == SHARED_MEMORY {
                true => pod.shared_memory = size.or(pod.shared_memory),
                false => pod.scratch.push(scratch),
            }
        }
    }
    for node in reader.list(message.take("fieldPathAsEnv"), what)? {
        let mut field = reader.message(node, &format!("a fact of {what}"))?;
        let name = variable(reader, &mut field, "name")?;
        let path = required(reader, &mut field, "fieldPath")?;
        reader.finish(field);
        pod.facts.insert(name, path.value);
    }
    options(reader, &mut message, &mut pod, what)?;
    reader.finish(message);
    Ok(pod)
}

/// Reads the options of a pod that are no volumes and no variables.
fn options(reader: &mut Reader<'_>, message: &mut Message<'_>, pod: &mut Pod, what: &str) -> Read<()> {
    if let Some(node) = message.take("podMetadata") {
        let what = "labels or annotations of its pod";
        pod.placement.push(Placement { at: node.at, what });
        let mut metadata = reader.message(node, &format!("\"podMetadata\" of {what}"))?;
        pod.labels = texts(reader, metadata.take("labels"))?;
        pod.annotations = texts(reader, metadata.take("annotations"))?;
        reader.finish(metadata);
    }
    if let Some(node) = message.take("activeDeadlineSeconds") {
        let seconds = reader.number(node, &format!("\"activeDeadlineSeconds\" of {what}"))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of seconds that is not whole is cut, and one that is too large is as good as the largest"
        )]
        let seconds = seconds as u64;
        pod.deadline_seconds = (seconds > 0).then_some(seconds);
    }
    if let Some(node) = message.take("enabledSharedMemory") {
        let mut memory = reader.message(node, &format!("\"enabledSharedMemory\" of {what}"))?;
        memory.take("volumeName");
        let size = memory.take("size");
        let size = size.map(|node| reader.text_or_number(node, "the size of shared memory"));
        pod.shared_memory = size.transpose()?.map(|size| size.value);
        reader.finish(memory);
    }
    if let Some(node) = message.take("initContainers") {
        pod.init_container = Some(node.at);
    }
    for (field, what) in PLACEMENT {
        if let Some(node) = message.take(field) {
            pod.placement.push(Placement { at: node.at, what });
        }
    }
    Ok(())
}

fn texts(reader: &Reader<'_>, node: Option<&Node>) -> Read<BTreeMap<String, String>> {
    let entries = reader.entries(node, "labels and annotations")?.into_iter();
    let read = |(name, _, node): (&str, Position, &Node)| {
        let text = reader.text_or_number(node, "a label or annotation")?;
        Ok((name.to_owned(), text.value))
    };
    entries.map(read).collect()
}

/// Reads keys that become environment variables. `names` are the fields of the key, of the older name, and of the name.
fn as_variables(reader: &mut Reader<'_>, node: &Node, names: [&str; 3], what: &str) -> Read<Projection> {
    let mut message = reader.message(node, what)?;
    let mut variables = Vec::new();
    for node in reader.list(message.take("keyToEnv"), what)? {
        let mut pair = reader.message(node, &format!("a key of {what}"))?;
        let key = key(reader, &mut pair, names[0])?;
        let variable = variable(reader, &mut pair, "envVar")?;
        reader.finish(pair);
        variables.push((key, variable));
    }
    let projection = Projection {
        name: name(reader, &mut message, names[2], names[1], what)?,
        target: ProjectionTarget::Variables(variables),
        optional: reader.boolean(message.take("optional"), what)?,
    };
    reader.finish(message);
    Ok(projection)
}

/// Reads a folder of keys. `names` are the fields of the older name and of the name.
fn as_folder(reader: &mut Reader<'_>, node: &Node, names: [&str; 2], what: &str) -> Read<Projection> {
    let mut message = reader.message(node, what)?;
    let projection = Projection {
        name: name(reader, &mut message, names[1], names[0], what)?,
        target: ProjectionTarget::Folder(path(reader, &mut message)?),
        optional: reader.boolean(message.take("optional"), what)?,
    };
    reader.finish(message);
    Ok(projection)
}

fn claim(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<Claim> {
    let mut message = reader.message(node, what)?;
    let path = path(reader, &mut message)?;
    let sub_path = message.take("subPath");
    let sub_path = sub_path.map(|node| reader.text(node, what)).transpose()?;
    let older = older_claim(reader, &mut message, what)?;
    let name = match (message.take("pvcNameParameter"), older) {
        (Some(node), _) => parameter_input(reader, node, what)?.source,
        (None, Some(older)) => older,
        (None, None) => return Err(unnamed(reader, message.at, what)),
    };
    let sub_path = sub_path.unwrap_or_else(|| Located::new(String::new(), node.at));
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if !sub_path.value.is_empty() && !sub_path.value.split('/').all(plain) {
        return Err(reader.fault(
            sub_path.at,
            format!("{:?} is no path below a volume", sub_path.value),
            "give a relative path without \"..\"",
        ));
    }
    reader.finish(message);
    Ok(Claim {
        name,
        path,
        sub_path: sub_path.value,
    })
}

/// Reads the fields in which older versions of kfp-kubernetes name a claim.
fn older_claim(
    reader: &mut Reader<'_>,
    message: &mut Message<'_>,
    what: &str,
) -> Read<Option<ParameterSource>> {
    let constant = message.take("constant");
    let input = message.take("componentInputParameter");
    let output = message.take("taskOutputParameter");
    if let Some(node) = constant {
        let name = reader.text(node, what)?.value;
        return Ok(Some(ParameterSource::Constant(Value::from(name))));
    }
    if let Some(node) = input {
        return Ok(Some(ParameterSource::ComponentInput(
            reader.text(node, what)?.value,
        )));
    }
    let Some(node) = output else {
        return Ok(None);
    };
    let mut output = reader.message(node, what)?;
    let task = required(reader, &mut output, "producerTask")?;
    let key = required(reader, &mut output, "outputParameterKey")?;
    reader.finish(output);
    Ok(Some(ParameterSource::TaskOutput(OutputOf { task, key })))
}

/// Reads a volume, and its size where one is asked for.
fn scratch(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<(Scratch, Option<String>)> {
    let mut message = reader.message(node, what)?;
    let path = path(reader, &mut message)?;
    let size = message.take("sizeLimit");
    let size = size.map(|node| reader.text_or_number(node, "the size of a volume"));
    let size = size
        .transpose()?
        .map(|size| size.value)
        .filter(|size| !size.is_empty());
    for known in [
        "volumeName",
        "medium",
        "accessModes",
        "size",
        "defaultStorageClass",
        "storageClassName",
        "metadata",
    ] {
        message.take(known);
    }
    reader.finish(message);
    Ok((Scratch { path }, size))
}

fn name(
    reader: &mut Reader<'_>,
    message: &mut Message<'_>,
    field: &str,
    older: &str,
    what: &str,
) -> Read<ParameterSource> {
    let older = message.take(older);
    match (message.take(field), older) {
        (Some(node), _) => Ok(parameter_input(reader, node, what)?.source),
        (None, Some(node)) => Ok(ParameterSource::Constant(Value::from(
            reader.text(node, what)?.value,
        ))),
        (None, None) => Err(unnamed(reader, message.at, what)),
    }
}

fn unnamed(reader: &Reader<'_>, at: Position, what: &str) -> super::PipelineError {
    reader.fault(at, format!("{what} has no name"), "give it a name")
}

fn required(reader: &Reader<'_>, message: &mut Message<'_>, name: &str) -> Read<Located<String>> {
    let node = message.take(name);
    reader.text(reader.required(message, node, name)?, &format!("{name:?}"))
}

fn variable(reader: &Reader<'_>, message: &mut Message<'_>, name: &str) -> Read<String> {
    let text = required(reader, message, name)?;
    match text.value.is_empty() || text.value.contains(['=', '\0']) {
        true => Err(reader.fault(
            text.at,
            format!("{:?} is no name for an environment variable", text.value),
            "use letters, digits and '_'",
        )),
        false => Ok(text.value),
    }
}

/// Reads a key, which may become the name of a file.
fn key(reader: &Reader<'_>, message: &mut Message<'_>, name: &str) -> Read<String> {
    let text = required(reader, message, name)?;
    match is_key(&text.value) {
        true => Ok(text.value),
        false => Err(reader.fault(
            text.at,
            format!("{:?} is no key", text.value),
            "use letters, digits, '-', '_' and '.'",
        )),
    }
}

/// Tells whether a text can be a key of a secret or a config map.
pub fn is_key(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !matches!(text, "" | "." | "..")
        && text.len() <= crate::limits::COMPONENT_BYTES
        && text.bytes().all(plain)
}

fn path(reader: &Reader<'_>, message: &mut Message<'_>) -> Read<String> {
    let text = required(reader, message, "mountPath")?;
    let trimmed = text.value.trim_end_matches('/');
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let sound = trimmed
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(plain) && !rest.contains('\0'));
    match sound {
        true => Ok(trimmed.to_owned()),
        false => Err(reader.fault(
            text.at,
            format!("{:?} is no absolute path in a container", text.value),
            "give a path such as /data",
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::Pipeline;

    const PIPELINE: &str = r#"
components:
  comp-a: {executorLabel: exec-a}
  comp-b: {executorLabel: exec-b}
  comp-c: {executorLabel: exec-c}
deploymentSpec:
  executors:
    exec-a: {container: {image: i, command: [x]}}
    exec-b: {container: {image: i, command: [x]}}
    exec-c: {container: {image: i, command: [x]}}
pipelineInfo: {name: p}
root: {dag: {tasks: {a: {componentRef: {name: comp-a}}, b: {componentRef: {name: comp-b}}, c: {componentRef: {name: comp-c}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.14.6
---
platforms:
  kubernetes:
    deploymentSpec:
      executors:
        exec-a: {enabledSharedMemory: {volumeName: shm, size: 2Gi}}
        exec-b:
          emptyDirMounts:
          - {volumeName: x, mountPath: /scratch, sizeLimit: 9Gi}
          - {volumeName: shm, mountPath: /dev/shm, medium: Memory, sizeLimit: 1Gi}
"#;

    #[test]
    fn the_size_is_that_of_either_form() {
        let pipeline = Pipeline::parse("pipeline.yaml", PIPELINE.as_bytes()).unwrap();
        let size = |name: &str| {
            let pod = pipeline.pod_of(pipeline.component(name).unwrap());
            pod.and_then(|pod| pod.shared_memory.as_deref())
        };
        assert_eq!(size("comp-a"), Some("2Gi"));
        assert_eq!(size("comp-b"), Some("1Gi"));
        assert_eq!(size("comp-c"), None);
    }
}
