//! `list`, `show`, `logs` and `outputs`: installations, and what runs left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use samebundle_registry::staged::StagedFolder;
use samebundle_spec::record::{ArtifactRecord, Installation, OutputRecord, Run, RunId, RunStatus};
use samebundle_spec::{BundleName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::OutputReport;
use super::{Site, VerbError};
use crate::record::{Installations, LogLine, Runs};

/// All installations.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListReport {
    /// Each of them, by name.
    pub installations: Vec<Installation>,
}

/// Asks for one installation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShowRequest {
    /// Its name.
    pub name: BundleName,
}

/// One installation.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShowReport {
    /// The installation.
    pub installation: Installation,
    /// How many runs of it are recorded.
    pub runs: usize,
}

/// Asks for what a run's tasks printed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogsRequest {
    /// The run: its id, the beginning of it, or `last`.
    pub run: String,
    /// Only this task.
    #[serde(default)]
    pub task: Option<String>,
}

/// What a run's tasks printed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LogsReport {
    /// The run.
    pub run: RunId,
    /// The lines in the order in which they came.
    pub log: Vec<LogLine>,
}

/// Asks for a run's outputs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputsRequest {
    /// The run: its id, the beginning of it, or `last`.
    pub run: String,
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
    /// The outputs by name.
    pub outputs: BTreeMap<String, OutputReport>,
    /// When the files of the outputs were removed; absent while they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_removed: Option<Timestamp>,
}

/// Lists installations.
///
/// # Errors
/// If a record cannot be read.
pub fn list(site: &Site) -> Result<ListReport, VerbError> {
    let installations = Installations::new(site.home()).list()?;
    Ok(ListReport { installations })
}

/// Shows one installation.
///
/// # Errors
/// If there is none of that name, or a record cannot be read.
pub fn show(site: &Site, request: &ShowRequest) -> Result<ShowReport, VerbError> {
    let installation = Installations::new(site.home()).get(&request.name)?;
    let runs = Runs::new(site.home()).list(Some(&request.name))?.len();
    Ok(ShowReport { installation, runs })
}

/// Reads what a run's tasks printed.
///
/// # Errors
/// If there is no such run or task, or its log cannot be read.
pub fn logs(site: &Site, request: &LogsRequest) -> Result<LogsReport, VerbError> {
    let runs = Runs::new(site.home());
    let run = runs.find_id(&request.run)?;
    let mut log = runs.log(&run)?;
    if let Some(task) = &request.task {
        log.retain(|line| *task == line.task);
        if log.is_empty() && !runs.get(&run)?.tasks.iter().any(|one| one.name == *task) {
            let (run, task) = (run.to_string(), task.clone());
            return Err(VerbError::NoTask { run, task });
        }
    }
    Ok(LogsReport { run, log })
}

/// Lists a run's outputs, and writes them to a folder if one is named: values to `NAME.json`, artifacts to `NAME`, with
/// a number if the output has several. Of a run that did not succeed, they are the outputs of its tasks, by `TASK.NAME`.
///
/// # Errors
/// If there is no such run, its record or its files cannot be read, or a file cannot be written. Then nothing is written.
pub fn outputs(site: &Site, request: &OutputsRequest) -> Result<OutputsReport, VerbError> {
    let runs = Runs::new(site.home());
    let id = runs.find_id(&request.run)?;
    let run = runs.get(&id)?;
    let outputs = outputs_of(&run);
    if let Some(to) = &request.to {
        write_outputs(&run, &outputs, &runs.folder(&id), to)?;
    }
    Ok(OutputsReport {
        outputs: outputs
            .iter()
            .map(|(name, output)| (name.clone(), output.into()))
            .collect(),
        run: id,
        status: run.status,
        files_removed: run.files_removed,
    })
}

/// Returns the outputs of a run. A run that ended before its outputs were there has those of its tasks instead, by
/// `TASK.NAME`: also of the one that failed, as far as it came.
fn outputs_of(run: &Run) -> BTreeMap<String, OutputRecord> {
    if matches!(run.status, RunStatus::Succeeded | RunStatus::Running) || !run.outputs.is_empty() {
        return run.outputs.clone();
    }
    let tasks = run.tasks.iter().flat_map(|task| {
        let outputs = task.outputs.iter();
        outputs.map(|(name, output)| (format!("{}.{name}", task.name), output.clone()))
    });
    tasks.collect()
}

/// Writes all outputs or none: first it looks at what there is to copy, then writes to a folder beside, and then gives
/// the files their names.
fn write_outputs(
    run: &Run,
    outputs: &BTreeMap<String, OutputRecord>,
    folder: &Path,
    to: &Path,
) -> Result<(), VerbError> {
    let artifacts = outputs.values().flat_map(|output| match output {
        OutputRecord::Value(_) => &[][..],
        OutputRecord::Artifacts(artifacts) => artifacts,
    });
    let files = artifacts.filter_map(|artifact| artifact.path.as_ref());
    if files
        .map(|path| folder.join(path))
        .any(|path| path.symlink_metadata().is_err())
    {
        let (id, installation) = (run.id.to_string(), run.installation.to_string());
        return Err(match run.files_removed {
            Some(removed) => VerbError::FilesRemoved {
                run: id,
                removed,
                installation,
            },
            None => VerbError::NoFiles {
                run: id,
                installation,
            },
        });
    }
    let staged = StagedFolder::inside(to)?;
    for (name, output) in outputs {
        let name = safe_file_name(name);
        match output {
            OutputRecord::Value(value) => {
                let path = staged.path().join(format!("{name}.json"));
                std::fs::write(&path, format!("{value}\n")).map_err(VerbError::io("write", &path))?;
            }
            OutputRecord::Artifacts(artifacts) => {
                for (number, artifact) in artifacts.iter().enumerate() {
                    let name = if artifacts.len() == 1 {
                        name.clone()
                    } else {
                        format!("{name}-{number}")
                    };
                    copy_artifact(artifact, folder, &staged.path().join(name))?;
                }
            }
        }
    }
    Ok(staged.commit()?)
}

/// Makes a file name of an output. Names of outputs come from the bundle, so only plain characters are kept.
fn safe_file_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    name.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

fn copy_artifact(artifact: &ArtifactRecord, folder: &Path, to: &Path) -> Result<(), VerbError> {
    let metadata = to.with_extension("metadata.json");
    if !artifact.metadata.is_empty() {
        let text = serde_json::to_string_pretty(&artifact.metadata).unwrap_or_default();
        std::fs::write(&metadata, text).map_err(VerbError::io("write", &metadata))?;
    }
    match &artifact.path {
        Some(path) => copy_tree(&folder.join(path), to),
        None => Ok(()),
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
        std::fs::copy(from, to).map_err(VerbError::io("copy", from))?;
        return Ok(());
    }
    std::fs::create_dir_all(to).map_err(VerbError::io("make", to))?;
    for entry in std::fs::read_dir(from).map_err(VerbError::io("list", from))? {
        let entry = entry.map_err(VerbError::io("list", from))?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
