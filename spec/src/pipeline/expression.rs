//! Expressions of CEL over the inputs of a task: conditions (`triggerPolicy.condition`) and selectors of a part of a value
//! (`parameterExpressionSelector`).
//!
//! A condition sees `inputs.parameter_values`, a selector sees `string_value`, and both may call `parseJson`, as in
//! kubeflow/pipelines `backend/src/v2/driver` and `expression`. Everything else is CEL's own
//! (<https://github.com/google/cel-spec>).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, ExecutionError, Program, Value as CelValue};
use serde_json::{Value, json};

use super::value::{plain_numbers, text_of};
use crate::limits;

/// The parser and the evaluation go as deep as an expression is nested, at up to 40 KiB a level; text of
/// [`limits::EXPRESSION_BYTES`] has at most half as many levels.
const STACK_BYTES: usize = 40 * 1024 * limits::EXPRESSION_BYTES;

/// The functions that an expression may call: CEL's own, and `parseJson`.
const FUNCTIONS: [&str; 17] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "endsWith",
    "has",
    "int",
    "matches",
    "max",
    "min",
    "parseJson",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "uint",
];

/// An expression that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
}

/// Why an expression cannot be read or has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpressionError {
    /// It is longer than [`limits::EXPRESSION_BYTES`].
    #[error(
        "the expression has {bytes} bytes; at most {} are read",
        limits::EXPRESSION_BYTES
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not CEL.
    #[error("{text:?} is no CEL expression: {why}")]
    Syntax {
        /// The expression.
        text: String,
        /// The parser's first complaint.
        why: String,
    },
    /// Its macros are nested deeper than [`limits::EXPRESSION_MACROS`].
    #[error(
        "{text:?} nests {depth} of all, exists, filter and map in each other; at most {} are computed",
        limits::EXPRESSION_MACROS
    )]
    TooMuch {
        /// The expression.
        text: String,
        /// How many are in each other.
        depth: usize,
    },
    /// It names something that is not known where it stands.
    #[error("{text:?} names {name:?}, which is not known here")]
    Unknown {
        /// The expression.
        text: String,
        /// The variable or function.
        name: String,
    },
    /// It has no value for these inputs.
    #[error("{text:?} has no value: {why}")]
    NoValue {
        /// The expression.
        text: String,
        /// Why.
        why: String,
    },
    /// A condition is neither true nor false.
    #[error("{text:?} is {value}, neither true nor false")]
    NotBoolean {
        /// The expression.
        text: String,
        /// What it is.
        value: String,
    },
    /// No thread for the evaluation could be started.
    #[error("no thread for the evaluation of {text:?} could be started: {why}")]
    Thread {
        /// The expression.
        text: String,
        /// The system's reason.
        why: String,
    },
}

impl Expression {
    /// Reads a condition: of variables, it may only name `inputs`.
    ///
    /// # Errors
    /// [`ExpressionError`] if it is too long, no CEL, or names something else.
    pub fn condition(text: &str) -> Result<Self, ExpressionError> {
        Self::read(text, "inputs")
    }

    /// Reads a selector: of variables, it may only name `string_value`.
    ///
    /// # Errors
    /// As [`Expression::condition`].
    pub fn selector(text: &str) -> Result<Self, ExpressionError> {
        Self::read(text, "string_value")
    }

