//! Shows events as they are emitted: bars and a status line on a terminal, plain lines elsewhere, JSON lines with
//! `--output json`.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use samebundle_runtime::record::{Noise, own_part};
use samebundle_runtime::{Amount, Event, Events, Logged, Working};
use samebundle_spec::Digest;
use samebundle_spec::record::{RunEvent, RunEventKind, RunStatus, TaskFinished};
use serde_json::{Value, json};

use super::live::Live;
use super::screen::Screen;
use super::{safe, safe_lines, size};
use crate::args::Output;
use crate::settings::Settings;

/// A transfer of fewer bytes shows no bar: it ends before a person could read it.
const BAR_FROM: u64 = 4 << 20;

/// The interval at which clocks and spinners move.
const TICK: Duration = Duration::from_millis(250);

/// The interval between two plain lines about the progress of a copy.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Makes the reader of events that fits the output and standard error.
pub(crate) fn events(settings: &Settings, output: Output, verbose: u8) -> std::sync::Arc<dyn Events> {
    let run = RunLines {
        screen: Screen::error(settings, output),
        noise: (verbose == 0).then(Mutex::default),
    };
    match output {
        Output::Json => std::sync::Arc::new(JsonLines),
        _ if std::io::stderr().is_terminal() => std::sync::Arc::new(Terminal::new(verbose, run)),
        _ => std::sync::Arc::new(Lines::new(verbose, run)),
    }
}

/// Makes the reader of events that writes plain lines.
pub(crate) fn lines(settings: &Settings, verbose: bool) -> std::sync::Arc<dyn Events> {
    let run = RunLines {
        screen: Screen::error(settings, Output::Table),
        noise: Some(Mutex::default()),
    };
    std::sync::Arc::new(Lines::new(u8::from(verbose), run))
}

/// A line for each event that a person wants to read; transfers only when verbose.
fn line(event: &Event, verbose: u8) -> Option<String> {
    match event {
        Event::Step { name } => Some(safe_lines(name)),
        Event::Notice { text } => Some(format!("note: {}", safe_lines(text))),
        Event::Log { level, target, text } => Some(format!("{level}: {target}: {}", safe(text))),
        Event::Waiting { place, why, wait } => Some(format!(
            "waiting {} for {}: {}",
            size::duration(*wait),
            safe(place),
            safe(why)
        )),
        Event::Transfer { digest, done, total } if verbose > 0 && done == total => {
            Some(format!("{} {}", digest.short(), size::bytes(*total)))
        }
        _ => None,
    }
}

/// Makes the lines for the events of a run.
#[derive(Debug, Default)]
struct RunLines {
    screen: Screen,
    /// Finds what the KFP executor prints of itself; none if that is shown too.
    noise: Option<Mutex<Noise>>,
}

impl RunLines {
    fn line(&self, logged: Logged<'_>) -> Option<String> {
        let event = match logged {
            Logged::Line(line) => {
                let noise = self.noise.as_ref();
                let noise = noise
                    .is_some_and(|noise| noise.lock().unwrap_or_else(PoisonError::into_inner).takes(line));
                let own = match self.noise {
                    Some(_) => own_part(&line.line),
                    None => &line.line,
                };
                return (!noise).then(|| format!("  {} | {}", safe(&line.task), safe(own)));
            }
            Logged::Replaced(_) => return None,
            Logged::Event(event) => event,
        };
        match &event.kind {
            // What was taken over is told when it is there.
            RunEventKind::TaskStarted(started) if started.attempt == 0 => None,
            RunEventKind::TaskStarted(started) => Some(match started.attempt {
                1 => format!("task {} started", safe(&started.task)),
                attempt => format!("task {} started again, attempt {attempt}", safe(&started.task)),
            }),
            RunEventKind::TaskSuspended(suspended) => {
                Some(format!("task {} waits for a person", safe(&suspended.task)))
            }
            RunEventKind::TaskFinished(finished) if finished.will_retry => Some(format!(
                "note: task {} failed in attempt {} and is tried again",
                safe(&finished.task),
                finished.attempt
            )),
            RunEventKind::TaskFinished(TaskFinished {
                task,
                taken_from: Some(from),
                ..
            }) => Some(format!("task {} taken over from run {}", safe(task), from.run)),
            RunEventKind::TaskFinished(finished) => Some(format!(
                "task {} {} in {}",
                safe(&finished.task),
                self.screen.status(finished.status),
                size::duration(took(event, finished))
            )),
            _ => None,
        }
    }
}

