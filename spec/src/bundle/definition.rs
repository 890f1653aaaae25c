//! Definitions: JSON Schemas (draft-07) that parameters and outputs must fit.
//!
//! Schemas come from outside: references outside the document are refused and never fetched, patterns run in linear
//! time, and a reference that only leads back to itself is refused before it can recurse.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use crate::json::{self, JsonError};
use crate::limits;

/// The `format` of a parameter that takes an artifact: a file or folder of the machine, or an address.
pub const ARTIFACT_FORMAT: &str = "dev.samebundle.artifact";

/// Tells whether a parameter of this definition takes an artifact, or a list of them.
pub fn takes_artifact(schema: &Value) -> bool {
    schema.get("format").and_then(Value::as_str) == Some(ARTIFACT_FORMAT)
}

/// Why a schema cannot be used, or a value does not fit it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// The schema is not valid.
    #[error("{0}")]
    Schema(String),
    /// A reference that leads outside the document, or nowhere but to itself.
    #[error("reference {0:?} does not lead to another place in the same document")]
    Reference(String),
    /// The value does not fit the definition.
    #[error("{0}")]
    Value(String),
    /// The text is not of the definition's type.
    #[error("{text:?} is not {wanted}{}", .why.as_ref().map_or_else(String::new, |why| format!(": {why}")))]
    Text {
        /// The text, shortened; hidden where it is secret.
        text: String,
        /// The types that it may have.
        wanted: String,
        /// What is wrong with it, where the text alone does not show it.
        why: Option<String>,
    },
}

/// A compiled definition.
#[derive(Debug)]
pub struct Definition<'a> {
    schema: &'a Value,
    validator: jsonschema::Validator,
}

impl<'a> Definition<'a> {
    /// Compiles `schema`; `#/definitions/NAME` leads to `siblings` unless the schema has definitions of its own.
    ///
    /// # Errors
    /// If it is not a draft-07 schema or has a reference that leads outside or back to itself.
    pub fn new(schema: &'a Value, siblings: &BTreeMap<String, Value>) -> Result<Self, DefinitionError> {
        let mut document = schema.clone();
        if let Value::Object(object) = &mut document
            && has_reference(schema)
            && !object.contains_key("definitions")
        {
            let siblings: Map<_, _> = siblings.clone().into_iter().collect();
            object.insert("definitions".to_owned(), siblings.into());
        }
        check_references(&document, &document)?;
        let validator = jsonschema::draft7::options()
            .offline()
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .build(&document)
            .map_err(|error| DefinitionError::Schema(error.to_string()))?;
        Ok(Self { schema, validator })
    }

    /// Checks a value. The message of a secret's error does not hold the value.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn check(&self, value: &Value) -> Result<(), DefinitionError> {
        self.validator.validate(value).map_err(|error| {
            let text = if self.is_secret() {
                error.masked().to_string()
            } else {
                error.to_string()
            };
            DefinitionError::Value(text)
        })
    }

    /// Tells whether values are secret (`writeOnly`): they must not reach logs, records or screens.
    pub fn is_secret(&self) -> bool {
        flag(self.schema, "writeOnly")
    }

    /// Tells whether the value is fixed after install (`readOnly`).
    pub fn is_fixed(&self) -> bool {
        flag(self.schema, "readOnly")
    }

    /// Returns the default.
    pub fn default_value(&self) -> Option<&'a Value> {
        self.schema.get("default")
    }

    /// Returns the types that a value may have; empty is any.
    pub fn types(&self) -> Vec<&'a str> {
        match self.schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Reads a value as a person writes it on a command line: a string is taken as it is, anything else as JSON. Where several
    /// types fit, the string comes last; where none is declared, JSON is tried and else it is a string. Integers have 64 bits.
    /// Booleans are taken as Python and YAML write them too.
    ///
    /// # Errors
    /// If the text is of none of the types.
    pub fn from_text(&self, text: &str) -> Result<Value, DefinitionError> {
        let types = self.types();
        let parsed = json::value_wide(text.as_bytes(), limits::PARAMETER_BYTES);
        if let Ok(value) = &parsed
            && (types.is_empty() || types.iter().any(|kind| is_type(value, kind)))
            && (types.is_empty() || !value.is_string())
        {
            return Ok(value.clone());
        }
        if types.is_empty() || types.contains(&"string") {
            return Ok(Value::String(text.to_owned()));
        }
        if types.contains(&"boolean")
            && let Some(value) = boolean(text)
        {
            return Ok(Value::Bool(value));
        }
        if types.contains(&"number")
            && let Some(number) = large_number(text)
        {
            return Ok(number);
        }
        let (text, why) = if self.is_secret() {
            ("the value".to_owned(), None)
        } else {
            (
                text.chars().take(60).collect(),
                reason(text, &types, parsed.err()),
            )
        };
        let wanted = types.join(" or ");
        Err(DefinitionError::Text { text, wanted, why })
    }
}

