//! What the user sees: results on standard output, progress, notices and errors on standard error.
//!
//! A command returns a [`Report`]; it is printed once, as text or as JSON. Events are passed to [`progress`] as they
//! are emitted.

pub(crate) mod error;
mod live;
pub(crate) mod progress;
pub(crate) mod screen;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod tree;

use std::io::{self, Write};

use samebundle_spec::yaml;
use serde::Serialize;
use serde_json::Value;

use crate::args::Output;

/// The report of a command, as it is printed.
#[derive(Debug)]
pub(crate) struct Report {
    /// The text for people, without a line end after the last line.
    pub(crate) text: String,
    /// The JSON object for programs.
    pub(crate) json: Value,
    /// The exit code of the command if this is printed.
    pub(crate) exit_code: i32,
}

impl Report {
    /// Makes a report from that of a verb and its text for a person.
    pub(crate) fn new(text: impl Into<String>, report: &impl Serialize) -> Self {
        Self {
            text: text.into(),
            json: serde_json::to_value(report).expect("the keys of a report are text"),
            exit_code: 0,
        }
    }

    /// The same of a command whose exit code is that of a program.
    pub(crate) fn exiting(self, exit_code: i32) -> Self {
        Self { exit_code, ..self }
    }

    /// Prints it.
    ///
    /// # Errors
    /// If standard output is closed.
    pub(crate) fn print(&self, output: Output) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match output {
            Output::Table | Output::Wide if self.text.is_empty() => {}
            Output::Table | Output::Wide => writeln!(stdout, "{}", self.text)?,
            Output::Json | Output::Yaml => write!(stdout, "{}", document(&self.json, output))?,
        }
        stdout.flush()
    }
}

/// The text of a document for programs.
pub(crate) fn document(value: &Value, output: Output) -> String {
    match output {
        Output::Yaml => yaml::to_string(value),
        _ => format!("{value:#}\n"),
    }
}

/// Makes text of several lines safe to print on a terminal. Line breaks stay, and every further line is indented, so
/// that text from outside cannot look like a line of samebundle.
pub(crate) fn safe_lines(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().map(safe).unwrap_or_default();
    lines.fold(first, |text, line| {
        let indent = if line.starts_with("  ") { "" } else { "  " };
        format!("{text}\n{indent}{}", safe(line))
    })
}

/// Makes text from outside safe to print on one line of a terminal: control characters are escaped.
pub(crate) fn safe(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let plain = !c.is_control() || c == '\t';
            let escaped = if plain { None } else { Some(c.escape_default()) };
            plain
                .then_some(c)
                .into_iter()
                .chain(escaped.into_iter().flatten())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines_and_nothing_else_moves_the_cursor() {
        let text = "task a failed:\n    Traceback\nerror: forged\r\n\u{1b}[2J";
        assert_eq!(
            safe_lines(text),
            "task a failed:\n    Traceback\n  error: forged\n  \\u{1b}[2J"
        );
        assert_eq!(safe("a\nb"), "a\\nb");
    }
}
