//! Events as they come: bars and a status line on a terminal, plain lines elsewhere, JSON lines with `--output json`.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use samebundle_runtime::{Event, Events};
use samebundle_spec::Digest;
use serde_json::{Value, json};

use super::{safe, size};
use crate::args::Output;

/// Below this many bytes a transfer shows no bar: it is over before it can be read.
const BAR_FROM: u64 = 4 << 20;

/// Makes the reader of events that fits the output and standard error.
pub(crate) fn events(output: Output, verbose: u8) -> std::sync::Arc<dyn Events> {
    match output {
        Output::Json => std::sync::Arc::new(JsonLines),
        Output::Text if std::io::stderr().is_terminal() => std::sync::Arc::new(Terminal::new(verbose)),
        Output::Text => std::sync::Arc::new(Lines { verbose }),
    }
}

/// A line for each event that a person wants to read; transfers only when verbose.
fn line(event: &Event, verbose: u8) -> Option<String> {
    match event {
        Event::Step { name } => Some(safe(name)),
        Event::Notice { text } => Some(format!("note: {}", safe(text))),
        Event::TaskStarted { task, attempt: 1 } => Some(format!("task {} started", safe(task))),
        Event::TaskStarted { task, attempt } => {
            Some(format!("task {} started again, attempt {attempt}", safe(task)))
        }
        Event::TaskLog { task, line, .. } => Some(format!("  {} | {}", safe(task), safe(line))),
        Event::TaskFinished { task, status, took } => Some(format!(
            "task {} {} in {}",
            safe(task),
            safe(status),
            size::duration(*took)
        )),
        Event::Transfer { digest, done, total } if verbose > 0 && done == total => {
            Some(format!("{} {}", digest.short(), size::bytes(*total)))
        }
        _ => None,
    }
}

/// Plain lines, for files and CI.
#[derive(Debug)]
struct Lines {
    verbose: u8,
}

impl Events for Lines {
    fn emit(&self, event: Event) {
        if let Some(line) = line(&event, self.verbose) {
            // A closed standard error must not stop the work.
            drop(writeln!(std::io::stderr().lock(), "{line}"));
        }
    }
}

/// One JSON object a line, on standard error.
#[derive(Debug)]
struct JsonLines;

impl Events for JsonLines {
    fn emit(&self, event: Event) {
        drop(writeln!(std::io::stderr().lock(), "{}", as_json(&event)));
    }
}

fn as_json(event: &Event) -> Value {
    match event {
        Event::Step { name } => json!({"event": "step", "name": name}),
        Event::Transfer { digest, done, total } => {
            json!({"event": "transfer", "digest": digest, "done": done, "total": total})
        }
        Event::Notice { text } => json!({"event": "notice", "text": text}),
        Event::TaskStarted { task, attempt } => {
            json!({"event": "task-started", "task": task, "attempt": attempt})
        }
        Event::TaskLog { task, line, stderr } => {
            json!({"event": "task-log", "task": task, "line": line, "stderr": stderr})
        }
        Event::TaskFinished { task, status, took } => {
            json!({"event": "task-finished", "task": task, "status": status, "seconds": took.as_secs_f64()})
        }
        _ => json!({"event": "other"}),
    }
}

/// Bars for transfers, lines for the rest.
#[derive(Debug)]
struct Terminal {
    verbose: u8,
    bars: MultiProgress,
    open: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Terminal {
    fn new(verbose: u8) -> Self {
        Self {
            verbose,
            bars: MultiProgress::new(),
            open: Mutex::default(),
        }
    }

    fn transfer(&self, digest: Digest, done: u64, total: u64) {
        let mut open = self
            .open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if done >= total {
            if let Some(bar) = open.remove(&digest) {
                bar.finish_and_clear();
            }
            return;
        }
        if total < BAR_FROM {
            return;
        }
        let bar = open.entry(digest).or_insert_with(|| self.new_bar(digest, total));
        bar.set_position(done);
    }

    fn new_bar(&self, digest: Digest, total: u64) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(total));
        let template = "  {msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(digest.short());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

impl Events for Terminal {
    fn emit(&self, event: Event) {
        if let Event::Transfer { digest, done, total } = event {
            self.transfer(digest, done, total);
        } else if let Some(line) = line(&event, self.verbose) {
            drop(self.bars.println(line));
        }
    }
}