    fn read(text: &str, variable: &'static str) -> Result<Self, ExpressionError> {
        if text.len() > limits::EXPRESSION_BYTES {
            return Err(ExpressionError::TooLong { bytes: text.len() });
        }
        let own = text.to_owned();
        deeply(text, move || {
            let program = compile(&own)?;
            let depth = macros(program.expression());
            if depth > limits::EXPRESSION_MACROS {
                return Err(ExpressionError::TooMuch { text: own, depth });
            }
            let names = program.references();
            let plain = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic());
            let bound = bound(program.expression());
            let unknown = names
                .variables()
                .into_iter()
                .find(|name| *name != variable && !bound.contains(name));
            let unknown = unknown.or_else(|| {
                let mut functions = names.functions().into_iter();
                functions.find(|name| plain(name) && !FUNCTIONS.contains(name))
            });
            match unknown {
                Some(name) => Err(ExpressionError::Unknown {
                    name: name.to_owned(),
                    text: own,
                }),
                None => Ok(Self { text: own }),
            }
        })
    }

    /// Tells whether a condition holds for the inputs of a task.
    ///
    /// # Errors
    /// [`ExpressionError`] if it names an input without a value, compares what cannot be compared, or is neither true nor
    /// false.
    pub fn holds(&self, inputs: &BTreeMap<String, Value>) -> Result<bool, ExpressionError> {
        let value = self.value("inputs", json!({ "parameter_values": inputs }))?;
        value.as_bool().ok_or_else(|| ExpressionError::NotBoolean {
            text: self.text.clone(),
            value: value.to_string(),
        })
    }

    /// Picks a part out of a value. What is no text is seen as its JSON.
    ///
    /// # Errors
    /// [`ExpressionError`] if the value has no such part.
    pub fn pick(&self, value: &Value) -> Result<Value, ExpressionError> {
        self.value("string_value", Value::String(text_of(value)))
    }

    fn value(&self, variable: &'static str, value: Value) -> Result<Value, ExpressionError> {
        let text = self.text.clone();
        deeply(&self.text, move || {
            let no_value = |why: String| ExpressionError::NoValue {
                text: text.clone(),
                why,
            };
            let mut context = Context::default();
            let known = context
                .add_variable(variable, value)
                .map_err(|error| error.to_string());
            let parse = context
                .add_function("parseJson", parse_json)
                .map_err(|error| error.to_string());
            known.and(parse.map(drop)).map_err(no_value)?;
            let found = compile(&text)?
                .execute(&context)
                .map_err(|error| no_value(why(&error)))?;
            let found = found.json().map_err(|error| no_value(error.to_string()))?;
            Ok(plain_numbers(found))
        })
    }
}

/// Works on an expression on a stack that is large enough for all that may be read.
fn deeply<T: Send + 'static>(
    text: &str,
    work: impl FnOnce() -> Result<T, ExpressionError> + Send + 'static,
) -> Result<T, ExpressionError> {
    let failed = |why: String| ExpressionError::Thread {
        text: text.to_owned(),
        why,
    };
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    let ended = thread.map_err(|error| failed(error.to_string()))?.join();
    ended.unwrap_or_else(|_| Err(failed("it panicked".to_owned())))
}

fn compile(text: &str) -> Result<Program, ExpressionError> {
    Program::compile(text).map_err(|errors| ExpressionError::Syntax {
        text: text.to_owned(),
        why: errors
            .errors
            .first()
            .map(|first| first.msg.clone())
            .unwrap_or_default(),
    })
}

/// How many macros are in each other where that is deepest.
fn macros(expression: &IdedExpr) -> usize {
    let own = usize::from(matches!(expression.expr, Expr::Comprehension(_)));
    own + parts(&expression.expr).into_iter().map(macros).max().unwrap_or(0)
}

