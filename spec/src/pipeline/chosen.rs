//! Images that inputs choose (`image: "{{$.inputs.parameters['image']}}"`), as far as the file shows them: constants, defaults,
//! the values that an input may have, and the items of a loop. A bundle carries these; what a task computes is not known.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Pipeline;
use super::placeholder::{Placeholder, Segment, parts};
use super::types::{Component, Dag, Implementation, IterationOver, ParameterSource, ParameterSpec, Task};
use crate::limits;

/// The most images of one component that are looked for; more are hardly meant.
const MOST: usize = 64;

/// The texts that each input of a component may have.
type Known = BTreeMap<String, BTreeSet<String>>;

impl Pipeline {
    /// Tells whether the image of a container is chosen when it runs.
    pub fn chooses_images(&self) -> bool {
        self.containers()
            .any(|(_, container)| container.image.value.contains("{{$"))
    }

    /// Returns the images that the file shows inputs to choose.
    pub fn chosen_images(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        if let (Implementation::Dag(dag), true) = (&self.root.implementation, self.chooses_images()) {
            let declared = self.root.inputs.parameters.iter();
            let known = declared.map(|(name, spec)| (name.clone(), own(spec))).collect();
            let mut tasks = 0;
            self.walk(dag, &known, (&mut found, &mut tasks), 0);
        }
        found
    }

    fn walk(
        &self,
        dag: &Dag,
        around: &Known,
        (found, tasks): (&mut BTreeSet<String>, &mut usize),
        depth: usize,
    ) {
        for task in dag.tasks.values() {
            *tasks += 1;
            // A pipeline that was not checked may contain itself.
            if *tasks > limits::PIPELINE_TASKS || depth > limits::DAG_DEPTH {
                return;
            }
            let Some(component) = self.component(task.component.as_str()) else {
                continue;
            };
            let known = inputs(task, component, around);
            match &component.implementation {
                Implementation::Dag(dag) => self.walk(dag, &known, (&mut *found, &mut *tasks), depth + 1),
                Implementation::Executor(_) => {
                    let container = self.container_of(component);
                    let image = container.map(|container| container.image.as_str());
                    found.extend(image.map(|image| filled(image, &known)).unwrap_or_default());
                }
            }
        }
    }
}

/// The texts that a declaration shows.
fn own(spec: &ParameterSpec) -> BTreeSet<String> {
    let values = spec.default.iter().chain(&spec.literals);
    values.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The texts that the inputs of a task may have.
fn inputs(task: &Task, component: &Component, around: &Known) -> Known {
    let mut known = Known::new();
    for (name, spec) in &component.inputs.parameters {
        if !task.parameters.contains_key(name) {
            known.insert(name.clone(), own(spec));
        }
    }
    for (name, input) in &task.parameters {
        let texts = match &input.source {
            ParameterSource::Constant(Value::String(text)) => filled(text, around),
            ParameterSource::ComponentInput(source) => around.get(source).cloned().unwrap_or_default(),
            _ => BTreeSet::new(),
        };
        known.insert(name.clone(), texts);
    }
    if let Some(iteration) = &task.iterator
        && let IterationOver::Values(items) = &iteration.over
    {
        let texts = items.iter().filter_map(Value::as_str).map(str::to_owned);
        known.insert(iteration.item_input.value.clone(), texts.collect());
    }
    known
}

/// A text with every combination of what its placeholders may stand for; none if one of them is not known.
fn filled(text: &str, known: &Known) -> BTreeSet<String> {
    let mut texts = BTreeSet::from([String::new()]);
    for part in parts(text).unwrap_or_default() {
        let ends: BTreeSet<String> = match part {
            Segment::Text(plain) => [plain].into(),
            Segment::Placeholder(Placeholder::InputParameter(name)) => {
                known.get(&name).cloned().unwrap_or_default()
            }
            Segment::Placeholder(_) => BTreeSet::new(),
        };
        let pairs = texts
            .iter()
            .flat_map(|begin| ends.iter().map(move |end| format!("{begin}{end}")));
        texts = pairs.take(MOST).collect();
    }
    texts.retain(|text| !text.trim().is_empty());
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_where_the_file_shows_them() {
        let text = r#"
components:
  comp-say:
    executorLabel: exec-say
    inputDefinitions: {parameters: {image: {parameterType: STRING}, tag: {parameterType: STRING, defaultValue: v1}}}
  comp-inner:
    inputDefinitions: {parameters: {which: {parameterType: STRING}}}
    dag:
      tasks:
        say: {componentRef: {name: comp-say}, inputs: {parameters: {image: {componentInputParameter: which}}}}
deploymentSpec:
  executors:
    exec-say: {container: {image: "{{$.inputs.parameters['image']}}:{{$.inputs.parameters['tag']}}", command: [x]}}
pipelineInfo: {name: p}
root:
  inputDefinitions: {parameters: {which: {parameterType: STRING, defaultValue: alpine, literals: [alpine, busybox]}}}
  dag:
    tasks:
      inner: {componentRef: {name: comp-inner}, inputs: {parameters: {which: {componentInputParameter: which}}}}
      say:
        componentRef: {name: comp-say}
        inputs: {parameters: {image: {runtimeValue: {constant: python}}, tag: {runtimeValue: {constant: '3.11'}}}}
schemaVersion: 2.1.0
"#;
        let pipeline = Pipeline::parse("p.yaml", text.as_bytes()).unwrap();
        pipeline.check().unwrap();
        let wanted = ["alpine:v1", "busybox:v1", "python:3.11"].map(str::to_owned);
        assert_eq!(pipeline.chosen_images(), wanted.into());
        assert!(pipeline.images().is_empty());
    }
}
