//! What a pipeline asks for that the native engine does not do yet. Refused at build, with the task's name.

use std::fmt;

use super::Pipeline;
use super::position::{Position, place};
use super::types::{Component, ExecutorKind, Implementation, Task};

/// A feature that a task asks for and that is not supported yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Name of the file.
    pub file: String,
    /// Its position.
    pub at: Position,
    /// The task, with the component of the DAG it is in before it; the pipeline's name where no task is concerned.
    pub task: String,
    /// What it asks for.
    pub feature: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            at,
            task,
            feature,
        } = self;
        write!(
            f,
            "{}: task {task} needs {feature}, which is not supported yet",
            place(file, *at)
        )
    }
}

impl Pipeline {
    /// Returns what the native engine does not do yet, in the order of the file.
    pub fn unsupported(&self) -> Vec<Unsupported> {
        let mut found = Findings {
            pipeline: self,
            list: Vec::new(),
        };
        found.component("", &self.root);
        for (name, component) in &self.components {
            found.component(name, component);
        }
        found.list.sort_by_key(|one| one.at);
        found.list
    }
}

struct Findings<'a> {
    pipeline: &'a Pipeline,
    list: Vec<Unsupported>,
}

impl Findings<'_> {
    fn add(&mut self, at: Position, task: String, feature: String) {
        self.list.push(Unsupported {
            file: self.pipeline.file.clone(),
            at,
            task,
            feature,
        });
    }

    fn component(&mut self, scope: &str, component: &Component) {
        let Implementation::Dag(dag) = &component.implementation else {
            return;
        };
        for (name, task) in &dag.tasks {
            let label = if scope.is_empty() {
                name.clone()
            } else {
                format!("{scope}/{name}")
            };
            self.executor(&label, task);
        }
    }

    fn executor(&mut self, label: &str, task: &Task) {
        let pipeline = self.pipeline;
        let Some(Implementation::Executor(executor_label)) = pipeline
            .component(&task.component.value)
            .map(|component| &component.implementation)
        else {
            return;
        };
        let Some(executor) = pipeline.executors.get(&executor_label.value) else {
            return;
        };
        match &executor.kind {
            ExecutorKind::Container(_)
            | ExecutorKind::Importer(_)
            | ExecutorKind::Question(_)
            | ExecutorKind::CreateVolume
            | ExecutorKind::DeleteVolume => {}
            ExecutorKind::Other(kind) => {
                self.add(
                    executor.at,
                    label.to_owned(),
                    format!("an executor of kind {kind:?}"),
                );
            }
        }
        let pod = pipeline.kubernetes.pods.get(&executor_label.value);
        if let Some(at) = pod.and_then(|pod| pod.init_container) {
            self.add(at, label.to_owned(), "an init container".to_owned());
        }
    }
}
