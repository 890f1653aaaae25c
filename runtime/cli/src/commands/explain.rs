//! `explain`.

use std::fmt::Write;

use clap::Args;
use samebundle_runtime::verbs::{self, ExplainReport, ExplainRequest, Location};
use samebundle_spec::bundle::definition::takes_artifact;
use samebundle_spec::bundle::program::Requirements;
use serde_json::Value;

use crate::error::CliError;
use crate::render::{
    Report, safe,
    screen::Screen,
    table::{Column, table},
};
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The bundle
    #[arg(value_name = "BUNDLE", value_parser = values::location())]
    bundle: Location,
}

impl Explain {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let bundle = session.location(self.bundle);
        let report = verbs::explain(&session.site, ExplainRequest { bundle }).await?;
        Ok(Report::new(text(&report, session.screen)?.trim_end(), &report))
    }
}

fn text(bundle: &ExplainReport, screen: Screen) -> Result<String, CliError> {
    let mut text = match &bundle.exported {
        Some(exported) => format!(
            "{} {exported} (version {} of the bundle)\n",
            safe(&bundle.name),
            bundle.version
        ),
        None => format!("{} {}\n", safe(&bundle.name), bundle.version),
    };
    if let Some(description) = &bundle.description {
        writeln!(text, "{}", safe(description))?;
    }
    let header = ["name", "type", "default", "what for"];
    section(&mut text, screen, "parameters", &header, &parameters(bundle))?;
    section(
        &mut text,
        screen,
        "credentials",
        &["name", "required", "variable", "what for"],
        &credentials(bundle),
    )?;
    section(
        &mut text,
        screen,
        "volumes",
        &["name", "lives", "tasks"],
        &volumes(bundle),
    )?;
    let questions = bundle.questions.iter();
    let questions = questions.map(|(task, words)| vec![safe(task), safe(words)]);
    section(
        &mut text,
        screen,
        "stops for a person",
        &["task", "what it asks"],
        &questions.collect::<Vec<_>>(),
    )?;
    section(
        &mut text,
        screen,
        "outputs",
        &["name", "type", "what for"],
        &outputs(bundle),
    )?;
    let left = bundle.task_outputs.iter();
    let left = left.map(|(name, kind)| vec![safe(name), safe(kind.strip_prefix("system.").unwrap_or(kind))]);
    section(
        &mut text,
        screen,
        "left by its tasks",
        &["name", "type"],
        &left.collect::<Vec<_>>(),
    )?;
    section(
        &mut text,
        screen,
        "actions",
        &["name", "what for"],
        &actions(bundle),
    )?;
    let needs = bundle.requires.as_ref().map(needs).unwrap_or_default();
    section(&mut text, screen, "needs", &["what", "how much"], &needs)?;
    if bundle.runs > 0 {
        let runs = if bundle.runs == 1 {
            "1 run".to_owned()
        } else {
            format!("{} runs", bundle.runs)
        };
        writeln!(
            text,
            "\nwith {runs} of its author, which `import` and `install` bring along"
        )?;
    }
    for notice in &bundle.notices {
        writeln!(text, "\nnote: {}", safe(notice))?;
    }
    Ok(text)
}

fn section(
    text: &mut String,
    screen: Screen,
    title: &str,
    header: &[&str],
    rows: &[Vec<String>],
) -> Result<(), CliError> {
    if !rows.is_empty() {
        let columns = header
            .iter()
            .enumerate()
            .map(|(at, name)| match at + 1 == header.len() {
                true => Column::prose(name),
                false => Column::from(*name),
            });
        let table = table(screen.indented(2), columns, rows).replace('\n', "\n  ");
        write!(text, "\n{title}\n  {table}\n")?;
    }
    Ok(())
}

fn word(schema: &Value, key: &str) -> String {
    match schema.get(key) {
        Some(Value::String(text)) => safe(text),
        Some(other) => safe(&other.to_string()),
        None => String::new(),
    }
}

fn parameters(bundle: &ExplainReport) -> Vec<Vec<String>> {
    let row = |(name, one): (&String, &verbs::ExplainedParameter)| {
        let (parameter, schema) = (&one.parameter, &one.schema);
        let default = match (schema.get("default"), parameter.required) {
            (Some(_), _) if schema.get("writeOnly").is_some() => "***".to_owned(),
            (Some(default), _) => safe(&default.to_string()),
            (None, true) => "(required)".to_owned(),
            (None, false) => String::new(),
        };
        let description = parameter.description.clone();
        let description = description.unwrap_or_else(|| word(schema, "description"));
        let kind = match takes_artifact(schema) {
            true => word(schema, "title"),
            false => word(schema, "type"),
        };
        vec![safe(name), kind, default, safe(&description)]
    };
    bundle.parameters.iter().map(row).collect()
}

fn credentials(bundle: &ExplainReport) -> Vec<Vec<String>> {
    let rows = bundle.credentials.iter().map(|(name, credential)| {
        let required = if credential.required { "yes" } else { "no" };
        let variable = bundle.variables.get(name).or(credential.destination.env.as_ref());
        let what = credential.description.as_deref().unwrap_or_default();
        let variable = variable.map(|variable| safe(variable)).unwrap_or_default();
        vec![safe(name), required.to_owned(), variable, safe(what)]
    });
    rows.collect()
}

fn volumes(bundle: &ExplainReport) -> Vec<Vec<String>> {
    let rows = bundle.volumes.iter().map(|(name, volume)| {
        let life = match volume.life {
            "run" => "for one run",
            _ => "until it is removed",
        };
        let tasks = match volume.tasks.as_slice() {
            [] => "all".to_owned(),
            tasks => tasks.join(", "),
        };
        vec![safe(name), life.to_owned(), safe(&tasks)]
    });
    rows.collect()
}

fn outputs(bundle: &ExplainReport) -> Vec<Vec<String>> {
    let rows = bundle.outputs.iter().map(|(name, output)| {
        let schema = bundle.definitions.get(&output.definition).unwrap_or(&Value::Null);
        let what = output.description.as_deref().unwrap_or_default();
        vec![safe(name), word(schema, "type"), safe(what)]
    });
    rows.collect()
}

fn actions(bundle: &ExplainReport) -> Vec<Vec<String>> {
    let rows = bundle.actions.iter().map(|(name, action)| {
        let what = action.description.as_ref().or(action.title.as_ref());
        vec![safe(name), safe(what.map_or("", String::as_str))]
    });
    rows.collect()
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
    let rights = requires.rights.asked().into_iter();
    let rights = rights.map(|right| vec!["right".to_owned(), right.word().to_owned()]);
    let addons = requires.addons.iter();
    let addons = addons.map(|addon| vec!["add-on".to_owned(), safe(addon)]);
    lines.chain(rights).chain(addons).collect()
}