/// Tells whether the tree of tasks shows an event, so that no line needs to.
fn is_in_tree(logged: Logged<'_>) -> bool {
    match logged {
        Logged::Event(event) => match &event.kind {
            RunEventKind::TaskFinished(finished) => {
                !finished.will_retry && finished.status != RunStatus::Failed
            }
            _ => true,
        },
        Logged::Line(_) | Logged::Replaced(_) => false,
    }
}

/// Returns how long a task took, with all of its attempts.
fn took(event: &RunEvent, finished: &TaskFinished) -> Duration {
    event.time.since(finished.started.unwrap_or(event.time))
}

/// How far a copy or a step is, its rate, and the time that is left.
fn moved(event: &Event) -> Option<String> {
    if let Event::Working(working) = event {
        return Some(worked(working));
    }
    let Event::Moved {
        done,
        total,
        per_second,
        left,
    } = event
    else {
        return None;
    };
    let mut text = format!("{} of {}", size::bytes(*done), size::bytes(*total));
    if let Some(rate) = per_second {
        text.push_str(&format!(", {}/s", size::bytes(*rate)));
    }
    if let Some(left) = left.filter(|left| !left.is_zero()) {
        text.push_str(&format!(", {} left", size::duration(left)));
    }
    Some(text)
}

/// How far a step is, with its parts and bytes as far as they are known.
fn worked(working: &Working) -> String {
    let of = |amount: Amount, shown: fn(u64) -> String| match amount.total {
        Some(total) => format!("{} of {}", shown(amount.done), shown(total)),
        None => shown(amount.done),
    };
    let parts = working.parts.map(|parts| of(parts, |count| count.to_string()));
    let bytes = working.bytes.map(|bytes| of(bytes, size::bytes));
    let left = working.left.filter(|left| !left.is_zero());
    let left = left.map(|left| format!("{} left", size::duration(left)));
    let known: Vec<String> = [parts, bytes, left].into_iter().flatten().collect();
    match known.is_empty() {
        true => safe(&working.name),
        false => format!("{}: {}", safe(&working.name), known.join(", ")),
    }
}

/// Plain lines, for files and CI.
#[derive(Debug)]
struct Lines {
    verbose: u8,
    run: RunLines,
    /// When the progress of a copy was last printed. Nothing is printed in its first moments.
    said: Mutex<Instant>,
}

impl Lines {
    fn new(verbose: u8, run: RunLines) -> Self {
        Self {
            verbose,
            run,
            said: Mutex::new(Instant::now()),
        }
    }

    fn line(&self, event: &Event) -> Option<String> {
        let Some(text) = moved(event) else {
            return line(event, self.verbose);
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said.elapsed() >= LINE_EVERY;
        due.then(|| {
            *said = Instant::now();
            text
        })
    }
}

impl Events for Lines {
    fn emit(&self, event: Event) {
        if let Some(line) = self.line(&event) {
            // A closed standard error must not stop the work.
            drop(writeln!(std::io::stderr().lock(), "{line}"));
        }
    }

    fn logged(&self, logged: Logged<'_>) {
        if let Some(line) = self.run.line(logged) {
            drop(writeln!(std::io::stderr().lock(), "{line}"));
        }
    }
}

/// Prints one JSON object on each line of standard error.
#[derive(Debug)]
struct JsonLines;

impl Events for JsonLines {
    fn emit(&self, event: Event) {
        drop(writeln!(std::io::stderr().lock(), "{}", as_json(&event)));
    }

