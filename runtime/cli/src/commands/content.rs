//! `inspect` and `explain`: a bundle as bytes and graph, and as a person reads it.

use std::fmt::Write;

use samebundle_registry::store::{Origin, SourceExt};
use samebundle_runtime::opened::OpenedBundle;
use samebundle_runtime::record::Installations;
use samebundle_spec::bundle::View;
use samebundle_spec::bundle::program::Requirements;
use samebundle_spec::manifest::Document;
use samebundle_spec::{Descriptor, limits};
use serde_json::{Value, json};

use super::opened;
use crate::error::CliError;
use crate::place::{LocalName, Place};
use crate::render::{Report, safe, size, table::table};
use crate::session::Session;

/// Shows the graph below a bundle's index.
pub(crate) async fn inspect(session: &Session, place: &Place) -> Result<Report, CliError> {
    let opened = opened::open(session, &installed(session, place)?).await?;
    let mut rows = Vec::new();
    let mut nodes = Vec::new();
    let mut todo = vec![(0, opened.index.clone())];
    while let Some((depth, descriptor)) = todo.pop() {
        rows.push(row(depth, &descriptor));
        nodes.push(json!({"depth": depth, "descriptor": descriptor}));
        if depth < limits::GRAPH_DEPTH && descriptor.media_type.has_children() {
            let children = children(opened.source.as_ref(), &descriptor).await?;
            todo.extend(children.into_iter().rev().map(|child| (depth + 1, child)));
        }
    }
    let referrers = opened.source.referrers(&opened.index, None).await?;
    let mut text = table(&["content", "digest", "size"], &rows);
    for referrer in &referrers {
        let kind = referrer.artifact_type.as_ref().unwrap_or(&referrer.media_type);
        write!(text, "\nreferrer: {kind} {}", referrer.digest)?;
        // What a sigstore bundle says, as its manifest has it: shown, not verified.
        if let Some(says) = referrer.annotations.get("dev.sigstore.bundle.predicateType") {
            write!(text, " {}", safe(says))?;
        }
    }
    Ok(Report::new(
        text,
        json!({"digest": opened.index.digest, "nodes": nodes, "referrers": referrers}),
    ))
}

/// A bundle that is installed is meant by its name, too.
fn installed(session: &Session, place: &Place) -> Result<Place, CliError> {
    let Place::Local(LocalName { name, version: None }) = place else {
        return Ok(place.clone());
    };
    match Installations::new(&session.home).find(name)? {
        Some(installation) => Ok(Place::Stored(installation.index)),
        None => Ok(place.clone()),
    }
}

async fn children(source: &dyn Origin, descriptor: &Descriptor) -> Result<Vec<Descriptor>, CliError> {
    let bytes = source.fetch_bytes(descriptor, limits::MANIFEST_BYTES).await?;
    let document = Document::parse(&bytes, &descriptor.media_type);
    let document = document.map_err(|error| samebundle_registry::StoreError::Invalid {
        subject: descriptor.digest.to_string(),
        why: error.to_string(),
    })?;
    Ok(document.children().cloned().collect())
}

fn row(depth: usize, descriptor: &Descriptor) -> Vec<String> {
    let name = descriptor
        .annotations
        .get(samebundle_spec::bundle::index::COMPONENT);
    let kind = descriptor.annotations.get(samebundle_spec::bundle::index::TYPE);
    let label = match (kind, name) {
        (_, Some(name)) => format!("component {}", safe(name)),
        (Some(kind), None) => safe(kind),
        (None, None) => descriptor.media_type.to_string(),
    };
    vec![
        format!("{}{label}", "  ".repeat(depth)),
        descriptor.digest.to_string(),
        size::bytes(descriptor.size),
    ]
}

/// Explains a bundle.
pub(crate) async fn explain(session: &Session, place: &Place) -> Result<Report, CliError> {
    let opened = opened::open(session, &installed(session, place)?).await?;
    let bundle = OpenedBundle::open(opened.source.as_ref(), &opened.index).await?;
    let view = bundle.bundle.view();
    let mut text = format!("{} {}\n", safe(&view.name), view.version);
    if let Some(description) = &view.description {
        writeln!(text, "{}", safe(description))?;
    }
    section(
        &mut text,
        "parameters",
        &["name", "type", "default", "what for"],
        &parameters(view),
    )?;
    section(
        &mut text,
        "credentials",
        &["name", "required"],
        &credentials(view),
    )?;
    section(
        &mut text,
        "outputs",
        &["name", "type", "what for"],
        &outputs(view),
    )?;
    section(&mut text, "actions", &["name", "what for"], &actions(view))?;
    let requires = bundle.program.as_ref().map(|program| &program.extension.requires);
    let needs = requires.map(needs).unwrap_or_default();
    section(&mut text, "needs", &["what", "how much"], &needs)?;
    for notice in bundle.bundle.notices() {
        writeln!(text, "\nnote: {notice}")?;
    }
    let json = json!({
        "digest": opened.index.digest, "name": view.name, "version": view.version, "description": view.description,
        "parameters": parameters_json(view), "outputs": view.outputs, "credentials": view.credentials,
        "requires": requires,
    });
    Ok(Report::new(text.trim_end(), json))
}

