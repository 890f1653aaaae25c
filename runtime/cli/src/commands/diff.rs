//! `diff`: in what runs differ.

use std::fmt::Write;

use clap::Args;
use samebundle_runtime::verbs::{
    self, CodeDifference, DiffReport, DiffRequest, Difference, OutputDifference, Shown,
};
use samebundle_spec::Digest;
use serde_json::Value;

use super::outputs;
use super::runs::{ago, measured, status};
use crate::error::CliError;
use crate::render::screen::{Colour, Screen};
use crate::render::{Report, safe, table::Column, table::table};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// At least two runs: each its id, the beginning or end of it, `last`, or an installation for its last run
    #[arg(value_name = "RUN|NAME", num_args = 2.., required = true)]
    runs: Vec<String>,
    /// End with exit code 1 unless all outputs are equal
    #[arg(long)]
    exit_code: bool,
}

impl Diff {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let report = verbs::diff(&session.site, &DiffRequest { runs: self.runs }).await?;
        let shown = Report::new(text(&report, session.screen)?, &report);
        let message = match report.equal {
            _ if !self.exit_code => return Ok(shown),
            Some(true) => return Ok(shown),
            Some(false) => "the outputs of the runs differ",
            None => "the outputs of the runs cannot be compared",
        };
        Err(CliError::Faulty {
            report: Box::new(shown),
            message: message.to_owned(),
        })
    }
}

fn text(report: &DiffReport, screen: Screen) -> Result<String, CliError> {
    let runs = report.runs.iter().map(|run| {
        vec![
            screen.id(&run.short, &run.id),
            run.installation.to_string(),
            run.version.to_string(),
            ago(run.started),
            run.status.word().to_owned(),
        ]
    });
    let columns = [
        Column::whole("run"),
        "program".into(),
        Column::whole("version"),
        Column::whole("started"),
        status(),
    ];
    let mut text = table(screen, columns, &runs.collect::<Vec<_>>());
    for (title, differences) in [
        ("bundle", &report.bundle),
        ("parameters", &report.parameters),
        ("images", &report.images),
        ("packages", &report.packages),
        ("data", &report.data),
        ("environment", &report.environment),
        ("status", &report.status),
    ] {
        section(&mut text, report, title, differences, screen)?;
    }
    for one in &report.code {
        code(&mut text, report, one, screen)?;
    }
    metrics(&mut text, report, screen)?;
    of_outputs(&mut text, report, screen)?;
    if !report.not_deterministic.is_empty() {
        let tasks = report.not_deterministic.iter().map(|task| safe(task));
        let tasks = tasks.collect::<Vec<_>>().join(", ");
        write!(
            text,
            "\n\nnot deterministic: {tasks} did the same with the same inputs, and the outputs differ"
        )?;
    }
    for note in &report.notes {
        write!(text, "\n\nnot compared: {}", safe(note))?;
    }
    write!(text, "\n\n{}", verdict(report, screen))?;
    Ok(text)
}

/// Whether the outputs are the same, in a sentence.
fn verdict(report: &DiffReport, screen: Screen) -> String {
    let all = report.compared;
    let (colour, end) = match report.equal {
        Some(true) => (Colour::Green, format!("equal: all {all} outputs are the same")),
        Some(false) => (
            Colour::Yellow,
            format!("not equal: {} of {all} outputs differ", report.outputs.len()),
        ),
        None => (
            Colour::Yellow,
            "it cannot be told whether the outputs are equal".to_owned(),
        ),
    };
    screen.paint(colour, &end)
}

/// The columns of a section: what differs, and a column for each run.
fn columns(report: &DiffReport, title: &str, number: bool) -> Vec<Column> {
    let of_runs = report.runs.iter().map(|run| match number {
        true => Column::number(&run.short),
        false => Column::from(run.short.as_str()),
    });
    std::iter::once(Column::from(title)).chain(of_runs).collect()
}

fn section(
    text: &mut String,
    report: &DiffReport,
    title: &str,
    differences: &[Difference],
    screen: Screen,
) -> Result<(), CliError> {
    if differences.is_empty() {
        return Ok(());
    }
    let rows = differences.iter().map(|one| {
        let values = one.values.iter().map(|value| shown(value.as_ref(), screen));
        std::iter::once(safe(&one.name)).chain(values).collect()
    });
    let rows: Vec<_> = rows.collect();
    write!(
        text,
        "\n\n{}",
        table(screen, columns(report, title, false), &rows)
    )?;
    Ok(())
}