fn values(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// The variables that macros bind, of whose names no other can be used then.
fn bound(expression: &IdedExpr) -> BTreeSet<&str> {
    let mut all: BTreeSet<&str> = parts(&expression.expr).into_iter().flat_map(bound).collect();
    if let Expr::Comprehension(found) = &expression.expr {
        all.extend([found.iter_var.as_str(), found.accu_var.as_str()]);
        all.extend(found.iter_var2.as_deref());
    }
    all
}

/// The expressions directly within one.
fn parts(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(all) => {
            vec![
                &all.iter_range,
                &all.accu_init,
                &all.loop_cond,
                &all.loop_step,
                &all.result,
            ]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|found| values(&found.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(made) => made
            .entries
            .iter()
            .flat_map(|found| values(&found.expr))
            .collect(),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

fn parse_json(text: Arc<String>) -> Result<CelValue, ExecutionError> {
    let wrong = |why: String| ExecutionError::function_error("parseJson", why);
    let value: Value =
        serde_json::from_str(&text).map_err(|_| wrong("the value is not JSON text".to_owned()))?;
    cel::to_value(plain_numbers(value)).map_err(|error| wrong(error.to_string()))
}

/// Says in plain words why there is no value.
fn why(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no {key:?}"),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> Result<bool, ExpressionError> {
        let inputs = json!({"n": 3, "d": 0.5, "s": "heads", "b": true, "nothing": null, "list": [1, 2]});
        let Value::Object(inputs) = inputs else {
            unreachable!()
        };
        Expression::condition(text)?.holds(&inputs.into_iter().collect())
    }

    #[test]
    fn work_without_end_is_refused() {
        assert_eq!(holds("[1, 2].all(a, [3].exists(b, a < b))"), Ok(true));
        assert!(matches!(
            holds("[1].all(a, c == 1)"),
            Err(ExpressionError::Unknown { .. })
        ));
        let deep = holds("[1].all(a, [1].all(b, [1].all(c, a == b)))");
        assert!(
            matches!(deep, Err(ExpressionError::TooMuch { depth: 3, .. })),
            "{deep:?}"
        );
        let hidden =
            holds("size([1].map(a, {'x': [1].filter(b, !has(inputs.x) || [1].exists(c, true))})) == 1");
        assert!(
            matches!(hidden, Err(ExpressionError::TooMuch { depth: 3, .. })),
            "{hidden:?}"
        );
    }

    #[test]
    fn conditions_of_the_sdk_hold_or_do_not() {
        for text in [
            "inputs.parameter_values['s'] == 'heads'",
            "!(inputs.parameter_values['s'] == 'tails') && inputs.parameter_values['s'] != ''",
            "int(inputs.parameter_values['n']) >= 3",
            "int(inputs.parameter_values['n']) < 4 || false",
            "inputs.parameter_values['d'] <= 1",
            "inputs.parameter_values['n'] > 2.5",
            "inputs.parameter_values['b'] == true",
            "inputs.parameter_values['nothing'] == null",
            "size(inputs.parameter_values['list']) == 2",
        ] {
            assert_eq!(holds(text), Ok(true), "{text}");
            assert_eq!(holds(&format!("!({text})")), Ok(false), "{text}");
        }
        assert_eq!(holds("inputs.parameter_values['s'] == 3"), Ok(false));
    }

    #[test]
    fn picks_keys_and_elements() {
        let expression = Expression::selector(r#"parseJson(string_value)["a"][1]['b']"#).unwrap();
        let value = json!({"a": [0, {"b": 12.0}]});
        assert_eq!(expression.pick(&value), Ok(json!(12)));
        assert_eq!(expression.pick(&json!(value.to_string())), Ok(json!(12)));
        for (value, why) in [
            (json!({"c": []}), r#"there is no "a""#),
            (json!("{"), "the value is not JSON text"),
        ] {
            let error = expression.pick(&value).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let whole = Expression::selector("string_value").unwrap();
        assert_eq!(whole.pick(&json!("a")), Ok(json!("a")));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (text, why) in [
            ("", "no CEL expression"),
            ("((", "no CEL expression"),
            ("inputs.parameter_values['a'] ==", "no CEL expression"),
            ("string_value == 'a'", "which is not known here"),
            ("open(inputs) == 1", "which is not known here"),
        ] {
            let error = Expression::condition(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (text, why) in [
            ("inputs.parameter_values['n']", "neither true nor false"),
            ("inputs.parameter_values['other'] == 1", "there is no \"other\""),
            ("int(inputs.parameter_values['s']) == 1", "invalid digit"),
        ] {
            let error = holds(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    /// The parser recurses, and what is nested most deeply within the limit must not end the process.
    #[test]
    fn the_longest_expressions_are_answered() {
        let fill = |head: &str, unit: &str, tail: &str| {
            let times = (limits::EXPRESSION_BYTES - 1) / (unit.len() + tail.len());
            format!("{}{head}{}", unit.repeat(times), tail.repeat(times))
        };
        for text in [
            fill("1", "(", ")"),
            fill("true", "!", ""),
            fill("1", "", "+1"),
            fill("a", "", ".b"),
            fill("a", "", "[1]"),
            fill("1", "[", "]"),
            fill("", "(", ""),
        ] {
            let read = Expression::condition(&text);
            if let Ok(read) = read {
                drop(read.holds(&BTreeMap::new()));
            }
        }
        let long = "1+".repeat(limits::EXPRESSION_BYTES);
        assert!(matches!(
            Expression::condition(&long),
            Err(ExpressionError::TooLong { .. })
        ));
    }
}
