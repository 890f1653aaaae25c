//! `outputs`, and what a run left as text.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::results::Table;
use samebundle_runtime::verbs::{
    self, AbsentOutput, ArtifactReport, OutputsReport, OutputsRequest, PageRequest, Results, Shown,
    ShownOutput,
};
use samebundle_spec::record::{Classification, ConfusionMatrix, Metrics, RunStatus};

use crate::error::CliError;
use crate::render::screen::Screen;
use crate::render::{Report, safe, size, table::Column, table::table};
use crate::session::Session;

/// The most classes of a confusion matrix, and the most columns of a table, that are shown as text.
const COLUMNS: usize = 10;
/// The most metrics that are shown of one output.
const METRICS: usize = 8;
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
    let opened = std::process::Command::new(browser).arg(&file).status();
    match opened {
        Ok(status) if status.success() => Ok(()),
        _ => Err(CliError::NoBrowser {
            browser: browser.to_owned(),
            file,
        }),
    }
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
    match report.files_removed {
        Some(removed) => parts.push(format!("the files were removed at {removed} to free space")),
        None => parts.extend(absent(&report.results.absent, screen)),
    }
    parts.join("\n\n")
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
            "output".into(),
            Column::whole("type"),
            "value".into(),
            Column::number("size"),
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
    let name = safe(&output.name);
    match &output.what {
        Shown::Value(value) => vec![name, "value".to_owned(), safe(&value.to_string()), String::new()],
        Shown::Artifact(artifact) => {
            let report = &artifact.report;
            let kind = report.artifact_type.strip_prefix("system.");
            let kind = safe(kind.unwrap_or(&report.artifact_type));
            let value = match &artifact.metrics {
                Some(metrics) => safe(&measured(metrics)),
                None => digest(report, screen),
            };
            let size = if report.digest.is_some() {
                size::bytes(report.size)
            } else {
                String::new()
            };
            vec![name, kind, value, size]
        }
    }
}

fn digest(report: &ArtifactReport, screen: Screen) -> String {
    match report.digest {
        Some(digest) => screen.digest(&digest),
        None if report.metadata.is_empty() => "nothing was written".to_owned(),
        None => "only metadata".to_owned(),
    }
}

/// What was measured, in one line.
fn measured(metrics: &Metrics) -> String {
    match metrics {
        Metrics::Scalars(scalars) => {
            let shown = scalars.iter().take(METRICS);
            let mut shown: Vec<String> = shown
                .map(|(name, number)| format!("{name}={}", size::number(*number)))
                .collect();
            if scalars.len() > METRICS {
                shown.push(format!("… {} more", scalars.len() - METRICS));
            }
            shown.join(" ")
        }
        Metrics::Classification(one) => classified(one),
        Metrics::Slices(slices) => format!("{} slices", slices.len()),
    }
}

fn classified(one: &Classification) -> String {
    let matrix = one.confusion.as_ref();
    let matrix = matrix.map(|matrix| format!("confusion matrix of {} classes", matrix.labels.len()));
    let curve = match one.area_under_curve() {
        Some(area) => Some(format!("ROC area {}", size::number(area))),
        None => (!one.roc.is_empty()).then(|| format!("ROC of {} points", one.roc.len())),
    };
    matrix.into_iter().chain(curve).collect::<Vec<_>>().join(", ")
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
