//! Strict JSON (RFC 8259, narrowed to I-JSON, RFC 7493): one reading of a document, or none.
//!
//! The reader refuses a key that stands twice in an object at any level, nesting deeper than [`limits::DOCUMENT_DEPTH`], anything
//! after the value, a byte-order mark, invalid UTF-8, lone surrogates, integers beyond ±(2^53-1), more bytes than the
//! caller's limit. An error names line, column and JSON pointer. Nothing here recurses without a bound.

mod scan;
mod strict;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;
use serde_path_to_error::{Path, Segment, Track};

use crate::{Classify, ErrorKind, limits};

/// Why a document was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} ({place})")]
pub struct JsonError {
    /// What is wrong.
    pub fault: JsonFault,
    /// Where the fault is.
    pub place: JsonPosition,
}

/// A position in a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPosition {
    /// Line, from 1; 0 where only the pointer is known.
    pub line: usize,
    /// Column in bytes, from 1 (0 where the fault is the end of a line).
    pub column: usize,
    /// JSON pointer (RFC 6901); empty for the whole document or where it is not known.
    pub pointer: String,
}

impl fmt::Display for JsonPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.pointer.as_str()) {
            (0, "") => f.write_str("at the top"),
            (0, pointer) => write!(f, "at {pointer}"),
            (line, "") => write!(f, "line {line}, column {}", self.column),
            (line, pointer) => write!(f, "line {line}, column {}, at {pointer}", self.column),
        }
    }
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Longer than the caller allows.
    #[error("the document has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size, bytes.
        size: u64,
        /// What is allowed, bytes.
        limit: u64,
    },
    /// A byte-order mark at the start.
    #[error("the document starts with a byte-order mark; write plain UTF-8")]
    ByteOrderMark,
    /// Nested too deeply.
    #[error("nested deeper than {deepest} levels")]
    Depth {
        /// What is allowed, levels.
        deepest: usize,
    },
    /// An integer that not every reader reads alike.
    #[error("integer {text} is beyond ±{largest}; write it as a string")]
    Integer {
        /// The integer, shortened.
        text: String,
        /// The largest that is read here.
        largest: u64,
    },
    /// A key stands twice in one object.
    #[error("key {key:?} stands twice in one object")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// What programs write for a number that is none.
    #[error("{text} is no number in JSON; leave it out, or write null or a string")]
    NotANumber {
        /// `NaN` or `Infinity`.
        text: &'static str,
    },
    /// Not JSON, or something after the value.
    #[error("not valid JSON: {why}")]
    Syntax {
        /// The parser's words.
        why: String,
    },
    /// The document is JSON, but does not have the form that was asked for.
    #[error("{why}")]
    Form {
        /// What was found and what is expected.
        why: String,
    },
}

impl Classify for JsonError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

/// Parses `bytes`, at most `limit` of them, as one strict JSON value.
///
/// # Errors
/// See the module's head.
pub fn value(bytes: &[u8], limit: u64) -> Result<Value, JsonError> {
    read(bytes, limit, limits::JSON_INTEGER, limits::DOCUMENT_DEPTH)
}

/// As [`value`], but integers may have 64 bits. For values that nothing signs or canonicalizes: parameters and outputs.
///
/// # Errors
/// As [`value`].
pub fn value_wide(bytes: &[u8], limit: u64) -> Result<Value, JsonError> {
    read(bytes, limit, u64::MAX, limits::DOCUMENT_DEPTH)
}

/// Puts quotes around `NaN`, `Infinity` and `-Infinity` where they stand for numbers, so that they are the strings that
/// protobuf's JSON has for them. Python writes them bare, which is no JSON.
pub fn quote_non_numbers(bytes: &[u8]) -> Vec<u8> {
    scan::quote_non_numbers(bytes)
}

fn read(bytes: &[u8], limit: u64, largest: u64, deepest: usize) -> Result<Value, JsonError> {
    let size = bytes.len() as u64;
    if size > limit {
        return Err(fault_at(bytes, 0, JsonFault::TooLarge { size, limit }));
    }
    scan::check(bytes, largest, deepest).map_err(|(offset, fault)| fault_at(bytes, offset, fault))?;
    strict::parse(bytes).map_err(|error| match (&error.fault, scan::not_a_number(bytes)) {
        (JsonFault::Syntax { .. }, Some(text)) => JsonError {
            fault: JsonFault::NotANumber { text },
            ..error
        },
        _ => error,
    })
}

