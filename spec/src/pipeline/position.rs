//! Positions in a pipeline file, and the faults found there.

use std::fmt;

use crate::limits;
use crate::{Classify, ErrorKind};

/// A position in a file. Both numbers begin at 1. Columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The position of its first character.
    pub at: Position,
}

impl<T> Located<T> {
    /// Joins a value with its position.
    pub fn new(value: T, at: Position) -> Self {
        Self { value, at }
    }
}

impl Located<String> {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.value
    }
}

/// One thing that is wrong in a pipeline: where, in which task, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineFault {
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// Its position.
    pub at: Position,
    /// The task that is concerned, with the component of the DAG it is in before it: `comp-inner/train`.
    pub task: Option<String>,
    /// What is wrong, a lowercase fragment.
    pub problem: String,
    /// What to do about it, an imperative.
    pub remedy: String,
}

/// Tells whether the name of a file is that of a cell of a notebook: `train.ipynb: cell 3`. Its lines are the cell's.
pub fn is_cell(file: &str) -> bool {
    let number = file.rsplit_once(".ipynb: cell ").map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A position in a file as it is shown.
pub(super) fn place(file: &str, at: Position) -> String {
    match is_cell(file) {
        true => format!("{file}, line {}", at.line),
        false => format!("{file}:{at}"),
    }
}

impl fmt::Display for PipelineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", place(&self.file, self.at))?;
        if let Some(task) = &self.task {
            write!(f, "task {task}: ")?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

/// Why bytes are not a pipeline at all. The type checker looks at references and types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The file is larger than [`limits::PIPELINE_BYTES`].
    #[error(
        "{file}:1:1: the pipeline has {size} bytes; at most {} are read",
        limits::PIPELINE_BYTES
    )]
    TooLarge {
        /// Name of the file.
        file: String,
        /// Its size, bytes.
        size: u64,
    },
    /// The file is not UTF-8.
    #[error("{file}:{at}: the pipeline is not UTF-8 text; save it as UTF-8")]
    NotText {
        /// Name of the file.
        file: String,
        /// The position of the first bad byte.
        at: Position,
    },
    /// The file holds no document.
    #[error("{file}:1:1: there is no pipeline in the file; compile the pipeline again")]
    Empty {
        /// Name of the file.
        file: String,
    },
    /// The file is not YAML or JSON.
    #[error("{file}:{at}: not a valid YAML document: {why}; compile the pipeline again")]
    Syntax {
        /// Name of the file.
        file: String,
        /// The position at which the file stops being YAML.
        at: Position,
        /// The reader's message.
        why: String,
    },
    /// A field is missing, has another shape or a value out of its range.
    #[error("{0}")]
    Shape(Box<PipelineFault>),
}

impl PipelineError {
    /// Returns the position of the error.
    pub fn position(&self) -> Position {
        match self {
            Self::TooLarge { .. } | Self::Empty { .. } => Position::START,
            Self::NotText { at, .. } | Self::Syntax { at, .. } => *at,
            Self::Shape(fault) => fault.at,
        }
    }
}

impl Classify for PipelineError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. }
            | Self::NotText { .. }
            | Self::Empty { .. }
            | Self::Syntax { .. }
            | Self::Shape(_) => ErrorKind::Input,
        }
    }
}
