//! Tasks that ask a person: containers of two images that are none.
//!
//! `kfp://human-input` is the form that is to come to KFP (kubeflow/pipelines #13744): the first argument is JSON that says
//! something about each answer. `samebundle://suspend` takes the same, or a question in words, or nothing. What is asked for
//! are the output parameters of the component, and they have the types.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Pipeline;
use super::position::{Located, Position};
use super::reader::{Read, Reader};
use super::types::{Component, Container, ExecutorKind, Question, QuestionAnswer};

const IMAGES: [&str; 2] = ["kfp://human-input", "samebundle://suspend"];

/// The first argument. Fields that are not known are passed over, because the form of KFP is not final.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Form {
    #[serde(alias = "description", alias = "message")]
    question: Option<String>,
    #[serde(alias = "timeout_seconds")]
    timeout_seconds: Option<u64>,
    parameters: BTreeMap<String, Answer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    description: Option<String>,
    default: Option<Value>,
    #[serde(rename = "enum", alias = "options")]
    allowed: Option<Vec<Value>>,
}

/// Tells whether an image is a name for a question.
pub(super) fn is_asked(image: &str) -> bool {
    IMAGES.contains(&image)
}

/// Reads what a container asks that has such an image.
pub(super) fn read(reader: &Reader<'_>, container: &Container, what: &str) -> Read<Question> {
    let at = container.image.at;
    if let Some(word) = container.command.first() {
        return Err(reader.fault(
            word.at,
            format!("{what} asks a person and has a command, which nothing would run"),
            "leave the command out, or name an image",
        ));
    }
    let form = match container.arguments.first() {
        Some(text) => form(text).map_err(|why| {
            let problem = format!("the question of {what} cannot be read: {why}");
            reader.fault(
                text.at,
                problem,
                "write {\"parameters\": {\"NAME\": {\"description\": \"…\"}}}",
            )
        })?,
        None => Form::default(),
    };
    let at = container.arguments.first().map_or(at, |text| text.at);
    let answers = form.parameters.into_iter().map(|(name, one)| {
        let answer = QuestionAnswer {
            description: one.description.filter(|text| !text.is_empty()),
            default: one.default.filter(|value| !value.is_null()),
            allowed: one.allowed.unwrap_or_default(),
        };
        (name, answer)
    });
    Ok(Question {
        at,
        text: form.question.filter(|text| !text.is_empty()),
        answers: answers.collect(),
        limit_seconds: form.timeout_seconds.filter(|seconds| *seconds > 0),
    })
}

/// Reads the first argument: an object with `parameters`, or the parameters themselves, or a text.
fn form(text: &Located<String>) -> Result<Form, String> {
    let words = text.as_str().trim();
    if !words.starts_with('{') || words.starts_with("{{$") {
        return Ok(Form {
            question: Some(words.to_owned()),
            ..Form::default()
        });
    }
    let value: Value = serde_json::from_str(words).map_err(|error| error.to_string())?;
    let named = ["parameters", "question", "description", "message"];
    let fields = value.as_object();
    let whole =
        fields.is_some_and(|fields| fields.is_empty() || named.iter().any(|name| fields.contains_key(*name)));
    let form = match whole {
        true => value,
        false => serde_json::json!({ "parameters": value }),
    };
    serde_json::from_value(form).map_err(|error| error.to_string())
}

impl Question {
    /// What it asks, in words as the author wrote them; empty if there are none.
    pub fn words(&self) -> String {
        let described = self
            .answers
            .values()
            .filter_map(|answer| answer.description.clone());
        self.text
            .clone()
            .unwrap_or_else(|| described.collect::<Vec<_>>().join(" "))
    }
}

impl Pipeline {
    /// Returns what a component asks a person, if it asks.
    pub fn question_of(&self, component: &Component) -> Option<&Question> {
        match &self.executor_of(component)?.kind {
            ExecutorKind::Question(question) => Some(question),
            _ => None,
        }
    }

