//! One run as text: what went in, what its tasks did, what was measured, and what came out.

use std::fmt::Write;

use samebundle_runtime::verbs::{RunSummary, RunsReport, TaskSummary};

use super::{ago, measured, status, took};
use crate::commands::approve;
use crate::commands::outputs::left;
use crate::error::CliError;
use crate::render::screen::Screen;
use crate::render::tree::{Fold, Node, Row, Tree};
use crate::render::{safe, safe_lines, size, table::Column, table::table};

/// How many metrics, and how many outputs, are shown: a loop has some for each item.
const ROWS: usize = 60;

/// The text of one run. With `all`, nothing is left out.
pub(in crate::commands) fn text(
    run: &RunSummary,
    report: &RunsReport,
    all: bool,
    screen: Screen,
) -> Result<String, CliError> {
    let mut text = head(run, screen)?;
    let columns = ["parameter".into(), "value".into(), Column::whole("by")];
    section(&mut text, screen, columns, parameters(run))?;
    tasks(
        &mut text,
        report.tasks.as_deref().unwrap_or_default(),
        all,
        screen,
    )?;
    text.push_str(&approve::checked(&report.approvals));
    let most = if all { usize::MAX } else { ROWS };
    let metrics = run.metrics.iter();
    let metrics = metrics.map(|(name, number)| vec![safe(name), measured(number.0, screen)]);
    section(
        &mut text,
        screen,
        ["metric".into(), Column::number("value")],
        metrics.take(most),
    )?;
    let more = run.metrics.len().saturating_sub(most);
    if more > 0 {
        write!(text, "\n… {}: --all shows them", size::count(more, "more metric"))?;
    }
    if let Some(results) = report
        .results
        .as_ref()
        .filter(|results| !results.shown.is_empty())
    {
        write!(text, "\n\n{}", left(results, most, screen))?;
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

/// The tasks as a tree, each below what it stands in.
fn tasks(text: &mut String, tasks: &[TaskSummary], all: bool, screen: Screen) -> Result<(), CliError> {
    let tree = Tree::of(tasks);
    let rows = tree.rows(if all { Fold::Nothing } else { Fold::Ended });
    let taken = tasks.iter().any(|task| task.taken_from.is_some());
    let items = tasks.iter().any(|task| task.items.is_some());
    let mut columns = vec![Column::from("task"), status()];
    columns.extend(items.then(|| Column::from("items")));
    columns.extend(["took", "attempts", "exit code"].map(Column::number));
    columns.extend(taken.then(|| Column::from("taken over from")));
    let cells = rows.iter().map(|row| match row {
        Row::Node(depth, node, running) => cells(*depth, node, *running, (items, taken)),
        Row::More(depth, more) => {
            let more = size::count(usize::try_from(*more).unwrap_or(usize::MAX), "more item");
            vec![format!("{}… {more}: --all shows them", "  ".repeat(*depth))]
        }
    });
    section(text, screen, columns, cells)
}

/// The cells of one task; which of the optional columns there are is given.
fn cells(depth: usize, node: &Node, running: u64, (items, taken): (bool, bool)) -> Vec<String> {
    let code = node.exit_code.map(|code| code.to_string());
    let progress = items.then(|| node.progress(running));
    let from = taken.then(|| node.taken.clone().unwrap_or_default());
    let first = [
        format!("{}{}", "  ".repeat(depth), node.name),
        node.status.word().to_owned(),
    ];
    let numbers = [
        node.took(None).map(size::duration).unwrap_or_default(),
        node.attempt.to_string(),
        code.unwrap_or_default(),
    ];
    first
        .into_iter()
        .chain(progress)
        .chain(numbers)
        .chain(from)
        .collect()
}
