//! The tasks of a run as a tree: DAGs within the pipeline, loops with their items, and the attempts of tasks. It is a fold of the
//! run's events, or of its record, and chooses which of its rows a person wants to see: a loop has thousands of items, and a
//! terminal a few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use samebundle_runtime::verbs::TaskSummary;
use samebundle_spec::Timestamp;
use samebundle_spec::record::{RunEvent, RunEventKind, RunStatus, TaskFinished, TaskStarted};

use super::safe;

/// How many items of a loop are shown one by one; of a loop with more, only those that failed or run.
const ITEMS: usize = 12;
/// How many of those are shown of one loop.
const NAMED: usize = 20;
/// How many items that failed are shown of a loop that runs.
const FAILED_LIVE: usize = 3;
/// How many characters of a line that a task replaces are kept.
const STATE_CHARACTERS: usize = 100;

/// Which rows of a tree are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// What runs and what failed; what has ended well has one row.
    Live,
    /// Everything but the items of large loops that ended well.
    Ended,
    /// Everything.
    Nothing,
}

/// How many of the tasks directly in a DAG or loop ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    all: u64,
    failed: u64,
    skipped: u64,
    cancelled: u64,
    suspended: u64,
}

impl Ends {
    fn count(&mut self, status: RunStatus) {
        self.all += 1;
        match status {
            RunStatus::Failed => self.failed += 1,
            RunStatus::Skipped => self.skipped += 1,
            RunStatus::Cancelled | RunStatus::Interrupted => self.cancelled += 1,
            RunStatus::Suspended => self.suspended += 1,
            RunStatus::Succeeded | RunStatus::Running => {}
        }
    }
}

/// A task, DAG, loop or item of a loop.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Its own name, without those of its parents.
    pub(crate) name: String,
    pub(crate) status: RunStatus,
    pub(crate) attempt: u32,
    /// How many attempts there are at most; 0: not known.
    tries: u32,
    pub(crate) exit_code: Option<i32>,
    /// Where its result was taken over from.
    pub(crate) taken: Option<String>,
    /// The newest state of a line that it replaces.
    state: String,
    started: Option<Timestamp>,
    took: Option<Duration>,
    items: Option<u64>,
    is_loop: bool,
    ends: Ends,
    /// What is directly in it, by its own name in the order in which it began.
    children: Vec<String>,
}

impl Node {
    fn new(name: &str) -> Self {
        Self {
            name: safe(name),
            status: RunStatus::Running,
            attempt: 0,
            tries: 0,
            exit_code: None,
            taken: None,
            state: String::new(),
            started: None,
            took: None,
            items: None,
            is_loop: false,
            ends: Ends::default(),
            children: Vec::new(),
        }
    }

    /// How long it took, or has taken until now; none of what did not begin.
    pub(crate) fn took(&self, now: Option<Timestamp>) -> Option<Duration> {
        let until_now = || Some(now?.since(self.started?));
        self.took.or_else(until_now)
    }

