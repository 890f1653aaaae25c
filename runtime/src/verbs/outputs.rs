//! `outputs`: everything that a run left, and its files in a folder of the user's.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_registry::staged::StagedFolder;
use samebundle_spec::record::{ArtifactRecord, Metrics, Number, OutputRecord, Run, RunId, RunStatus};
use samebundle_spec::{Digest, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Site, VerbError};
use crate::page;
use crate::record::{RUN_OUTPUTS, Runs};
use crate::results::{FileKind, Table};

/// The largest table that is shown as text.
const TABLE_ROWS: usize = 10;
const TABLE_BYTES: u64 = 4 << 10;

/// Asks for a run's outputs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputsRequest {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run.
    pub run: String,
    /// Only the outputs of this task.
    #[serde(default)]
    pub task: Option<String>,
    /// Folder to write the outputs to.
    #[serde(default)]
    pub to: Option<PathBuf>,
}

/// A run's outputs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputsReport {
    /// The run.
    pub run: RunId,
    /// What came of it.
    pub status: RunStatus,
    /// What it left.
    #[serde(flatten)]
    pub results: Results,
    /// The files that were written, in the order of the outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<WrittenOutput>,
    /// What else lies in the folder to which they were written: it is not of this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// When the files of the outputs were removed; absent while they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_removed: Option<Timestamp>,
}

/// What a run left.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// The outputs by name: what the program returns under its own name, and every output of every task as `TASK.NAME`.
    pub outputs: BTreeMap<String, OutputReport>,
    /// The numbers that were measured: `TASK.ARTIFACT.METRIC`, and `TASK.OUTPUT` for a number that a task returns.
    pub metrics: BTreeMap<String, Number>,
    /// The folder of the files, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Artifacts whose files are not here: they stayed where the run was, or were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<AbsentOutput>,
    /// The outputs as they are shown, each artifact once.
    #[serde(skip)]
    pub shown: Vec<ShownOutput>,
}

/// An artifact whose file is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AbsentOutput {
    /// Name of the output.
    pub output: String,
    /// Digest of its file, or of its folder.
    pub digest: Option<Digest>,
    /// Its bytes.
    pub size: u64,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WrittenOutput {
    /// Name of the output.
    pub output: String,
    /// The file or folder.
    pub path: String,
}

/// An output as it is shown.
#[derive(Clone, Debug)]
pub struct ShownOutput {
    /// Its name.
    pub name: String,
    /// What it is.
    pub what: Shown,
}

/// What an output is.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// A value.
    Value(Value),
    /// An artifact.
    Artifact(Box<ShownArtifact>),
}

/// An artifact as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownArtifact {
    /// What the record says of it.
    pub report: ArtifactReport,
    /// What it says that was measured.
    pub metrics: Option<Metrics>,
    /// What the program said of it besides.
    pub remarks: Vec<(String, Value)>,
    /// Its rows, if it is a small table.
    pub table: Option<Table>,
}

/// An output of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OutputReport {
    /// A value.
    Value(Value),
    /// One artifact.
    Artifact(ArtifactReport),
    /// A list of artifacts.
    Artifacts(Vec<ArtifactReport>),
}

/// An artifact that a run left.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ArtifactReport {
    /// Digest of its file, or of its folder; none if there is only metadata.
    pub digest: Option<Digest>,
    /// Its bytes.
    pub size: u64,
    /// The schema title of its type, e.g. `system.Model`.
    #[serde(rename = "type")]
    pub artifact_type: String,
    /// What the program said of it.
    pub metadata: BTreeMap<String, Value>,
    /// The address that it came from or is at, without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

impl Shown {
    /// What is shown of an output: its value, or each of its artifacts.
    pub(super) fn of(output: &OutputRecord) -> Vec<Self> {
        match output {
            OutputRecord::Value(value) => vec![Self::Value(value.clone())],
            OutputRecord::Artifacts(artifacts) => {
                let artifacts = artifacts.iter().map(ShownArtifact::from);
                artifacts
                    .map(|artifact| Self::Artifact(Box::new(artifact)))
                    .collect()
            }
        }
    }
}

impl From<&ArtifactRecord> for ShownArtifact {
    fn from(record: &ArtifactRecord) -> Self {
        let remarks = record.remarks();
        Self {
            report: record.into(),
            metrics: record.metrics(),
            remarks: remarks
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            table: None,
        }
    }
}

impl From<&ArtifactRecord> for ArtifactReport {
    fn from(record: &ArtifactRecord) -> Self {
        Self {
            digest: record.digest,
            size: record.size,
            artifact_type: record.artifact_type.clone(),
            metadata: record.metadata.clone(),
            uri: record.uri.clone(),
        }
    }
}

impl From<&OutputRecord> for OutputReport {
    fn from(record: &OutputRecord) -> Self {
        match record {
            OutputRecord::Value(value) => Self::Value(value.clone()),
            OutputRecord::Artifacts(artifacts) => match artifacts.as_slice() {
                [artifact] => Self::Artifact(artifact.into()),
                many => Self::Artifacts(many.iter().map(ArtifactReport::from).collect()),
            },
        }
    }
}

