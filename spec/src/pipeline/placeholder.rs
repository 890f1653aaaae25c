//! Placeholders in commands, arguments, environment variables and constants.
//!
//! `{{$.inputs.parameters['x']}}` and its kin stand inside a text; `{"Concat": […]}` and `{"IfPresent": {…}}` are the whole
//! text, as JSON, and may hold each other. Quotes inside the brackets may be single, double or doubled: all occur. What
//! begins with `{{$` but with no name that KFP has is plain text, because program text may hold anything.

use serde_json::Value;

use crate::limits;

/// Something that an engine puts in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// `{{$}}`: the whole executor input as JSON.
    ExecutorInput,
    /// `{{$.inputs.parameters['x']}}`: the value; texts raw, anything else as JSON.
    InputParameter(String),
    /// `{{$.inputs.artifacts['x'].…}}`, and `{{$.inputs.artifacts['x']}}` for a list of artifacts.
    InputArtifact(String, ArtifactProperty),
    /// `{{$.outputs.parameters['x'].output_file}}`: where the value is to be written.
    OutputParameterFile(String),
    /// `{{$.outputs.artifacts['x'].…}}`, and `{{$.outputs.artifacts['x']}}` for a list of artifacts.
    OutputArtifact(String, ArtifactProperty),
    /// `{{$.outputs.output_file}}`: where the executor output is to be written.
    OutputFile,
    /// A fact about the run.
    Run(RunFact),
}

/// The property of an artifact that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactProperty {
    /// Its address.
    Uri,
    /// Its path in the container.
    Path,
    /// All artifacts of a list, as a JSON list.
    List,
    /// All metadata as JSON, or one entry.
    Metadata(Option<String>),
}

/// A fact about the run that a placeholder asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunFact {
    /// `pipeline_job_name`
    JobName,
    /// `pipeline_job_uuid`
    JobUuid,
    /// `pipeline_job_resource_name`
    JobResourceName,
    /// `pipeline_job_create_time_utc`
    CreateTime,
    /// `pipeline_job_schedule_time_utc`
    ScheduleTime,
    /// `pipeline_root`
    Root,
    /// `pipeline_task_name`
    TaskName,
    /// `pipeline_task_uuid`
    TaskUuid,
    /// `pipeline_task_resource_name`
    TaskResourceName,
    /// `workspace_path`
    Workspace,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Taken verbatim.
    Text(String),
    /// Replaced by the engine.
    Placeholder(Placeholder),
}

/// An argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A text with placeholders.
    Text(Vec<Segment>),
    /// Arguments that are joined to one.
    Concat(Vec<Argument>),
    /// These arguments if the input has a value, the others if not. May be any number of arguments, also none.
    IfPresent {
        /// Name of an input parameter or artifact.
        input: String,
        /// If it has a value.
        then: Vec<Argument>,
        /// If it has none.
        otherwise: Vec<Argument>,
    },
}

/// Why a text is not an argument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceholderError {
    /// The text begins like a placeholder of KFP, and is none.
    #[error("placeholder {0} is none that KFP has")]
    Unknown(String),
    /// The text is a JSON argument of the wrong shape.
    #[error("argument {0} is not a well-formed Concat or IfPresent")]
    Structure(String),
}

/// Splits a text into verbatim segments and placeholders.
///
/// # Errors
/// [`PlaceholderError::Unknown`] for `{{$.inputs.…`, `{{$.outputs.…` and `{{$.pipeline_…` that mean nothing.
pub fn parts(text: &str) -> Result<Vec<Segment>, PlaceholderError> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{$") {
        let (before, from) = rest.split_at(start);
        plain.push_str(before);
        let found = from.find("}}").map(|end| from.split_at(end + 2));
        let (placeholder, after) = match found {
            Some((whole, after)) => (one(whole)?, after),
            None => (None, from),
        };
        if let Some(placeholder) = placeholder {
            if !plain.is_empty() {
                parts.push(Segment::Text(std::mem::take(&mut plain)));
            }
            parts.push(Segment::Placeholder(placeholder));
            rest = after;
        } else {
            plain.push_str("{{$");
            rest = &from[3..];
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Segment::Text(plain));
    }
    Ok(parts)
}