    fn is_item(&self) -> bool {
        self.name.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// What a loop has done: `7/20 done, 2 running, 1 failed`; empty for what is no loop.
    pub(crate) fn progress(&self, running: u64) -> String {
        if !self.is_loop {
            return String::new();
        }
        let done = match self.items {
            Some(items) => format!("{}/{items} done", self.ends.all),
            None => format!("{} done", self.ends.all),
        };
        let parts = [
            (running, "running"),
            (self.ends.failed, "failed"),
            (self.ends.skipped, "skipped"),
            (self.ends.cancelled, "cancelled"),
            (self.ends.suspended, "suspended"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        parts.fold(done, |text, (count, word)| format!("{text}, {count} {word}"))
    }

    /// What is to be known of it beside its name: the progress of a loop, the attempt, its status if it is not plain.
    pub(crate) fn note(&self, running: u64) -> String {
        let of_tries = match (self.attempt, self.tries) {
            (0 | 1, _) => String::new(),
            (attempt, tries) if attempt <= tries => format!("try {attempt} of {tries}"),
            (attempt, _) => format!("try {attempt}"),
        };
        let status = match (self.status, &self.taken) {
            (RunStatus::Succeeded, Some(_)) => "taken over",
            (RunStatus::Running | RunStatus::Succeeded, _) => "",
            (status, _) => status.word(),
        };
        let parts = [status, &self.progress(running), &of_tries, &self.state];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(", ")
    }
}

/// A row of the tree.
#[derive(Clone, Debug)]
pub(crate) enum Row<'a> {
    /// A node, how deep it stands, and how many directly in it run.
    Node(usize, &'a Node, u64),
    /// So many items of a loop that are not shown, and how deep they stand.
    More(usize, u64),
}

/// The tasks of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    /// By their full names.
    nodes: BTreeMap<String, Node>,
    /// What is directly in the pipeline.
    roots: Vec<String>,
    /// Whether items that ended well are forgotten, so that a long loop takes little memory.
    forgets: bool,
}

impl Tree {
    /// A tree that is fed with events as they come.
    pub(crate) fn live() -> Self {
        Self {
            forgets: true,
            ..Self::default()
        }
    }

    /// The tree of a record.
    pub(crate) fn of(tasks: &[TaskSummary]) -> Self {
        let mut tree = Self::default();
        for task in tasks {
            let node = tree.node(&task.name);
            node.status = task.status;
            node.attempt = task.attempts;
            node.exit_code = task.exit_code;
            node.items = task.items;
            node.is_loop |= task.items.is_some();
            node.took = task
                .seconds
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            node.taken = task.taken_from.as_ref().map(|from| match from.task == task.name {
                true => format!("run {}", from.run),
                false => format!("run {}, task {}", from.run, safe(&from.task)),
            });
        }
        for task in tasks.iter().filter(|task| task.status != RunStatus::Running) {
            tree.ended(&task.name, task.status);
        }
        tree
    }

    /// Takes the next event of the run.
    pub(crate) fn take(&mut self, event: &RunEvent) {
        match &event.kind {
            RunEventKind::TaskStarted(started) => self.started(started, event.time),
            RunEventKind::TaskFinished(finished) => self.finished(finished, event.time),
            RunEventKind::TaskSuspended(suspended) => {
                let node = self.node(&suspended.task);
                node.status = RunStatus::Suspended;
            }
            RunEventKind::RunFinished(finished) => self.stop(finished.status, event.time),
            RunEventKind::RunResumed => self.go_on(),
            _ => {}
        }
    }

    /// Takes the newest state of a line that a task replaces; empty when it is replaced no longer.
    pub(crate) fn replaced(&mut self, task: &str, state: &str) {
        if let Some(node) = self.nodes.get_mut(task) {
            node.state = safe(state.trim()).chars().take(STATE_CHARACTERS).collect();
        }
    }

    fn started(&mut self, started: &TaskStarted, time: Timestamp) {
        let node = self.node(&started.task);
        node.status = RunStatus::Running;
        node.attempt = started.attempt;
        node.tries = started.tries.unwrap_or(0);
        node.items = started.items.or(node.items);
        node.is_loop |= started.items.is_some();
        node.started.get_or_insert(time);
        node.took = None;
        // A new attempt of a DAG does everything in it again.
        node.ends = Ends::default();
        let inside: Vec<String> = std::mem::take(&mut node.children);
        for name in inside {
            self.forget(&format!("{}/{name}", started.task));
        }
    }

    fn finished(&mut self, finished: &TaskFinished, time: Timestamp) {
        let node = self.node(&finished.task);
        node.state.clear();
        node.exit_code = finished.exit_code;
        if finished.will_retry {
            node.attempt = finished.attempt.saturating_add(1);
            return;
        }
        node.status = finished.status;
        node.attempt = finished.attempt;
        node.took = finished.started.map(|started| time.since(started));
        node.taken = finished
            .taken_from
            .as_ref()
            .map(|from| format!("run {}", from.run));
        let good = !matches!(finished.status, RunStatus::Failed | RunStatus::Interrupted);
        let is_item = node.is_item();
        let forgets = self.forgets && good;
        self.ended(&finished.task, finished.status);
        if forgets {
            self.forget_in(&finished.task);
            if let Some((parent, own)) = finished.task.rsplit_once('/').filter(|_| is_item) {
                self.nodes.remove(&finished.task);
                if let Some(parent) = self.nodes.get_mut(parent) {
                    parent.children.retain(|child| child != own);
                }
            }
        }
    }

    /// Counts the end of a task for what it stands in.
    fn ended(&mut self, name: &str, status: RunStatus) {
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.node(parent).ends.count(status);
        }
    }

    fn forget(&mut self, name: &str) {
        self.forget_in(name);
        self.nodes.remove(name);
    }

    /// Forgets what stands in a node.
    fn forget_in(&mut self, name: &str) {
        let (from, to) = (format!("{name}/"), format!("{name}0"));
        let inside: Vec<String> = self.nodes.range(from..to).map(|(name, _)| name.clone()).collect();
        for one in inside {
            self.nodes.remove(&one);
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.children.clear();
        }
    }

    /// What runs when the run stops waits as the run does, or was interrupted.
    fn stop(&mut self, run: RunStatus, time: Timestamp) {
        let open = match run {
            RunStatus::Suspended => RunStatus::Suspended,
            _ => RunStatus::Interrupted,
        };
        for node in self
            .nodes
            .values_mut()
            .filter(|node| node.status == RunStatus::Running)
        {
            node.status = open;
            node.took = node.started.map(|started| time.since(started));
        }
    }

    fn go_on(&mut self) {
        for node in self
            .nodes
            .values_mut()
            .filter(|node| node.status == RunStatus::Interrupted)
        {
            node.status = RunStatus::Running;
            node.took = None;
        }
    }

    /// Finds a node, or makes it with those that it stands in.
    fn node(&mut self, name: &str) -> &mut Node {
        if !self.nodes.contains_key(name) {
            let own = name.rsplit('/').next().unwrap_or(name);
            let node = Node::new(own);
            match name.rsplit_once('/') {
                None => self.roots.push(name.to_owned()),
                Some((parent, _)) => {
                    let is_item = node.is_item();
                    let parent = self.node(parent);
                    parent.children.push(own.to_owned());
                    parent.is_loop |= is_item;
                }
            }
            self.nodes.insert(name.to_owned(), node);
        }
        self.nodes.get_mut(name).expect("it was inserted above")
    }

    /// The rows that are shown, each below what it stands in.
    pub(crate) fn rows(&self, fold: Fold) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for name in &self.roots {
            self.visit(name, 0, fold, &mut rows);
        }
        rows
    }

