//! What a command asks of the system, recorded, or made to fail at one place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What is done to the nth call of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The process is killed before it.
    Kill,
    /// It fails so, once.
    Error(&'static str),
    /// It and all that follow fail so.
    ErrorsFrom(&'static str),
}

/// A place in a command's life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The system call.
    pub call: String,
    /// Which of a thread's calls of that name, from 1.
    pub nth: u32,
}

/// A system call that has returned.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// The thread.
    pub thread: u32,
    /// When it began and when it returned, in lines of the record.
    pub span: (usize, usize),
    /// What it returned.
    pub returned: i64,
    arguments: Vec<String>,
}

/// Whether this machine lets strace trace.
pub fn available() -> bool {
    let traced = Command::new("strace")
        .args(["-f", "-q", "-o", "/dev/null", "true"])
        .output();
    traced.is_ok_and(|traced| traced.status.success())
}

/// The command with its calls recorded in a file, with all bytes that it writes.
pub fn recorded(command: &Command, record: &Path, calls: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args([
        "-D",
        "-f",
        "-q",
        "-y",
        "-xx",
        "-s",
        "67108864",
        "-e",
        "signal=none",
    ]);
    strace.arg("-e").arg(format!("trace={}", calls.join(",")));
    strace.arg("-o").arg(record);
    under(strace, command)
}

/// The command with one thing going wrong in it.
pub fn faulty(command: &Command, point: &Point, effect: Effect) -> Command {
    let Point { call, nth } = point;
    let what = match effect {
        Effect::Kill => format!("signal=KILL:when={nth}"),
        Effect::Error(error) => format!("error={error}:when={nth}"),
        Effect::ErrorsFrom(error) => format!("error={error}:when={nth}+"),
    };
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "signal=none"]);
    strace.arg("-e").arg(format!("trace={call}"));
    strace.arg("-e").arg(format!("inject={call}:{what}"));
    under(strace, command)
}

/// The same environment and folder, one program more.
fn under(mut strace: Command, command: &Command) -> Command {
    strace
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    strace.env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            strace.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        strace.current_dir(folder);
    }
    strace
}

/// Reads a record. The tracer may be some moments behind the process, which has ended: it is waited for.
///
/// # Panics
/// When the record does not end, or cannot be read.
pub fn read(record: &Path, process: u32) -> Vec<Call> {
    let start = Instant::now();
    let ends = [format!("{process} +++ exited"), format!("{process} +++ killed")];
    loop {
        let text = std::fs::read_to_string(record).unwrap_or_default();
        let ended = text.lines().any(|line| {
            ends.iter().any(|end| {
                line.split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
                    .starts_with(end)
            })
        });
        if ended {
            return parse(&text);
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "the record {} does not end",
            record.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The calls of one process and then those of the next.
pub fn one_after_the_other(mut first: Vec<Call>, second: Vec<Call>) -> Vec<Call> {
    let end = first.iter().map(|call| call.span.1 + 1).max().unwrap_or(0);
    first.extend(second.into_iter().map(|mut call| {
        call.span = (call.span.0 + end, call.span.1 + end);
        call
    }));
    first
}

fn parse(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut begun: HashMap<u32, (usize, String)> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let Ok(thread) = thread.parse::<u32>() else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(first) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, (number, first.to_owned()));
            continue;
        }
        let (start, whole) = match rest.strip_prefix("<... ") {
            Some(second) => {
                let Some((start, first)) = begun.remove(&thread) else {
                    continue;
                };
                let second = second.split_once("resumed>").map_or("", |(_, second)| second);
                (start, format!("{first}{second}"))
            }
            None => (number, rest.to_owned()),
        };
        calls.extend(call(thread, (start, number), &whole));
    }
    calls
}

fn call(thread: u32, span: (usize, usize), text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, returned) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let digits: String = returned
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '-')
        .collect();
    Some(Call {
        name: name.to_owned(),
        thread,
        span,
        returned: digits.parse().ok()?,
        arguments: arguments
            .split(", ")
            // Where a call was interrupted in the record a space is left.
            .map(|argument| argument.trim().to_owned())
            .collect(),
    })
}

/// Turns `\x2f\x74` into bytes.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let codes = text.split("\\x").skip(1);
    codes
        .filter_map(|code| u8::from_str_radix(code.get(..2)?, 16).ok())
        .collect()
}

impl Call {
    /// Whether it opens a file.
    pub fn opens(&self) -> bool {
        self.name == "openat"
    }

    /// Whether it opens a file that it may make.
    pub fn creates(&self) -> bool {
        self.opens() && self.raw(2).contains("O_CREAT")
    }

    /// An argument as it was written.
    pub fn raw(&self, place: usize) -> &str {
        self.arguments.get(place).map_or("", String::as_str)
    }

    /// All arguments as they stand; those that are lists are cut at their commas.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().map(String::as_str)
    }

    /// The last argument, a number.
    pub fn last_number(&self) -> u64 {
        self.number(self.arguments.len().saturating_sub(1))
    }

    /// An argument that is a number.
    pub fn number(&self, place: usize) -> u64 {
        self.raw(place).parse().unwrap_or(0)
    }

    /// The bytes of an argument in quotes.
    ///
    /// # Panics
    /// When the record cut them off.
    pub fn bytes(&self, place: usize) -> Vec<u8> {
        let raw = self.raw(place);
        assert!(
            !raw.ends_with("..."),
            "the record cut off what {} was given",
            self.name
        );
        decode(raw.trim_matches('"'))
    }

    /// What a file descriptor stands for; none if that has no name any more.
    pub fn descriptor(&self, place: usize) -> Option<PathBuf> {
        let (_, path) = self.raw(place).split_once('<')?;
        let (path, after) = path.rsplit_once('>')?;
        (after.is_empty()).then(|| PathBuf::from(OsString::from_vec(decode(path))))
    }

    /// The path of an argument in quotes, relative to the folder whose descriptor is `folder`.
    pub fn path(&self, folder: Option<usize>, place: usize) -> PathBuf {
        let path = PathBuf::from(OsString::from_vec(self.bytes(place)));
        let folder = folder.and_then(|folder| self.descriptor(folder));
        folder.unwrap_or_default().join(path)
    }

    /// Whether any argument is, or stands for, something beneath a folder.
    fn touches(&self, folder: &str) -> bool {
        self.arguments.iter().any(|argument| {
            let text = argument
                .split_once('<')
                .map_or(argument.as_str(), |(_, path)| path);
            // Only the beginning: what is written may be long.
            let text = text.get(..8 * (folder.len() + 2)).unwrap_or(text);
            String::from_utf8_lossy(&decode(text)).starts_with(folder)
        })
    }
}

/// Every place at which a command that was recorded so can be hit: its calls of these names that touch what is beneath
/// `folder` and are wanted.
pub fn points(calls: &[Call], names: &[&str], folder: &Path, wanted: &dyn Fn(&Call) -> bool) -> Vec<Point> {
    let folder = folder.to_string_lossy();
    let mut counts: BTreeMap<(u32, &str), u32> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for call in calls.iter().filter(|call| names.contains(&call.name.as_str())) {
        let nth = counts.entry((call.thread, &call.name)).or_default();
        *nth += 1;
        if wanted(call) && call.touches(&folder) {
            found.insert(Point {
                call: call.name.clone(),
                nth: *nth,
            });
        }
    }
    found.into_iter().collect()
}
