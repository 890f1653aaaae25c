//! Reads the log of a run that may still be running, here or in another process: to its end ([`Follow`]), or from the
//! last event that a sink took ([`Cursor`]).

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use samebundle_registry::durable;
use samebundle_spec::limits;
use samebundle_spec::record::{self, Format, LogLine, Run, RunEvent, RunEventKind, RunStatus};
use serde::{Deserialize, Serialize};

use super::lines::{Lines, RunEvents};
use super::runs::LOCK;
use super::{RecordError, runs};

/// How long a follower waits before it looks again.
const PAUSE: Duration = Duration::from_millis(100);

/// The events of a run as they are appended.
#[derive(Debug)]
pub struct Follow {
    events: RunEvents,
    lock: PathBuf,
    ended: bool,
}

impl Follow {
    pub(super) fn new(events: RunEvents, folder: &Path) -> Self {
        Self {
            events,
            lock: folder.join(LOCK),
            ended: false,
        }
    }

    /// Reads the next event that was appended until now; none if there is no other.
    ///
    /// # Errors
    /// If the log is damaged or cannot be read.
    pub fn event(&mut self) -> Result<Option<RunEvent>, RecordError> {
        self.events.next_event()
    }

    /// Waits for the next event; none after the run's end, and after the last event of a run whose process is gone.
    ///
    /// # Errors
    /// If the log is damaged or cannot be read.
    pub async fn next_event(&mut self) -> Result<Option<RunEvent>, RecordError> {
        while !self.ended {
            // The lock is looked at first: whatever was appended before it was released can then be read.
            let held = is_held(&self.lock)?;
            if let Some(event) = self.events.next_event()? {
                // A run that was interrupted or waits may go on, and its lock tells whether it does.
                self.ended = match &event.kind {
                    RunEventKind::RunFinished(finished) => {
                        !matches!(finished.status, RunStatus::Interrupted | RunStatus::Suspended)
                    }
                    _ => false,
                };
                return Ok(Some(event));
            }
            match held {
                true => tokio::time::sleep(PAUSE).await,
                false => self.ended = true,
            }
        }
        Ok(None)
    }
}

/// What the tasks of a run print, as it is printed.
#[derive(Debug)]
pub struct FollowLog {
    lines: Option<Lines>,
    folder: PathBuf,
    ended: bool,
}

impl FollowLog {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            lines: None,
            folder,
            ended: false,
        }
    }

    /// Reads the next line that was printed until now; none if there is no other.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn line(&mut self) -> Result<Option<LogLine>, RecordError> {
        if self.lines.is_none() {
            // A run that has just begun has no file yet.
            self.lines = Lines::open(&self.folder.join(runs::LOG))?;
        }
        let line = match &mut self.lines {
            Some(lines) => lines.next()?,
            None => None,
        };
        // A power cut leaves a last line that is none, and nothing follows it.
        Ok(line.and_then(|line| serde_json::from_slice(&line).ok()))
    }

    /// Waits for the next line; none after the last of a run that ended or whose process is gone.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn next_line(&mut self) -> Result<Option<LogLine>, RecordError> {
        while !self.ended {
            // In this order for the same reason as with events.
            let held = is_held(&self.folder.join(LOCK))?;
            if let Some(line) = self.line()? {
                return Ok(Some(line));
            }
            match held {
                true => tokio::time::sleep(PAUSE).await,
                false => self.ended = true,
            }
        }
        Ok(None)
    }
}

/// Tells whether a process holds the lock of a run. It takes the lock shared and releases it at once.
pub(super) fn is_held(lock: &Path) -> Result<bool, RecordError> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(RecordError::io("read", lock)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(RecordError::io("lock", lock)(error)),
    }
}

/// The events of a run that a sink has not taken yet, each at least once. The number of the last event that it took is
/// kept in the run's folder. A sink is a fold; [`run`](Self::run) is the fold of all earlier events.
#[derive(Debug)]
pub struct Cursor {
    events: RunEvents,
    folder: PathBuf,
    sink: &'static str,
    run: Option<Run>,
    /// Number of the last event that the sink took.
    taken: u64,
    /// Number of the last event that the sink was given.
    given: u64,
}

/// The number of the last event that a sink took.
#[derive(Serialize, Deserialize)]
struct Offset {
    format: Format,
    sequence: u64,
}

impl Cursor {
    pub(super) fn open(events: RunEvents, folder: PathBuf, sink: &'static str) -> Result<Self, RecordError> {
        let path = offset_path(&folder, sink);
        let bytes = durable::read(&path, limits::RUN_BYTES).map_err(RecordError::io("read", &path))?;
        let taken = match bytes {
            Some(bytes) => {
                let offset: Offset =
                    record::parse(&bytes, limits::RUN_BYTES).map_err(RecordError::unreadable(&path))?;
                offset.sequence
            }
            None => 0,
        };
        Ok(Self {
            events,
            folder,
            sink,
            run: None,
            taken,
            given: 0,
        })
    }

    /// Returns the next event that the sink has not taken; none if no more was appended until now.
    ///
    /// # Errors
    /// If the log is damaged or cannot be read.
    pub fn next_event(&mut self) -> Result<Option<RunEvent>, RecordError> {
        while let Some(event) = self.events.next_event()? {
            match &mut self.run {
                Some(run) => run.apply(&event),
                None => self.run = Run::begin(&event),
            }
            self.given = event.sequence;
            if event.sequence > self.taken {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The record of all events that were given until now; none before the first.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Remembers that the sink took all events that it was given.
    ///
    /// # Errors
    /// If the offset cannot be written.
    pub fn commit(&mut self) -> Result<(), RecordError> {
        let path = offset_path(&self.folder, self.sink);
        // An event that a power cut takes away must not count as taken: another one will have its number.
        let events = self.folder.join(runs::EVENTS);
        let synced = File::open(&events).and_then(|file| file.sync_data());
        synced.map_err(RecordError::io("sync", &events))?;
        let folder = self.folder.join(OFFSETS);
        durable::make_folder(&folder, 0o700).map_err(RecordError::io("make", &folder))?;
        let offset = Offset {
            format: Format::CURRENT,
            sequence: self.given.max(self.taken),
        };
        let bytes = serde_json::to_vec(&offset).expect("two numbers serialize");
        durable::write(&path, &bytes, 0o600).map_err(RecordError::io("write", &path))?;
        self.taken = offset.sequence;
        Ok(())
    }
}

/// The folder of a run in which the offsets of sinks are.
const OFFSETS: &str = "offsets";

fn offset_path(folder: &Path, sink: &str) -> PathBuf {
    folder.join(OFFSETS).join(format!("{sink}.json"))
}
