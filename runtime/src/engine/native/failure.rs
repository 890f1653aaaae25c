//! Why an attempt failed, with the last lines that it printed.
//!
//! A program's two outputs are two pipes, so the order of their lines is random. Both are read to their ends before a
//! driver returns the outcome, and the last lines of each are kept separately: what the program prints on standard
//! output does not displace a traceback on standard error. What the KFP executor prints of itself is left out, and the last
//! exception of Python is in the message however much is printed after it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::artifact::{Origin, Values};
use super::error::REMEDY_OF_CONTENT;
use super::hint::Hints;
use crate::driver::LogSink;
use crate::record::{NoiseOfTask, RunLog, TaskLines, own_part};

/// Why an attempt failed, as a sentence with the last lines that were printed.
#[derive(Debug)]
pub(super) struct AttemptFailure {
    pub(super) task: String,
    pub(super) why: String,
    pub(super) lines: LastLines,
    /// The exit code of the container, if it exited.
    pub(super) exit_code: Option<i32>,
    /// The artifacts that it left.
    pub(super) left: Values,
    /// Its inputs that have an address and no content, and why.
    pub(super) away: Vec<Origin>,
}

impl AttemptFailure {
    /// Adds which inputs of the task have no content.
    pub(super) fn with_inputs(mut self, inputs: &Values) -> Self {
        let origins = inputs
            .artifacts
            .values()
            .flatten()
            .filter_map(|one| one.origin.clone());
        self.away = origins.filter(|origin| origin.away.is_some()).collect();
        self
    }
}

impl fmt::Display for AttemptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} failed: {}", self.task, self.why)?;
        self.lines.fmt(f)?;
        for Origin { address, away } in &self.away {
            let why = away.as_deref().unwrap_or_default();
            write!(
                f,
                "\nThe content of its input {address} is not here: {why}{REMEDY_OF_CONTENT}"
            )?;
        }
        Ok(())
    }
}

/// The last lines of standard error and of standard output, and what they hint at.
#[derive(Clone, Debug, Default)]
pub(super) struct LastLines {
    stderr: VecDeque<String>,
    stdout: VecDeque<String>,
    exceptions: [Exception; 2],
    noise: NoiseOfTask,
    hints: Hints,
}

/// The last exception that Python reported on one of the outputs: the first line after the indented ones of a traceback.
#[derive(Clone, Debug, Default)]
struct Exception {
    traced: bool,
    last: Option<String>,
}

impl Exception {
    fn line(&mut self, line: &str) {
        if line.ends_with("Traceback (most recent call last):") {
            self.traced = true;
        } else if self.traced && !line.starts_with([' ', '\t']) {
            self.traced = false;
            self.last = Some(line.to_owned());
        }
    }
}

impl LastLines {
    /// How many lines of each output are in the message of a failure.
    const LINES: usize = 10;

    fn add(&mut self, line: &str, stderr: bool) {
        self.hints.line(line);
        if self.noise.takes(line, stderr) {
            return;
        }
        self.exceptions[usize::from(stderr)].line(line);
        let last = if stderr {
            &mut self.stderr
        } else {
            &mut self.stdout
        };
        if last.len() == Self::LINES {
            last.pop_front();
        }
        last.push_back(own_part(line).to_owned());
    }
}

impl fmt::Display for LastLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut begin = "; its last lines";
        for (last, name) in [(&self.stderr, "error"), (&self.stdout, "output")] {
            if !last.is_empty() {
                write!(f, "{begin} on standard {name} were:")?;
                last.iter().try_for_each(|line| write!(f, "\n    {line}"))?;
                begin = "\nIts last lines";
            }
        }
        // What is written to standard error ends a program more often than what is logged.
        let [output, error] = &self.exceptions;
        if let Some(exception) = error.last.as_ref().or(output.last.as_ref())
            && !self.stderr.contains(exception)
            && !self.stdout.contains(exception)
        {
            write!(f, "\nThe last exception before them was:\n    {exception}")?;
        }
        self.hints.fmt(f)
    }
}

/// Passes a task's lines on and keeps the last.
pub(super) struct TaskLog<'a> {
    lines: TaskLines<'a>,
    last: Mutex<LastLines>,
}

impl<'a> TaskLog<'a> {
    /// Begins the log of a task. `network` says whether the task has one.
    pub(super) fn new(task: &'a str, log: &'a RunLog, network: bool) -> Self {
        let last = LastLines {
            hints: Hints::new(network),
            ..LastLines::default()
        };
        Self {
            lines: TaskLines { task, log },
            last: Mutex::new(last),
        }
    }

    pub(super) fn last(self) -> LastLines {
        self.last.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogSink for TaskLog<'_> {
    fn line(&self, line: &str, stderr: bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.add(line, stderr);
        drop(last);
        self.lines.line(line, stderr);
    }

    fn replaced(&self, line: &str, stderr: bool) {
        self.lines.replaced(line, stderr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exception_is_in_the_message_whatever_is_printed_around_it() {
        let mut last = LastLines::default();
        last.add(
            "[KFP Executor 2026-11-27 21:03:58,824 INFO]: Got executor_input:",
            false,
        );
        for line in ["{", "    \"inputs\": {}", "}", "epoch 1"] {
            last.add(line, false);
        }
        let traceback = [
            "Traceback (most recent call last):",
            "  File \"x.py\", line 1, in <module>",
            "    read(path)",
            "           ^^^^",
            "ValueError: no rows",
        ];
        for line in traceback {
            last.add(line, true);
        }
        let text = last.to_string();
        assert!(text.contains("\n    ValueError: no rows\n"), "{text}");
        assert!(text.ends_with("standard output were:\n    epoch 1"), "{text}");
        assert!(
            !text.contains("inputs") && !text.contains("before them"),
            "{text}"
        );
        for number in 0..20 {
            last.add(&format!("Exception ignored in thread {number}"), true);
        }
        let text = last.to_string();
        assert!(text.contains("thread 19"), "{text}");
        assert!(
            text.ends_with("\nThe last exception before them was:\n    ValueError: no rows"),
            "{text}"
        );
    }
}