    /// Returns the tasks that ask a person, by their paths; those within a loop stand once.
    pub fn questions(&self) -> BTreeMap<String, &Question> {
        let working = self.working().into_iter();
        working
            .filter_map(|(path, component)| Some((path, self.question_of(component)?)))
            .collect()
    }
}

/// Says what is wrong with a question of a component: only parameters are answers, and it declares each.
pub(super) fn faults(question: &Question, component: &Component) -> Vec<(Position, String, &'static str)> {
    let declared = &component.outputs.parameters;
    let mut found = Vec::new();
    if let Some((name, spec)) = component.outputs.artifacts.first_key_value() {
        let problem = format!("it asks a person, who cannot give the artifact {name:?}");
        found.push((spec.at, problem, "declare parameters as its outputs"));
    }
    for (name, answer) in &question.answers {
        let Some(spec) = declared.get(name) else {
            let problem = format!("it asks for {name:?}, which is no output parameter of it");
            found.push((question.at, problem, "declare it: NAME: dsl.OutputPath(str)"));
            continue;
        };
        for value in answer.allowed.iter().chain(&answer.default) {
            if super::coerce(value, spec.parameter_type).is_err() {
                let problem = format!("the answer {value} of {name:?} is no {}", spec.parameter_type);
                found.push((question.at, problem, "give it the type of the output"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pipeline(image: &str, argument: &str) -> Result<Pipeline, String> {
        let document = json!({
            "pipelineInfo": {"name": "p"}, "schemaVersion": "2.1.0",
            "components": {"c": {"executorLabel": "e", "outputDefinitions": {"parameters": {
                "decision": {"parameterType": "STRING"}, "rate": {"parameterType": "NUMBER_DOUBLE"}}}}},
            "deploymentSpec": {"executors": {"e": {"container": {"image": image, "args": [argument]}}}},
            "root": {"dag": {"tasks": {"gate": {"componentRef": {"name": "c"}}}}},
        });
        let read = Pipeline::parse("p.yaml", document.to_string().as_bytes());
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn the_forms_of_a_question_are_read() {
        let spec = r#"{"decision": {"description": "Deploy?", "default": "NO", "enum": ["YES", "NO"]}}"#;
        let whole = format!(r#"{{"name": "gate", "parameters": {spec}, "timeoutSeconds": 60}}"#);
        for text in [spec, &whole] {
            let pipeline = pipeline("kfp://human-input", text).unwrap();
            assert!(pipeline.images().is_empty() && pipeline.check().is_ok(), "{text}");
            let question = pipeline.questions()["gate"].clone();
            let decision = &question.answers["decision"];
            assert_eq!(decision.description.as_deref(), Some("Deploy?"));
            assert_eq!(decision.default, Some(json!("NO")));
            assert_eq!(decision.allowed, [json!("YES"), json!("NO")]);
            assert_eq!(question.limit_seconds, (text == whole).then_some(60));
        }
        let words = pipeline("samebundle://suspend", "Is it good enough?").unwrap();
        let question = words.questions()["gate"].clone();
        assert_eq!(question.text.as_deref(), Some("Is it good enough?"));
    }

    #[test]
    fn what_cannot_be_answered_is_a_fault() {
        let faults = |text: &str| {
            let faults = pipeline("kfp://human-input", text).unwrap().check().unwrap_err();
            faults.iter().map(ToString::to_string).collect::<String>()
        };
        assert!(faults(r#"{"other": {}}"#).contains("asks for \"other\", which is no output parameter"));
        let wrong = faults(r#"{"rate": {"enum": [1, "much"]}}"#);
        assert!(
            wrong.contains("the answer \"much\" of \"rate\" is no NUMBER_DOUBLE"),
            "{wrong}"
        );
        let unread = pipeline("kfp://human-input", "{not json").unwrap_err();
        assert!(unread.contains("the question of"), "{unread}");
        let unknown = faults(r#"{"question": "{{$.inputs.parameters['n']}}"}"#);
        assert!(unknown.contains("input parameter \"n\""), "{unknown}");
    }
}
