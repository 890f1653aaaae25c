//! The page of several runs side by side: each has a column, and what differs is marked.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use samebundle_spec::limits;
use samebundle_spec::record::{
    ArtifactRecord, Classification, Metrics, Number, OutputRecord, Run, RunStatus, TaskRecord, short_names,
};
use serde_json::Value;

use super::budget::Budget;
use super::{Known, charts, run, text};

/// The title of the page.
pub(super) fn title(runs: &[Known]) -> String {
    format!("{} runs compared", runs.len())
}

/// All that can be compared.
pub(super) fn page(runs: &[Known], budget: &mut Budget) -> Markup {
    let sections = [
        ("runs", "Runs", Some(facts(runs))),
        ("metrics", "Metrics", metrics(runs)),
        ("charts", "Charts", charts_of(runs, budget)),
        ("parameters", "Parameters", parameters(runs)),
        ("outputs", "Outputs", outputs(runs)),
        ("tasks", "Durations of the tasks", tasks(runs)),
    ];
    let there = || sections.iter().filter(|section| section.2.is_some());
    html! {
        header {
            h1 { (title(runs)) }
            p { (verdict(runs)) }
            nav aria-label="Sections" { @for (anchor, heading, _) in there() { a href=(format!("#{anchor}")) { (heading) } } }
        }
        main {
            @for (anchor, heading, content) in there() {
                section aria-labelledby=(anchor) {
                    h2 id=(anchor) { (heading) }
                    @if let Some(content) = content { (budget.take(heading, html! { (content) })) }
                }
            }
        }
    }
}

/// Fewest characters of an id by which a column is named.
const SHORTEST: usize = 6;

/// The names of the columns: the ends of the ids, as long as they need to be to differ. Ids of one day begin alike.
fn names(runs: &[Known]) -> Vec<String> {
    let ids: BTreeSet<&str> = runs.iter().map(|shown| shown.run.id.as_str()).collect();
    let end = |id: &str, length: usize| id[id.len().saturating_sub(length)..].to_owned();
    let differ = |length: &usize| {
        ids.iter()
            .map(|id| end(id, *length))
            .collect::<BTreeSet<_>>()
            .len()
            == ids.len()
    };
    let length = (SHORTEST..).find(differ).unwrap_or(SHORTEST);
    runs.iter()
        .map(|shown| end(shown.run.id.as_str(), length))
        .collect()
}

/// Says in a sentence whether the runs gave the same.
fn verdict(runs: &[Known]) -> &'static str {
    let marks: Vec<Mark> = compared(runs).iter().map(|row| row.mark).collect();
    match marks.contains(&Mark::Equal) {
        true if marks.iter().all(|mark| *mark == Mark::Equal) => "All outputs are equal.",
        true => "Some outputs are equal, and some differ.",
        false if marks.is_empty() => "There are no outputs to compare.",
        false => "No output is equal in all runs.",
    }
}

/// What a comparison found; what differs comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Differs,
    /// Those that have it have the same, and others lack it.
    Lacking,
    Equal,
}

impl Mark {
    fn of<T: PartialEq>(cells: &[Option<T>]) -> Self {
        let there: Vec<&T> = cells.iter().flatten().collect();
        match there.windows(2).all(|pair| pair[0] == pair[1]) {
            true if there.len() == cells.len() => Self::Equal,
            true => Self::Lacking,
            false => Self::Differs,
        }
    }

    fn show(self) -> Markup {
        match self {
            Self::Differs => html! { span.tag.differs { "differs" } },
            Self::Lacking => html! { span.tag.muted { "not in all" } },
            Self::Equal => html! { span.tag.equal { "equal" } },
        }
    }
}

/// One row of a table: its name, a text for each run that has it, and what the comparison found.
struct Row {
    name: String,
    cells: Vec<Option<String>>,
    mark: Mark,
}

impl Row {
    fn new(name: &str, cells: Vec<Option<String>>) -> Self {
        let mark = Mark::of(&cells);
        Self {
            name: name.to_owned(),
            cells,
            mark,
        }
    }
}

fn table(runs: &[Known], what: &str, rows: &[Row], marked: bool) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(what) { table {
            thead { tr {
                th scope="col" { (what) }
                @for (name, shown) in names(runs).iter().zip(runs) { th scope="col" title=(shown.run.id) { (name) } }
                @if marked { th scope="col" { "compared" } }
            } }
            tbody { @for row in rows {
                tr {
                    th scope="row" { (row.name) }
                    @for cell in &row.cells { td.long {
                        @match cell { Some(cell) => (text::cut(cell)), None => span.muted { "none" } }
                    } }
                    @if marked { td { (row.mark.show()) } }
                }
            } }
        } }
    }
}