/// Parses `bytes`, at most `limit` of them, as strict JSON of the form `T`.
///
/// # Errors
/// As [`value`]; [`JsonFault::Form`] where the document is JSON but not a `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, JsonError> {
    value(bytes, limit)?;
    typed(bytes)
}

/// As [`from_slice`], but integers may have 64 bits, and values be nested as in a document within the record. For records,
/// which nothing signs or canonicalizes: a task's output may be such a value, and what was written must be readable.
///
/// # Errors
/// As [`from_slice`].
pub fn from_slice_wide<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, JsonError> {
    read(bytes, limit, u64::MAX, limits::RECORD_DEPTH)?;
    typed(bytes)
}

fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let mut track = Track::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    T::deserialize(serde_path_to_error::Deserializer::new(
        &mut deserializer,
        &mut track,
    ))
    .map_err(|error| positioned(&error, &track.path(), None))
}

/// Reads `T` out of a value that [`value`] gave. Errors carry the pointer only; line and column are 0.
///
/// # Errors
/// If the value is not a `T`.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, JsonError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = pointer(error.path());
        let why = error.into_inner().to_string();
        JsonError {
            fault: JsonFault::Form { why },
            place: JsonPosition {
                line: 0,
                column: 0,
                pointer,
            },
        }
    })
}

/// Appends `segment` to a JSON pointer (RFC 6901).
pub fn child(pointer: &str, segment: &str) -> String {
    format!("{pointer}/{}", segment.replace('~', "~0").replace('/', "~1"))
}

/// Reads `null` as the default; Go programs write `null` for an empty list or map. For `#[serde(deserialize_with)]`.
///
/// # Errors
/// If the value is neither `null` nor a `T`.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a map without the entries that are `null`, and `null` as an empty one.
///
/// # Errors
/// If the value is neither `null` nor a map of texts.
pub fn nulls_as_absent<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let entries: Option<BTreeMap<String, Option<String>>> = Option::deserialize(deserializer)?;
    let entries = entries.into_iter().flatten();
    Ok(entries.filter_map(|(key, value)| Some((key, value?))).collect())
}

/// Reads `null` and `""` as absent; Go programs write the empty text for a field that is not set.
///
/// # Errors
/// If the value is neither `null` nor a text that is a `T`.
pub fn empty_as_absent<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text: Option<String> = Option::deserialize(deserializer)?;
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(D::Error::custom))
        .transpose()
}

fn fault_at(bytes: &[u8], offset: usize, fault: JsonFault) -> JsonError {
    let before = &bytes[..offset.min(bytes.len())];
    let start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    JsonError {
        fault,
        place: JsonPosition {
            line,
            column: before.len() - start + 1,
            pointer: String::new(),
        },
    }
}

/// Turns a parser's error into ours; `fault` replaces the parser's words where we know more.
fn positioned(error: &serde_json::Error, path: &Path, fault: Option<JsonFault>) -> JsonError {
    let text = error.to_string();
    // The parser appends its position, which the error has already.
    let why = text
        .rsplit_once(" at line ")
        .map_or(text.clone(), |(why, _)| why.to_owned());
    let fault = fault.unwrap_or_else(|| match error.classify() {
        serde_json::error::Category::Data => JsonFault::Form { why },
        _ => JsonFault::Syntax { why },
    });
    JsonError {
        fault,
        place: JsonPosition {
            line: error.line(),
            column: error.column(),
            pointer: pointer(path),
        },
    }
}

fn pointer(path: &Path) -> String {
    path.iter().fold(String::new(), |at, segment| match segment {
        Segment::Seq { index } => child(&at, &index.to_string()),
        Segment::Map { key } => child(&at, key),
        Segment::Enum { .. } | Segment::Unknown => at,
    })
}

#[cfg(test)]
mod tests;
