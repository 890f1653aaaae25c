//! The page of one run.

use std::collections::BTreeMap;

use maud::{Markup, html};
use samebundle_spec::limits;
use samebundle_spec::record::{
    ArtifactRecord, Metrics, OutputRecord, ParameterRecord, Run, RunStatus, SetBy, TaskRecord, short_names,
};

use super::artifact::{self, Content};
use super::budget::Budget;
use super::timeline::{self, Attempt};
use super::{Known, approvals, charts, graph, log, text};

/// A section: the anchor of its heading, its heading, and what it holds; nothing if there is nothing to say.
type Section = (&'static str, &'static str, Option<Markup>);

/// The title of the page of a run.
pub(super) fn title(run: &Run) -> String {
    format!("{} {}: run {}", run.bundle, run.version, run.id)
}

/// All that is known of one run.
pub(super) fn page(shown: &Known, budget: &mut Budget) -> Markup {
    let run = &shown.run;
    let attempts = timeline::attempts(run, &shown.events);
    let logs = log::by_task(&shown.log);
    let sections: Vec<Section> = vec![
        ("metrics", "Metrics", metrics(run, budget)),
        ("outputs", "Outputs", outputs(shown, budget)),
        ("parameters", "Parameters", parameters(run)),
        ("tasks", "Tasks", tasks(shown, &attempts)),
        (
            "details",
            "Task details and logs",
            details(run, &attempts, &logs, budget),
        ),
    ];
    let there = || sections.iter().filter(|section| section.2.is_some());
    html! {
        header {
            h1 { (run.bundle) " " (run.version) }
            (facts(shown))
            nav aria-label="Sections" { @for (anchor, heading, _) in there() { a href=(format!("#{anchor}")) { (heading) } } }
        }
        main {
            (state(shown))
            @for (anchor, heading, content) in there() {
                section aria-labelledby=(anchor) {
                    h2 id=(anchor) { (heading) }
                    @if let Some(content) = content { (content) }
                }
            }
        }
    }
}

/// The word of a status, in its colour.
pub(super) fn status(status: RunStatus) -> Markup {
    html! { span class=(format!("status {}", status.word())) { (status.word()) } }
}

fn facts(shown: &Known) -> Markup {
    let run = &shown.run;
    html! {
        dl.facts {
            dt { "status" } dd { (status(run.status)) @if run.action != "run" { " (action " (run.action) ")" } }
            dt { "run" } dd { code { (run.id) } " of " (run.installation) }
            dt { "started" } dd { time datetime=(run.started) { (text::time(run.started)) } }
            dt { "duration" } dd { (took(shown)) }
            dt { "driver" } dd { (run.driver) }
            dt { "trusted by" } dd { (text::trusted_by(&run.verification)) }
            dt { "bundle" } dd { code title=(run.bundle_digest) { (run.bundle_digest.short()) } }
        }
    }
}

/// How long a run took, or takes until now.
pub(super) fn took(shown: &Known) -> String {
    match shown.run.finished {
        Some(finished) => text::duration(text::seconds(shown.run.started, finished)),
        None => format!(
            "{} until now",
            text::duration(text::seconds(shown.run.started, shown.now))
        ),
    }
}

/// What a reader has to know first: why the run has no result, and why files are not here.
fn state(shown: &Known) -> Markup {
    let run = &shown.run;
    let note = match run.status {
        RunStatus::Succeeded | RunStatus::Failed => None,
        RunStatus::Running => Some("The run goes on: this page has what was recorded until it was written."),
        RunStatus::Suspended => {
            Some("The run waits for a person: this page has what was recorded until it stopped.")
        }
        RunStatus::Cancelled => Some("The run was cancelled: what was not done by then has no result."),
        RunStatus::Skipped => Some("The run was skipped: nothing was done."),
        RunStatus::Interrupted => {
            Some("The process of the run was killed: this page has what was recorded until then.")
        }
    };
    html! {
        @if run.status == RunStatus::Failed { (failure(shown)) }
        @if let Some(note) = note { p.note { (note) } }
        @if run.status != RunStatus::Failed { @if let Some(message) = &run.message { pre { (lines(message)) } } }
        @if let Some(removed) = run.files_removed {
            p.note { "The files of the outputs were removed at " (text::time(removed)) " to free space; their digests stay." }
        }
        @if let Some(digest) = &run.imported_with {
            p.note { "The run was done elsewhere and imported with the bundle " code title=(digest) { (digest.short()) } "." }
        }
    }
}