/// Reads one `{{$…}}`; none if it is plain text.
fn one(whole: &str) -> Result<Option<Placeholder>, PlaceholderError> {
    let body = whole[3..whole.len() - 2].trim();
    if body.is_empty() {
        return Ok(Some(Placeholder::ExecutorInput));
    }
    let Some(path) = body.strip_prefix('.') else {
        return Ok(None);
    };
    let ours = ["inputs.", "outputs.", "pipeline_"];
    match known(path) {
        Some(placeholder) => Ok(Some(placeholder)),
        None if ours.iter().any(|prefix| path.starts_with(prefix)) => {
            Err(PlaceholderError::Unknown(whole.to_owned()))
        }
        None => Ok(None),
    }
}

fn known(path: &str) -> Option<Placeholder> {
    if let Some(rest) = path.strip_prefix("inputs.parameters") {
        let (name, rest) = bracket(rest)?;
        return rest.is_empty().then_some(Placeholder::InputParameter(name));
    }
    if let Some(rest) = path.strip_prefix("inputs.artifacts") {
        let (name, rest) = bracket(rest)?;
        return Some(Placeholder::InputArtifact(name, property(rest)?));
    }
    if let Some(rest) = path.strip_prefix("outputs.parameters") {
        let (name, rest) = bracket(rest)?;
        return (rest == ".output_file").then_some(Placeholder::OutputParameterFile(name));
    }
    if let Some(rest) = path.strip_prefix("outputs.artifacts") {
        let (name, rest) = bracket(rest)?;
        return Some(Placeholder::OutputArtifact(name, property(rest)?));
    }
    Some(Placeholder::Run(match path {
        "outputs.output_file" | "outputs.output_metadata_uri" | "outputMetadataUri" => {
            return Some(Placeholder::OutputFile);
        }
        "pipeline_job_name" => RunFact::JobName,
        "pipeline_job_uuid" => RunFact::JobUuid,
        "pipeline_job_resource_name" => RunFact::JobResourceName,
        "pipeline_job_create_time_utc" => RunFact::CreateTime,
        "pipeline_job_schedule_time_utc" => RunFact::ScheduleTime,
        "pipeline_root" => RunFact::Root,
        "pipeline_task_name" => RunFact::TaskName,
        "pipeline_task_uuid" => RunFact::TaskUuid,
        "pipeline_task_resource_name" => RunFact::TaskResourceName,
        "workspace_path" => RunFact::Workspace,
        _ => return None,
    }))
}

/// Splits `['name']rest`.
fn bracket(text: &str) -> Option<(String, &str)> {
    let (inner, rest) = text.strip_prefix('[')?.split_once(']')?;
    let quotes: &[char] = &['\'', '"', '\\'];
    let name = inner.trim_matches(quotes);
    (inner.len() > name.len() && !name.is_empty()).then(|| (name.to_owned(), rest))
}

fn property(rest: &str) -> Option<ArtifactProperty> {
    match rest {
        "" => Some(ArtifactProperty::List),
        ".uri" => Some(ArtifactProperty::Uri),
        ".path" => Some(ArtifactProperty::Path),
        ".metadata" => Some(ArtifactProperty::Metadata(None)),
        _ => {
            let (name, rest) = bracket(rest.strip_prefix(".metadata")?)?;
            rest.is_empty().then_some(ArtifactProperty::Metadata(Some(name)))
        }
    }
}

