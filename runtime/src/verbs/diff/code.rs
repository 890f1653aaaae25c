//! In what the components of two pipelines differ, with the lines of Python that a component carries.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

/// How many lines that did not change are shown around those that did.
const AROUND: usize = 3;

/// A component that is not the same.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CodeDifference {
    /// Its name; `root` is the pipeline itself.
    pub component: String,
    /// The short id of the run that is compared with the first.
    pub run: String,
    /// What became of it.
    pub change: Change,
    /// The parts of it that differ, by their names in the pipeline's file; `source` is its Python.
    pub parts: Vec<String>,
    /// The lines of its Python that differ, as `diff -u` shows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// What became of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The first run has no such component.
    Added,
    /// The other run has no such component.
    Removed,
    /// It is another one.
    Changed,
}

impl Change {
    /// The word used in documents and on the terminal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// The components of a pipeline, by name.
#[derive(Debug, Default)]
pub(super) struct Components(BTreeMap<String, Component>);

/// A component: its Python, if it carries some, and everything else by part.
#[derive(Debug, Default, PartialEq)]
struct Component {
    source: Option<String>,
    parts: BTreeMap<String, Value>,
}

impl Components {
    /// Reads the documents of a pipeline's file. Each component has the executor that it names in it.
    pub(super) fn read(documents: &[Value]) -> Self {
        let mut components = BTreeMap::new();
        for document in documents {
            let spec = document.get("pipelineSpec").unwrap_or(document);
            let executors = spec.pointer("/deploymentSpec/executors");
            let named = spec.get("components").and_then(Value::as_object);
            let root = spec.get("root").map(|root| ("root", root));
            let named = named
                .into_iter()
                .flatten()
                .map(|(name, one)| (name.as_str(), one));
            for (name, one) in named.chain(root) {
                components.insert(name.to_owned(), Component::read(one, executors));
            }
        }
        Self(components)
    }
}

impl Component {
    fn read(component: &Value, executors: Option<&Value>) -> Self {
        let mut read = Self::default();
        for (name, part) in component.as_object().into_iter().flatten() {
            match (name.as_str(), part.as_str()) {
                ("executorLabel", Some(label)) => {
                    let executor = executors.and_then(|all| all.get(label));
                    for (name, part) in executor.and_then(Value::as_object).into_iter().flatten() {
                        match part.as_object() {
                            Some(container) if name == "container" => read.parts.extend(container.clone()),
                            _ => drop(read.parts.insert(name.clone(), part.clone())),
                        }
                    }
                }
                _ => drop(read.parts.insert(name.clone(), part.clone())),
            }
        }
        read.source = read.take_source();
        read
    }

    /// Takes the Python out of the command: the SDK gives it as one word of it, of many lines.
    fn take_source(&mut self) -> Option<String> {
        let command = self.parts.get_mut("command")?.as_array_mut()?;
        let is_source = |word: &Value| {
            let text = word.as_str().unwrap_or_default();
            text.lines()
                .any(|line| line.starts_with("def ") || line.starts_with("import kfp"))
        };
        let at = command.iter().rposition(is_source)?;
        match command.remove(at) {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Compares the pipelines of two runs, each with its short id.
pub(super) fn compare(first: (&str, &Components), other: (&str, &Components)) -> Vec<CodeDifference> {
    let ((before, old), (after, new)) = (first, other);
    let names: BTreeSet<&String> = old.0.keys().chain(new.0.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let difference = |change, parts, diff| CodeDifference {
            component: name.clone(),
            run: after.to_owned(),
            change,
            parts,
            diff,
        };
        match (old.0.get(name), new.0.get(name)) {
            (Some(old), Some(new)) if old != new => {
                let keys: BTreeSet<&String> = old.parts.keys().chain(new.parts.keys()).collect();
                let keys = keys
                    .into_iter()
                    .filter(|key| old.parts.get(*key) != new.parts.get(*key));
                let mut parts: Vec<String> = keys.cloned().collect();
                let mut diff = None;
                if old.source != new.source {
                    parts.push("source".to_owned());
                    let names = [before, after].map(|run| format!("{name} of {run}"));
                    diff = Some(lines(old, new, &names));
                }
                found.push(difference(Change::Changed, parts, diff));
            }
            (Some(_), None) => found.push(difference(Change::Removed, Vec::new(), None)),
            (None, Some(_)) => found.push(difference(Change::Added, Vec::new(), None)),
            _ => {}
        }
    }
    found
}

/// The lines in which the sources of two components differ, as a unified diff.
fn lines(old: &Component, new: &Component, names: &[String; 2]) -> String {
    let text = |one: &Component| one.source.clone().unwrap_or_default();
    let (old, new) = (text(old), text(new));
    let lines = TextDiff::from_lines(&old, &new);
    lines
        .unified_diff()
        .context_radius(AROUND)
        .header(&names[0], &names[1])
        .to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pipeline(body: &str, image: &str, more: bool) -> Components {
        let source =
            format!("\nimport kfp\nfrom kfp import dsl\n\ndef train(rows: int) -> int:\n    {body}\n");
        let mut components = json!({"comp-train": {"executorLabel": "exec-train"}});
        if more {
            components["comp-report"] = json!({"dag": {}});
        }
        Components::read(&[json!({
            "components": components,
            "deploymentSpec": {"executors": {"exec-train": {"container": {
                "image": image,
                "command": ["sh", "-c", "python3 -m pip install 'a'", "sh", "-ec", "run", source],
                "args": ["--function_to_execute", "train"],
            }}}},
            "root": {"dag": {"tasks": {}}},
        })])
    }

    #[test]
    fn a_changed_component_is_shown_by_its_lines() {
        let old = pipeline("return rows", "python:3.11", false);
        assert!(compare(("A", &old), ("B", &pipeline("return rows", "python:3.11", false))).is_empty());
        let new = pipeline("return rows + 1", "python:3.12", true);
        let found = compare(("A", &old), ("B", &new));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            (found[0].component.as_str(), found[0].change),
            ("comp-report", Change::Added)
        );
        assert_eq!(found[1].parts, ["image", "source"]);
        let diff = found[1].diff.as_ref().unwrap();
        assert!(
            diff.starts_with("--- comp-train of A\n+++ comp-train of B\n"),
            "{diff}"
        );
        assert!(
            diff.contains("\n-    return rows\n+    return rows + 1\n"),
            "{diff}"
        );
    }
}
