//! `outputs`, and what a run left as text.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use samebundle_runtime::results::Table;
use samebundle_runtime::verbs::{
    self, AbsentOutput, OutputsReport, OutputsRequest, PageRequest, Results, Shown, ShownOutput,
};
use samebundle_spec::record::{Classification, ConfusionMatrix, Metrics, RunStatus};

use crate::error::CliError;
use crate::render::screen::Screen;
use crate::render::{Report, safe, size, table::Column, table::table};
use crate::session::Session;

/// The most classes of a confusion matrix, and the most columns of a table, that are shown as text.
const COLUMNS: usize = 10;
/// The fewest characters of an output's name on a narrow screen: the outputs of a task begin alike.
pub(super) const NAME: usize = 20;
/// The most metrics that are shown of one output.
const METRICS: usize = 8;
/// The most names that are listed of what else lies in a folder.
const OTHERS: usize = 6;
/// The most matrices and tables that are shown as text.
const FIGURES: usize = 6;

#[derive(Debug, Args)]
pub(crate) struct Outputs {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run
    #[arg(default_value = "last")]
    run: String,
    /// Only the outputs of this task
    #[arg(long)]
    task: Option<String>,
    /// Write the outputs to this folder
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Show a page about the run in the browser
    #[arg(long)]
    open: bool,
}

impl Outputs {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        if self.open {
            open(session, &self.run).await?;
        }
        let request = OutputsRequest {
            run: self.run,
            task: self.task,
            to: self.to.map(|to| session.at(&to)),
        };
        let report = verbs::outputs(&session.site, &request)?;
        Ok(Report::new(text(&report, session.screen), &report))
    }
}

/// Writes the page about a run and opens it. It lies in the cache, because a browser reads it after this process has ended.
async fn open(session: &Session, run: &str) -> Result<(), CliError> {
    let folder = session.site.home().cache().join("pages");
    std::fs::create_dir_all(&folder).map_err(CliError::io("make", &folder))?;
    let file = folder.join("run.html");
    let request = PageRequest {
        run: run.to_owned(),
        compare: Vec::new(),
        file: file.clone(),
    };
    verbs::page(&session.site, request).await?;
    let browser = session.settings.variable("BROWSER").unwrap_or("xdg-open");
    let opened = browser.split(':').any(|command| starts(command, &file));
    match opened {
        true => Ok(()),
        false => Err(CliError::NoBrowser {
            browser: browser.to_owned(),
            file,
        }),
    }
}

/// Opens a file with a command as `BROWSER` names one: a program with its arguments, and `%s` where the file's name stands
/// if it is not the last one.
fn starts(command: &str, file: &Path) -> bool {
    let mut words: Vec<OsString> = Vec::new();
    let mut named = false;
    for word in command.split_whitespace() {
        named |= word == "%s";
        words.push(match word {
            "%s" => file.into(),
            word => word.into(),
        });
    }
    if !named {
        words.push(file.into());
    }
    let Some((program, arguments)) = words.split_first() else {
        return false;
    };
    let status = std::process::Command::new(program).args(arguments).status();
    status.is_ok_and(|status| status.success())
}

fn text(report: &OutputsReport, screen: Screen) -> String {
    let mut parts = match (report.results.shown.is_empty(), report.status) {
        (true, RunStatus::Succeeded) => vec![format!("run {} has no outputs", report.run)],
        (true, status) => vec![format!("run {} {} and left nothing", report.run, status.word())],
        (false, RunStatus::Succeeded) => vec![left(&report.results, usize::MAX, screen)],
        (false, status) => vec![format!(
            "run {} {}; its tasks left:\n{}",
            report.run,
            screen.status(status),
            left(&report.results, usize::MAX, screen)
        )],
    };
    if !report.written.is_empty() {
        let paths = report.written.iter().map(|one| format!("  {}", safe(&one.path)));
        parts.push(format!("wrote\n{}", paths.collect::<Vec<_>>().join("\n")));
    }
    parts.extend(others(&report.others));
    match report.files_removed {
        Some(removed) => parts.push(format!("the files were removed at {removed} to free space")),
        None => parts.extend(absent(&report.results.absent, screen)),
    }
    parts.join("\n\n")
}