    fn logged(&self, logged: Logged<'_>) {
        if let Some(json) = logged_as_json(logged) {
            drop(writeln!(std::io::stderr().lock(), "{json}"));
        }
    }
}

/// An event of a run as its log has it, with the time that a task took; a line that a task printed as `task-log`.
fn logged_as_json(logged: Logged<'_>) -> Option<Value> {
    let event = match logged {
        Logged::Line(line) => {
            return Some(
                json!({"event": "task-log", "task": line.task, "line": line.line, "stderr": line.stderr}),
            );
        }
        Logged::Replaced(_) => return None,
        Logged::Event(event) => event,
    };
    let mut json = json!(event);
    if let RunEventKind::TaskFinished(finished) = &event.kind {
        json["seconds"] = took(event, finished).as_secs_f64().into();
    }
    Some(json)
}

fn as_json(event: &Event) -> Value {
    match event {
        Event::Step { name } => json!({"event": "step", "name": name}),
        Event::Transfer { digest, done, total } => {
            json!({"event": "transfer", "digest": digest, "done": done, "total": total})
        }
        Event::Moved {
            done,
            total,
            per_second,
            left,
        } => json!({
            "event": "moved", "done": done, "total": total, "bytes_per_second": per_second,
            "seconds_left": left.map(|left| left.as_secs()),
        }),
        Event::Working(working) => {
            let of = |amount: Option<Amount>| {
                let done = amount.map(|amount| amount.done);
                (done, amount.and_then(|amount| amount.total))
            };
            let ((part, parts), (done, total)) = (of(working.parts), of(working.bytes));
            json!({
                "event": "working", "name": working.name, "part": part, "parts": parts, "done": done, "total": total,
                "seconds_left": working.left.map(|left| left.as_secs()), "ended": working.ended,
            })
        }
        Event::Waiting { place, why, wait } => {
            json!({"event": "waiting", "place": place, "why": why, "seconds": wait.as_secs_f64()})
        }
        Event::Notice { text } => json!({"event": "notice", "text": text}),
        Event::Log { level, target, text } => {
            json!({"event": "log", "level": level, "target": target, "text": text})
        }
        _ => json!({"event": "other"}),
    }
}

/// Bars for transfers, the tree of the tasks, lines for the rest.
#[derive(Debug)]
struct Terminal {
    verbose: u8,
    run: RunLines,
    bars: MultiProgress,
    live: Live,
    open: Mutex<HashMap<Digest, ProgressBar>>,
    /// The bar of the whole copy.
    whole: Mutex<Option<ProgressBar>>,
}

impl Terminal {
    fn new(verbose: u8, run: RunLines) -> Self {
        Self {
            verbose,
            live: Live::new(run.screen),
            run,
            bars: MultiProgress::new(),
            open: Mutex::default(),
            whole: Mutex::default(),
        }
    }