/// Reads an argument of a command.
///
/// # Errors
/// See [`PlaceholderError`].
pub fn argument(text: &str) -> Result<Argument, PlaceholderError> {
    let structured = |key: &str| {
        let rest = text.trim_start().strip_prefix('{').map(str::trim_start);
        rest.and_then(|rest| rest.strip_prefix(key))
            .is_some_and(|rest| rest.trim_start().starts_with(':'))
    };
    if !structured("\"Concat\"") && !structured("\"IfPresent\"") {
        return parts(text).map(Argument::Text);
    }
    let broken = || PlaceholderError::Structure(text.to_owned());
    let value = serde_json::from_str::<Value>(text).map_err(|_| broken())?;
    from_value(&value, limits::DOCUMENT_DEPTH)?.ok_or_else(broken)
}

/// Reads a JSON argument; none if its shape is wrong.
fn from_value(value: &Value, depth: usize) -> Result<Option<Argument>, PlaceholderError> {
    let fields = match value {
        Value::String(text) => return parts(text).map(|parts| Some(Argument::Text(parts))),
        Value::Object(fields) if fields.len() == 1 && depth > 0 => fields,
        _ => return Ok(None),
    };
    if let Some(items) = fields.get("Concat").and_then(Value::as_array) {
        return Ok(all(items, depth)?.map(Argument::Concat));
    }
    let Some(body) = fields.get("IfPresent").and_then(Value::as_object) else {
        return Ok(None);
    };
    let input = body.get("InputName").and_then(Value::as_str);
    let then = one_or_more(body.get("Then"), depth)?;
    let otherwise = one_or_more(body.get("Else"), depth)?;
    let known = body
        .keys()
        .all(|key| ["InputName", "Then", "Else"].contains(&key.as_str()));
    Ok(match (input, then, otherwise) {
        (Some(input), Some(then), Some(otherwise)) if known && body.contains_key("Then") => {
            Some(Argument::IfPresent {
                input: input.to_owned(),
                then,
                otherwise,
            })
        }
        _ => None,
    })
}

fn one_or_more(value: Option<&Value>, depth: usize) -> Result<Option<Vec<Argument>>, PlaceholderError> {
    match value {
        None | Some(Value::Null) => Ok(Some(Vec::new())),
        Some(Value::Array(items)) => all(items, depth),
        Some(value) => Ok(from_value(value, depth - 1)?.map(|one| vec![one])),
    }
}

fn all(items: &[Value], depth: usize) -> Result<Option<Vec<Argument>>, PlaceholderError> {
    items.iter().map(|item| from_value(item, depth - 1)).collect()
}

impl Argument {
    /// Calls `visit` with every placeholder, and with the inputs that `IfPresent` asks for as input parameters.
    pub fn visit(&self, visit: &mut dyn FnMut(&Placeholder)) {
        match self {
            Self::Text(parts) => {
                for part in parts {
                    if let Segment::Placeholder(placeholder) = part {
                        visit(placeholder);
                    }
                }
            }
            Self::Concat(items) => items.iter().for_each(|item| item.visit(visit)),
            Self::IfPresent { then, otherwise, .. } => {
                then.iter().chain(otherwise).for_each(|item| item.visit(visit));
            }
        }
    }

