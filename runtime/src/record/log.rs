//! The log of a run of this process: it appends events, and keeps the record, which is their fold.
//!
//! Concurrency: only the process that holds the run's lock writes; its tasks may append from any thread, and the order
//! of their events is the order of the file. Failure: an event that cannot be written waits and is tried again with the
//! next one, so that the file is always a prefix of the log; the end of the run reports if some are missing.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use samebundle_registry::durable;
use samebundle_spec::Timestamp;
use samebundle_spec::record::{
    ClaimResult, LogLine, OutputRecord, Run, RunEvent, RunEventKind, RunFinished, RunStarted, RunStatus,
    TaskDecided,
};
use serde::Serialize;

use super::RecordError;
use super::lines::{self, Prefix};
use super::mask::Mask;
use super::runs::{EVENTS, LOCK, LOG, write_document, write_run};
use crate::context::{Clock, Context};
use crate::driver::LogSink;
use crate::event::{Event, Events, Logged, Silent};

/// The log of a run of this process.
#[derive(Debug)]
pub struct RunLog {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    watcher: Arc<dyn Events>,
    writer: Mutex<Writer>,
    lines: Mutex<File>,
    mask: Mask,
    _lock: File,
}

#[derive(Debug)]
struct Writer {
    file: File,
    /// Bytes of the events that were written completely.
    whole: u64,
    /// Events that are not written yet.
    waiting: Vec<u8>,
    /// Whether the file may hold more than complete events: the last attempt to write failed, or none was made.
    failed: bool,
    /// Number of the last event.
    last: u64,
    run: Run,
    finished: Option<RunFinished>,
}

