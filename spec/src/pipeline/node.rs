//! A YAML or JSON document as a tree with the position of every node.
//!
//! JSON is read as the YAML that it is, as strictly as all YAML ([`yaml`]). Refused besides: numbers that are not finite. Null is kept: proto3 JSON reads it as "unset".

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use super::position::{PipelineError, Position};
use crate::{limits, yaml};

/// A value of a document and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Node>),
    /// In the document's order; keys are distinct.
    Map(Vec<(String, Position, Node)>),
}

impl Kind {
    /// Names the kind as a person would.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// Returns the value without its positions.
    pub(super) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::String(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, _, node)| (key.clone(), node.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

/// Reads every document that is not empty.
pub(super) fn documents(file: &str, bytes: &[u8]) -> Result<Vec<Node>, PipelineError> {
    let size = bytes.len() as u64;
    if size > limits::PIPELINE_BYTES {
        return Err(PipelineError::TooLarge {
            file: file.to_owned(),
            size,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| PipelineError::NotText {
        file: file.to_owned(),
        at: position_of(&bytes[..error.valid_up_to()]),
    })?;
    let mut text = Cow::Borrowed(text);
    let mut budget = limits::YAML_REPAIR_BYTES;
    let documents = loop {
        let error = match serde_saphyr::from_multiple_with_options::<Node>(
            &text,
            yaml::options(limits::PIPELINE_DOCUMENTS),
        ) {
            Ok(documents) => break documents,
            Err(error) => error,
        };
        let error = error.without_snippet();
        let at = error.location().map_or(Position::START, position);
        let why = error.to_string();
        budget = budget.saturating_sub(size);
        match indented(&text, at, &why).filter(|_| budget > 0) {
            Some(repaired) => text = Cow::Owned(repaired),
            None => {
                return Err(PipelineError::Syntax {
                    file: file.to_owned(),
                    at,
                    why: yaml::plain(&why),
                });
            }
        }
    };
    if documents.is_empty() {
        return Err(PipelineError::Empty {
            file: file.to_owned(),
        });
    }
    Ok(documents)
}

/// Indents a line of a quoted scalar that is indented too little. PyYAML and go-yaml, which compile and run pipelines, read
/// such lines, and formatters write them; the space before a continuation is folded away, so the value is the same.
fn indented(text: &str, at: Position, why: &str) -> Option<String> {
    const COMPLAINT: &str = "invalid indentation in multiline quoted scalar";
    let before = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    why.contains(COMPLAINT).then(|| {
        let (head, tail) = text.split_at(start);
        format!("{head}{:width$}{tail}", "", width = limits::DOCUMENT_DEPTH)
    })
}

fn position(location: serde_saphyr::Location) -> Position {
    let whole = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    Position {
        line: whole(location.line()),
        column: whole(location.column()),
    }
}

fn position_of(before: &[u8]) -> Position {
    let lines = before.split(|byte| *byte == b'\n');
    let whole = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let last = lines.clone().next_back().unwrap_or_default();
    Position {
        line: whole(lines.count()),
        column: whole(String::from_utf8_lossy(last).chars().count() + 1),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self {
            at: position(spanned.referenced),
            kind: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Kind, E> {
        Number::from_f64(value)
            .map(Kind::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let node = access.next_value()?;
            entries.push((key.value, position(key.referenced), node));
        }
        Ok(Kind::Map(entries))
    }
}
