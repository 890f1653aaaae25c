//! Expressions that pick a part of a parameter (`parameterExpressionSelector`).
//!
//! Of CEL, what the kfp SDK writes: `parseJson(string_value)` followed by any number of `["key"]` and `[0]`.

use serde_json::Value;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Why an expression cannot be read or has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpressionError {
    /// Not of the form that is known.
    #[error("expression {0} is not parseJson(string_value)[…]")]
    Form(String),
    /// The text that it is applied to is not JSON.
    #[error("the value is not JSON text")]
    NotJson,
    /// The value does not have the key or index.
    #[error("the value has no {0}")]
    Missing(String),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`ExpressionError::Form`].
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let form = || ExpressionError::Form(text.to_owned());
        let compact = text.trim();
        let mut rest = compact.strip_prefix("parseJson(string_value)").ok_or_else(form)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let inner = rest.strip_prefix('[').ok_or_else(form)?;
            let quote = inner.chars().next().filter(|first| ['"', '\''].contains(first));
            let (step, after) = if let Some(quote) = quote {
                let (key, after) = inner[1..].split_once(quote).ok_or_else(form)?;
                (
                    Step::Key(key.to_owned()),
                    after.strip_prefix(']').ok_or_else(form)?,
                )
            } else {
                let (index, after) = inner.split_once(']').ok_or_else(form)?;
                (Step::Index(index.trim().parse().map_err(|_| form())?), after)
            };
            steps.push(step);
            rest = after;
        }
        Ok(Self { steps })
    }

    /// Picks the part out of a value.
    ///
    /// # Errors
    /// [`ExpressionError::NotJson`] and [`ExpressionError::Missing`].
    pub fn pick(&self, value: &Value) -> Result<Value, ExpressionError> {
        let mut value = match value {
            Value::String(text) => serde_json::from_str(text).map_err(|_| ExpressionError::NotJson)?,
            other => other.clone(),
        };
        for step in &self.steps {
            let (found, name) = match step {
                Step::Key(key) => (value.get_mut(key), format!("key {key:?}")),
                Step::Index(index) => (value.get_mut(index), format!("element {index}")),
            };
            value = found.map(Value::take).ok_or(ExpressionError::Missing(name))?;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn picks_keys_and_elements() {
        let expression = Expression::parse(r#"parseJson(string_value)["a"][1]['b']"#).unwrap();
        let value = json!({"a": [0, {"b": 12}]});
        assert_eq!(expression.pick(&value), Ok(json!(12)));
        assert_eq!(expression.pick(&json!(value.to_string())), Ok(json!(12)));
        let missing = expression.pick(&json!({"a": []}));
        assert_eq!(missing, Err(ExpressionError::Missing("element 1".to_owned())));
        assert_eq!(expression.pick(&json!("{")), Err(ExpressionError::NotJson));
    }

    #[test]
    fn other_expressions_are_refused() {
        for text in [
            "",
            "string_value",
            "parseJson(string_value)[",
            "parseJson(string_value)[x]",
            "parseJson(string_value).a",
        ] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }
}