impl Results {
    /// Collects what a run left in its folder, of one task or of all.
    pub(super) fn of(run: &Run, folder: &Path, task: Option<&str>) -> Self {
        let chosen = |name: &String| task.is_none_or(|task| is_of_task(name, task));
        let mut results = Self {
            outputs: BTreeMap::new(),
            metrics: run.scalars(),
            folder: None,
            absent: Vec::new(),
            shown: Vec::new(),
        };
        results.metrics.retain(|name, _| chosen(name));
        let outputs = run.all_outputs();
        let outputs = outputs.iter().filter(|(name, _)| chosen(name));
        results.outputs = outputs
            .map(|(name, output)| (name.clone(), (*output).into()))
            .collect();
        for (name, output) in distinct(run, task) {
            match output {
                OutputRecord::Value(value) => results.shown.push(ShownOutput {
                    name,
                    what: Shown::Value(value.clone()),
                }),
                OutputRecord::Artifacts(artifacts) => {
                    for artifact in artifacts {
                        results.add(&name, artifact, folder);
                    }
                }
            }
        }
        results
    }

    fn add(&mut self, name: &str, artifact: &ArtifactRecord, folder: &Path) {
        let file = artifact.path.as_ref().map(|path| folder.join(path));
        let here = file.as_ref().is_some_and(|file| file.symlink_metadata().is_ok());
        if here {
            self.folder = Some(folder.join(RUN_OUTPUTS).display().to_string());
        } else if file.is_some() {
            self.absent.push(AbsentOutput {
                output: name.to_owned(),
                digest: artifact.digest,
                size: artifact.size,
            });
        }
        let table = file.filter(|_| here && artifact.size <= TABLE_BYTES);
        self.shown.push(ShownOutput {
            name: name.to_owned(),
            what: Shown::Artifact(Box::new(ShownArtifact {
                table: table.and_then(|file| small_table(artifact, &file)),
                ..artifact.into()
            })),
        });
    }
}

/// The rows of a table that is small enough to be shown whole; none if the file is something else.
fn small_table(artifact: &ArtifactRecord, file: &Path) -> Option<Table> {
    let Ok(FileKind::Table { separator }) = FileKind::of(artifact, file) else {
        return None;
    };
    // What cannot be read is shown by its name.
    let table = Table::read(file, separator, TABLE_ROWS, TABLE_BYTES).ok()?;
    (!table.cut).then_some(table)
}

/// The outputs of one task, all under their task's name; of all tasks: each artifact once.
fn distinct<'a>(run: &'a Run, task: Option<&str>) -> BTreeMap<String, &'a OutputRecord> {
    match task {
        None => run.distinct_outputs(),
        Some(task) => {
            let mut outputs = run.all_outputs();
            outputs.retain(|name, _| is_of_task(name, task));
            outputs
        }
    }
}

fn is_of_task(name: &str, task: &str) -> bool {
    name.strip_prefix(task).is_some_and(|rest| rest.starts_with('.'))
}

/// Lists a run's outputs, and writes them to a folder if one is named: values to `NAME.json`, artifacts to `NAME` with the
/// ending that their kind of file has, what was measured as pictures, metadata to `NAME.metadata.json`.
///
/// # Errors
/// If there is no such run or task, none of its files are here, or a file cannot be read or written. Then nothing is
/// written.
pub fn outputs(site: &Site, request: &OutputsRequest) -> Result<OutputsReport, VerbError> {
    let runs = Runs::new(site.home());
    let id = runs.find_id(&request.run)?;
    let run = runs.get(&id)?;
    let folder = runs.folder(&id);
    let task = request.task.as_deref();
    if let Some(task) = task
        && !run.tasks.iter().any(|one| one.name == task)
    {
        return Err(VerbError::no_task(&run, task));
    }
    let results = Results::of(&run, &folder, task);
    let written = match &request.to {
        Some(to) => write_outputs(site, &run, task, &results, &folder, to)?,
        None => Vec::new(),
    };
    let others = request.to.as_ref().map(|to| others(to, &written));
    Ok(OutputsReport {
        run: id,
        status: run.status,
        results,
        written,
        others: others.unwrap_or_default(),
        files_removed: run.files_removed,
    })
}