impl Writer {
    fn write(&mut self, sync: bool) -> io::Result<()> {
        if self.failed {
            // Readers would stop at half a line.
            self.file.set_len(self.whole)?;
        }
        self.file.write_all(&self.waiting)?;
        if sync {
            self.file.sync_data()?;
        }
        self.whole += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

impl RunLog {
    /// Begins the log of a run in its folder. The caller holds the run's lock.
    pub(super) fn begin(
        folder: PathBuf,
        lock: File,
        context: &Context,
        started: RunStarted,
        mask: Mask,
    ) -> Result<Self, RecordError> {
        let path = folder.join(EVENTS);
        let event = RunEvent {
            sequence: 1,
            time: Timestamp::from(context.clock.now()),
            kind: RunEventKind::RunStarted(Box::new(started)),
        };
        let run = Run::begin(&event).expect("it is the event of a start");
        let mut writer = Writer {
            file: append(&path)?,
            whole: 0,
            waiting: event.to_line(),
            failed: true,
            last: 1,
            run,
            finished: None,
        };
        writer.write(true).map_err(RecordError::io("write", &path))?;
        writer.failed = false;
        write_run(&folder, &writer.run)?;
        context.events.logged(Logged::Event(&event));
        Self::over(folder, lock, context, writer, mask)
    }

    /// Continues the log of a run whose process was killed. The caller holds the run's lock; `run` is the record in the
    /// folder. Whatever follows the last event that can be read is removed.
    pub(super) fn resume(
        folder: PathBuf,
        lock: File,
        context: &Context,
        run: Option<Run>,
    ) -> Result<Option<Self>, RecordError> {
        let path = folder.join(EVENTS);
        let prefix = match (lines::prefix(&path)?, run) {
            (Some(prefix), _) => prefix,
            // A version of samebundle without logs began the run.
            (None, Some(run)) => Prefix {
                run,
                finished: None,
                last: 0,
                bytes: 0,
            },
            (None, None) => return Ok(None),
        };
        let writable = prefix.run.format.check_writable();
        writable.map_err(|source| RecordError::Format {
            path: path.display().to_string(),
            source,
        })?;
        let mut writer = Writer {
            file: append(&path)?,
            whole: prefix.bytes,
            waiting: Vec::new(),
            failed: true,
            last: prefix.last,
            run: prefix.run,
            finished: prefix.finished,
        };
        if writer.last == 0 {
            let first = RunEvent {
                sequence: 1,
                time: writer.run.started,
                kind: RunEventKind::RunStarted(Box::new(RunStarted::of(&writer.run))),
            };
            writer.waiting = first.to_line();
            writer.last = 1;
        }
        writer.write(true).map_err(RecordError::io("write", &path))?;
        writer.failed = false;
        Self::over(folder, lock, context, writer, Mask::default()).map(Some)
    }

    /// Appends what a person decided, to the log of a run that waits, and writes the record. Either both are durable afterwards,
    /// or an error says so.
    ///
    /// # Errors
    /// If the log or the record cannot be written.
    pub fn decide(self, decided: TaskDecided) -> Result<Run, RecordError> {
        self.append(RunEventKind::TaskDecided(decided));
        let mut writer = self.writer();
        let path = self.folder.join(EVENTS);
        writer.write(true).map_err(RecordError::io("write", &path))?;
        write_run(&self.folder, &writer.run)?;
        Ok(writer.run.clone())
    }

    /// Goes on with a run that is recorded as interrupted or waits for a person. `mask` hides its secrets, which are read anew.
    ///
    /// # Errors
    /// If the log or the record cannot be written.
    pub(super) fn go_on(mut self, mask: Mask) -> Result<Self, RecordError> {
        self.mask = mask;
        self.append(RunEventKind::RunResumed);
        let mut writer = self.writer();
        writer.finished = None;
        let path = self.folder.join(EVENTS);
        writer.write(true).map_err(RecordError::io("write", &path))?;
        write_run(&self.folder, &writer.run)?;
        drop(writer);
        Ok(self)
    }

    fn over(
        folder: PathBuf,
        lock: File,
        context: &Context,
        writer: Writer,
        mask: Mask,
    ) -> Result<Self, RecordError> {
        let lines = append(&folder.join(LOG))?;
        Ok(Self {
            folder,
            clock: Arc::clone(&context.clock),
            watcher: Arc::clone(&context.events),
            writer: Mutex::new(writer),
            lines: Mutex::new(lines),
            mask,
            _lock: lock,
        })
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The record of all events until now.
    pub fn run(&self) -> Run {
        self.writer().run.clone()
    }

    /// Looks at the record of all events until now, without a copy of it. No event is appended meanwhile.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Run) -> T) -> T {
        at(&self.writer().run)
    }

    /// Makes what stands for the log of a run that has ended, in a folder that is no run's: nobody reads it, and the run's own
    /// files stay as they are. `mask` hides its secrets.
    ///
    /// # Errors
    /// If a file cannot be made.
    pub(crate) fn aside(folder: &Path, context: &Context, run: Run, mask: Mask) -> Result<Self, RecordError> {
        let path = folder.join(EVENTS);
        let lock_path = folder.join(LOCK);
        let lock = durable::lock(&lock_path).map_err(RecordError::io("lock", &lock_path))?;
        let writer = Writer {
            file: append(&path)?,
            whole: 0,
            waiting: Vec::new(),
            failed: false,
            last: 0,
            run,
            finished: None,
        };
        let unseen = Context {
            events: Arc::new(Silent),
            ..context.clone()
        };
        Self::over(folder.to_owned(), lock, &unseen, writer, mask)
    }

    /// Returns a text without the secrets of the run.
    pub(crate) fn text(&self, text: &str) -> String {
        self.mask.text(text).into_owned()
    }

    /// Tells whether a mask would change values in the log, so that they cannot be read from it.
    pub(crate) fn hides(&self, records: &BTreeMap<String, OutputRecord>) -> bool {
        self.mask.hides(records)
    }

    /// Returns values as the log has them.
    pub(crate) fn shown(
        &self,
        mut records: BTreeMap<String, OutputRecord>,
    ) -> BTreeMap<String, OutputRecord> {
        self.mask.records(&mut records);
        records
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an event and returns its time. It is durable afterwards if it ends a container or the run.
    pub fn append(&self, mut kind: RunEventKind) -> Timestamp {
        self.mask.event(&mut kind);
        let mut writer = self.writer();
        let event = RunEvent {
            sequence: writer.last + 1,
            time: Timestamp::from(self.clock.now()),
            kind,
        };
        writer.last = event.sequence;
        writer.waiting.extend(event.to_line());
        writer.run.apply(&event);
        let sync = match &event.kind {
            // What ended without an exit code follows from other tasks, or is done again without harm.
            RunEventKind::TaskFinished(finished) => !finished.will_retry && finished.exit_code.is_some(),
            RunEventKind::RunFinished(finished) => {
                writer.finished = Some(finished.clone());
                true
            }
            _ => false,
        };
        if let Err(error) = writer.write(sync) {
            if !writer.failed {
                let text = format!("the log of run {} cannot be written: {error}", writer.run.id);
                tracing::warn!("{text}");
                self.watcher.emit(Event::Notice { text });
            }
            writer.failed = true;
        } else {
            writer.failed = false;
        }
        // Watchers see events in the order of the file.
        self.watcher.logged(Logged::Event(&event));
        event.time
    }

    /// Shows a state of a line that a task replaces again. It is not kept.
    pub fn replaced(&self, task: &str, line: &str, stderr: bool) {
        let line = self.of_task(task, line, stderr);
        self.watcher.logged(Logged::Replaced(&line));
    }

    /// Appends to what the tasks printed. A line that cannot be written does not stop the run.
    pub fn line(&self, task: &str, line: &str, stderr: bool) {
        let line = self.of_task(task, line, stderr);
        let mut bytes = serde_json::to_vec(&line).expect("a struct of texts serializes");
        bytes.push(b'\n');
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        drop(lines.write_all(&bytes));
        self.watcher.logged(Logged::Line(&line));
    }

    fn of_task(&self, task: &str, line: &str, stderr: bool) -> LogLine {
        LogLine {
            task: task.to_owned(),
            line: self.mask.text(line).into_owned(),
            stderr,
            time: Some(Timestamp::from(self.clock.now())),
        }
    }

    /// Writes a document into the run's folder, e.g. `claim.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, document: &impl Serialize) -> Result<(), RecordError> {
        write_document(&self.folder, name, document)
    }

    /// Ends the run, unless its log has the end already, and writes the folds of the log: the record and the CNAB
    /// result.
    ///
    /// # Errors
    /// If the record or the log cannot be written.
    pub fn finish(self, finished: RunFinished) -> Result<Run, RecordError> {
        let status = self.writer().run.status;
        // One that waits for a person is ended, and does not stop once more.
        let waits = status == RunStatus::Suspended && finished.status != RunStatus::Suspended;
        if status == RunStatus::Running || waits {
            self.append(RunEventKind::RunFinished(finished));
        }
        let mut writer = self.writer();
        let logged = writer.write(true);
        if let Some(finished) = &writer.finished {
            let result = ClaimResult::of(&writer.run, &finished.result);
            self.write("result.json", &result)?;
        }
        // A record with an end says that nothing is left to do.
        write_run(&self.folder, &writer.run)?;
        logged.map_err(RecordError::io("write", &self.folder.join(EVENTS)))?;
        Ok(writer.run.clone())
    }
}

fn append(path: &Path) -> Result<File, RecordError> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    file.map_err(RecordError::io("write", path))
}

/// Appends the lines that the container of one task prints.
#[derive(Debug)]
pub(crate) struct TaskLines<'a> {
    pub(crate) task: &'a str,
    pub(crate) log: &'a RunLog,
}

