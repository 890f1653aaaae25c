//! The files of a run as others get them: with names that open, and with what was measured as tables.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use samebundle_spec::record::{
    ArtifactRecord, Classification, LogLine, Metrics, OutputRecord, Run, TaskRecord,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::MetadataError;
use crate::results::FileKind;

/// What a run's folder holds that is not an output, and what it is called elsewhere.
const RECORDS: [&str; 5] = [
    "run.json",
    "claim.json",
    "result.json",
    "events.jsonl",
    "log.jsonl",
];
/// The folder of these files elsewhere.
const OWN: &str = "samebundle";

/// A file to be sent.
#[derive(Debug)]
pub(super) struct RunFile {
    /// Its path at the other side.
    pub(super) name: String,
    /// Where it is here.
    pub(super) path: PathBuf,
    /// Its bytes.
    pub(super) size: u64,
}

/// The files of a run.
#[derive(Debug)]
pub(super) struct RunFiles {
    /// Each of them.
    pub(super) files: Vec<RunFile>,
    /// Which of them hold a table: an object of `columns` and `data`.
    pub(super) tables: Vec<String>,
    /// What is not here, a sentence each.
    pub(super) absent: Vec<String>,
    /// Holds those that were made to be sent.
    _made: TempDir,
}

/// An output of a run that has a file or folder here, and the name that opens.
#[derive(Debug)]
pub(super) struct NamedArtifact<'a> {
    /// Name of the output, `NAME` or `TASK.NAME`.
    pub(super) output: String,
    /// The artifact.
    pub(super) artifact: &'a ArtifactRecord,
    /// Its name with an ending.
    pub(super) name: String,
    /// Where it is here; none if its content is not here.
    pub(super) path: Option<PathBuf>,
}

/// Names all artifacts of a run, each once.
///
/// # Errors
/// If a file that is here cannot be read.
pub(super) fn artifacts<'a>(run: &'a Run, folder: &Path) -> Result<Vec<NamedArtifact<'a>>, MetadataError> {
    let mut taken = BTreeSet::new();
    let mut named = Vec::new();
    for (output, record) in run.distinct_outputs() {
        let OutputRecord::Artifacts(artifacts) = record else {
            continue;
        };
        for (number, artifact) in artifacts.iter().enumerate() {
            let path = artifact.path.as_ref().map(|path| folder.join(path));
            let path = path.filter(|path| path.symlink_metadata().is_ok());
            let kind = path.as_deref().map(|path| FileKind::of(artifact, path));
            let kind = match (kind.transpose(), &path) {
                (Err(error), Some(path)) => return Err(MetadataError::io("read", path)(error)),
                (kind, _) => kind.ok().flatten(),
            };
            let stem = match artifacts.len() {
                1 => plain(&output),
                _ => format!("{}-{number}", plain(&output)),
            };
            let ending = kind.as_ref().and_then(FileKind::ending);
            let ending = ending.map(|ending| format!(".{ending}")).unwrap_or_default();
            let name = free(&mut taken, &stem, &ending);
            named.push(NamedArtifact {
                output: output.clone(),
                artifact,
                name,
                path,
            });
        }
    }
    Ok(named)
}

/// Collects the files of a run.
///
/// # Errors
/// If one that is here cannot be read, or a table cannot be written.
pub(super) fn collect(run: &Run, folder: &Path, scratch: &Path) -> Result<RunFiles, MetadataError> {
    let made = tempfile::Builder::new().prefix("metadata-").tempdir_in(scratch);
    let made = made.map_err(MetadataError::io("make a folder in", scratch))?;
    let mut files = RunFiles {
        files: Vec::new(),
        tables: Vec::new(),
        absent: Vec::new(),
        _made: made,
    };
    for artifact in artifacts(run, folder)? {
        match (&artifact.path, &artifact.artifact.digest) {
            (Some(path), _) => files.add_tree(path, &format!("outputs/{}", artifact.name))?,
            (None, Some(digest)) => files.absent.push(format!(
                "the content of {} ({digest}, {} bytes) is not here",
                artifact.output, artifact.artifact.size
            )),
            (None, None) => {}
        }
        for (name, table) in tables_of(&artifact) {
            files.make_table(&format!("metrics/{name}"), &table)?;
        }
    }
    let values: Map<String, Value> = values_of(run).collect();
    if !values.is_empty() {
        files.make("outputs/values.json", |to| {
            serde_json::to_writer_pretty(to, &values).map_err(io::Error::from)
        })?;
    }
    if !run.tasks.is_empty() {
        files.make_table("tasks.json", &tasks(run))?;
    }
    files.add_records(folder)?;
    Ok(files)
}

impl RunFiles {
    /// Adds the records of a run, and what its tasks printed.
    fn add_records(&mut self, folder: &Path) -> Result<(), MetadataError> {
        for name in RECORDS {
            let path = folder.join(name);
            if path.is_file() {
                self.add_tree(&path, &format!("{OWN}/{name}"))?;
            }
        }
        if let Ok(log) = File::open(folder.join("log.jsonl")) {
            self.make("log.txt", |to| write_log(log, to))?;
        }
        Ok(())
    }

