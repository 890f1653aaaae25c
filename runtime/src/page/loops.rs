//! Loops with so many items that a drawing of each tells nothing: each is one box, and the items that failed are named below.

use std::collections::BTreeMap;

use maud::{Markup, html};
use samebundle_spec::record::{Run, RunStatus, TaskRecord};

/// How many items of a loop are drawn one by one.
const DRAWN: usize = 12;
/// How many items of one loop are named.
const NAMED: usize = 50;

/// The loops of a run that are drawn as one box, by their full names. A loop within one of them is in its box.
pub(super) struct Loops<'a>(BTreeMap<&'a str, Items<'a>>);

#[derive(Default)]
struct Items<'a> {
    /// How many items there are; not known of a record of an earlier version.
    all: Option<u64>,
    /// Those that began, with their numbers.
    began: Vec<(u64, &'a TaskRecord)>,
}

impl Items<'_> {
    fn count(&self, status: RunStatus) -> usize {
        self.began
            .iter()
            .filter(|(_, item)| item.status == status)
            .count()
    }

    /// How many ended.
    fn done(&self) -> usize {
        self.began.len() - self.count(RunStatus::Running)
    }

    fn all(&self) -> u64 {
        self.all.unwrap_or(0).max(self.began.len() as u64)
    }
}

impl<'a> Loops<'a> {
    /// Finds them.
    pub(super) fn of(run: &'a Run) -> Self {
        let mut items: BTreeMap<&str, Items<'a>> = BTreeMap::new();
        for task in &run.tasks {
            let item = task.name.rsplit_once('/');
            if let Some((name, number)) = item.and_then(|(name, own)| Some((name, own.parse().ok()?))) {
                items.entry(name).or_default().began.push((number, task));
            }
        }
        for task in &run.tasks {
            if let (Some(found), Some(_)) = (items.get_mut(task.name.as_str()), task.items) {
                found.all = task.items;
            }
        }
        let mut loops = Self(BTreeMap::new());
        // What a loop stands in comes before it.
        for (name, mut items) in items {
            if items.began.len() > DRAWN && !loops.hold(name) {
                items.began.sort_by_key(|(number, _)| *number);
                loops.0.insert(name, items);
            }
        }
        loops
    }

    /// Tells whether a task stands in one of them.
    pub(super) fn hold(&self, name: &str) -> bool {
        let outer = name.match_indices('/').map(|(at, _)| &name[..at]);
        outer.into_iter().any(|outer| self.0.contains_key(outer))
    }

    /// Tells whether a loop is one of them.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What is said of a loop in its box; none if it is none of them.
    pub(super) fn said(&self, name: &str) -> Option<String> {
        let items = self.0.get(name)?;
        let (done, all) = (items.done() as u64, items.all());
        let said = match done == all {
            true => format!("{all} items"),
            false => format!("{done} of {all}"),
        };
        Some(match items.count(RunStatus::Failed) {
            0 => said,
            failed => format!("{said}, {failed} failed"),
        })
    }

    /// What came of their items, below the drawing. `target` is the anchor of a task's details on the page.
    pub(super) fn list(&self, target: &impl Fn(&str) -> Option<String>) -> Markup {
        html! {
            @if !self.0.is_empty() {
                ul.loops { @for (name, items) in &self.0 { li { (summary(name, items, target)) } } }
            }
        }
    }
}

fn summary(name: &str, items: &Items<'_>, target: &impl Fn(&str) -> Option<String>) -> Markup {
    let words = [
        RunStatus::Succeeded,
        RunStatus::Failed,
        RunStatus::Running,
        RunStatus::Suspended,
        RunStatus::Skipped,
        RunStatus::Cancelled,
        RunStatus::Interrupted,
    ];
    let counts = words.map(|status| (items.count(status), status.word()));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    let well = [RunStatus::Succeeded, RunStatus::Skipped];
    let others = items
        .began
        .iter()
        .filter(|(_, item)| !well.contains(&item.status));
    let others: Vec<&(u64, &TaskRecord)> = others.collect();
    html! {
        b { (name) } ": " (items.all()) " items, " (counts.join(", "))
        @for (at, (number, item)) in others.iter().take(NAMED).enumerate() {
            @if at == 0 { ": " } @else { ", " }
            @let text = format!("{number} {}", item.status.word());
            @match target(&item.name) {
                Some(anchor) => a href=(format!("#{anchor}")) { (text) },
                None => (text),
            }
        }
        @if others.len() > NAMED { " and " (others.len() - NAMED) " more" }
    }
}