/// A value on one line; a digest is shortened as everywhere.
fn shown(value: Option<&Value>, screen: Screen) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::String(text)) => match text.parse::<Digest>() {
            Ok(digest) => screen.digest(&digest),
            Err(_) => safe(text),
        },
        Some(Value::Array(all)) => {
            let all = all.iter().map(|one| shown(Some(one), screen));
            all.collect::<Vec<_>>().join(" ")
        }
        Some(value) => safe(&value.to_string()),
    }
}

fn of_outputs(text: &mut String, report: &DiffReport, screen: Screen) -> Result<(), CliError> {
    if report.outputs.is_empty() {
        return Ok(());
    }
    let rows = report.outputs.iter().map(|one| {
        let cells = output(one, screen);
        std::iter::once(safe(&one.difference.name)).chain(cells).collect()
    });
    let rows: Vec<_> = rows.collect();
    let mut columns = columns(report, "outputs", false);
    columns[0] = Column::path("outputs").at_least(outputs::NAME);
    write!(text, "\n\n{}", table(screen, columns, &rows))?;
    Ok(())
}

/// An output of each run. What reads alike although it is not the same, such as curves of one area, has its digest behind.
fn output(one: &OutputDifference, screen: Screen) -> Vec<String> {
    let all = one.shown.iter().zip(&one.difference.values);
    let cell = |(shown, value): (&Option<Vec<Shown>>, &Option<Value>), whole: bool| {
        let (Some(shown), Some(value)) = (shown, value) else {
            return "-".to_owned();
        };
        let shown = shown.iter().map(|shown| outputs::value(shown, screen));
        let shown = shown.collect::<Vec<_>>().join(" ");
        let digest = whole.then(|| Digest::sha256(value.to_string().as_bytes()).short());
        digest.map_or_else(|| shown.clone(), |digest| format!("{shown} ({digest})"))
    };
    let cells: Vec<String> = all.clone().map(|one| cell(one, false)).collect();
    let alike = cells.windows(2).all(|pair| pair[0] == pair[1]);
    if alike {
        all.map(|one| cell(one, true)).collect()
    } else {
        cells
    }
}

fn metrics(text: &mut String, report: &DiffReport, screen: Screen) -> Result<(), CliError> {
    if report.metrics.is_empty() {
        return Ok(());
    }
    let rows = report.metrics.iter().map(|one| {
        let values = one.values.iter().map(|value| {
            let shown = value.map(|number| measured(number.0, screen));
            shown.unwrap_or_else(|| "-".to_owned())
        });
        let difference = one.difference.map(|number| {
            let plus = if number > 0.0 { "+" } else { "" };
            format!("{plus}{}", measured(number, screen))
        });
        let name = std::iter::once(safe(&one.name.short));
        name.chain(values)
            .chain([difference.unwrap_or_default()])
            .collect()
    });
    let mut columns = columns(report, "metrics", true);
    columns.push(Column::number("difference"));
    write!(text, "\n\n{}", table(screen, columns, &rows.collect::<Vec<_>>()))?;
    Ok(())
}

fn code(
    text: &mut String,
    report: &DiffReport,
    one: &CodeDifference,
    screen: Screen,
) -> Result<(), CliError> {
    let of = match report.runs.len() {
        2 => String::new(),
        _ => format!(" in {}", one.run),
    };
    let title = format!("component {} {}{of}", safe(&one.component), one.change.word());
    write!(text, "\n\n{}", screen.paint(Colour::Bold, &title))?;
    if !one.parts.is_empty() {
        write!(text, ": {}", safe(&one.parts.join(", ")))?;
    }
    for line in one.diff.iter().flat_map(|diff| diff.lines()) {
        let line = safe(line);
        let line = match line.as_bytes().first() {
            Some(b'+') => screen.paint(Colour::Green, &line),
            Some(b'-') => screen.paint(Colour::Red, &line),
            Some(b'@') => screen.paint(Colour::Grey, &line),
            _ => line,
        };
        write!(text, "\n{}", format!("  {line}").trim_end())?;
    }
    Ok(())
}
