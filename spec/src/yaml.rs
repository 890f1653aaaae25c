//! Strict YAML for documents that a person writes: one document, read into a type.
//!
//! The reader refuses duplicate keys, merge keys, unknown keys (with the nearest known one), nesting beyond
//! [`limits::DOCUMENT_DEPTH`], alias bombs, more bytes than the caller's limit. Includes are not compiled in. Every
//! error has its line and column.

use serde::de::DeserializeOwned;
use serde_saphyr::Error;

use crate::{Classify, ErrorKind, limits};

/// Why a YAML document was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct YamlError {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// What is wrong.
    pub fault: YamlFault,
}

/// What is wrong with a YAML document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlFault {
    /// Longer than the caller allows.
    #[error("the document has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size, bytes.
        size: u64,
        /// What is allowed, bytes.
        limit: u64,
    },
    /// The key is not known.
    #[error("unknown key {key:?}; {}", hint(.nearest.as_deref(), .known))]
    UnknownKey {
        /// The key.
        key: String,
        /// The nearest known key.
        nearest: Option<String>,
        /// All known keys.
        known: Vec<String>,
    },
    /// The word is not one of those that are allowed.
    #[error("unknown word {word:?}; {}", hint(.nearest.as_deref(), .known))]
    UnknownWord {
        /// The word.
        word: String,
        /// The nearest word that is allowed.
        nearest: Option<String>,
        /// All words that are allowed.
        known: Vec<String>,
    },
    /// A required key is missing.
    #[error("key {key:?} is missing")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// Not YAML, or a value of a wrong form.
    #[error("{why}")]
    Form {
        /// What is wrong.
        why: String,
    },
}

impl Classify for YamlError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

fn hint(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => format!("expected one of {}", known.join(", ")),
    }
}

/// Reads one YAML document of at most `limit` bytes.
///
/// # Errors
/// See the module's head.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, YamlError> {
    let size = bytes.len() as u64;
    if size > limit {
        return Err(YamlError {
            line: 1,
            column: 1,
            fault: YamlFault::TooLarge { size, limit },
        });
    }
    serde_saphyr::from_slice_with_options(bytes, options(1)).map_err(|error| translate(&error))
}

/// Writes a value as one YAML document.
pub fn to_string(value: &serde_json::Value) -> String {
    serde_saphyr::to_string(value).expect("a JSON value has no form that YAML lacks")
}

/// The strict settings of every YAML document: at most so many documents in one file.
pub(crate) fn options(documents: usize) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: limits::DOCUMENT_DEPTH,
            flow_nesting_limit: limits::DOCUMENT_DEPTH,
            max_documents: documents,
            max_nodes: limits::YAML_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits::YAML_ALIAS_EVENTS,
            max_replay_stack_depth: 4,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn translate(error: &Error) -> YamlError {
    let error = error.without_snippet();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let fault = match error {
        Error::SerdeUnknownField { field, expected, .. } => YamlFault::UnknownKey {
            nearest: nearest(field, expected),
            key: field.clone(),
            known: words(expected),
        },
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => YamlFault::UnknownWord {
            nearest: nearest(variant, expected),
            word: variant.clone(),
            known: words(expected),
        },
        Error::SerdeMissingField { field, .. } => YamlFault::MissingKey {
            key: (*field).to_owned(),
        },
        other => YamlFault::Form {
            why: plain(&other.to_string()),
        },
    };
    let (line, column) = error
        .location()
        .map_or((1, 1), |location| (location.line(), location.column()));
    YamlError { line, column, fault }
}

/// Returns the reader's message without the position at its end, and without advice to programmers.
pub(crate) fn plain(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = message.split(", set ").next().unwrap_or(message);
    message.trim_end_matches([':', ' ', '\n']).replace('\n', " ")
}

fn nearest(word: &str, known: &[&str]) -> Option<String> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| (*candidate).to_owned())
}