    fn visit<'a>(&'a self, name: &str, depth: usize, fold: Fold, rows: &mut Vec<Row<'a>>) {
        let Some(node) = self.nodes.get(name) else { return };
        let child = |own: &String| self.nodes.get(&format!("{name}/{own}"));
        let children = node.children.iter().filter_map(|own| Some((own, child(own)?)));
        let children: Vec<(&String, &Node)> = children.collect();
        let running = children
            .iter()
            .filter(|(_, node)| node.status == RunStatus::Running)
            .count();
        rows.push(Row::Node(depth, node, running as u64));
        let shown = shown(node, &children, fold);
        for (own, _) in children.iter().filter(|(own, _)| shown.contains(own)) {
            self.visit(&format!("{name}/{own}"), depth + 1, fold, rows);
        }
        // What was forgotten is not missed.
        let more = children.len() - shown.len();
        if more > 0 && fold == Fold::Ended && node.is_loop {
            rows.push(Row::More(depth + 1, more as u64));
        }
    }
}

/// Which of those in a node are shown.
fn shown<'a>(node: &Node, children: &[(&'a String, &'a Node)], fold: Fold) -> BTreeSet<&'a String> {
    let is = |status: RunStatus| move |(_, child): &&(&String, &Node)| child.status == status;
    let names = |(own, _): &(&'a String, &'a Node)| *own;
    let ended_well = matches!(
        node.status,
        RunStatus::Succeeded | RunStatus::Skipped | RunStatus::Cancelled
    );
    match fold {
        Fold::Live if ended_well => BTreeSet::new(),
        Fold::Live if node.is_loop => {
            let failed = children.iter().filter(is(RunStatus::Failed)).take(FAILED_LIVE);
            failed
                .chain(children.iter().filter(is(RunStatus::Running)))
                .map(names)
                .collect()
        }
        Fold::Ended if node.is_loop && children.len() > ITEMS => {
            let well = [RunStatus::Succeeded, RunStatus::Skipped];
            let others = children.iter().filter(|(_, child)| !well.contains(&child.status));
            others.take(NAMED).map(names).collect()
        }
        Fold::Live | Fold::Ended | Fold::Nothing => children.iter().map(names).collect(),
    }
}
