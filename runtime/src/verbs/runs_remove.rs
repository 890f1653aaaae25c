//! `runs remove`: the removal of runs that are not wanted any more.

use std::collections::BTreeSet;

use samebundle_spec::BundleName;
use samebundle_spec::authoring::Runs as Choice;
use samebundle_spec::record::{Run, RunId, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::runs::{Meant, meant};
use super::{Site, VerbError};
use crate::driver::Candidate;
use crate::lifecycle::end_rest;
use crate::record::{Held, Runs};
use crate::upkeep::{self, Newest};

/// Removes runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveRunsRequest {
    /// Runs, each by its id, the beginning or end of it, or `last`; or names of installations. None: the runs of all
    /// installations.
    #[serde(default)]
    pub runs: Vec<String>,
    /// How many of the newest runs of each installation stay.
    #[serde(default)]
    pub keep: Option<u32>,
    /// Only runs that failed, or that did not finish.
    #[serde(default)]
    pub failed: bool,
    /// Remove only the files of the outputs; records and logs stay.
    #[serde(default)]
    pub outputs_only: bool,
    /// Only say what would be removed.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoveRunsReport {
    /// Nothing was removed.
    pub dry_run: bool,
    /// Only the files of outputs were removed.
    pub outputs_only: bool,
    /// Bytes of all that is gone.
    pub bytes: u64,
    /// The runs, newest first.
    pub removed: Vec<RemovedRun>,
}

/// A run that was removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RemovedRun {
    /// Its id.
    pub run: RunId,
    /// The installation that it ran.
    pub installation: BundleName,
    /// What came of it.
    pub status: RunStatus,
    /// Bytes that were removed.
    pub bytes: u64,
}

/// Removes runs with their outputs, logs and records, or only the files of their outputs. Runs that go on stay: it is an
/// error to ask for one by its id.
///
/// # Errors
/// If the request names nothing or something that is not there, or a run goes on: then nothing was removed. Otherwise if
/// something cannot be removed.
pub async fn runs_remove(site: &Site, request: RemoveRunsRequest) -> Result<RemoveRunsReport, VerbError> {
    let store = site.store_for_upkeep().await?;
    let drivers = site.drivers(&store);
    site.resolve_or_make_room(&drivers).await?;
    let chosen = choose(site, &request)?;
    let runs = Runs::new(site.home());
    for Chosen { run, .. } in chosen.iter().filter(|chosen| chosen.by_id) {
        if runs.hold(&run.id)?.is_none() {
            let run = run.id.to_string();
            return Err(VerbError::RunGoesOn { run });
        }
    }
    let mut removed = Vec::new();
    for Chosen { run, .. } in chosen {
        let Some(held) = runs.hold(&run.id)? else {
            site.notice(format!("run {} goes on and stays", run.id));
            continue;
        };
        if request.outputs_only && run.status == RunStatus::Running {
            site.notice(format!(
                "run {} was interrupted, which cannot be recorded on a full disk: its files stay; remove it whole",
                run.id
            ));
            continue;
        }
        let bytes = remove(site, &drivers, &request, &run, held).await?;
        removed.push(RemovedRun {
            run: run.id,
            installation: run.installation,
            status: run.status,
            bytes,
        });
    }
    Ok(RemoveRunsReport {
        dry_run: request.dry_run,
        outputs_only: request.outputs_only,
        bytes: removed.iter().map(|run| run.bytes).sum(),
        removed,
    })
}

/// A run that is to be removed, and whether its id was given.
struct Chosen {
    run: Run,
    by_id: bool,
}

fn choose(site: &Site, request: &RemoveRunsRequest) -> Result<Vec<Chosen>, VerbError> {
    let usage = |text: String| Err(VerbError::Usage(text));
    let selects = request.keep.is_some() || request.failed;
    if request.runs.is_empty() && !selects {
        return usage(
            "say which runs: their ids, or --keep N for all but the newest N of each installation, or --failed".to_owned(),
        );
    }
    let all = Runs::new(site.home()).list(None)?;
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for text in &request.runs {
        match meant(site, &all, text)? {
            Meant::Installation(name) if !selects => {
                return usage(format!(
                    "{name} is an installation: give --keep N, how many of its newest runs stay (0 for none), or --failed"
                ));
            }
            Meant::Installation(name) => drop(names.insert(name)),
            Meant::Run(id) if request.keep.is_some() => {
                return usage(format!(
                    "--keep goes with names of installations, and {id} is a run"
                ));
            }
            Meant::Run(id) => drop(ids.insert(id)),
        }
    }
    let mut newest = Newest::of(request.keep.map_or(Choice::None, Choice::Last));
    let mut chosen = Vec::new();
    for run in all {
        let kept = newest.keeps(&run);
        let by_id = ids.contains(&run.id);
        let named = request.runs.is_empty() || by_id || names.contains(&run.installation);
        let finished = matches!(run.status, RunStatus::Succeeded | RunStatus::Skipped);
        if named && !kept && !(request.failed && finished) {
            chosen.push(Chosen { run, by_id });
        }
    }
    Ok(chosen)
}

/// Removes one run, or its files, and returns the bytes that this frees. `_held` keeps the run from being used meanwhile.
async fn remove(
    site: &Site,
    drivers: &[Candidate],
    request: &RemoveRunsRequest,
    run: &Run,
    _held: Held,
) -> Result<u64, VerbError> {
    let home = site.home();
    if request.dry_run {
        return Ok(match request.outputs_only {
            true => upkeep::size_of_files(home, &run.id),
            false => upkeep::size_of(&Runs::new(home).folder(&run.id)),
        });
    }
    if run.status == RunStatus::Running {
        // Its process was killed, and the disk has no room to record that.
        end_rest(drivers, run, &Runs::new(home).folder(&run.id)).await?;
    }
    let (home, id, now, outputs_only) = (home.clone(), run.id.clone(), site.now(), request.outputs_only);
    let removed = tokio::task::spawn_blocking(move || match outputs_only {
        true => upkeep::remove_files(&home, &id, now),
        false => upkeep::remove_run(&home, &id),
    });
    let folder = site.home().runs();
    let removed = removed
        .await
        .map_err(|error| VerbError::io("remove", &folder)(error.into()))?;
    Ok(removed?)
}
