//! One run as text: what went in, what its tasks did, what was measured, and what came out.

use std::fmt::Write;
use std::time::Duration;

use samebundle_runtime::verbs::{RunSummary, RunsReport, TaskSummary};

use super::{ago, measured, status, took};
use crate::commands::approve;
use crate::commands::outputs::left;
use crate::error::CliError;
use crate::render::screen::Screen;
use crate::render::{safe, safe_lines, size, table::Column, table::table};

/// The text of one run.
pub(in crate::commands) fn text(
    run: &RunSummary,
    report: &RunsReport,
    screen: Screen,
) -> Result<String, CliError> {
    let mut text = head(run, screen)?;
    let columns = ["parameter".into(), "value".into(), Column::whole("by")];
    section(&mut text, screen, columns, parameters(run))?;
    let tasks = report.tasks.iter().flatten();
    let taken = tasks.clone().any(|task| task.taken_from.is_some());
    let tasks = tasks.map(|one| task(one, taken));
    let mut columns = vec![
        Column::from("task"),
        status(),
        Column::number("took"),
        Column::number("attempts"),
        Column::number("exit code"),
    ];
    columns.extend(taken.then(|| Column::from("taken over from")));
    section(&mut text, screen, columns, tasks)?;
    text.push_str(&approve::checked(&report.approvals));
    let metrics = run.metrics.iter();
    let metrics = metrics.map(|(name, number)| vec![safe(name), measured(number.0, screen)]);
    section(
        &mut text,
        screen,
        ["metric".into(), Column::number("value")],
        metrics,
    )?;
    if let Some(results) = report
        .results
        .as_ref()
        .filter(|results| !results.shown.is_empty())
    {
        write!(text, "\n\n{}", left(results, usize::MAX, screen))?;
    }
    if let Some(message) = &run.message {
        write!(text, "\n\n{}", safe_lines(message))?;
    }
    if let Some(removed) = run.files_removed {
        write!(text, "\n\nthe files of its outputs were removed at {removed}")?;
    }
    Ok(text)
}

/// What ran, when, and what came of it.
fn head(run: &RunSummary, screen: Screen) -> Result<String, CliError> {
    let action = match run.action.as_str() {
        "run" => String::new(),
        action => format!(", action {}", safe(action)),
    };
    let of = match run.bundle == run.installation.as_str() {
        true => String::new(),
        false => format!("{}, ", run.installation),
    };
    let mut text = format!(
        "run {} of {of}{} {}{action}\n{} with the {} driver\n",
        run.id,
        safe(&run.bundle),
        run.version,
        screen.status(run.status),
        safe(&run.driver)
    );
    write!(
        text,
        "started {} ({}), took {}",
        ago(run.started),
        run.started.whole_seconds(),
        took(run)
    )?;
    if run.imported_with.is_some() {
        write!(text, "; imported")?;
    }
    Ok(text)
}

/// Every parameter, and whether it was set.
fn parameters(run: &RunSummary) -> impl Iterator<Item = Vec<String>> {
    run.parameters.iter().map(|(name, value)| {
        let value = match value {
            serde_json::Value::Null => "***".to_owned(),
            value => value.to_string(),
        };
        let by = match run.changed.contains(name) {
            true => "set",
            false => "default",
        };
        vec![safe(name), safe(&value), by.to_owned()]
    })
}

fn section(
    text: &mut String,
    screen: Screen,
    columns: impl IntoIterator<Item = Column>,
    rows: impl Iterator<Item = Vec<String>>,
) -> Result<(), CliError> {
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        write!(text, "\n\n{}", table(screen, columns, &rows))?;
    }
    Ok(())
}

/// `taken` says whether there is a column for where a result came from.
fn task(task: &TaskSummary, taken: bool) -> Vec<String> {
    let took = task.seconds.map(|seconds| {
        let took = Duration::try_from_secs_f64(seconds);
        size::duration(took.unwrap_or_default())
    });
    let code = task.exit_code.map(|code| code.to_string());
    let from = task.taken_from.as_ref();
    let from = from.map(|from| match from.task == task.name {
        true => format!("run {}", from.run),
        false => format!("run {}, task {}", from.run, safe(&from.task)),
    });
    let columns = [
        safe(&task.name),
        task.status.word().to_owned(),
        took.unwrap_or_default(),
        task.attempts.to_string(),
        code.unwrap_or_default(),
    ];
    let from = taken.then(|| from.unwrap_or_default());
    columns.into_iter().chain(from).collect()
}
