//! When each task ran: a bar for each attempt, below each other on one scale.

use std::collections::BTreeMap;

use maud::{Markup, html};
use samebundle_spec::Timestamp;
use samebundle_spec::record::{Run, RunEvent, RunEventKind, RunStatus, TaskRecord};

use super::text;

/// One attempt of a task.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// From when.
    pub(super) started: Timestamp,
    /// Until when; none if it had no end.
    pub(super) finished: Option<Timestamp>,
    /// What came of it.
    pub(super) status: RunStatus,
    /// Why it failed.
    pub(super) message: Option<String>,
}

/// Reads the attempts of each task from the log of a run. A run without a log has one for each task that began.
pub(super) fn attempts(run: &Run, events: &[RunEvent]) -> BTreeMap<String, Vec<Attempt>> {
    let mut attempts: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
    for event in events {
        match &event.kind {
            RunEventKind::TaskStarted(started) => {
                attempts.entry(started.task.clone()).or_default().push(Attempt {
                    started: event.time,
                    finished: None,
                    status: RunStatus::Running,
                    message: None,
                });
            }
            RunEventKind::TaskFinished(finished) => {
                let of_task = attempts.get_mut(&finished.task);
                if let Some(last) = of_task.and_then(|attempts| attempts.last_mut()) {
                    last.finished = Some(event.time);
                    last.status = finished.status;
                    last.message.clone_from(&finished.message);
                }
            }
            _ => {}
        }
    }
    add_recorded(run, &mut attempts);
    attempts
}

/// Adds what only the record knows of tasks: those without events, and the end of those that the end of the run ended.
fn add_recorded(run: &Run, attempts: &mut BTreeMap<String, Vec<Attempt>>) {
    for task in &run.tasks {
        let Some(started) = task.started else { continue };
        let of_task = attempts.entry(task.name.clone()).or_default();
        if of_task.is_empty() {
            of_task.push(Attempt {
                started,
                finished: task.finished,
                status: task.status,
                message: None,
            });
        }
        // The end of the run ended what was still open.
        for attempt in of_task
            .iter_mut()
            .filter(|attempt| attempt.status == RunStatus::Running)
        {
            attempt.status = task.status;
        }
    }
}

/// The part of the time of a run that something took.
struct Scale {
    from: Timestamp,
    to: Timestamp,
    seconds: f64,
}

impl Scale {
    fn bar(&self, attempt: &Attempt) -> String {
        let to = attempt.finished.unwrap_or(self.to);
        let part = |seconds: f64| seconds / self.seconds * 100.0;
        let left = part(text::seconds(self.from, attempt.started)).clamp(0.0, 99.5);
        let width = part(text::seconds(attempt.started, to)).clamp(0.5, 100.0 - left);
        format!("left:{left:.2}%;width:{width:.2}%")
    }
}

/// Draws the tasks with their bars. `link` makes the name of a task.
pub(super) fn draw(
    run: &Run,
    attempts: &BTreeMap<String, Vec<Attempt>>,
    now: Timestamp,
    link: impl Fn(&TaskRecord) -> Markup,
) -> Markup {
    let to = run.finished.unwrap_or(now);
    let scale = Scale {
        from: run.started,
        to,
        seconds: text::seconds(run.started, to).max(0.001),
    };
    html! {
        div.scroll tabindex="0" role="region" aria-label="Times of the tasks" {
            table.timeline {
                thead { tr {
                    th scope="col" { "task" }
                    th scope="col" { "status" }
                    th.span scope="col" { span.ends { span { "0" } span { (text::duration(scale.seconds)) } } }
                    th.n scope="col" { "duration" }
                } }
                tbody {
                    @for task in &run.tasks { (row(task, attempts.get(&task.name), &scale, &link)) }
                }
            }
        }
    }
}

fn row(
    task: &TaskRecord,
    attempts: Option<&Vec<Attempt>>,
    scale: &Scale,
    link: &impl Fn(&TaskRecord) -> Markup,
) -> Markup {
    let took = task
        .started
        .map(|started| text::seconds(started, task.finished.unwrap_or(scale.to)));
    html! {
        tr {
            th scope="row" { (link(task)) }
            td {
                span class=(format!("status {}", task.status.word())) { (task.status.word()) }
                @if task.attempts > 1 { " " span.muted.small { (task.attempts) " attempts" } }
                @if task.taken_from.is_some() { " " span.muted.small { "taken over" } }
            }
            td { div.track aria-hidden="true" {
                @for attempt in attempts.into_iter().flatten() {
                    i class=(attempt.status.word()) style=(scale.bar(attempt)) {}
                }
            } }
            td.n { @if let Some(took) = took { (text::duration(took)) } }
        }
    }
}
