//! The type checker: every reference resolves, every type agrees, nothing goes in a circle.
//!
//! It goes over the root and every component that is a DAG, one scope at a time. What a reference means is decided by
//! [`DagScope`]; the modules beside look at inputs, outputs, order and placeholders. All faults are collected.

mod inputs;
mod order;
mod outputs;
mod placeholders;
mod specs;

use super::Pipeline;
use super::position::{Located, PipelineFault, Position};
use super::types::{Component, Dag, Implementation, OutputOf, ParameterType, Task};

/// Checks a whole pipeline.
pub(super) fn pipeline(pipeline: &Pipeline) -> Result<(), Vec<PipelineFault>> {
    let mut checker = Checker {
        pipeline,
        faults: Vec::new(),
    };
    if let Implementation::Executor(label) = &pipeline.root.implementation {
        checker.fault(
            label.at,
            None,
            "the root is a container, not a DAG".to_owned(),
            "compile a pipeline, not a component",
        );
    }
    checker.component("", &pipeline.root);
    for (name, component) in &pipeline.components {
        checker.component(name, component);
    }
    order::nesting(&mut checker);
    let mut faults = checker.faults;
    if faults.is_empty() {
        return Ok(());
    }
    faults.sort_by_key(|fault| fault.at);
    Err(faults)
}

/// Walks the pipeline and collects faults.
struct Checker<'a> {
    pipeline: &'a Pipeline,
    faults: Vec<PipelineFault>,
}

/// The inside of one DAG.
#[derive(Clone, Copy)]
struct DagScope<'a> {
    /// Name of the component; empty for the root.
    name: &'a str,
    component: &'a Component,
    dag: &'a Dag,
}

impl DagScope<'_> {
    /// Names a task so that it can be found in the file.
    fn label(&self, task: &str) -> String {
        if self.name.is_empty() {
            task.to_owned()
        } else {
            format!("{}/{task}", self.name)
        }
    }
}

impl<'a> Checker<'a> {
    fn fault(&mut self, at: Position, task: Option<String>, problem: String, remedy: &str) {
        self.faults.push(PipelineFault {
            file: self.pipeline.file.clone(),
            at,
            task,
            problem,
            remedy: remedy.to_owned(),
        });
    }

    fn component(&mut self, name: &'a str, component: &'a Component) {
        specs::interface(self, name, component);
        let Implementation::Dag(dag) = &component.implementation else {
            return;
        };
        let scope = DagScope { name, component, dag };
        for (name, task) in &dag.tasks {
            self.task(scope, name, task);
        }
        outputs::dag(self, scope);
        order::tasks(self, scope);
    }

    fn task(&mut self, scope: DagScope<'a>, name: &'a str, task: &'a Task) {
        let label = scope.label(name);
        for dependency in &task.dependencies {
            self.sibling(scope, &label, dependency);
        }
        let Some(component) = self.pipeline.components.get(&task.component.value) else {
            let names = self.pipeline.components.keys();
            let remedy = nearest(&task.component.value, names, "a component of the file");
            let problem = format!("component {:?} does not exist", task.component.value);
            self.fault(task.component.at, Some(label), problem, &remedy);
            return;
        };
        if let Implementation::Executor(executor) = &component.implementation
            && !self.pipeline.executors.contains_key(&executor.value)
        {
            let remedy = nearest(
                &executor.value,
                self.pipeline.executors.keys(),
                "an executor of the file",
            );
            let problem = format!("executor {:?} does not exist", executor.value);
            self.fault(executor.at, Some(label.clone()), problem, &remedy);
        }
        inputs::task(self, scope, &label, task, component);
        placeholders::task(self, &label, task, component);
    }

    /// Finds a task of the same DAG.
    fn sibling(&mut self, scope: DagScope<'a>, label: &str, name: &Located<String>) -> Option<&'a Task> {
        let found = scope.dag.tasks.get(&name.value);
        if found.is_none() {
            let remedy = nearest(&name.value, scope.dag.tasks.keys(), "a task of the same DAG");
            let problem = format!("task {:?} does not exist in the same DAG", name.value);
            self.fault(name.at, Some(label.to_owned()), problem, &remedy);
        }
        found
    }

    /// Finds the component behind an output of a task of the same DAG; whether that task iterates.
    fn producer(
        &mut self,
        scope: DagScope<'a>,
        label: &str,
        output: &OutputOf,
    ) -> Option<(&'a Component, bool)> {
        let task = self.sibling(scope, label, &output.task)?;
        // A missing component is reported at the task that names it.
        let component = self.pipeline.components.get(&task.component.value)?;
        Some((component, task.iterator.is_some()))
    }

    /// Returns the type of an output parameter; none if it is not there (reported) or not known.
    fn output_parameter(
        &mut self,
        scope: DagScope<'a>,
        label: &str,
        output: &OutputOf,
    ) -> Option<ParameterType> {
        let (component, iterates) = self.producer(scope, label, output)?;
        let declared = &component.outputs.parameters;
        let Some(spec) = declared.get(&output.key.value) else {
            self.no_output(label, output, declared.keys(), "parameter");
            return None;
        };
        let given = if iterates {
            ParameterType::List
        } else {
            spec.parameter_type
        };
        (given != ParameterType::List || !made_by_compiler(&output.key.value)).then_some(given)
    }

    fn no_output<'k>(
        &mut self,
        label: &str,
        output: &OutputOf,
        declared: impl Iterator<Item = &'k String>,
        kind: &str,
    ) {
        let task = &output.task.value;
        let remedy = nearest(
            &output.key.value,
            declared,
            &format!("an output {kind} of {task}"),
        );
        let problem = format!("task {task:?} has no output {kind} {:?}", output.key.value);
        self.fault(output.key.at, Some(label.to_owned()), problem, &remedy);
    }
}

/// Inputs and outputs with this prefix are made by the compiler, to carry values in and out of loops and conditions. It
/// declares the outputs as lists wherever they might be collected, whether they are or not.
pub fn made_by_compiler(name: &str) -> bool {
    name.starts_with("pipelinechannel--")
}

/// Tells whether a value of one type may go where another is wanted. Anything can become a string, as its text.
fn agrees(given: ParameterType, wanted: ParameterType) -> bool {
    given == wanted
        || wanted == ParameterType::String
        || (given == ParameterType::Integer && wanted == ParameterType::Double)
        || (given == ParameterType::TaskFinalStatus && wanted == ParameterType::Struct)
}

/// Advises the nearest name, or to use `what`.
fn nearest<'k>(name: &str, names: impl Iterator<Item = &'k String>, what: &str) -> String {
    let best = names
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min();
    match best {
        Some((_, candidate)) => format!("did you mean {candidate:?}?"),
        None => format!("name {what}"),
    }
}
