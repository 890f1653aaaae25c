//! Executors: containers and importers.

use serde_json::Value;

use super::node::Node;
use super::position::Located;
use super::question;
use super::read::artifact_type;
use super::reader::{Read, Reader};
use super::types::{Container, Executor, ExecutorKind, ImportedUri, Importer, Resources};
use super::value::plain_numbers;

pub(super) fn executor(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<Executor> {
    let mut message = reader.message(node, what)?;
    let kind = if let Some(node) = message.take("container") {
        let container = container(reader, node, what)?;
        // These are no images: every backend of KFP knows the two words.
        match container.image.as_str() {
            "argostub/createpvc" => ExecutorKind::CreateVolume,
            "argostub/deletepvc" => ExecutorKind::DeleteVolume,
            image if question::is_asked(image) => {
                ExecutorKind::Question(Box::new(question::read(reader, &container, what)?))
            }
            _ => ExecutorKind::Container(container),
        }
    } else if let Some(node) = message.take("importer") {
        ExecutorKind::Importer(importer(reader, node, what)?)
    } else {
        let Some(name) = message.left().map(str::to_owned) else {
            return Err(reader.fault(
                node.at,
                format!("{what} has neither a container nor an importer"),
                "compile the pipeline again",
            ));
        };
        message.take(&name);
        ExecutorKind::Other(name)
    };
    reader.finish(message);
    Ok(Executor { at: node.at, kind })
}

fn container(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<Container> {
    let mut message = reader.message(node, &format!("the container of {what}"))?;
    let image = message.take("image");
    let image = reader.required(&message, image, "image")?;
    let image = reader.text(image, &format!("the image of {what}"))?;
    if image.value.trim().is_empty() {
        return Err(reader.fault(image.at, format!("{what} names no image"), "name its image"));
    }
    let mut environment = Vec::new();
    for node in reader.list(message.take("env"), &format!("\"env\" of {what}"))? {
        environment.push(variable(reader, node, what)?);
    }
    let mut pre_cache_check = None;
    if let Some(node) = message.take("lifecycle") {
        let mut lifecycle = reader.message(node, &format!("\"lifecycle\" of {what}"))?;
        pre_cache_check = lifecycle.take("preCacheCheck").map(|node| node.at);
        reader.finish(lifecycle);
    }
    let resources = match message.take("resources") {
        Some(node) => resources(reader, node, what)?,
        None => Resources::default(),
    };
    let container = Container {
        image,
        command: reader.texts(message.take("command"), &format!("the command of {what}"))?,
        arguments: reader.texts(message.take("args"), &format!("the arguments of {what}"))?,
        environment,
        resources,
        pre_cache_check,
    };
    reader.finish(message);
    Ok(container)
}

fn variable(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<(String, Located<String>)> {
    let mut message = reader.message(node, &format!("a variable of {what}"))?;
    let name = message.take("name");
    let name = reader.required(&message, name, "name")?;
    let name = reader.text(name, "the name of a variable")?;
    if name.value.is_empty() || name.value.contains(['=', '\0']) {
        return Err(reader.fault(
            name.at,
            format!("{:?} is no name for an environment variable", name.value),
            "use letters, digits and '_'",
        ));
    }
    let value = match message.take("value") {
        Some(node) => reader.text_or_number(node, &format!("variable {:?} of {what}", name.value))?,
        None => Located::new(String::new(), node.at),
    };
    reader.finish(message);
    Ok((name.value, value))
}

fn resources(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<Resources> {
    let mut message = reader.message(node, &format!("the resources of {what}"))?;
    let mut quantity = |names: [&str; 2], unit: &str| -> Read<Option<Located<String>>> {
        let text = message
            .take(names[0])
            .map(|node| reader.text_or_number(node, what));
        // The older fields are plain doubles: cores, and gigabytes.
        let old = message.take(names[1]).map(|node| {
            let number = reader.number(node, what)?;
            Ok((number > 0.0).then(|| Located::new(format!("{number}{unit}"), node.at)))
        });
        Ok(text.transpose()?.or(old.transpose()?.flatten()))
    };
    let mut read = Resources {
        cpu_limit: quantity(["resourceCpuLimit", "cpuLimit"], "")?,
        memory_limit: quantity(["resourceMemoryLimit", "memoryLimit"], "G")?,
        cpu_request: quantity(["resourceCpuRequest", "cpuRequest"], "")?,
        memory_request: quantity(["resourceMemoryRequest", "memoryRequest"], "G")?,
        accelerator_type: None,
        accelerator_count: None,
    };
    if let Some(node) = message.take("accelerator") {
        let mut accelerator = reader.message(node, &format!("the accelerator of {what}"))?;
        for (field, names) in [
            (&mut read.accelerator_type, ["resourceType", "type"]),
            (&mut read.accelerator_count, ["resourceCount", "count"]),
        ] {
            let new = accelerator.take(names[0]);
            let old = accelerator.take(names[1]);
            *field = new
                .or(old)
                .map(|node| reader.text_or_number(node, what))
                .transpose()?;
        }
        reader.finish(accelerator);
    }
    reader.finish(message);
    Ok(read)
}

fn importer(reader: &mut Reader<'_>, node: &Node, what: &str) -> Read<Importer> {
    let mut message = reader.message(node, &format!("the importer of {what}"))?;
    let uri = message.take("artifactUri");
    let uri = reader.required(&message, uri, "artifactUri")?;
    let mut uri = reader.message(uri, &format!("\"artifactUri\" of {what}"))?;
    let constant = uri.take("constant");
    let parameter = uri.take("runtimeParameter");
    let imported = match (constant, parameter) {
        (Some(node), _) => ImportedUri::Constant(reader.text(node, what)?.value),
        (None, Some(node)) => ImportedUri::Parameter(reader.text(node, what)?.value),
        (None, None) => {
            return Err(reader.fault(
                uri.at,
                format!("{what} imports from nowhere"),
                "give it an address",
            ));
        }
    };
    reader.finish(uri);
    let artifact_type = match message.take("typeSchema") {
        Some(node) => artifact_type(reader, node, what)?,
        None => Default::default(),
    };
    let read = Importer {
        uri: imported,
        artifact_type,
        metadata: message.take_value("metadata").map_or(Value::Null, plain_numbers),
        reimport: reader.boolean(message.take("reimport"), what)?,
        content_required: reader.boolean(message.take("downloadToWorkspace"), what)?,
    };
    for known in ["properties", "customProperties"] {
        message.take(known);
    }
    reader.finish(message);
    Ok(read)
}
