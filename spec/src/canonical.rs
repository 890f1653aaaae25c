//! Canonical JSON (RFC 8785, JCS): the one text of a value that is hashed and signed.
//!
//! Keys are sorted by their UTF-16 code units, numbers are written as ECMAScript writes a double, strings escape only
//! what they must, and there is no white space. The same value gives the same bytes on every machine.

use serde::Serialize;
use serde_json::Value;

use crate::{Classify, ErrorKind, limits};

/// Why a value has no canonical text.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// An integer beyond ±(2^53-1), which a double cannot tell from its neighbour (RFC 8785, 3.2.2.3).
    #[error("integer {0} is beyond ±(2^53-1) and has no canonical form; write it as a string")]
    Integer(serde_json::Number),
    /// The value does not serialize to JSON.
    #[error("the value is not JSON: {0}")]
    Serialize(#[from] serde_json::Error),
}

impl Classify for CanonicalError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

/// Returns the canonical bytes of a value.
///
/// # Errors
/// If the value holds an integer beyond ±(2^53-1).
pub fn to_vec(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    check_integers(value)?;
    Ok(serde_json_canonicalizer::to_vec(value)?)
}

/// Returns the canonical bytes of anything that serializes to JSON.
///
/// # Errors
/// As [`to_vec`], and if the value does not serialize (a map whose keys are no strings, a number that is not finite).
pub fn to_vec_of<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    to_vec(&serde_json::to_value(value)?)
}

fn check_integers(value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) => {
            let size = number
                .as_u64()
                .or_else(|| number.as_i64().map(i64::unsigned_abs))
                .unwrap_or(0);
            if size > limits::JSON_INTEGER {
                return Err(CanonicalError::Integer(number.clone()));
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(check_integers),
        Value::Object(object) => object.values().try_for_each(check_integers),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