    /// Adds a file, or each file of a folder. A link is followed if it leads to a file of the same folder.
    fn add_tree(&mut self, path: &Path, name: &str) -> Result<(), MetadataError> {
        let root = path.canonicalize().map_err(MetadataError::io("read", path))?;
        let mut waiting = vec![(path.to_owned(), name.to_owned())];
        while let Some((path, name)) = waiting.pop() {
            let metadata = path
                .symlink_metadata()
                .map_err(MetadataError::io("read", &path))?;
            if metadata.is_dir() {
                for entry in std::fs::read_dir(&path).map_err(MetadataError::io("list", &path))? {
                    let entry = entry.map_err(MetadataError::io("list", &path))?;
                    let inside = plain(&entry.file_name().to_string_lossy());
                    waiting.push((entry.path(), format!("{name}/{inside}")));
                }
                continue;
            }
            let real = path.canonicalize().ok().filter(|real| real.starts_with(&root));
            match real.and_then(|real| Some((real.metadata().ok()?, real))) {
                Some((metadata, real)) if metadata.is_file() => self.files.push(RunFile {
                    name,
                    path: real,
                    size: metadata.len(),
                }),
                _ => self
                    .absent
                    .push(format!("{name} is a link or no file, and stays here")),
            }
        }
        self.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    fn make(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), MetadataError> {
        let path = self._made.path().join(self.files.len().to_string());
        let written = File::create(&path).and_then(|file| {
            let mut file = BufWriter::new(file);
            write(&mut file)?;
            file.flush()?;
            Ok(file.get_ref().metadata()?.len())
        });
        let size = written.map_err(MetadataError::io("write", &path))?;
        let name = name.to_owned();
        self.files.push(RunFile { name, path, size });
        Ok(())
    }

    fn make_table(&mut self, name: &str, table: &Value) -> Result<(), MetadataError> {
        self.tables.push(name.to_owned());
        self.make(name, |to| {
            serde_json::to_writer_pretty(to, table).map_err(io::Error::from)
        })
    }
}

/// The values that came out and are no numbers; numbers are metrics.
fn values_of(run: &Run) -> impl Iterator<Item = (String, Value)> {
    run.distinct_outputs()
        .into_iter()
        .filter_map(|(name, output)| match output {
            OutputRecord::Value(value) => Some((name, value.clone())),
            OutputRecord::Artifacts(_) => None,
        })
}

/// What an artifact says of classes, as tables: the form in which MLflow shows them.
fn tables_of(artifact: &NamedArtifact<'_>) -> Vec<(String, Value)> {
    let stem = plain(&artifact.output);
    match artifact.artifact.metrics() {
        Some(Metrics::Classification(one)) => tables(&stem, &one),
        Some(Metrics::Slices(slices)) => {
            let each = slices
                .iter()
                .flat_map(|(slice, one)| tables(&format!("{stem}.{}", plain(slice)), one));
            each.collect()
        }
        Some(Metrics::Scalars(_)) | None => Vec::new(),
    }
}

fn tables(stem: &str, of: &Classification) -> Vec<(String, Value)> {
    let mut tables = Vec::new();
    if let Some(matrix) = &of.confusion {
        let columns: Vec<&str> = std::iter::once("actual")
            .chain(matrix.labels.iter().map(String::as_str))
            .collect();
        let row = |(label, row): (&String, &Vec<f64>)| {
            let cells = row.iter().map(|cell| json!(cell));
            std::iter::once(json!(label)).chain(cells).collect::<Vec<_>>()
        };
        let rows: Vec<_> = matrix.labels.iter().zip(&matrix.rows).map(row).collect();
        let table = json!({"columns": columns, "data": rows});
        tables.push((format!("{stem}.confusion_matrix.json"), table));
    }
    if !of.roc.is_empty() {
        let columns = ["threshold", "false_positive_rate", "true_positive_rate"];
        let rows = of.roc.iter().map(|point| {
            json!([
                point.threshold,
                point.false_positive_rate,
                point.true_positive_rate
            ])
        });
        let table = json!({"columns": columns, "data": rows.collect::<Vec<_>>()});
        tables.push((format!("{stem}.roc_curve.json"), table));
    }
    tables
}

fn tasks(run: &Run) -> Value {
    let columns = [
        "task",
        "status",
        "attempts",
        "started",
        "finished",
        "exit_code",
        "image",
    ];
    let row = |task: &TaskRecord| {
        json!([
            task.name,
            task.status,
            task.attempts,
            task.started,
            task.finished,
            task.exit_code,
            task.image
        ])
    };
    json!({"columns": columns, "data": run.tasks.iter().map(row).collect::<Vec<_>>()})
}

/// Writes what tasks printed as plain lines.
fn write_log(log: File, to: &mut impl Write) -> io::Result<()> {
    for line in BufReader::new(log).split(b'\n') {
        // A last line that was cut is left out.
        if let Ok(line) = serde_json::from_slice::<LogLine>(&line?) {
            writeln!(to, "{}: {}", line.task, line.line)?;
        }
    }
    Ok(())
}

/// A name of plain characters. Names of outputs come from the bundle, those in folders from a program.
fn plain(name: &str) -> String {
    let keeps = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let name: String = name
        .chars()
        .take(200)
        .map(|c| if keeps(c) { c } else { '_' })
        .collect();
    match name.trim_start_matches('.') {
        "" => format!("_{name}"),
        _ => name,
    }
}

/// A name that was not taken before.
fn free(taken: &mut BTreeSet<String>, stem: &str, ending: &str) -> String {
    let numbered = |number: usize| match number {
        1 => format!("{stem}{ending}"),
        number => format!("{stem}-{number}{ending}"),
    };
    let free = (1..)
        .map(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or_default();
    taken.insert(free.clone());
    free
}