fn section(text: &mut String, title: &str, header: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    if !rows.is_empty() {
        let table = table(header, rows).replace('\n', "\n  ");
        write!(text, "\n{title}\n  {table}\n")?;
    }
    Ok(())
}

fn schema<'a>(view: &'a View, definition: &str) -> &'a Value {
    view.definitions.get(definition).unwrap_or(&Value::Null)
}

fn word(schema: &Value, key: &str) -> String {
    match schema.get(key) {
        Some(Value::String(text)) => safe(text),
        Some(other) => safe(&other.to_string()),
        None => String::new(),
    }
}

fn parameters(view: &View) -> Vec<Vec<String>> {
    let row = |(name, parameter): (&String, &samebundle_spec::bundle::view::Parameter)| {
        let schema = schema(view, &parameter.definition);
        let default = match (schema.get("default"), parameter.required) {
            (Some(_), _) if schema.get("writeOnly").is_some() => "***".to_owned(),
            (Some(default), _) => safe(&default.to_string()),
            (None, true) => "(required)".to_owned(),
            (None, false) => String::new(),
        };
        let description = parameter
            .description
            .clone()
            .unwrap_or_else(|| word(schema, "description"));
        vec![safe(name), word(schema, "type"), default, safe(&description)]
    };
    view.parameters.iter().map(row).collect()
}

fn parameters_json(view: &View) -> Value {
    let one = |(name, parameter): (&String, &samebundle_spec::bundle::view::Parameter)| {
        (
            name.clone(),
            json!({"parameter": parameter, "schema": schema(view, &parameter.definition)}),
        )
    };
    view.parameters.iter().map(one).collect()
}

fn credentials(view: &View) -> Vec<Vec<String>> {
    let row = |(name, credential): (&String, &samebundle_spec::bundle::view::Credential)| {
        vec![
            safe(name),
            if credential.required { "yes" } else { "no" }.to_owned(),
        ]
    };
    view.credentials.iter().map(row).collect()
}

fn outputs(view: &View) -> Vec<Vec<String>> {
    let row = |(name, output): (&String, &samebundle_spec::bundle::view::Output)| {
        let schema = schema(view, &output.definition);
        vec![
            safe(name),
            word(schema, "type"),
            safe(&output.description.clone().unwrap_or_default()),
        ]
    };
    view.outputs.iter().map(row).collect()
}

fn actions(view: &View) -> Vec<Vec<String>> {
    let row = |(name, action): (&String, &samebundle_spec::bundle::view::Action)| {
        let what = action
            .description
            .clone()
            .or(action.title.clone())
            .unwrap_or_default();
        vec![safe(name), safe(&what)]
    };
    view.actions.iter().map(row).collect()
}

fn needs(requires: &Requirements) -> Vec<Vec<String>> {
    let resources = &requires.resources;
    let disk = resources.disk.as_ref();
    let lines = [
        ("cores", resources.cpu.as_ref().map(ToString::to_string)),
        ("memory", resources.memory.as_ref().map(ToString::to_string)),
        ("GPUs", resources.gpu.as_ref().map(|gpu| gpu.count.to_string())),
        (
            "free disk",
            disk.and_then(|disk| disk.size.as_ref()).map(ToString::to_string),
        ),
        ("disk class", disk.and_then(|disk| disk.class.clone())),
    ];
    let lines = lines
        .into_iter()
        .filter_map(|(what, much)| Some(vec![what.to_owned(), safe(&much?)]));
    let rights = requires
        .rights
        .asked()
        .into_iter()
        .map(|right| vec!["right".to_owned(), right.word().to_owned()]);
    let addons = requires
        .addons
        .iter()
        .map(|addon| vec!["add-on".to_owned(), safe(addon)]);
    lines.chain(rights).chain(addons).collect()
}