fn failure(shown: &Known) -> Markup {
    let run = &shown.run;
    let failed: Vec<(usize, &TaskRecord)> = run
        .tasks
        .iter()
        .enumerate()
        .filter(|(_, task)| task.status == RunStatus::Failed)
        .collect();
    html! {
        section.alarm aria-label="Failure" {
            h2 { "The run failed" }
            @if let Some(message) = &run.message { pre tabindex="0" { (lines(message)) } }
            @if !failed.is_empty() {
                p { "Failed: " @for (at, (number, task)) in failed.iter().take(limits::PAGE_TABLE_ROWS).enumerate() {
                    @if at > 0 { ", " } a href=(format!("#{}", anchor(*number))) { (task.name) }
                } }
            }
        }
    }
}

/// Text of several lines, without what only a terminal understands.
pub(super) fn lines(text: &str) -> String {
    let text = text.lines().map(log::plain).collect::<Vec<_>>().join("\n");
    text::cut(&text).into_owned()
}

fn anchor(number: usize) -> String {
    format!("task-{number}")
}

/// The artifacts of a run by name, each once; one of a list has its number.
pub(super) fn artifacts(run: &Run) -> Vec<(String, &ArtifactRecord)> {
    let outputs = run.distinct_outputs().into_iter();
    let artifacts = outputs.flat_map(|(name, output)| output.named_artifacts(&name).collect::<Vec<_>>());
    artifacts.collect()
}

/// Tells whether an artifact is one of charts.
pub(super) fn is_chart(artifact: &ArtifactRecord) -> bool {
    matches!(
        artifact.metrics(),
        Some(Metrics::Classification(_) | Metrics::Slices(_))
    )
}

fn metrics(run: &Run, budget: &mut Budget) -> Option<Markup> {
    let scalars = run.scalars();
    let short = short_names(scalars.keys().map(String::as_str));
    let is_share = |number: f64| (0.0..=1.0).contains(&number);
    let table = html! {
        @if !scalars.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Numbers" { table {
                thead { tr { th scope="col" { "metric" } th.n scope="col" { "value" } th scope="col" { "from 0 to 1" } th scope="col" { "of" } } }
                tbody { @for (name, number) in &scalars {
                    tr {
                        th scope="row" { (short.get(name.as_str()).copied().unwrap_or(name)) }
                        td.n title=(number.0) { (text::number(number.0)) }
                        td { @if is_share(number.0) { (charts::bar(number.0)) } }
                        td.muted.long { (name) }
                    }
                } }
            } }
        }
    };
    let all = artifacts(run);
    let drawn: Vec<_> = all.iter().filter(|(_, artifact)| is_chart(artifact)).collect();
    if scalars.is_empty() && drawn.is_empty() {
        return None;
    }
    Some(html! {
        (budget.take("The numbers", table))
        div.row { @for (name, artifact) in drawn { div {
            h3 { (name) }
            (budget.take(name, html! { @if let Some(chart) = artifact.metrics().as_ref().and_then(charts::chart) { (chart) } }))
        } } }
    })
}

/// What people look at comes first, and what programs read last.
fn rank(artifact: &ArtifactRecord) -> u8 {
    match artifact.artifact_type.as_str() {
        "system.HTML" | "system.Markdown" => 0,
        "system.Dataset" => 2,
        "system.Model" => 3,
        _ => 1,
    }
}

fn table_of_values(values: &[(&String, &serde_json::Value)]) -> Markup {
    html! {
        @if !values.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Values" { table {
                thead { tr { th scope="col" { "output" } th scope="col" { "value" } } }
                tbody { @for (name, value) in values { tr { th scope="row" { (name) } td.long { (text::value(value)) } } } }
            } }
        }
    }
}