impl LogSink for TaskLines<'_> {
    fn line(&self, line: &str, stderr: bool) {
        self.log.line(self.task, line, stderr);
    }

    fn replaced(&self, line: &str, stderr: bool) {
        self.log.replaced(self.task, line, stderr);
    }
}

#[cfg(test)]
mod tests {
    use samebundle_spec::record::{RunId, TaskStarted};

    use super::*;
    use crate::context::testing::Still;
    use crate::home::Home;
    use crate::record::{Runs, testing};

    /// While a disk is full, events wait in memory, and the file stays a prefix of the log.
    #[test]
    fn events_that_could_not_be_written_are_written_with_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context {
            clock: Arc::new(Still),
            home: Home::open(folder.path()).unwrap(),
            cancel: Default::default(),
            events: Arc::new(Silent),
            offline: true,
        };
        let runs = Runs::new(&context.home);
        let started = testing::started(1);
        let id: RunId = started.id.clone();
        let log = runs.begin(&context, started, Mask::default()).unwrap();
        let begin = |task: &str| {
            log.append(RunEventKind::TaskStarted(TaskStarted {
                task: task.to_owned(),
                attempt: 1,
                image: None,
                items: None,
                tries: None,
                inputs: Default::default(),
            }))
        };
        let written = || {
            let mut events = runs.events(&id).unwrap();
            std::iter::from_fn(|| events.next_event().unwrap()).count()
        };
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let whole = std::mem::replace(&mut log.writer().file, full);
        begin("a");
        begin("b");
        assert_eq!((written(), log.run().tasks.len()), (1, 2));
        log.writer().file = whole;
        begin("c");
        assert_eq!((written(), log.run().tasks.len()), (4, 3));
        log.writer().file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let finished = RunFinished {
            status: RunStatus::Succeeded,
            message: None,
            outputs: Default::default(),
            result: id.clone(),
        };
        let error = log.finish(finished).unwrap_err().to_string();
        assert!(error.starts_with("could not write "), "{error}");
        // The record is written in another way.
        assert_eq!(runs.get(&id).unwrap().status, RunStatus::Succeeded);
    }
}
