//! `list`, `show` and `logs`: installations, and what the tasks of runs printed.

use samebundle_spec::record::{Installation, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::resolve::installation;
use super::{LocalName, Site, VerbError};
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
    /// Its name, and the version that it has to have.
    pub name: LocalName,
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
    let installation = installation(site, &request.name)?;
    let runs = Runs::new(site.home()).list(Some(&installation.name))?.len();
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
