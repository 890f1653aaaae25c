//! The graph of a run's tasks as a drawing: who waited for whom, layer below layer. A DAG within the pipeline is a frame that
//! holds a drawing of its own. A large graph is scrolled and never made smaller; a loop with many items is one box.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use samebundle_spec::limits;
use samebundle_spec::pipeline::{Dag, Implementation, Pipeline, task_path};
use samebundle_spec::record::{ArtifactRecord, OutputRecord, Run, RunStatus, TaskRecord};

use super::loops::Loops;
use super::text;

/// Size of a task's box, in units of the drawing, which are pixels of the page.
const BOX: (f64, f64) = (190.0, 44.0);
/// Place between two boxes, across and down.
const GAP: (f64, f64) = (18.0, 34.0);
/// Place around the tasks of a frame, and its title.
const FRAME: (f64, f64) = (12.0, 24.0);
/// How many boxes stand in one row. More of a layer go into the rows below.
const ROW: usize = 8;
/// How many characters of a name fit into a box.
const NAME: usize = 24;

/// Which tasks wait for which: for each task by its full name, the full names of those that it waits for.
pub(super) type Edges = BTreeMap<String, BTreeSet<String>>;

/// Reads the edges from the pipeline that ran; what is in a loop stands below each of its items that began.
pub(super) fn of_pipeline(pipeline: &Pipeline, run: &Run) -> Edges {
    let mut reader = OfPipeline {
        pipeline,
        began: run.tasks.iter().map(|task| task.name.as_str()).collect(),
        loops: Loops::of(run),
        edges: Edges::new(),
    };
    if let Implementation::Dag(dag) = &pipeline.root.implementation {
        reader.dag(dag, "");
    }
    reader.edges
}

struct OfPipeline<'a> {
    pipeline: &'a Pipeline,
    began: BTreeSet<&'a str>,
    loops: Loops<'a>,
    edges: Edges,
}

impl OfPipeline<'_> {
    fn dag(&mut self, dag: &Dag, path: &str) {
        let full = |name: &str| task_path(path, name);
        for (name, task) in &dag.tasks {
            if self.edges.len() >= limits::PAGE_TASKS || path.matches('/').count() > limits::DOCUMENT_DEPTH {
                return;
            }
            let before = task.predecessors().into_iter().map(full).collect();
            self.edges.insert(full(name), before);
            let component = self.pipeline.component(task.component.as_str());
            let Some(Implementation::Dag(inner)) = component.map(|component| &component.implementation)
            else {
                continue;
            };
            if self.loops.has(&full(name)) {
                continue;
            }
            for path in self.places(&full(name), task.iterator.is_some()) {
                self.dag(inner, &path);
            }
        }
    }

    /// The paths at which the tasks of a DAG stand: its own, or those of a loop's items.
    fn places(&self, path: &str, iterates: bool) -> Vec<String> {
        let is_item = |name: &&&str| {
            let rest = name.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'));
            rest.is_some_and(|rest| rest.parse::<usize>().is_ok())
        };
        let items: Vec<String> = match iterates {
            true => self
                .began
                .iter()
                .filter(is_item)
                .map(|name| (*name).to_owned())
                .collect(),
            false => Vec::new(),
        };
        match items.is_empty() {
            true => vec![path.to_owned()],
            false => items,
        }
    }
}

/// Reads the edges from the record alone: a task waits for those whose artifacts it read.
pub(super) fn of_record(run: &Run) -> Edges {
    // None where several tasks made the same: then the record does not say whose it was.
    let mut made: BTreeMap<String, Option<&str>> = BTreeMap::new();
    for task in run.working_tasks() {
        for artifact in artifacts(&task.outputs) {
            let by = made.entry(identity(artifact)).or_insert(Some(&task.name));
            *by = by.filter(|by| *by == task.name);
        }
    }
    let mut edges = Edges::new();
    for task in &run.tasks {
        edges.entry(task.name.clone()).or_default();
    }
    for task in run.working_tasks() {
        for artifact in artifacts(&task.inputs) {
            let maker = made.get(&identity(artifact)).copied().flatten();
            if let Some((before, after)) = maker.and_then(|maker| siblings(maker, &task.name)) {
                edges
                    .entry(after.to_owned())
                    .or_default()
                    .insert(before.to_owned());
            }
        }
    }
    edges
}

fn artifacts(values: &BTreeMap<String, OutputRecord>) -> impl Iterator<Item = &ArtifactRecord> {
    values.values().flat_map(OutputRecord::artifacts)
}

/// What tells an artifact from the others of a run: the path of its file, or all that it says where it has none.
fn identity(artifact: &ArtifactRecord) -> String {
    match &artifact.path {
        Some(path) => path.clone(),
        None => serde_json::to_string(artifact).unwrap_or_default(),
    }
}