/// Says that a folder holds what the run did not leave, such as the outputs of another run.
fn others(names: &[String]) -> Option<String> {
    let shown = names.iter().take(OTHERS).map(|name| safe(name));
    let mut shown: Vec<String> = shown.collect();
    if names.len() > OTHERS {
        shown.push(format!("and {} more", names.len() - OTHERS));
    }
    (!names.is_empty()).then(|| {
        format!(
            "the folder also holds what is not of this run: {}",
            shown.join(", ")
        )
    })
}

/// Says which files are not here.
fn absent(absent: &[AbsentOutput], screen: Screen) -> Option<String> {
    let rows = absent.iter().map(|one| {
        let digest = one.digest.map(|digest| screen.digest(&digest));
        vec![
            safe(&one.output),
            size::bytes(one.size),
            digest.unwrap_or_default(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    (!rows.is_empty()).then(|| {
        format!(
            "these files are not here, they stayed where the run was:\n{}",
            table(
                screen,
                [Column::from("output"), Column::number("size"), "digest".into()],
                &rows
            )
        )
    })
}

/// What a run left: at most so many outputs in a table, and small matrices and tables below.
pub(super) fn left(results: &Results, most: usize, screen: Screen) -> String {
    let rows: Vec<_> = results
        .shown
        .iter()
        .take(most)
        .map(|one| row(one, screen))
        .collect();
    let mut text = table(
        screen,
        [
            Column::path("output").at_least(NAME),
            Column::whole("type").optional(),
            "value".into(),
            Column::number("size").optional(),
        ],
        &rows,
    );
    if results.shown.len() > most {
        text.push_str(&format!("\n… {} more outputs", results.shown.len() - most));
    }
    let figures: Vec<String> = results
        .shown
        .iter()
        .flat_map(|one| figures(one, screen))
        .collect();
    for figure in figures.iter().take(FIGURES) {
        text.push_str(&format!("\n\n{figure}"));
    }
    if figures.len() > FIGURES {
        text.push_str(&format!(
            "\n\n… {} more matrices and tables",
            figures.len() - FIGURES
        ));
    }
    text
}

fn row(output: &ShownOutput, screen: Screen) -> Vec<String> {
    let value = value(&output.what, screen);
    let (kind, size) = match &output.what {
        Shown::Value(_) => ("value".to_owned(), String::new()),
        Shown::Artifact(artifact) => {
            let report = &artifact.report;
            let kind = report.artifact_type.strip_prefix("system.");
            let size = report.digest.map(|_| size::bytes(report.size));
            (
                safe(kind.unwrap_or(&report.artifact_type)),
                size.unwrap_or_default(),
            )
        }
    };
    vec![safe(&output.name), kind, value, size]
}

/// An output in one line: a value, what was measured, or the digest of a file.
pub(super) fn value(output: &Shown, screen: Screen) -> String {
    let artifact = match output {
        Shown::Value(value) => return safe(&value.to_string()),
        Shown::Artifact(artifact) => artifact,
    };
    let (report, away) = (&artifact.report, artifact.report.uri.as_ref());
    let mut said = match (&artifact.metrics, report.digest) {
        (Some(metrics), _) => measured(metrics, screen),
        (None, Some(digest)) => return screen.digest(&digest),
        (None, None) => match away {
            Some(uri) => return format!("at {}", safe(uri)),
            None if report.metadata.is_empty() => return "nothing was written".to_owned(),
            None => Vec::new(),
        },
    };
    let remarks = artifact.remarks.iter();
    said.extend(remarks.map(|(name, value)| format!("{name}={value}")));
    let most = if screen.wide { usize::MAX } else { METRICS };
    if said.len() > most {
        let more = said.len() - most;
        said.truncate(most);
        said.push(format!("… {more} more"));
    }
    match said.is_empty() {
        true => "only metadata".to_owned(),
        false => safe(&said.join(" ")),
    }
}

/// What was measured, a word or a few for each thing.
fn measured(metrics: &Metrics, screen: Screen) -> Vec<String> {
    match metrics {
        Metrics::Scalars(scalars) => scalars
            .iter()
            .map(|(name, number)| format!("{name}={}", super::runs::measured(number.0, screen)))
            .collect(),
        Metrics::Classification(one) => vec![classified(one, screen)],
        Metrics::Slices(slices) => vec![format!("{} slices", slices.len())],
    }
}

fn classified(one: &Classification, screen: Screen) -> String {
    let matrix = one.confusion.as_ref();
    let matrix = matrix.map(|matrix| format!("confusion matrix of {} classes", matrix.labels.len()));
    let curve = match one.area_under_curve() {
        Some(area) => Some(format!("ROC area {}", super::runs::measured(area, screen))),
        None => (!one.roc.is_empty()).then(|| format!("ROC of {} points", one.roc.len())),
    };
    curve.into_iter().chain(matrix).collect::<Vec<_>>().join(", ")
}

/// The matrices and tables of an output as text, each under its name.
fn figures(output: &ShownOutput, screen: Screen) -> Vec<String> {
    let Shown::Artifact(artifact) = &output.what else {
        return Vec::new();
    };
    let name = &output.name;
    let rows = artifact
        .table
        .iter()
        .filter(|table| table.header.len() <= COLUMNS);
    let mut figures: Vec<String> = rows
        .map(|table| format!("{}\n{}", safe(name), indented(&text_of(table, screen))))
        .collect();
    let mut add = |title: String, one: &Classification| {
        figures.extend(
            one.confusion
                .as_ref()
                .and_then(|matrix| confusion(&title, matrix, screen)),
        );
    };
    match &artifact.metrics {
        Some(Metrics::Classification(one)) => add(name.clone(), one),
        Some(Metrics::Slices(slices)) => {
            for (slice, one) in slices {
                add(format!("{name}, slice {slice}"), one);
            }
        }
        Some(Metrics::Scalars(_)) | None => {}
    }
    figures
}

fn text_of(rows: &Table, screen: Screen) -> String {
    let header: Vec<String> = rows.header.iter().map(|cell| safe(cell)).collect();
    let cells = |row: &Vec<String>| row.iter().map(|cell| safe(cell)).collect::<Vec<_>>();
    let columns = header.iter().map(|name| Column::named(name));
    table(
        screen.indented(2),
        columns,
        &rows.rows.iter().map(cells).collect::<Vec<_>>(),
    )
}

/// A confusion matrix with a row for each actual class; none if it has too many for a terminal.
fn confusion(title: &str, matrix: &ConfusionMatrix, screen: Screen) -> Option<String> {
    if matrix.labels.len() > COLUMNS {
        return None;
    }
    let labels: Vec<String> = matrix.labels.iter().map(|label| safe(label)).collect();
    let columns = labels.iter().map(|label| Column::named(label).right());
    let columns = std::iter::once(Column::named("actual \\ predicted")).chain(columns);
    let rows = labels.iter().zip(&matrix.rows).map(|(label, row)| {
        let numbers = row.iter().map(|number| size::number(*number));
        std::iter::once(label.clone()).chain(numbers).collect()
    });
    let text = table(screen.indented(2), columns, &rows.collect::<Vec<_>>());
    Some(format!("{}\n{}", safe(title), indented(&text)))
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_has_a_row_for_each_actual_class() {
        let matrix = ConfusionMatrix {
            labels: vec!["cat".to_owned(), "dog".to_owned()],
            rows: vec![vec![3.0, 1.0], vec![0.0, 40.0]],
        };
        assert_eq!(
            confusion("eval.confusion", &matrix, Screen::default()).unwrap(),
            "eval.confusion\n  actual \\ predicted  cat  dog\n  cat                   3    1\n  dog                   0   40"
        );
    }
}
