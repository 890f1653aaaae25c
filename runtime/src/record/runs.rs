//! Runs. The folder of a run holds its log, the folds of the log (the record, the CNAB claim and result), and its
//! outputs.
//!
//! Layout: `runs/ID/events.jsonl`, `run.json`, `claim.json`, `result.json`, `log.jsonl`, `outputs/`, `offsets/`,
//! `lock`. What tasks print is in a file of its own, not among the events: it may have any length, nothing is folded
//! from it, and it is not worth a sync.
//!
//! Concurrency: the process of a run holds the kernel lock on `lock` from beginning to end, and says in it who it is
//! ([`Holder`]). A record that says
//! `running` and whose lock nobody holds belongs to a process that was killed; [`Runs::interrupted`] finds it.
//!
//! Failure: `run.json` is written at the beginning and at the end, each time whole; what happened in between is read
//! from the log, whose last line may be cut. A run of an earlier version, or one that was imported, has a record and no
//! log.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_spec::record::{self, LogLine, Run, RunId, RunStarted, RunStatus};
use samebundle_spec::{BundleName, limits};
use serde::Serialize;

use super::follow::{Cursor, Follow, FollowLog, is_held};
use super::lines::{self, RunEvents};
use super::{Holder, Mask, RecordError, RunLog};
use crate::context::Context;
use crate::home::Home;

/// The record of a run, in its folder.
pub(crate) const RECORD: &str = "run.json";
pub(super) const EVENTS: &str = "events.jsonl";
/// The folder of a run's outputs.
pub(crate) const RUN_OUTPUTS: &str = "outputs";
pub(super) const LOG: &str = "log.jsonl";
pub(super) const LOCK: &str = "lock";

/// The lock of a run that does not go on. No other process removes, ends or changes the run as long as this is there.
#[derive(Debug)]
pub struct Held {
    _lock: Option<File>,
}

/// The runs of a home.
#[derive(Debug)]
pub struct Runs<'a> {
    home: &'a Home,
}

impl<'a> Runs<'a> {
    /// Opens them.
    pub fn new(home: &'a Home) -> Self {
        Self { home }
    }

