//! Pages of HTML that show what runs did and measured: each is one file that holds everything and fetches nothing.
//!
//! All text comes from strangers: names, parameters, metadata, log lines, artifacts. `maud` escapes what is put into a
//! page, and Markdown and HTML of artifacts stand in sandboxed frames (`sandbox`; decision 0049).

mod approvals;
mod artifact;
mod budget;
mod charts;
mod compare;
mod document;
mod graph;
mod log;
mod loops;
mod run;
mod sandbox;
mod text;
mod timeline;

use std::path::PathBuf;
use std::sync::Arc;

use maud::html;
use samebundle_spec::pipeline::Pipeline;
use samebundle_spec::record::{LogLine, Metrics, Run, RunEvent};
use samebundle_spec::{Timestamp, limits};

use budget::Budget;

/// What is known of a run that a page shows.
#[derive(Clone, Debug)]
pub struct Known {
    /// The record.
    pub run: Run,
    /// The events of its log; none of a run that was imported.
    pub events: Vec<RunEvent>,
    /// What its tasks printed.
    pub log: Vec<LogLine>,
    /// The pipeline that ran, which says which tasks wait for which; the record says less.
    pub pipeline: Option<Arc<Pipeline>>,
    /// The run's folder, which has the files of its outputs.
    pub folder: PathBuf,
    /// The time at which the page is written.
    pub now: Timestamp,
}

/// Writes the page of a run, or of several side by side: a document of at most about [`limits::PAGE_BYTES`]. What there is no
/// room for is named.
pub fn page(runs: &[Known]) -> String {
    let mut budget = Budget::new(limits::PAGE_BYTES);
    let (title, content) = match runs {
        [one] => (run::title(&one.run), run::page(one, &mut budget)),
        many => (compare::title(many), compare::page(many, &mut budget)),
    };
    let body = html! {
        (content)
        footer {
            "Written by samebundle"
            @if let Some(one) = runs.first() { " at " (text::time(one.now)) }
            ". This page holds all that it shows, and fetches nothing."
        }
    };
    document::document(&title, &body)
}

/// Draws one thing that was measured, as a document of its own: confusion matrix and ROC curve, or those of each slice. None
/// for numbers, which are a line of text.
pub fn figure(metrics: &Metrics, title: &str) -> Option<String> {
    let chart = charts::chart(metrics)?;
    let body = html! { main { h1 { (title) } (chart) } };
    Some(document::document(title, &body))
}

#[cfg(test)]
mod tests;
