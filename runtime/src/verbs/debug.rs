//! `debug`: looks into a task of a run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samebundle_registry::layout::Layout;
use samebundle_spec::record::{Run, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::resume::planned;
use super::{CredentialsGiven, Given, Site, VerbError};
use crate::driver::{Outcome, Streams};
use crate::engine::Again;
use crate::lifecycle::{self, Debugging, Machine};
use crate::plan::Plan;
use crate::record::{RUN_OUTPUTS, Runs};

/// The shell that looks: the better one, if the image has it.
const SHELL: [&str; 3] = [
    "/bin/sh",
    "-c",
    "command -v bash >/dev/null 2>&1 && exec bash; exec sh",
];

/// What is looked into.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DebugRequest {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run.
    pub run: String,
    /// The task: its name, or the end of it.
    pub task: String,
    /// What runs in place of the task's command; nothing: a shell.
    #[serde(default)]
    pub command: Vec<String>,
    /// Secret parameters that the run was given, which no record has.
    #[serde(default)]
    pub parameters: Given,
    /// Where its credentials come from, beside what the installation remembers.
    #[serde(default)]
    pub credentials: CredentialsGiven,
    /// Where it runs; none: where the run ran.
    #[serde(default)]
    pub environment: Option<String>,
    /// A folder that keeps what is written; none: nothing is kept.
    #[serde(default)]
    pub keep: Option<PathBuf>,
}

/// The container of a task that was made once more.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Debugged {
    /// The run.
    pub run: String,
    /// The task.
    pub task: String,
    /// The manifest digest of its image.
    pub image: String,
    /// What starts the container.
    pub driver: String,
    /// The command of the task, ready for a shell.
    pub command: String,
    /// A script of this command, in the container.
    pub script: String,
    /// The file with the executor input, in the container.
    pub executor_input: String,
    /// The folder of this machine that takes what the container writes.
    pub folder: String,
}

/// How it ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DebugReport {
    /// The exit code of the command or of the shell.
    pub exit_code: i32,
    /// Whether the memory limit ended it.
    pub out_of_memory: bool,
}

/// Runs a command or a shell in the environment of a task of a run that does not go on: the same image, packages, environment,
/// inputs, volumes and limits. `begin` gets to know the container and gives its streams. Nothing of the run changes.
///
/// # Errors
/// If there is no such run or task, or its container cannot be made or run; as `resume`. That the command fails is no error.
pub async fn debug(
    site: &Site,
    request: DebugRequest,
    begin: impl FnOnce(&Debugged) -> io::Result<Streams>,
) -> Result<DebugReport, VerbError> {
    let looked = prepare(site, &request).await?;
    let (id, driver) = (looked.run.id.to_string(), looked.machine.driver.name());
    let scratch = site.home().scratch();
    let scratch = tempfile::tempdir_in(&scratch).map_err(VerbError::io("make a folder in", &scratch))?;
    let aside = match &request.keep {
        Some(keep) => kept(keep)?,
        None => scratch.path().to_owned(),
    };
    let debugging = Debugging {
        run: looked.run,
        task: looked.task.clone(),
        command: match request.command.is_empty() {
            true => SHELL.map(str::to_owned).to_vec(),
            false => request.command,
        },
        scratch: scratch.path().to_owned(),
        aside: aside.clone(),
    };
    let begin = |again: &Again| begin(&debugged(again, (id, looked.task), driver, &aside));
    // A caller may have little stack, and the future is as large as that of a run.
    let debugged = lifecycle::debug(
        &site.context,
        Arc::new(looked.store),
        looked.machine.driver,
        looked.plan,
        debugging,
        begin,
    );
    Ok(ended(Box::pin(debugged).await?))
}

/// A task to look into, with all that its run began with.
struct Looked {
    run: Run,
    task: String,
    store: Layout,
    machine: Machine,
    plan: Plan,
}

async fn prepare(site: &Site, request: &DebugRequest) -> Result<Looked, VerbError> {
    let store = site.store().await?;
    site.resolve_interrupted(&site.drivers(&store)).await?;
    let runs = Runs::new(site.home());
    let run = runs.get(&runs.find_id(&request.run)?)?;
    check(&run)?;
    let task = task(&run, &request.task)?;
    let here = run.imported_with.is_none().then_some(run.driver.as_str());
    let environment = request.environment.as_deref().or(here);
    let given = (request.parameters.clone(), &request.credentials);
    let (_, machine, plan) = planned(site, &store, &run, given, environment).await?;
    Ok(Looked {
        run,
        task,
        store,
        machine,
        plan,
    })
}

/// Refuses a run that goes on, or whose files are gone.
fn check(run: &Run) -> Result<(), VerbError> {
    let id = run.id.to_string();
    if run.status == RunStatus::Running {
        return Err(VerbError::RunGoesOn { run: id });
    }
    match run.files_removed {
        Some(removed) => Err(VerbError::FilesRemoved {
            run: id,
            removed,
            installation: run.installation.to_string(),
        }),
        None => Ok(()),
    }
}

/// Finds a task by its name or the end of it.
fn task(run: &Run, name: &str) -> Result<String, VerbError> {
    let names: Vec<&str> = run.tasks.iter().map(|task| task.name.as_str()).collect();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    let ending = format!("/{name}");
    let found: Vec<&str> = names.into_iter().filter(|task| task.ends_with(&ending)).collect();
    match found.as_slice() {
        [] => Err(VerbError::no_task(run, name)),
        [task] => Ok((*task).to_owned()),
        several => Err(VerbError::Usage(format!(
            "run {} has more than one task {name}: {}; write the whole name of one",
            run.id,
            several.join(", ")
        ))),
    }
}

/// Makes the folder that keeps what is written.
fn kept(folder: &Path) -> Result<PathBuf, VerbError> {
    std::fs::create_dir_all(folder).map_err(VerbError::io("make", folder))?;
    let mut entries = std::fs::read_dir(folder).map_err(VerbError::io("read", folder))?;
    match entries.next() {
        None => Ok(folder.to_owned()),
        Some(_) => Err(VerbError::Usage(format!(
            "{} is not empty: --keep takes a folder that is, or that does not exist",
            folder.display()
        ))),
    }
}

fn debugged(again: &Again, (run, task): (String, String), driver: &str, aside: &Path) -> Debugged {
    Debugged {
        folder: aside.join(RUN_OUTPUTS).join(&task).display().to_string(),
        run,
        task,
        image: again.operation.image.digest.to_string(),
        driver: driver.to_owned(),
        command: again.command.clone(),
        script: again.script.clone(),
        executor_input: again.executor_input.clone(),
    }
}

fn ended(outcome: Outcome) -> DebugReport {
    let (exit_code, out_of_memory) = match outcome {
        Outcome::Failed { code, out_of_memory } => (code, out_of_memory),
        Outcome::Succeeded | Outcome::Cancelled => (0, false),
    };
    DebugReport {
        exit_code,
        out_of_memory,
    }
}