    pub(super) fn home(&self) -> &'a Home {
        self.home
    }

    /// The folder of a run.
    pub fn folder(&self, id: &RunId) -> PathBuf {
        self.home.runs().join(id.as_str())
    }

    /// Begins a run: makes its folder, takes its lock, and writes the first event and the record. `mask` hides its secrets.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn begin(&self, context: &Context, started: RunStarted, mask: Mask) -> Result<RunLog, RecordError> {
        let folder = self.folder(&started.id);
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(RecordError::io("make", &folder))?;
        let lock_path = folder.join(LOCK);
        let lock = durable::lock(&lock_path).map_err(RecordError::io("lock", &lock_path))?;
        Holder::write(&lock).map_err(RecordError::io("write", &lock_path))?;
        let log = RunLog::begin(folder.clone(), lock, context, started, mask);
        let log = log.inspect_err(|_| {
            // Nothing began, as on a full disk. What is left is collected later.
            let _ = std::fs::remove_dir_all(&folder);
        })?;
        let runs = self.home.runs();
        durable::sync_folder(&runs).map_err(RecordError::io("sync", &runs))?;
        Ok(log)
    }

    /// Reads one by its full id. The record of a run that has not ended is the fold of its events until now: a decision about one
    /// that waits is in the log before it is in the record.
    ///
    /// # Errors
    /// [`RecordError::NoRun`] if there is none; otherwise why it cannot be read.
    pub fn get(&self, id: &RunId) -> Result<Run, RecordError> {
        let no_run = || RecordError::NoRun {
            id: id.to_string(),
            near: None,
        };
        match self.written(id)? {
            Some(run) if !matches!(run.status, RunStatus::Running | RunStatus::Suspended) => Ok(run),
            written => match lines::prefix(&self.folder(id).join(EVENTS))? {
                Some(prefix) => Ok(prefix.run),
                None => written.ok_or_else(no_run),
            },
        }
    }

    /// Reads `run.json`, if it is there.
    fn written(&self, id: &RunId) -> Result<Option<Run>, RecordError> {
        let path = self.folder(id).join(RECORD);
        let bytes = durable::read(&path, limits::RUN_BYTES).map_err(RecordError::io("read", &path))?;
        let run = bytes.map(|bytes| record::parse(&bytes, limits::RUN_BYTES));
        run.transpose().map_err(RecordError::unreadable(&path))
    }

    /// Lists runs, newest first; with `installation`, only its own.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn list(&self, installation: Option<&BundleName>) -> Result<Vec<Run>, RecordError> {
        let mut runs = Vec::new();
        for id in self.ids()?.into_iter().rev() {
            match self.get(&id) {
                Ok(run) if installation.is_none_or(|name| *name == run.installation) => runs.push(run),
                // A folder without its record is a run that was killed before it began.
                Ok(_) | Err(RecordError::NoRun { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(runs)
    }

    /// Finds runs whose process was killed before their record had its end, and takes their locks.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn interrupted(&self, context: &Context) -> Result<Vec<RunLog>, RecordError> {
        let mut found = Vec::new();
        for id in self.ids()? {
            found.extend(self.abandoned(context, &id)?);
        }
        Ok(found)
    }

    /// Takes the lock of a run whose process was killed before its record had its end; none if it has its end, or goes on.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn abandoned(&self, context: &Context, id: &RunId) -> Result<Option<RunLog>, RecordError> {
        let folder = self.folder(id);
        if !self.is_open(id)? {
            return Ok(None);
        }
        let path = folder.join(LOCK);
        let lock = match durable::try_lock(&path) {
            // It was removed just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            lock => lock.map_err(RecordError::io("lock", &path))?,
        };
        let Some(lock) = lock else { return Ok(None) };
        // The run may have ended after it was read and before the lock was taken.
        match self.is_open(id)? {
            true => RunLog::resume(folder, lock, context, self.written(id)?),
            false => Ok(None),
        }
    }

    /// Tells whether the record has not the end of the run. Of one that waited, the log may say that it went on.
    fn is_open(&self, id: &RunId) -> Result<bool, RecordError> {
        Ok(match self.written(id)? {
            Some(run) if run.status == RunStatus::Suspended => self.get(id)?.status != RunStatus::Suspended,
            Some(run) => run.status == RunStatus::Running,
            None => self.folder(id).join(EVENTS).exists(),
        })
    }

    /// Tells whether a process holds the lock of a run.
    ///
    /// # Errors
    /// If the lock cannot be looked at.
    pub fn goes_on(&self, id: &RunId) -> Result<bool, RecordError> {
        is_held(&self.folder(id).join(LOCK))
    }

    /// Finds the process that holds the lock of a run that goes on; none if it cannot be seen from here: it is of another
    /// machine or container, or of a version that did not say who it is.
    ///
    /// # Errors
    /// If the lock cannot be read.
    pub fn holder(&self, id: &RunId) -> Result<Option<Holder>, RecordError> {
        let path = self.folder(id).join(LOCK);
        Holder::read(&path).map_err(RecordError::io("read", &path))
    }

    /// Opens the log of a run that waits for a person and that no process does, so that a decision can be appended.
    ///
    /// # Errors
    /// [`RecordError::Busy`] if a process does it; [`RecordError::NotSuspended`] if it ended; [`RecordError::NoLog`] if no process
    /// of this home did it; otherwise why its files cannot be read or written.
    pub fn waiting(&self, context: &Context, id: &RunId) -> Result<RunLog, RecordError> {
        let (lock, run) = self.stopped(id)?;
        if !matches!(run.status, RunStatus::Suspended | RunStatus::Interrupted) {
            let (id, status) = (id.to_string(), run.status.word());
            return Err(RecordError::NotSuspended { id, status });
        }
        let log = RunLog::resume(self.folder(id), lock, context, Some(run))?;
        log.ok_or_else(|| RecordError::NoLog { id: id.to_string() })
    }

    /// Takes the lock of a run that a process of this home did, and reads what is written of it.
    fn stopped(&self, id: &RunId) -> Result<(File, Run), RecordError> {
        let folder = self.folder(id);
        let path = folder.join(LOCK);
        let run = self.get(id)?;
        if run.imported_with.is_some() || !folder.join(EVENTS).exists() {
            return Err(RecordError::NoLog { id: id.to_string() });
        }
        let busy = || RecordError::Busy { id: id.to_string() };
        let lock = durable::try_lock(&path).map_err(RecordError::io("lock", &path))?;
        let lock = lock.ok_or_else(busy)?;
        Holder::write(&lock).map_err(RecordError::io("write", &path))?;
        let run = self.written(id)?.ok_or_else(busy)?;
        Ok((lock, run))
    }

    /// Goes on with a run that was interrupted or waits for a person: takes its lock and appends that it goes on. `mask` hides its secrets.
    ///
    /// # Errors
    /// [`RecordError::NotInterrupted`] if it ended otherwise; [`RecordError::Busy`] if it goes on already; [`RecordError::NoLog`] if no process of this
    /// home did it; otherwise why its files cannot be read or written.
    pub fn go_on(&self, context: &Context, id: &RunId, mask: Mask) -> Result<RunLog, RecordError> {
        let (lock, run) = self.stopped(id)?;
        if !matches!(run.status, RunStatus::Interrupted | RunStatus::Suspended) {
            let (id, status) = (id.to_string(), run.status.word());
            return Err(RecordError::NotInterrupted { id, status });
        }
        let log = RunLog::resume(self.folder(id), lock, context, Some(run))?;
        let log = log.ok_or_else(|| RecordError::NoLog { id: id.to_string() })?;
        log.go_on(mask)
    }

    /// Takes the lock of a run that does not go on, so that it can be removed; `None` if it goes on. Nothing is written.
    ///
    /// # Errors
    /// If its lock cannot be taken.
    pub fn hold(&self, id: &RunId) -> Result<Option<Held>, RecordError> {
        let path = self.folder(id).join(LOCK);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            // No process of this home did an imported run.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Held { _lock: None })),
            Err(error) => return Err(RecordError::io("open", &path)(error)),
        };
        let free = durable::try_lock_open(&file).map_err(RecordError::io("lock", &path))?;
        Ok(free.then_some(Held { _lock: Some(file) }))
    }

    /// Shows a run as interrupted whose record says that it goes on and whose process is gone. Nothing is written.
    ///
    /// # Errors
    /// If its lock cannot be looked at.
    pub fn see(&self, run: &mut Run) -> Result<(), RecordError> {
        if run.status == RunStatus::Running && self.hold(&run.id)?.is_some() {
            run.status = RunStatus::Interrupted;
            for task in &mut run.tasks {
                if task.status == RunStatus::Running {
                    task.status = RunStatus::Interrupted;
                }
            }
        }
        Ok(())
    }

    /// The events of a run as they are appended, from the first to the end of the run or of its process.
    ///
    /// # Errors
    /// [`RecordError::NoLog`] if the run has no log.
    pub fn follow(&self, id: &RunId) -> Result<Follow, RecordError> {
        Ok(Follow::new(self.events(id)?, &self.folder(id)))
    }

    /// The events of a run that a sink has not taken yet. `sink` names it in the run's folder: letters, digits and `-`.
    ///
    /// # Errors
    /// [`RecordError::NoLog`] if the run has no log; otherwise why the sink's offset cannot be read.
    pub fn cursor(&self, id: &RunId, sink: &'static str) -> Result<Cursor, RecordError> {
        Cursor::open(self.events(id)?, self.folder(id), sink)
    }

    /// The events of a run until now.
    ///
    /// # Errors
    /// [`RecordError::NoLog`] if the run has no log.
    pub fn events(&self, id: &RunId) -> Result<RunEvents, RecordError> {
        let events = RunEvents::open(&self.folder(id).join(EVENTS))?;
        events.ok_or_else(|| RecordError::NoLog { id: id.to_string() })
    }

    /// What the tasks of a run print, from the first line.
    pub fn follow_log(&self, id: &RunId) -> FollowLog {
        FollowLog::new(self.folder(id))
    }

    /// Reads what the tasks of a run printed; a last line that was cut is left out.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn log(&self, id: &RunId) -> Result<Vec<LogLine>, RecordError> {
        let mut printed = self.follow_log(id);
        std::iter::from_fn(|| printed.line().transpose()).collect()
    }

    /// All ids, oldest first: a ULID sorts by time.
    pub(crate) fn ids(&self) -> Result<Vec<RunId>, RecordError> {
        let folder = self.home.runs();
        let entries = std::fs::read_dir(&folder).map_err(RecordError::io("list", &folder))?;
        let mut ids: Vec<RunId> = Vec::new();
        for entry in entries {
            let name = entry.map_err(RecordError::io("list", &folder))?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse().ok()));
        }
        ids.sort();
        Ok(ids)
    }
}

/// Writes the record of a run.
pub(crate) fn write_run(folder: &Path, run: &Run) -> Result<(), RecordError> {
    write_document(folder, RECORD, run)
}

pub(super) fn write_document(
    folder: &Path,
    name: &str,
    document: &impl Serialize,
) -> Result<(), RecordError> {
    let path = folder.join(name);
    let bytes = serde_json::to_vec_pretty(document).map_err(|error| RecordError::Damaged {
        path: path.display().to_string(),
        why: error.to_string(),
    })?;
    durable::write(&path, &bytes, 0o600).map_err(RecordError::io("write", &path))
}

#[cfg(test)]
mod tests;
