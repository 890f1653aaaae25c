//! The tasks that run in any case: one that a person names, and all that depends on it.

use samebundle_spec::pipeline::{Component, Dag, Implementation, Pipeline, Task, task_path};
use samebundle_spec::{Classify, ErrorKind};

/// Stands for the number of any item of a loop.
const ITEM: &str = "*";

/// How deep DAGs are looked through.
const DEPTH: usize = 32;

/// The most tasks that are looked at. A pipeline may be in itself.
const TASKS: usize = 10_000;

/// Tasks that run in any case.
#[derive(Clone, Debug, Default)]
pub struct Afresh {
    /// Paths of tasks, with which everything in them runs.
    tasks: Vec<String>,
}

/// There is no one task of a name.
#[derive(Debug, thiserror::Error)]
#[error("the pipeline has {} task {name}; its tasks are {}", if *.several { "more than one" } else { "no" }, .tasks.join(", "))]
pub struct AfreshError {
    /// The name.
    pub name: String,
    /// Whether there are several.
    pub several: bool,
    /// The paths of all tasks.
    pub tasks: Vec<String>,
}

impl Classify for AfreshError {
    fn kind(&self) -> ErrorKind {
        match self.several {
            true => ErrorKind::Usage,
            false => ErrorKind::NotFound,
        }
    }
}

impl Afresh {
    /// Finds a task, by its path or the end of it, and all tasks that depend on it. A path may name an item of a loop by its
    /// number; otherwise all items are meant.
    ///
    /// # Errors
    /// If there is no such task, or several end so.
    pub fn from(pipeline: &Pipeline, name: &str) -> Result<Self, AfreshError> {
        let mut tasks = Vec::new();
        walk(pipeline, &pipeline.root, "", DEPTH, &mut tasks);
        let named = |task: &&String| matches(task, name).is_some();
        let mut found: Vec<&String> = tasks.iter().filter(named).collect();
        if found.is_empty() {
            let ending = |task: &&String| task.ends_with(&format!("/{name}"));
            found = tasks.iter().filter(ending).collect();
        }
        let [task] = found.as_slice() else {
            return Err(AfreshError {
                name: name.to_owned(),
                several: found.len() > 1,
                tasks,
            });
        };
        let path = matches(task, name).unwrap_or_else(|| (*task).clone());
        let mut all = after(pipeline, &path);
        all.push(path);
        Ok(Self { tasks: all })
    }

    /// Tells whether a task runs in any case.
    pub(super) fn has(&self, path: &str) -> bool {
        let within = |task: &String| {
            let mut names = path.split('/');
            task.split('/').all(|wanted| match names.next() {
                Some(name) => wanted == name || wanted == ITEM,
                None => false,
            })
        };
        self.tasks.iter().any(within)
    }
}

/// Compares the path of a task with one that a person wrote, and returns it with the numbers of items as they are written.
fn matches(task: &str, written: &str) -> Option<String> {
    let mut left = written.split('/').peekable();
    let mut path = Vec::new();
    for name in task.split('/') {
        match left.peek() {
            Some(next) if name == ITEM && next.parse::<usize>().is_ok() => path.push(left.next()?),
            _ if name == ITEM => path.push(ITEM),
            _ => path.push(left.next().filter(|next| *next == name)?),
        }
    }
    left.next().is_none().then(|| path.join("/"))
}

fn parts<'p>(pipeline: &'p Pipeline, task: &Task) -> Option<&'p Component> {
    pipeline.component(task.component.as_str())
}

fn dag_of(component: &Component) -> Option<&Dag> {
    match &component.implementation {
        Implementation::Dag(dag) => Some(dag),
        Implementation::Executor(_) => None,
    }
}

/// Returns the path of what runs for a task: of an item, if the task is a loop.
fn inner(path: &str, task: &Task) -> String {
    match task.iterator {
        Some(_) => task_path(path, ITEM),
        None => path.to_owned(),
    }
}

fn walk(pipeline: &Pipeline, component: &Component, path: &str, depth: usize, tasks: &mut Vec<String>) {
    let Some(dag) = dag_of(component).filter(|_| depth > 0 && tasks.len() < TASKS) else {
        return;
    };
    for (name, task) in &dag.tasks {
        let path = task_path(path, name);
        tasks.push(path.clone());
        if let Some(component) = parts(pipeline, task) {
            walk(pipeline, component, &inner(&path, task), depth - 1, tasks);
        }
    }
}

/// Returns the tasks that depend on one: in its own DAG, and in those around it.
fn after(pipeline: &Pipeline, path: &str) -> Vec<String> {
    let mut all = Vec::new();
    let (mut component, mut at) = (Some(&pipeline.root), String::new());
    let mut names = path.split('/');
    while let Some(name) = names.next() {
        let Some(dag) = component.and_then(dag_of) else {
            break;
        };
        all.extend(followers(dag, name).into_iter().map(|name| task_path(&at, name)));
        let Some(task) = dag.tasks.get(name) else { break };
        at = task_path(&at, name);
        if task.iterator.is_some()
            && let Some(item) = names.next()
        {
            at = task_path(&at, item);
        }
        component = parts(pipeline, task);
    }
    all
}

/// Returns the tasks of a DAG that come after one, however far.
fn followers<'d>(dag: &'d Dag, name: &'d str) -> Vec<&'d str> {
    let mut found = Vec::new();
    let mut open = vec![name];
    while let Some(before) = open.pop() {
        for (name, task) in &dag.tasks {
            if task.predecessors().contains(before) && !found.contains(&name.as_str()) {
                found.push(name);
                open.push(name);
            }
        }
    }
    found
}
