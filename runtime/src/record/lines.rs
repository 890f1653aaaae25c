//! Reads files of JSON lines that another process may be writing: the log of a run's events, and what its tasks printed.
//!
//! Failure: a last line without a line end is not complete. It is read again when the file has grown.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use samebundle_spec::limits;
use samebundle_spec::record::{Run, RunEvent, RunEventKind, RunFinished};

use super::RecordError;

/// Reads the complete lines of a file.
#[derive(Debug)]
pub(super) struct Lines {
    file: BufReader<File>,
    path: PathBuf,
    /// Bytes of the lines that were read.
    end: u64,
}

impl Lines {
    /// Opens a file; none if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, RecordError> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self {
                file: BufReader::new(file),
                path: path.to_owned(),
                end: 0,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RecordError::io("read", path)(error)),
        }
    }

    /// Reads the next line, without its end; none if there is no complete one now.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, RecordError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.file).take(limits::RUN_BYTES);
        let read = limited.read_until(b'\n', &mut line);
        let read = read.map_err(RecordError::io("read", &self.path))? as u64;
        if line.pop_if(|last| *last == b'\n').is_some() {
            self.end += read;
            return Ok(Some(line));
        }
        if read == limits::RUN_BYTES {
            return Err(RecordError::Damaged {
                path: self.path.display().to_string(),
                why: format!("a line has more than {read} bytes"),
            });
        }
        let back = self.file.seek(SeekFrom::Start(self.end));
        back.map_err(RecordError::io("read", &self.path))?;
        Ok(None)
    }
}

/// The events of a run's log, from the first.
#[derive(Debug)]
pub struct RunEvents {
    lines: Lines,
    last: u64,
}

impl RunEvents {
    /// Opens a log; none if the run has none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, RecordError> {
        Ok(Lines::open(path)?.map(|lines| Self { lines, last: 0 }))
    }

    /// Reads the next event; none if no more was appended until now.
    ///
    /// # Errors
    /// If the log is of another major, damaged, or cannot be read.
    pub fn next_event(&mut self) -> Result<Option<RunEvent>, RecordError> {
        let Some(line) = self.lines.next()? else {
            return Ok(None);
        };
        let event = RunEvent::parse(self.last, &line).map_err(RecordError::unreadable(&self.lines.path))?;
        self.last = event.sequence;
        Ok(Some(event))
    }
}

/// The part of a log that can be read, folded.
#[derive(Debug)]
pub(super) struct Prefix {
    pub(super) run: Run,
    /// The last event, if the run ended.
    pub(super) finished: Option<RunFinished>,
    /// Number of the last event.
    pub(super) last: u64,
    /// Bytes of all events.
    pub(super) bytes: u64,
}

/// Reads a log to its end, or to the first line that is no event: a power cut left that line. None if there is no log,
/// or not even its first event.
pub(super) fn prefix(path: &Path) -> Result<Option<Prefix>, RecordError> {
    let Some(mut events) = RunEvents::open(path)? else {
        return Ok(None);
    };
    let mut found: Option<Prefix> = None;
    loop {
        let event = match events.next_event() {
            Ok(Some(event)) => event,
            Ok(None) | Err(RecordError::Damaged { .. }) => return Ok(found),
            Err(error) => return Err(error),
        };
        let prefix = match &mut found {
            Some(prefix) => {
                prefix.run.apply(&event);
                prefix
            }
            None => {
                let Some(run) = Run::begin(&event) else {
                    return Ok(None);
                };
                found.insert(Prefix {
                    run,
                    finished: None,
                    last: 0,
                    bytes: 0,
                })
            }
        };
        prefix.last = event.sequence;
        prefix.bytes = events.lines.end;
        match event.kind {
            RunEventKind::RunFinished(finished) => prefix.finished = Some(finished),
            RunEventKind::RunResumed => prefix.finished = None,
            _ => {}
        }
    }
}