/// Reads a truth value as people write it.
fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a whole number that has more digits than an integer of 64 bits: a number may be as large as a double.
fn large_number(text: &str) -> Option<Value> {
    let digits = text.trim();
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.trim().parse().ok().filter(|_| plain)?;
    Number::from_f64(number).map(Value::Number)
}

/// Says what is wrong with a text where the name of the wanted type does not: the range of an integer, and where a list or
/// object is no JSON.
fn reason(text: &str, types: &[&str], error: Option<JsonError>) -> Option<String> {
    if types.contains(&"integer") && large_number(text).is_some() {
        return Some(format!("an integer lies between {} and {}", i64::MIN, i64::MAX));
    }
    let structured = types.iter().any(|kind| ["array", "object"].contains(kind));
    error.filter(|_| structured).map(|error| error.to_string())
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn is_type(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.contains_key("$ref") || object.values().any(has_reference),
        Value::Array(items) => items.iter().any(has_reference),
        _ => false,
    }
}

/// Checks every `$ref` beneath `value`: it is local, leads somewhere, and following references alone comes to an end.
fn check_references(value: &Value, document: &Value) -> Result<(), DefinitionError> {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                check_reference(value, reference, document)?;
            }
            object
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "default" | "enum" | "const" | "examples"))
                .try_for_each(|(_, inner)| check_references(inner, document))
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|inner| check_references(inner, document)),
        _ => Ok(()),
    }
}

/// Walks through all schemas that `start` applies to the same instance; coming back to `start` would never end.
fn check_reference(start: &Value, reference: &str, document: &Value) -> Result<(), DefinitionError> {
    let error = || DefinitionError::Reference(reference.chars().take(100).collect());
    let mut seen: Vec<*const Value> = Vec::new();
    let mut open = same_instance(start, document).ok_or_else(error)?;
    while let Some(schema) = open.pop() {
        if std::ptr::eq(schema, start) {
            return Err(error());
        }
        if !seen.contains(&std::ptr::from_ref(schema)) {
            seen.push(schema);
            open.extend(same_instance(schema, document).ok_or_else(error)?);
        }
    }
    Ok(())
}

/// Returns the schemas that `schema` applies to its own instance; `None` if its reference leads nowhere in the document.
fn same_instance<'a>(schema: &'a Value, document: &'a Value) -> Option<Vec<&'a Value>> {
    let Value::Object(object) = schema else {
        return Some(Vec::new());
    };
    if let Some(Value::String(reference)) = object.get("$ref") {
        let target = document.pointer(reference.strip_prefix('#')?)?;
        return Some(vec![target]);
    }
    let list = |key| object.get(key).and_then(Value::as_array).into_iter().flatten();
    let mut applied: Vec<_> = list("allOf").chain(list("anyOf")).chain(list("oneOf")).collect();
    applied.extend(
        ["not", "if", "then", "else"]
            .iter()
            .filter_map(|key| object.get(*key)),
    );
    if let Some(Value::Object(dependencies)) = object.get("dependencies") {
        applied.extend(dependencies.values());
    }
    Some(applied)
}

#[cfg(test)]
mod tests;