/// The two tasks, or DAGs around them, that stand in the same DAG.
fn siblings<'a>(one: &'a str, other: &'a str) -> Option<(&'a str, &'a str)> {
    let mut from = 0;
    loop {
        let end = |name: &str| name[from..].find('/').map_or(name.len(), |at| from + at);
        let (one_end, other_end) = (end(one), end(other));
        if one[..one_end] != other[..other_end] {
            return Some((&one[..one_end], &other[..other_end]));
        }
        if one_end == one.len() || other_end == other.len() {
            return None;
        }
        from = one_end + 1;
    }
}

/// Draws the tasks of a run. `target` is the anchor of a task's details on the page; none if it has none.
pub(super) fn draw(run: &Run, edges: &Edges, target: impl Fn(&str) -> Option<String>) -> Markup {
    let known: BTreeMap<&str, &TaskRecord> =
        run.tasks.iter().map(|task| (task.name.as_str(), task)).collect();
    let loops = Loops::of(run);
    let names = edges.keys().map(String::as_str).chain(known.keys().copied());
    let names: BTreeSet<&str> = names.filter(|name| !loops.hold(name)).collect();
    if names.len() > limits::PAGE_TASKS {
        return html! { p.note { (names.len()) " tasks are too many to draw; they are listed below." } };
    }
    let drawing = Drawing {
        edges,
        known,
        names: &names,
        loops: &loops,
    };
    let whole = drawing.lay_out("");
    let (width, height) = (whole.width + 4.0, whole.height + 4.0);
    html! {
        div.scroll.drawing tabindex="0" role="region" aria-label="Graph of the tasks" {
            svg.graph width=(width) height=(height) viewBox=(format!("-2 -2 {width} {height}")) role="group" aria-label="Tasks; each stands below those that it waits for" {
                (drawing.show(&whole, &target))
            }
        }
        (loops.list(&target))
    }
}

struct Drawing<'a> {
    edges: &'a Edges,
    known: BTreeMap<&'a str, &'a TaskRecord>,
    names: &'a BTreeSet<&'a str>,
    loops: &'a Loops<'a>,
}

/// A task or DAG with its place within the one around it.
struct Placed<'a> {
    name: &'a str,
    at: (f64, f64),
    width: f64,
    height: f64,
    inside: Vec<Placed<'a>>,
}

impl<'a> Drawing<'a> {
    /// Places what stands in a DAG; the empty name is the pipeline itself.
    fn lay_out(&self, dag: &'a str) -> Placed<'a> {
        let children = self.children(dag);
        if children.is_empty() {
            return Placed {
                name: dag,
                at: (0.0, 0.0),
                width: BOX.0,
                height: BOX.1,
                inside: Vec::new(),
            };
        }
        let (side, top) = if dag.is_empty() { (0.0, 0.0) } else { FRAME };
        let mut inside: Vec<Placed<'a>> = Vec::new();
        let (mut below, mut width) = (top, 0.0_f64);
        for row in self.rows(&children) {
            let (mut across, mut tallest) = (side, 0.0_f64);
            let mut placed: Vec<Placed<'a>> = row.into_iter().map(|name| self.lay_out(name)).collect();
            for one in &mut placed {
                one.at = (across, below);
                across += one.width + GAP.0;
                tallest = tallest.max(one.height);
            }
            width = width.max(across - GAP.0 + side);
            below += tallest + GAP.1;
            inside.extend(placed);
        }
        centre(&mut inside, width, side);
        let height = below - GAP.1 + side;
        Placed {
            name: dag,
            at: (0.0, 0.0),
            width,
            height,
            inside,
        }
    }

    fn children(&self, dag: &str) -> Vec<&'a str> {
        let inside = |name: &&&str| match name.rsplit_once('/') {
            Some((parent, _)) => parent == dag,
            None => dag.is_empty(),
        };
        self.names.iter().filter(inside).copied().collect()
    }

