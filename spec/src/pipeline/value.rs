//! Values of parameters: do they have a type, how are they written and read as text.
//!
//! Protobuf has only doubles, so compilers write the integer 12 as `12.0`. Here an integer is one from the first reading.

use serde_json::{Number, Value};

use super::types::ParameterType;
use crate::limits;

/// Why a value does not have a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} is not a {wanted}")]
pub struct ValueError {
    /// The value as JSON, cut to be shown.
    pub value: String,
    /// The type that was wanted.
    pub wanted: ParameterType,
}

impl ValueError {
    fn new(value: &Value, wanted: ParameterType) -> Self {
        const SHOWN: usize = 60;
        let mut text = value.to_string();
        if text.chars().count() > SHOWN {
            text = text.chars().take(SHOWN).chain(['…']).collect();
        }
        Self { value: text, wanted }
    }
}

/// Gives a value the form that its type has: integers without a fraction, doubles as doubles. Converts nothing else.
///
/// # Errors
/// [`ValueError`] if the value is of another type.
pub fn conform(value: &Value, wanted: ParameterType) -> Result<Value, ValueError> {
    if depth(value) > limits::DOCUMENT_DEPTH {
        // The record of the run could be written and not be read.
        let value = format!(
            "a value that is nested deeper than {} levels",
            limits::DOCUMENT_DEPTH
        );
        return Err(ValueError { value, wanted });
    }
    let found = match (wanted, value) {
        (ParameterType::Integer, Value::Number(number)) => integer(number).map(Value::from),
        (ParameterType::Double, Value::Number(number)) => {
            number.as_f64().and_then(Number::from_f64).map(Value::Number)
        }
        (ParameterType::String, Value::String(_))
        | (ParameterType::Boolean, Value::Bool(_))
        | (
            ParameterType::Struct | ParameterType::TaskFinalStatus | ParameterType::TaskConfig,
            Value::Object(_),
        ) => Some(value.clone()),
        (ParameterType::List, Value::Array(_)) => Some(value.clone()),
        _ => None,
    };
    found
        .map(plain_numbers)
        .ok_or_else(|| ValueError::new(value, wanted))
}

/// Reads a value from the text of a flag, of a file or of another parameter: strings as they are, booleans in any case,
/// everything else as JSON.
///
/// # Errors
/// [`ValueError`] if the text is not of that type.
pub fn from_text(text: &str, wanted: ParameterType) -> Result<Value, ValueError> {
    let wrong = || ValueError::new(&Value::from(text), wanted);
    match wanted {
        ParameterType::String => Ok(Value::from(text)),
        ParameterType::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(wrong()),
        },
        _ => {
            let value = serde_json::from_str(text.trim()).map_err(|_| wrong())?;
            conform(&value, wanted).map_err(|error| match depth(&value) > limits::DOCUMENT_DEPTH {
                true => error,
                false => wrong(),
            })
        }
    }
}

/// Gives a value a type as KFP's driver does between tasks: anything becomes a string as its text, a string becomes
/// anything else by reading it.
///
/// # Errors
/// [`ValueError`] if that does not go.
pub fn coerce(value: &Value, wanted: ParameterType) -> Result<Value, ValueError> {
    match value {
        Value::String(text) if wanted != ParameterType::String => from_text(text, wanted),
        Value::String(_) => Ok(value.clone()),
        other if wanted == ParameterType::String => Ok(Value::String(text_of(other))),
        other => conform(other, wanted),
    }
}

/// Writes a value as text: strings raw, null as nothing, everything else as compact JSON.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => plain_numbers(other.clone()).to_string(),
    }
}

/// How many lists and structs are in each other. Whoever read the value bounded them (serde_json: 128).
fn depth(value: &Value) -> usize {
    let deepest = |inner: Option<usize>| 1 + inner.unwrap_or(0);
    match value {
        Value::Array(items) => deepest(items.iter().map(depth).max()),
        Value::Object(fields) => deepest(fields.values().map(depth).max()),
        _ => 0,
    }
}

/// Tells the integer that a number is; compilers write it with a fraction of zero.
fn integer(number: &Number) -> Option<i64> {
    /// 2^53: up to here a double is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| {
        let double = number.as_f64()?;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number within 2^53")]
        (double.fract() == 0.0 && double.abs() <= EXACT).then_some(double as i64)
    })
}

/// Inside lists and structs numbers have no type: those without a fraction are integers, as people wrote them.
pub(super) fn plain_numbers(value: Value) -> Value {
    let inner = |value: Value| match value {
        Value::Number(number) => integer(&number).map_or(Value::Number(number), Value::from),
        other => plain_numbers(other),
    };
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(inner).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| (key, inner(value)))
                .collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_stay_integers() {
        assert_eq!(
            conform(&json!(12.0), ParameterType::Integer).unwrap().to_string(),
            "12"
        );
        assert_eq!(
            conform(&json!(12), ParameterType::Double).unwrap().to_string(),
            "12.0"
        );
        assert_eq!(
            conform(&json!([1.0, {"a": 2.0}]), ParameterType::List)
                .unwrap()
                .to_string(),
            r#"[1,{"a":2}]"#
        );
        assert_eq!(
            conform(&json!(i64::MAX), ParameterType::Integer).unwrap(),
            json!(i64::MAX)
        );
        assert!(conform(&json!(1.5), ParameterType::Integer).is_err());
        assert!(conform(&json!("1"), ParameterType::Integer).is_err());
        assert!(conform(&json!(1), ParameterType::String).is_err());
    }

    /// The deepest value that is taken can be read in a record, and what is deeper is refused with the reason.
    #[test]
    fn a_value_is_nested_as_deeply_as_a_record_can_be_read() {
        let nest = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let value = from_text(&nest(limits::DOCUMENT_DEPTH), ParameterType::List).unwrap();
        let record = json!({"tasks": [{"outputs": {"x": {"value": value}}}]}).to_string();
        assert!(crate::json::from_slice_wide::<Value>(record.as_bytes(), 1 << 20).is_ok());
        let error = from_text(&nest(limits::DOCUMENT_DEPTH + 1), ParameterType::List).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a value that is nested deeper than 64 levels is not a LIST"
        );
    }

    #[test]
    fn texts_become_values_and_back() {
        assert_eq!(from_text("TRUE\n", ParameterType::Boolean), Ok(json!(true)));
        assert_eq!(
            from_text(" 3.0\n", ParameterType::Integer).unwrap().to_string(),
            "3"
        );
        assert_eq!(from_text(" a ", ParameterType::String), Ok(json!(" a ")));
        assert!(from_text("[1", ParameterType::List).is_err());
        assert!(from_text("{}", ParameterType::List).is_err());
        assert_eq!(
            coerce(&json!({"a": 1.0}), ParameterType::String),
            Ok(json!("{\"a\":1}"))
        );
        assert_eq!(coerce(&json!("[1]"), ParameterType::List), Ok(json!([1])));
        assert_eq!(text_of(&json!(12)), "12");
    }
}
