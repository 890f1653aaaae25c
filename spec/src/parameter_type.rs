//! The types that a parameter of a pipeline, and an answer of a person, may have.

use std::fmt;
use std::str::FromStr;

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterType {
    /// A double.
    Double,
    /// An integer. Stays one everywhere: `12`, never `12.0`.
    Integer,
    /// Text.
    String,
    /// True or false.
    Boolean,
    /// A list of any values.
    List,
    /// A mapping from text to any values.
    Struct,
    /// What became of a task, a mapping.
    TaskFinalStatus,
    /// How a task is configured, a mapping.
    TaskConfig,
}

impl ParameterType {
    /// Returns the name that the IR has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Double => "NUMBER_DOUBLE",
            Self::Integer => "NUMBER_INTEGER",
            Self::String => "STRING",
            Self::Boolean => "BOOLEAN",
            Self::List => "LIST",
            Self::Struct => "STRUCT",
            Self::TaskFinalStatus => "TASK_FINAL_STATUS",
            Self::TaskConfig => "TASK_CONFIG",
        }
    }
}

impl FromStr for ParameterType {
    type Err = String;

    /// Reads the name that the IR has for it, or the older one.
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "NUMBER_DOUBLE" | "DOUBLE" => Self::Double,
            "NUMBER_INTEGER" | "INT" => Self::Integer,
            "STRING" => Self::String,
            "BOOLEAN" => Self::Boolean,
            "LIST" => Self::List,
            "STRUCT" => Self::Struct,
            "TASK_FINAL_STATUS" => Self::TaskFinalStatus,
            "TASK_CONFIG" => Self::TaskConfig,
            other => return Err(format!("{other:?} is no type of a parameter")),
        })
    }
}

crate::serde_as_text!(ParameterType);

impl fmt::Display for ParameterType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