/// Writes all outputs or none: to a folder beside first, and then they get their names.
fn write_outputs(
    site: &Site,
    run: &Run,
    task: Option<&str>,
    results: &Results,
    folder: &Path,
    to: &Path,
) -> Result<Vec<WrittenOutput>, VerbError> {
    if results.folder.is_none() && !results.absent.is_empty() {
        return Err(nothing_here(run));
    }
    let mut writer = Writer {
        staged: StagedFolder::inside(to)?,
        names: BTreeSet::new(),
        written: Vec::new(),
    };
    for (name, output) in distinct(run, task) {
        match output {
            OutputRecord::Value(value) => writer.write(&name, "json", &format!("{value}\n"))?,
            OutputRecord::Artifacts(_) => {
                for (name, artifact) in output.named_artifacts(&name) {
                    writer.artifact(&name, artifact, folder)?;
                }
            }
        }
    }
    let Writer {
        staged, mut written, ..
    } = writer;
    let replaced = replaced(staged.path(), to);
    staged.commit()?;
    if !replaced.is_empty() {
        let replaced = replaced.join(", ");
        site.notice(format!("replaced what was in {}: {replaced}", to.display()));
    }
    for one in &mut written {
        one.path = to.join(&one.path).display().to_string();
    }
    Ok(written)
}

/// How many files that are replaced are named.
const REPLACED: usize = 8;

/// The names of files in a folder that those of another one replace, the first few of them.
fn replaced(staged: &Path, to: &Path) -> Vec<String> {
    let names = std::fs::read_dir(staged).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name());
    let is_replaced = |name: &OsString| {
        let there = to.join(name).symlink_metadata();
        there.is_ok_and(|there| !there.is_dir())
    };
    let mut names: Vec<String> = names
        .filter(is_replaced)
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.len() > REPLACED {
        let more = names.split_off(REPLACED).len();
        names.push(format!("and {more} more"));
    }
    names
}

/// The names of what lies in a folder besides what was written.
fn others(folder: &Path, written: &[WrittenOutput]) -> Vec<String> {
    let written: BTreeSet<&Path> = written.iter().map(|one| Path::new(&one.path)).collect();
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let others = found.filter(|entry| !written.contains(entry.path().as_path()));
    let mut others: Vec<String> = others
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    others.sort();
    others
}

/// The reason why none of the files of a run are here.
fn nothing_here(record: &Run) -> VerbError {
    let (run, installation) = (record.id.to_string(), record.installation.to_string());
    match record.files_removed {
        Some(removed) => VerbError::FilesRemoved {
            run,
            removed,
            installation,
        },
        None => VerbError::NoFiles { run, installation },
    }
}

/// Writes outputs to a staged folder.
struct Writer {
    staged: StagedFolder,
    /// The names that are taken.
    names: BTreeSet<String>,
    written: Vec<WrittenOutput>,
}

impl Writer {
    fn artifact(&mut self, name: &str, artifact: &ArtifactRecord, folder: &Path) -> Result<(), VerbError> {
        if !artifact.metadata.is_empty() {
            let text = serde_json::to_string_pretty(&artifact.metadata).unwrap_or_default();
            self.write(name, "metadata.json", &text)?;
        }
        if let Some(figure) = artifact
            .metrics()
            .and_then(|metrics| page::figure(&metrics, name))
        {
            self.write(name, "html", &figure)?;
        }
        let Some(from) = artifact.path.as_ref().map(|path| folder.join(path)) else {
            return Ok(());
        };
        if from.symlink_metadata().is_err() {
            return Ok(());
        }
        let kind = FileKind::of(artifact, &from).map_err(VerbError::io("read", &from))?;
        let to = self.place(name, kind.ending());
        copy_tree(&from, &to)
    }

    fn write(&mut self, name: &str, ending: &'static str, text: &str) -> Result<(), VerbError> {
        let path = self.place(name, Some(ending));
        std::fs::write(&path, text).map_err(VerbError::io("write", &path))
    }

    /// Chooses a name that no other output has, and returns its place in the staged folder.
    fn place(&mut self, output: &str, ending: Option<&str>) -> PathBuf {
        let plain = safe_file_name(output);
        let named = |plain: &str| match ending {
            Some(ending) => format!("{plain}.{ending}"),
            None => plain.to_owned(),
        };
        let mut name = named(&plain);
        let mut number = 1;
        while !self.names.insert(name.to_lowercase()) {
            number += 1;
            name = named(&format!("{plain}-{number}"));
        }
        let place = self.staged.path().join(&name);
        self.written.push(WrittenOutput {
            output: output.to_owned(),
            path: name,
        });
        place
    }
}

/// Makes a file name of an output. Names of outputs come from the bundle, so only plain characters are kept, and none is
/// hidden.
fn safe_file_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}

/// Copies files, folders and links. When the artifact was recorded, each of its links led to a place inside of it; here no
/// link is followed.
fn copy_tree(from: &Path, to: &Path) -> Result<(), VerbError> {
    let metadata = std::fs::symlink_metadata(from).map_err(VerbError::io("read", from))?;
    if metadata.is_symlink() {
        let text = std::fs::read_link(from).map_err(VerbError::io("read", from))?;
        return std::os::unix::fs::symlink(text, to).map_err(VerbError::io("make", to));
    }
    if metadata.is_file() {
        durable::copy(from, to)?;
        return Ok(());
    }
    std::fs::create_dir_all(to).map_err(VerbError::io("make", to))?;
    for entry in std::fs::read_dir(from).map_err(VerbError::io("list", from))? {
        let entry = entry.map_err(VerbError::io("list", from))?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
