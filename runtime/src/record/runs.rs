//! Runs: a folder each, with the record, the CNAB claim and result, the log and the outputs.
//!
//! Layout: `runs/ID/run.json`, `claim.json`, `result.json`, `log.jsonl`, `outputs/`, `lock`.
//!
//! Concurrency: the process that runs holds the kernel lock on `lock` from beginning to end. A record that says `running`
//! and whose lock nobody holds belongs to a process that was killed; [`Runs::interrupted`] finds it.
//!
//! Failure: `run.json` is replaced whole at every change; the log is appended to and its last line may be cut.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use samebundle_registry::durable;
use samebundle_spec::record::{self, Run, RunStatus};
use samebundle_spec::{BundleName, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RecordError;
use crate::home::Home;

/// The runs of a home.
#[derive(Debug)]
pub struct Runs<'a> {
    home: &'a Home,
}

/// A line that a task printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Name of the task.
    pub task: String,
    /// The line without its line end.
    pub line: String,
    /// Whether it came by standard error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stderr: bool,
}

/// A run that this process is doing.
#[derive(Debug)]
pub struct RunHandle {
    folder: PathBuf,
    log: Mutex<BufWriter<File>>,
    _lock: File,
}

impl<'a> Runs<'a> {
    /// Opens them.
    pub fn new(home: &'a Home) -> Self {
        Self { home }
    }

    /// The folder of a run. `id` comes from a record or from [`Runs::find_id`].
    pub fn folder(&self, id: &str) -> PathBuf {
        self.home.runs().join(id)
    }

    /// Begins a run: makes its folder, takes its lock and writes its record.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn begin(&self, run: &Run) -> Result<RunHandle, RecordError> {
        let folder = self.folder(&run.id);
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(RecordError::io("make", &folder))?;
        let lock_path = folder.join("lock");
        let lock = durable::lock(&lock_path).map_err(RecordError::io("lock", &lock_path))?;
        write_run(&folder, run)?;
        durable::sync_folder(&self.home.runs()).map_err(RecordError::io("sync", &folder))?;
        let log_path = folder.join("log.jsonl");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&log_path);
        let log = log.map_err(RecordError::io("write", &log_path))?;
        Ok(RunHandle {
            folder,
            log: Mutex::new(BufWriter::new(log)),
            _lock: lock,
        })
    }

    /// Reads one by its full id.
    ///
    /// # Errors
    /// [`RecordError::NoRun`] if there is none; otherwise why it cannot be read.
    pub fn get(&self, id: &str) -> Result<Run, RecordError> {
        let path = self.folder(id).join("run.json");
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => RecordError::NoRun { id: id.to_owned() },
            _ => RecordError::io("read", &path)(error),
        })?;
        record::parse(&bytes, limits::RUN_BYTES).map_err(RecordError::unreadable(&path))
    }

    /// Finds a run by its id, the beginning of it, or `last`.
    ///
    /// # Errors
    /// [`RecordError::NoRun`] or [`RecordError::AmbiguousRun`].
    pub fn find_id(&self, text: &str) -> Result<String, RecordError> {
        let wanted = text.to_ascii_uppercase();
        let ids = self.ids()?;
        let no_run = || RecordError::NoRun { id: text.to_owned() };
        if text == "last" {
            return ids.into_iter().next_back().ok_or_else(no_run);
        }
        let mut matching = ids.into_iter().filter(|id| id.starts_with(&wanted));
        let first = matching.next().ok_or_else(no_run)?;
        match matching.count() {
            0 => Ok(first),
            more => Err(RecordError::AmbiguousRun {
                id: text.to_owned(),
                count: more + 1,
            }),
        }
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

    /// Finds runs whose process was killed.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn interrupted(&self) -> Result<Vec<(Run, RunHandle)>, RecordError> {
        let mut found = Vec::new();
        for run in self
            .list(None)?
            .into_iter()
            .filter(|run| run.status == RunStatus::Running)
        {
            let folder = self.folder(&run.id);
            let lock_path = folder.join("lock");
            let lock = durable::try_lock(&lock_path).map_err(RecordError::io("lock", &lock_path))?;
            if let Some(lock) = lock {
                let log = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(folder.join("log.jsonl"));
                let log = log.map_err(RecordError::io("write", &folder))?;
                found.push((
                    run,
                    RunHandle {
                        folder,
                        log: Mutex::new(BufWriter::new(log)),
                        _lock: lock,
                    },
                ));
            }
        }
        Ok(found)
    }

    /// Reads the log of a run; a last line that was cut is left out.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn log(&self, id: &str) -> Result<Vec<LogLine>, RecordError> {
        let path = self.folder(id).join("log.jsonl");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RecordError::io("read", &path)(error)),
        };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        Ok(lines.map_while(|line| serde_json::from_str(&line).ok()).collect())
    }

    /// All ids, oldest first: a ULID sorts by time.
    fn ids(&self) -> Result<Vec<String>, RecordError> {
        let folder = self.home.runs();
        let entries = std::fs::read_dir(&folder).map_err(RecordError::io("list", &folder))?;
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(RecordError::io("list", &folder))?.file_name();
            ids.extend(name.into_string().ok().filter(|name| is_id(name)));
        }
        ids.sort();
        Ok(ids)
    }
}

/// Tells whether a text has the form of a run's id, so that it is safe in a path.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 26 && text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase())
}

/// Writes a run that was done elsewhere.
pub(crate) fn write_run(folder: &Path, run: &Run) -> Result<(), RecordError> {
    write_document(folder, "run.json", run)
}

fn write_document(folder: &Path, name: &str, document: &impl Serialize) -> Result<(), RecordError> {
    let path = folder.join(name);
    let bytes = serde_json::to_vec_pretty(document).map_err(|error| RecordError::Damaged {
        path: path.display().to_string(),
        why: error.to_string(),
    })?;
    durable::write(&path, &bytes, 0o600).map_err(RecordError::io("write", &path))
}

impl RunHandle {
    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Replaces the record.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn update(&self, run: &Run) -> Result<(), RecordError> {
        write_run(&self.folder, run)
    }

    /// Writes a document beside the record, e.g. `claim.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, document: &impl Serialize) -> Result<(), RecordError> {
        write_document(&self.folder, name, document)
    }

    /// Appends to the log. A log that cannot be written does not stop the run.
    pub fn log(&self, line: &LogLine) {
        let mut log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let written = serde_json::to_writer(&mut *log, line).is_ok() && log.write_all(b"\n").is_ok();
        if written {
            drop(log.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program may output any integer of 64 bits; the record of its run must stay readable.
    #[test]
    fn reads_back_what_it_wrote_with_integers_of_64_bits() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let id = "01K00000000000000000000000";
        let document = serde_json::json!({
            "format": "1.0", "id": id, "installation": "digits", "action": "run", "bundle": "digits",
            "version": "1.0.0", "driver": "embedded", "parameters": {}, "status": "succeeded",
            "bundleDigest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "verification": {"by": "consent", "reason": "--allow-unsigned"},
            "started": "2026-11-22T05:06:13Z",
            "outputs": {"n": {"value": i64::MAX}},
        });
        let run: Run = serde_json::from_value(document).unwrap();
        let runs = Runs::new(&home);
        drop(runs.begin(&run).unwrap());
        assert_eq!(runs.get(id).unwrap(), run);
        assert_eq!(runs.list(None).unwrap(), [run]);
    }
}