    fn transfer(&self, digest: Digest, done: u64, total: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Shows the line of the whole copy, below the bars of its blobs.
    fn moved(&self, done: u64, total: u64, text: String) {
        if total >= BAR_FROM || done >= total {
            show(
                &mut self.whole(),
                &self.bars,
                (done < total).then_some((Some((done, total)), text)),
            );
        }
    }

    /// Shows how far a step is: a bar if the end is known, by its bytes or else its parts.
    fn working(&self, working: &Working) {
        let of = |amount: Amount| Some((amount.done, amount.total?));
        let far = working.bytes.and_then(of).or_else(|| working.parts.and_then(of));
        show(
            &mut self.whole(),
            &self.bars,
            (!working.ended).then(|| (far, worked(working))),
        );
    }

    fn whole(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_bar(&self, digest: Digest, total: u64) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(total));
        let template = "  {msg} {bar:30} {binary_bytes}/{binary_total_bytes}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(digest.short());
        bar.enable_steady_tick(TICK);
        bar
    }
}

/// Shows the bar of a copy or a step, or takes it away.
fn show(whole: &mut Option<ProgressBar>, bars: &MultiProgress, shown: Option<(Option<(u64, u64)>, String)>) {
    let Some((far, text)) = shown else {
        if let Some(bar) = whole.take() {
            bar.finish_and_clear();
        }
        return;
    };
    let bar = whole.get_or_insert_with(|| {
        let bar = bars.add(ProgressBar::new(0));
        bar.enable_steady_tick(TICK);
        bar
    });
    let template = if far.is_some() {
        "  {bar:20} {elapsed} {wide_msg}"
    } else {
        "  {spinner} {elapsed} {wide_msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if let Some((done, total)) = far {
        bar.set_length(total);
        bar.set_position(done);
    }
    bar.set_message(text);
}

impl Events for Terminal {
    fn emit(&self, event: Event) {
        if let Event::Transfer { digest, done, total } = event {
            self.transfer(digest, done, total);
        } else if let Event::Working(working) = &event {
            self.working(working);
        } else if let (Event::Moved { done, total, .. }, Some(text)) = (&event, moved(&event)) {
            self.moved(*done, *total, text);
        } else if let Some(line) = line(&event, self.verbose) {
            drop(self.bars.println(line));
        }
    }

    fn logged(&self, logged: Logged<'_>) {
        match logged {
            Logged::Event(event) => self.live.take(event, &self.bars),
            Logged::Replaced(line) => self.live.replaced(line, &line.line),
            Logged::Line(line) => self.live.replaced(line, ""),
        }
        let told = self.verbose > 0 || !is_in_tree(logged);
        if let Some(line) = self.run.line(logged).filter(|_| told) {
            drop(self.bars.println(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::Moved {
            done: 3 << 20,
            total: 1 << 30,
            per_second: Some(35 << 20),
            left: Some(Duration::from_secs(29)),
        }
    }

    #[test]
    fn says_bytes_rate_and_time_left() {
        assert_eq!(
            moved(&event()).unwrap(),
            "3.00 MiB of 1.00 GiB, 35.00 MiB/s, 29.0s left"
        );
        assert_eq!(
            as_json(&event()),
            json!({
                "event": "moved", "done": 3 << 20, "total": 1 << 30, "bytes_per_second": 35 << 20, "seconds_left": 29,
            })
        );
        let lines = Lines::new(0, RunLines::default());
        assert_eq!(lines.line(&event()), None, "not all the time");
    }

    #[test]
    fn says_how_far_a_step_is() {
        let event = |parts, bytes| {
            Event::Working(Working {
                name: "unpack the packages of task load".to_owned(),
                parts,
                bytes,
                left: Some(Duration::from_secs(29)),
                ended: false,
            })
        };
        let amount = |done, total| Some(Amount { done, total });
        let known = event(amount(2, Some(7)), amount(3 << 20, Some(1 << 30)));
        let text = "unpack the packages of task load: 2 of 7, 3.00 MiB of 1.00 GiB, 29.0s left";
        assert_eq!(moved(&known).unwrap(), text);
        let json = as_json(&known);
        assert_eq!(
            (&json["event"], &json["part"], &json["parts"]),
            (&json!("working"), &json!(2), &json!(7))
        );
        let unknown = moved(&event(amount(2, None), amount(3 << 20, None)));
        assert_eq!(
            unknown.unwrap(),
            "unpack the packages of task load: 2, 3.00 MiB, 29.0s left"
        );
        assert_eq!(as_json(&event(None, None))["parts"], Value::Null);
    }

    #[test]
    fn says_what_is_waited_for() {
        let event = Event::Waiting {
            place: "r.example/team/x".to_owned(),
            why: "429 Too Many Requests".to_owned(),
            wait: Duration::from_secs(40),
        };
        assert_eq!(
            line(&event, 0).unwrap(),
            "waiting 40.0s for r.example/team/x: 429 Too Many Requests"
        );
        assert_eq!(as_json(&event)["seconds"], 40.0);
    }
}