fn outputs(shown: &Known, budget: &mut Budget) -> Option<Markup> {
    let outputs = shown.run.distinct_outputs();
    let measured = shown.run.scalars();
    let values: Vec<_> = outputs
        .iter()
        .filter_map(|(name, output)| match output {
            OutputRecord::Value(value) => Some((name, value)),
            OutputRecord::Artifacts(_) => None,
        })
        .filter(|(name, _)| !measured.contains_key(*name))
        .collect();
    let mut artifacts = artifacts(&shown.run);
    // Numbers and charts stand above, and most of their artifacts have nothing else; so do numbers that tasks return.
    artifacts.retain(|(_, artifact)| {
        let has_file = artifact.digest.is_some_and(|_| artifact.size > 0);
        has_file || artifact.metrics().is_none() || artifact.remarks().next().is_some()
    });
    artifacts.sort_by_key(|(_, artifact)| rank(artifact));
    if values.is_empty() && artifacts.is_empty() {
        return None;
    }
    let mut parts = vec![budget.take("The values", table_of_values(&values))];
    let mut others: Vec<(&str, &ArtifactRecord, Option<String>)> = Vec::new();
    for (name, artifact) in &artifacts {
        match artifact::content(name, artifact, &shown.folder, budget.room()) {
            Content::Shown(content) => parts.push(html! {
                h3 { (name) }
                p.muted.small.wrap { (artifact::line(artifact)) }
                (artifact::metadata(artifact))
                (budget.take(name, content))
            }),
            Content::Line(why) => others.push((name, artifact, why)),
        }
    }
    if !others.is_empty() {
        parts.push(budget.take("The list of other files", files(&others)));
    }
    Some(html! { @for part in &parts { (part) } })
}

/// The artifacts of which a page has only a line each.
fn files(files: &[(&str, &ArtifactRecord, Option<String>)]) -> Markup {
    html! {
        h3 { "Other files" }
        div.scroll tabindex="0" role="region" aria-label="Other files" { table {
            thead { tr { th scope="col" { "output" } th scope="col" { "file" } th scope="col" { "described as" } } }
            tbody { @for (name, artifact, why) in files {
                tr {
                    th scope="row" { (name) }
                    td.long { (artifact::line(artifact)) @if let Some(why) = why { div.muted.small { (why) } } }
                    td.long { (artifact::metadata(artifact)) }
                }
            } }
        } }
    }
}

fn parameters(run: &Run) -> Option<Markup> {
    let row = |name: &String, parameter: &ParameterRecord| {
        let changed = parameter.set_by != SetBy::Default;
        html! {
            tr {
                th scope="row" { (name) }
                td.long.changed[changed] { (parameter_value(parameter)) }
                td { @if changed { span.tag.differs { "changed" } " by the " (parameter.set_by.word()) } @else { span.muted { "default" } } }
            }
        }
    };
    (!run.parameters.is_empty()).then(|| {
        html! {
            div.scroll tabindex="0" role="region" aria-label="Parameters" { table {
                thead { tr { th scope="col" { "parameter" } th scope="col" { "value" } th scope="col" { "set by" } } }
                tbody { @for (name, parameter) in &run.parameters { (row(name, parameter)) } }
            } }
        }
    })
}

/// The value of a parameter; that of a secret is nowhere.
pub(super) fn parameter_value(parameter: &ParameterRecord) -> String {
    match &parameter.value {
        _ if parameter.secret => "secret: not kept".to_owned(),
        Some(value) => text::value(value),
        None => "not kept".to_owned(),
    }
}