fn facts(runs: &[Known]) -> Markup {
    let row = |name: &str, of: &dyn Fn(&Known) -> String| {
        Row::new(name, runs.iter().map(|shown| Some(of(shown))).collect())
    };
    let rows = [
        row("run", &|shown| shown.run.id.to_string()),
        row("program", &|shown| {
            format!("{} {}", shown.run.bundle, shown.run.version)
        }),
        row("bundle", &|shown| shown.run.bundle_digest.short()),
        row("started", &|shown| text::time(shown.run.started)),
        row("duration", &run::took),
        row("driver", &|shown| shown.run.driver.clone()),
        row("trusted by", &|shown| text::trusted_by(&shown.run.verification)),
    ];
    html! {
        div.row { @for (name, shown) in names(runs).iter().zip(runs) { p { (name) " " (run::status(shown.run.status)) } } }
        (table(runs, "fact", &rows, false))
        @for (name, shown) in names(runs).iter().zip(runs) {
            @if let (RunStatus::Failed, Some(message)) = (shown.run.status, &shown.run.message) {
                h3 { (name) " failed" } pre tabindex="0" { (run::lines(message)) }
            }
        }
    }
}

/// The names that any of the runs has.
fn all_names<'a, T: 'a>(of_runs: &'a [BTreeMap<String, T>]) -> BTreeSet<&'a str> {
    of_runs
        .iter()
        .flat_map(|of_run| of_run.keys().map(String::as_str))
        .collect()
}

fn parameters(runs: &[Known]) -> Option<Markup> {
    let names: BTreeSet<&String> = runs
        .iter()
        .flat_map(|shown| shown.run.parameters.keys())
        .collect();
    let rows = names.iter().take(limits::PAGE_OUTPUTS).map(|name| {
        let cells = runs
            .iter()
            .map(|shown| shown.run.parameters.get(*name).map(run::parameter_value));
        Row::new(name, cells.collect())
    });
    // What differs comes first.
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by_key(|row| row.mark);
    (!rows.is_empty()).then(|| table(runs, "parameter", &rows, true))
}

fn metrics(runs: &[Known]) -> Option<Markup> {
    let scalars: Vec<BTreeMap<String, Number>> = runs.iter().map(|shown| shown.run.scalars()).collect();
    let all = all_names(&scalars);
    let short = short_names(all.iter().copied());
    let row = |name: &str| {
        let cells: Vec<Option<Number>> = scalars.iter().map(|of_run| of_run.get(name).copied()).collect();
        let there = || cells.iter().flatten();
        let largest = there().fold(0.0_f64, |largest, number| largest.max(number.0.abs()));
        let mark = Mark::of(&cells);
        html! {
            tr {
                th scope="row" title=(name) { (short.get(name).copied().unwrap_or(name)) }
                @for cell in &cells { td {
                    @match cell {
                        Some(number) => {
                            span title=(number.0) { (text::number(number.0)) }
                            @if let Some(share) = share(*number, largest) { br; (charts::bar(share)) }
                        }
                        None => span.muted { "none" },
                    }
                } }
                td { (mark.show()) }
            }
        }
    };
    (!all.is_empty()).then(|| {
        html! {
            div.scroll tabindex="0" role="region" aria-label="Numbers" { table {
                thead { tr {
                    th scope="col" { "metric" }
                    @for (name, shown) in names(runs).iter().zip(runs) { th scope="col" title=(shown.run.id) { (name) } }
                    th scope="col" { "compared" }
                } }
                tbody { @for name in all.iter().take(limits::PAGE_OUTPUTS) { (row(name)) } }
            } }
            p.muted.small { "A bar compares a number with the largest of its row." }
        }
    })
}

/// The part that a number is of the largest of its row; none where there is no such part.
fn share(number: Number, largest: f64) -> Option<f64> {
    let share = number.0.abs() / largest;
    share.is_finite().then_some(share)
}

/// Classifications by name: those of slices have the slice's name behind.
fn classifications(of: &Run) -> BTreeMap<String, Classification> {
    let mut found = BTreeMap::new();
    for (name, artifact) in run::artifacts(of) {
        match artifact.metrics() {
            Some(Metrics::Classification(one)) => drop(found.insert(name, one)),
            Some(Metrics::Slices(slices)) => {
                let slices = slices.into_iter().take(limits::PAGE_SLICES);
                found.extend(slices.map(|(slice, one)| (format!("{name}, slice {slice}"), one)));
            }
            Some(Metrics::Scalars(_)) | None => {}
        }
    }
    found
}

fn charts_of(runs: &[Known], budget: &mut Budget) -> Option<Markup> {
    let of_runs: Vec<BTreeMap<String, Classification>> =
        runs.iter().map(|shown| classifications(&shown.run)).collect();
    let names = names(runs);
    let mut parts = Vec::new();
    for name in all_names(&of_runs) {
        let there: Vec<(&String, &Classification)> = names
            .iter()
            .zip(&of_runs)
            .filter_map(|(run, of_run)| Some((run, of_run.get(name)?)))
            .collect();
        let curves: Vec<(String, &Classification)> = there
            .iter()
            .filter(|(_, one)| !one.roc.is_empty())
            .map(|(run, one)| ((*run).clone(), *one))
            .collect();
        let part = html! {
            h3 { (name) }
            @if !curves.is_empty() { (charts::roc(&curves)) }
            div.row { @for (run, one) in &there { @if let Some(matrix) = &one.confusion { (charts::confusion(matrix, Some(run))) } } }
        };
        parts.push(budget.take(name, part));
    }
    (!parts.is_empty()).then(|| html! { @for part in &parts { (part) } })
}

/// The outputs of the runs by digest or value. Whether they are equal is told as `diff` tells it.
fn compared(runs: &[Known]) -> Vec<Row> {
    let of_runs: Vec<BTreeMap<String, &OutputRecord>> =
        runs.iter().map(|shown| shown.run.distinct_outputs()).collect();
    let rows = all_names(&of_runs).into_iter().map(|name| {
        let outputs: Vec<Option<&OutputRecord>> =
            of_runs.iter().map(|of_run| of_run.get(name).copied()).collect();
        let comparable: Vec<Option<Value>> = outputs
            .iter()
            .map(|output| output.map(OutputRecord::comparable))
            .collect();
        Row {
            name: name.to_owned(),
            cells: outputs.iter().map(|output| output.map(said)).collect(),
            mark: Mark::of(&comparable),
        }
    });
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by_key(|row| row.mark);
    rows
}

/// What is shown of an output: a value itself, files by their digest, and metadata where there is no file.
fn said(output: &OutputRecord) -> String {
    let artifact = |one: &ArtifactRecord| match &one.digest {
        Some(digest) => format!("{} ({})", digest.short(), text::bytes(one.size)),
        None => {
            let metadata = serde_json::to_vec(&one.metadata).unwrap_or_default();
            format!("metadata {}", samebundle_spec::Digest::sha256(&metadata).short())
        }
    };
    match output {
        OutputRecord::Value(value) => text::value(value),
        OutputRecord::Artifacts(artifacts) => artifacts.iter().map(artifact).collect::<Vec<_>>().join(", "),
    }
}

fn outputs(runs: &[Known]) -> Option<Markup> {
    let rows = compared(runs);
    let shown = &rows[..rows.len().min(limits::PAGE_OUTPUTS)];
    (!rows.is_empty()).then(|| {
        html! {
            p.muted.small { "Files are compared by their digests." }
            (table(runs, "output", shown, true))
            (charts::more(rows.len(), shown.len(), "outputs"))
        }
    })
}

fn tasks(runs: &[Known]) -> Option<Markup> {
    let took = |task: &TaskRecord| match (task.started, task.finished) {
        (Some(started), Some(finished)) => {
            let took = text::duration(text::seconds(started, finished));
            match task.status {
                RunStatus::Succeeded => took,
                status => format!("{}, {took}", status.word()),
            }
        }
        _ => task.status.word().to_owned(),
    };
    let of_runs: Vec<BTreeMap<String, String>> = runs
        .iter()
        .map(|shown| {
            shown
                .run
                .tasks
                .iter()
                .map(|task| (task.name.clone(), took(task)))
                .collect()
        })
        .collect();
    let rows = all_names(&of_runs)
        .into_iter()
        .take(limits::PAGE_OUTPUTS)
        .map(|name| {
            Row::new(
                name,
                of_runs.iter().map(|of_run| of_run.get(name).cloned()).collect(),
            )
        });
    let rows: Vec<Row> = rows.collect();
    (!rows.is_empty()).then(|| table(runs, "task", &rows, false))
}
