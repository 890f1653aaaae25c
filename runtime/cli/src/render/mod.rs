//! What the user sees: results on standard output, progress, notices and errors on standard error.
//!
//! A command returns a [`Report`]; it is printed once, as text or as JSON. Events go to [`progress`] as they come.

pub(crate) mod error;
pub(crate) mod progress;
pub(crate) mod size;
pub(crate) mod table;

use std::io::{self, Write};

use serde_json::Value;

use crate::args::Output;

/// What a command has to say at its end.
#[derive(Debug)]
pub(crate) struct Report {
    /// For people: lines without a line end at the last.
    pub(crate) text: String,
    /// For programs: one object.
    pub(crate) json: Value,
}

impl Report {
    /// Makes a report.
    pub(crate) fn new(text: impl Into<String>, json: Value) -> Self {
        Self {
            text: text.into(),
            json,
        }
    }

    /// Prints it.
    ///
    /// # Errors
    /// If standard output is closed.
    pub(crate) fn print(&self, output: Output) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match output {
            Output::Text if self.text.is_empty() => {}
            Output::Text => writeln!(stdout, "{}", self.text)?,
            Output::Json => writeln!(stdout, "{:#}", self.json)?,
        }
        stdout.flush()
    }
}

/// Makes text that came from outside safe to print on a terminal: control characters are escaped.
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