    /// Calls `visit` with the name of every input that an `IfPresent` asks for.
    pub fn visit_conditions(&self, visit: &mut dyn FnMut(&str)) {
        match self {
            Self::Text(_) => {}
            Self::Concat(items) => items.iter().for_each(|item| item.visit_conditions(visit)),
            Self::IfPresent {
                input,
                then,
                otherwise,
            } => {
                visit(input);
                then.iter()
                    .chain(otherwise)
                    .for_each(|item| item.visit_conditions(visit));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_of_every_kind_name_the_same_input() {
        for text in [
            "{{$.inputs.parameters['x']}}",
            "{{$.inputs.parameters[\"x\"]}}",
            "{{$.inputs.parameters[''x'']}}",
            "{{$.inputs.parameters[\\\"x\\\"]}}",
            "{{ $.inputs.parameters['x'] }}".replace("{{ ", "{{").as_str(),
        ] {
            let wanted = Segment::Placeholder(Placeholder::InputParameter("x".to_owned()));
            assert_eq!(parts(text), Ok(vec![wanted]), "{text}");
        }
    }

    #[test]
    fn text_around_placeholders_is_kept() {
        let found = parts("a {{$}} b {{$.outputs.artifacts['m'].metadata['k']}}{{$.nothing}} {{$").unwrap();
        assert_eq!(
            found,
            [
                Segment::Text("a ".to_owned()),
                Segment::Placeholder(Placeholder::ExecutorInput),
                Segment::Text(" b ".to_owned()),
                Segment::Placeholder(Placeholder::OutputArtifact(
                    "m".to_owned(),
                    ArtifactProperty::Metadata(Some("k".to_owned()))
                )),
                Segment::Text("{{$.nothing}} {{$".to_owned()),
            ]
        );
    }

    /// KFP's `InputListOfArtifactsPlaceholder` and `OutputListOfArtifactsPlaceholder`.
    #[test]
    fn a_list_of_artifacts_is_named_whole() {
        let list = |name: &str| (name.to_owned(), ArtifactProperty::List);
        for (text, (name, property)) in [
            ("{{$.inputs.artifacts['in']}}", list("in")),
            ("{{$.inputs.artifacts[''in'']}}", list("in")),
        ] {
            let wanted = Segment::Placeholder(Placeholder::InputArtifact(name, property));
            assert_eq!(parts(text), Ok(vec![wanted]), "{text}");
        }
        let (name, property) = list("out");
        let wanted = Segment::Placeholder(Placeholder::OutputArtifact(name, property));
        assert_eq!(parts("{{$.outputs.artifacts['out']}}"), Ok(vec![wanted]));
        let file = Segment::Placeholder(Placeholder::OutputFile);
        assert_eq!(parts("{{$.outputMetadataUri}}"), Ok(vec![file]));
    }

    #[test]
    fn what_looks_like_ours_but_is_not_is_refused() {
        for text in [
            "{{$.inputs.parameters}}",
            "{{$.inputs.parameters['x'].output_file}}",
            "{{$.inputs.artifacts['x'].size}}",
            "{{$.outputs.parameters['x']}}",
            "{{$.inputs.artifacts['x'][0]}}",
            "{{$.inputs.artifacts['x'].name}}",
            "{{$.pipeline_moon}}",
        ] {
            assert_eq!(parts(text), Err(PlaceholderError::Unknown(text.to_owned())));
        }
    }

    #[test]
    fn concat_and_if_present_nest() {
        let text =
            r#"{"Concat": ["a", {"IfPresent": {"InputName": "x", "Then": ["b", "{{$}}"], "Else": "c"}}]}"#;
        let plain = |text: &str| Argument::Text(vec![Segment::Text(text.to_owned())]);
        assert_eq!(
            argument(text),
            Ok(Argument::Concat(vec![
                plain("a"),
                Argument::IfPresent {
                    input: "x".to_owned(),
                    then: vec![
                        plain("b"),
                        Argument::Text(vec![Segment::Placeholder(Placeholder::ExecutorInput)])
                    ],
                    otherwise: vec![plain("c")],
                },
            ]))
        );
        for broken in [
            r#"{"Concat": "a"}"#,
            r#"{"Concat": ["a"], "IfPresent": {}}"#,
            r#"{"IfPresent": {"Then": "a"}}"#,
            r#"{"IfPresent": {"InputName": "x"}}"#,
            r#"{"Concat": [1]}"#,
            r#"{"Concat": ["a""#,
        ] {
            assert_eq!(
                argument(broken),
                Err(PlaceholderError::Structure(broken.to_owned()))
            );
        }
        assert_eq!(argument(r#"{"other": 1}"#), Ok(plain(r#"{"other": 1}"#)));
    }
}
