//! The digest of all that the outputs of a task may depend on.
//!
//! It is taken of JSON whose keys are sorted and whose integers have 64 bits, which RFC 8785 has not. Resources do not count:
//! a limit decides whether a task succeeds, and not what it then writes. Neither do the paths of inputs and outputs: a task
//! with another name that does the same has the same key. A task has no key if it can see something that is not in the
//! digest: a secret, a volume, the workspace, the time, or content that is stored elsewhere.

use std::collections::BTreeMap;

use samebundle_spec::Digest;
use samebundle_spec::pipeline::{
    Component, Container, Located, Placeholder, PlaceholderError, RunFact, Segment, Task, argument, parts,
};
use serde_json::{Value, json};

use super::super::Execution;
use super::super::artifact::{Artifact, Values};

/// A part of every key, which changes with what stands in it.
const FORM: &str = "samebundle task 1";

impl Execution<'_> {
    /// Returns the key of a task; none if its outputs may depend on more than is known of it.
    pub(in super::super) fn cache_key(
        &self,
        path: &str,
        task: &Task,
        component: &Component,
        inputs: &Values,
    ) -> Option<Digest> {
        let container = self.plan.pipeline.container_of(component)?;
        let image = self.plan.images.get(container.image.as_str())?;
        if self.log.hides(&inputs.to_records()) {
            return None;
        }
        if let Some(key) = &task.caching.key {
            let component = &task.component.value;
            let cached = task.caching.enabled;
            let parts = json!([
                FORM,
                "key of the author",
                self.bundle,
                component,
                key.value,
                cached
            ]);
            return Some(digest(&parts));
        }
        if self.needs.workspace || !inputs.claims.is_empty() {
            return None;
        }
        let carried = self.data.iter().map(|data| json!(data.identity()));
        Some(digest(&json!({
            "form": FORM,
            "cached": task.caching.enabled,
            "image": image.digest,
            "command": texts(&container.command),
            "arguments": texts(&container.arguments),
            "environment": container.environment.iter().map(|(name, text)| (name, text.as_str())).collect::<Vec<_>>(),
            "facts": self.facts_in(path, container)?,
            "projected": self.given_to(path, component)?,
            "parameters": inputs.parameters,
            "artifacts": artifacts(inputs)?,
            "outputs": declared(component),
            "wheelhouse": self.plan.wheelhouse.as_ref().map(|layer| layer.digest),
            "data": carried.collect::<Vec<_>>(),
            "network": self.plan.limits.network,
        })))
    }

    /// Returns the facts about the run that a container asks for; none if one of them is another in every run.
    fn facts_in(&self, path: &str, container: &Container) -> Option<BTreeMap<String, String>> {
        let mut asked = Vec::new();
        facts_of(container, &mut asked).ok()?;
        let mut facts = BTreeMap::new();
        for fact in asked {
            if matches!(fact, RunFact::CreateTime | RunFact::ScheduleTime) {
                return None;
            }
            facts.insert(format!("{fact:?}"), self.facts.get(fact, path));
        }
        Some(facts)
    }

    /// Returns the settings and the facts about its pod that a task gets; none if it gets a secret.
    fn given_to(&self, path: &str, component: &Component) -> Option<Value> {
        let mut uses = self.uses(path);
        if uses.any(|one| one.secret) {
            return None;
        }
        let projected = self.projected(path, component, true).ok()?;
        let files = projected
            .inputs
            .iter()
            .map(|input| json!([input.target, files(input)]));
        Some(json!([projected.environment, files.collect::<Vec<_>>()]))
    }
}

/// Returns the files of an input that are given as bytes, each by its digest.
fn files(input: &crate::driver::Input) -> BTreeMap<&String, Digest> {
    match &input.content {
        crate::driver::Content::Files { files, .. } => {
            let files = files.iter();
            files.map(|(name, bytes)| (name, Digest::sha256(bytes))).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn digest(value: &Value) -> Digest {
    Digest::sha256(value.to_string().as_bytes())
}

fn texts(words: &[Located<String>]) -> Vec<&str> {
    words.iter().map(Located::as_str).collect()
}

fn facts_of(container: &Container, facts: &mut Vec<RunFact>) -> Result<(), PlaceholderError> {
    let mut take = |placeholder: &Placeholder| {
        if let Placeholder::Run(fact) = placeholder {
            facts.push(*fact);
        }
    };
    for word in container.command.iter().chain(&container.arguments) {
        argument(word.as_str())?.visit(&mut take);
    }
    for (_, text) in &container.environment {
        for part in parts(text.as_str())? {
            if let Segment::Placeholder(placeholder) = part {
                take(&placeholder);
            }
        }
    }
    Ok(())
}

/// Returns the input artifacts by what is in them; none if one is stored elsewhere.
fn artifacts(inputs: &Values) -> Option<BTreeMap<&String, Vec<Value>>> {
    let one = |artifact: &Artifact| {
        let elsewhere = artifact.digest.is_none() && artifact.uri.contains("://");
        let kind = &artifact.artifact_type;
        (!elsewhere).then(|| {
            json!({
                "name": artifact.name,
                "type": [kind.schema_title, kind.schema_version, kind.instance_schema],
                "metadata": artifact.metadata,
                "digest": artifact.digest,
                "folder": artifact.folder,
            })
        })
    };
    let lists = inputs.artifacts.iter();
    lists
        .map(|(name, list)| Some((name, list.iter().map(one).collect::<Option<_>>()?)))
        .collect()
}

fn declared(component: &Component) -> Value {
    let parameters = component.outputs.parameters.iter();
    let parameters = parameters.map(|(name, spec)| (name.clone(), json!(spec.parameter_type.as_str())));
    let artifacts = component.outputs.artifacts.iter().map(|(name, spec)| {
        let kind = &spec.artifact_type;
        let kind = json!([
            kind.schema_title,
            kind.schema_version,
            kind.instance_schema,
            spec.list
        ]);
        (name.clone(), kind)
    });
    json!([
        parameters.collect::<BTreeMap<_, _>>(),
        artifacts.collect::<BTreeMap<_, _>>()
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_count_and_the_last_digit_does() {
        let read = |text: &str| digest(&serde_json::from_str(text).unwrap());
        assert_eq!(read(r#"{"a": 1, "b": [2]}"#), read(r#"{"b": [2], "a": 1}"#));
        let large = i64::MAX;
        assert_ne!(digest(&json!([large])), digest(&json!([large - 1])));
        assert_ne!(digest(&json!(1)), digest(&json!(1.0)));
    }
}