    /// The tasks of a DAG in rows: each stands below all that it waits for, and as high as it can.
    fn rows(&self, tasks: &[&'a str]) -> Vec<Vec<&'a str>> {
        let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
        let mut waiting: Vec<&'a str> = tasks.to_vec();
        let mut layers: Vec<Vec<&'a str>> = Vec::new();
        while !waiting.is_empty() {
            let ready = |task: &&'a str| self.before(task, tasks).all(|before| depths.contains_key(before));
            let (now, later): (Vec<&'a str>, Vec<&'a str>) =
                waiting.iter().copied().partition(|task| ready(task));
            // A record that was made up may hold a circle; then the rest stands in one layer.
            let now = if now.is_empty() { waiting.clone() } else { now };
            waiting = if now.len() == waiting.len() {
                Vec::new()
            } else {
                later
            };
            let depth = layers.len();
            depths.extend(now.iter().map(|task| (*task, depth)));
            layers.push(now);
        }
        self.order(&mut layers, tasks);
        let rows = layers
            .iter()
            .flat_map(|layer| layer.chunks(ROW).map(<[&str]>::to_vec));
        rows.collect()
    }

    /// Orders each layer by where those stand that its tasks wait for, so that few lines cross.
    fn order(&self, layers: &mut [Vec<&'a str>], tasks: &[&'a str]) {
        let mut places: BTreeMap<&str, f64> = BTreeMap::new();
        for layer in layers {
            let centre = |task: &str| {
                let places: Vec<f64> = self
                    .before(task, tasks)
                    .filter_map(|one| places.get(one).copied())
                    .collect();
                places.iter().sum::<f64>() / places.len().max(1) as f64
            };
            layer.sort_by(|a, b| centre(a).total_cmp(&centre(b)).then(a.cmp(b)));
            let middle = layer.len() as f64 / 2.0;
            let placed: Vec<(&str, f64)> = layer
                .iter()
                .enumerate()
                .map(|(at, task)| (*task, at as f64 - middle))
                .collect();
            places.extend(placed);
        }
    }

    fn before(&self, task: &str, among: &[&'a str]) -> impl Iterator<Item = &'a str> {
        let edges: Option<&'a BTreeSet<String>> = self.edges.get(task);
        let before = edges.into_iter().flatten().map(String::as_str);
        before.filter(|one| among.binary_search(one).is_ok())
    }

    fn show(&self, dag: &Placed<'a>, target: &impl Fn(&str) -> Option<String>) -> Markup {
        let places: BTreeMap<&str, &Placed<'a>> = dag.inside.iter().map(|one| (one.name, one)).collect();
        html! {
            @for (name, to) in &places {
                @for before in self.edges.get(*name).into_iter().flatten() {
                    @if let Some(from) = places.get(before.as_str()) { path.edge d=(edge(from, to)) {} }
                }
            }
            @for one in &dag.inside {
                g transform=(format!("translate({:.1} {:.1})", one.at.0, one.at.1)) {
                    @if one.inside.is_empty() {
                        (self.task(one.name, target))
                    } @else {
                        g.group {
                            rect width=(one.width) height=(one.height) rx="8" {}
                            text.dim x="10" y="16" { (short(one.name)) }
                        }
                        (self.show(one, target))
                    }
                }
            }
        }
    }

    fn task(&self, name: &str, target: &impl Fn(&str) -> Option<String>) -> Markup {
        let task = self.known.get(name);
        let (class, word) = match task {
            Some(task) => (
                task.status.word(),
                self.loops.said(name).unwrap_or_else(|| said(task)),
            ),
            None => ("", "not begun".to_owned()),
        };
        let node = html! {
            g class=(format!("node {class}")) {
                title { (name) ": " (word) }
                rect width=(BOX.0) height=(BOX.1) rx="6" {}
                circle.mark cx="14" cy="15" r="4.5" {}
                text x="25" y="19" { (short(name)) }
                text.dim x="25" y="35" { (word) }
            }
        };
        match target(name) {
            Some(anchor) => html! { a href=(format!("#{anchor}")) { (node) } },
            None => node,
        }
    }
}

/// What came of a task, in few words.
fn said(task: &TaskRecord) -> String {
    let mut said = task.status.word().to_owned();
    if task.taken_from.is_some() {
        return format!("{said}, taken over");
    }
    if let (Some(started), Some(finished)) = (task.started, task.finished) {
        said = format!("{said}, {}", text::duration(text::seconds(started, finished)));
    }
    if task.attempts > 1 && task.status != RunStatus::Skipped {
        said = format!("{said}, {} attempts", task.attempts);
    }
    said
}

/// The last part of a name, cut to what fits into a box.
fn short(name: &str) -> String {
    let own = name.rsplit('/').next().unwrap_or(name);
    match own.char_indices().nth(NAME) {
        Some((at, _)) => format!("{}…", &own[..at]),
        None => own.to_owned(),
    }
}

/// Moves each row to the middle of the width.
fn centre(placed: &mut [Placed<'_>], width: f64, side: f64) {
    for row in placed.chunk_by_mut(|one, next| one.at.1 == next.at.1) {
        let end = row.last().map_or(0.0, |last| last.at.0 + last.width);
        let shift = (width - side - end) / 2.0;
        for one in row {
            one.at.0 += shift;
        }
    }
}

fn edge(from: &Placed<'_>, to: &Placed<'_>) -> String {
    let (x1, y1) = (from.at.0 + from.width / 2.0, from.at.1 + from.height);
    let (x2, y2) = (to.at.0 + to.width / 2.0, to.at.1);
    let bend = ((y2 - y1) / 2.0).max(12.0);
    format!(
        "M{x1:.1} {y1:.1} C{x1:.1} {:.1} {x2:.1} {:.1} {x2:.1} {y2:.1}",
        y1 + bend,
        y2 - bend
    )
}