fn tasks(shown: &Known, attempts: &BTreeMap<String, Vec<Attempt>>) -> Option<Markup> {
    let run = &shown.run;
    let edges = match &shown.pipeline {
        Some(pipeline) => graph::of_pipeline(pipeline, run),
        None => graph::of_record(run),
    };
    let numbers: BTreeMap<&str, usize> = run
        .tasks
        .iter()
        .enumerate()
        .map(|(n, task)| (task.name.as_str(), n))
        .collect();
    let target = |name: &str| numbers.get(name).map(|number| anchor(*number));
    let link = |task: &TaskRecord| {
        html! {
            @if let Some(anchor) = target(&task.name) { a href=(format!("#{anchor}")) { (task.name) } }
        }
    };
    (!run.tasks.is_empty() || !edges.is_empty()).then(|| {
        html! {
            (graph::draw(run, &edges, target))
            @if !run.tasks.is_empty() {
                h3 { "Times" }
                (timeline::draw(run, attempts, shown.now, link))
            }
        }
    })
}

fn details(
    run: &Run,
    attempts: &BTreeMap<String, Vec<Attempt>>,
    logs: &BTreeMap<&str, Vec<String>>,
    budget: &mut Budget,
) -> Option<Markup> {
    let of_task = |name: &str| attempts.get(name).map_or([].as_slice(), Vec::as_slice);
    let mut all: Vec<Markup> = Vec::new();
    for (number, task) in run.tasks.iter().enumerate() {
        let lines = logs.get(task.name.as_str()).map_or([].as_slice(), Vec::as_slice);
        all.push(budget.take(&task.name, detail(run, number, of_task(&task.name), lines)));
    }
    // A foreign bundle has no tasks, and prints all the same.
    let known = |name: &str| run.tasks.iter().any(|task| task.name == name);
    for (name, lines) in logs.iter().filter(|(name, _)| !known(name)) {
        all.push(budget.take(
            name,
            html! { details open { summary { (name) } div { (log::shown(lines)) } } },
        ));
    }
    (!all.is_empty()).then(|| html! { @for one in &all { (one) } })
}

fn detail(run: &Run, number: usize, attempts: &[Attempt], lines: &[String]) -> Markup {
    let task = &run.tasks[number];
    let failed = task.status == RunStatus::Failed;
    html! {
        details open[failed] {
            summary { (status(task.status)) " " strong { (task.name) } @if !lines.is_empty() { span.muted.small { " " (lines.len()) " lines" } } }
            div id=(anchor(number)) {
                dl.facts.small {
                    @if let Some(started) = task.started { dt { "started" } dd { (text::time(started)) } }
                    @if let Some(image) = &task.image { dt { "image" } dd { code title=(image) { (image.short()) } } }
                    @if let Some(code) = task.exit_code { dt { "exit code" } dd { (code) } }
                    @if let Some(from) = &task.taken_from { dt { "taken over from" } dd { "run " code { (from.run) } ", task " (from.task) } }
                    @if task.attempts > 1 { dt { "attempts" } dd { (task.attempts) } }
                }
                @for (at, attempt) in attempts.iter().enumerate() {
                    @if let Some(message) = &attempt.message {
                        @if attempts.len() > 1 { p.small { "Attempt " (at + 1) ":" } }
                        pre tabindex="0" { (self::lines(message)) }
                    }
                }
                (approvals::of(run, task))
                (values("input", &task.inputs))
                (values("output", &task.outputs))
                @if !lines.is_empty() { h3 { "Log" } (log::shown(lines)) }
            }
        }
    }
}

fn values(kind: &str, values: &BTreeMap<String, OutputRecord>) -> Markup {
    html! {
        @if !values.is_empty() {
            div.scroll tabindex="0" role="region" aria-label=(format!("{kind}s")) { table.small {
                thead { tr { th scope="col" { (kind) } th scope="col" { "value" } } }
                tbody { @for (name, value) in values.iter().take(limits::PAGE_OUTPUTS) {
                    tr { th scope="row" { (name) } td.long {
                        @match value {
                            OutputRecord::Value(value) => (text::value(value)),
                            OutputRecord::Artifacts(artifacts) => @for one in artifacts.iter().take(limits::PAGE_OUTPUTS) { div { (artifact::line(one)) } },
                        }
                    } }
                } }
            } }
        }
    }
}
