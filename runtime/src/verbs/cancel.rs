//! `cancel`: ends a run that goes on in another process.

use std::time::{Duration, Instant};

use samebundle_spec::record::{RunId, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Site, VerbError};
use crate::lifecycle;
use crate::record::{Holder, Runs};

/// How long is waited before the run is looked at again.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the process of a run that has ended is waited for.
const LAST: Duration = Duration::from_secs(2);

/// Asks to end a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelRequest {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run.
    pub run: String,
    /// How many seconds its process may take to end it in order, before it is killed.
    #[serde(default = "grace")]
    pub grace: u64,
}

fn grace() -> u64 {
    CancelRequest::GRACE
}

impl CancelRequest {
    /// How many seconds a process has by itself to end its run in order.
    pub const GRACE: u64 = 30;
}

/// What came of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelReport {
    /// The run.
    pub run: RunId,
    /// How the run ended.
    pub status: RunStatus,
    /// Whether it ended because of this; otherwise it had ended before, and nothing was changed.
    pub cancelled: bool,
}

/// Ends a run that goes on, and waits for its end: its process stops the tasks and records the run as cancelled. If the process
/// takes longer than it may, it is killed, and what it left is ended here. A run that waits for a person is ended as well. One that had
/// ended stays as it is.
///
/// # Errors
/// If there is no such run, or its process cannot be reached from here.
pub async fn cancel(site: &Site, request: &CancelRequest) -> Result<CancelReport, VerbError> {
    let runs = Runs::new(site.home());
    let id = runs.find_id(&request.run)?;
    let asked = match runs.goes_on(&id)? {
        true => ask(site, &runs, &id)?,
        false => None,
    };
    if let Some(holder) = &asked {
        if !released(&runs, &id, Duration::from_secs(request.grace)).await? {
            kill(site, &runs, &id).await?;
        }
        end_rest(site, &runs, &id).await?;
        gone(holder).await;
    }
    let waited = asked.is_none() && runs.get(&id)?.status == RunStatus::Suspended;
    if waited {
        end_waiting(site, &runs, &id).await?;
    }
    let mut run = runs.get(&id)?;
    runs.see(&mut run)?;
    Ok(CancelReport {
        cancelled: (asked.is_some() || waited) && run.status == RunStatus::Cancelled,
        status: run.status,
        run: id,
    })
}

/// Ends a run that waits for a person, which no process does.
async fn end_waiting(site: &Site, runs: &Runs<'_>, id: &RunId) -> Result<(), VerbError> {
    let log = runs.waiting(&site.context, id)?;
    let drivers = site.drivers(&site.store().await?);
    let why = (
        RunStatus::Cancelled,
        "it was cancelled while it waited for a person",
    );
    Box::pin(lifecycle::end_abandoned(&site.context, &drivers, log, why)).await?;
    Ok(())
}

/// Asks the process of a run to end it; none if the run has ended in the meantime.
fn ask(site: &Site, runs: &Runs<'_>, id: &RunId) -> Result<Option<Holder>, VerbError> {
    let Some(holder) = runs.holder(id)? else {
        return match runs.goes_on(id)? {
            true => Err(VerbError::RunElsewhere { run: id.to_string() }),
            false => Ok(None),
        };
    };
    site.step(format!("end run {id}"));
    let asked = holder.ask_to_end().map_err(|source| VerbError::NotEnded {
        run: id.to_string(),
        source,
    })?;
    Ok(asked.then_some(holder))
}

/// Waits a little until the process of a run that has ended is gone. It may still tell others of the run, and is left to it.
async fn gone(holder: &Holder) {
    let begun = Instant::now();
    while holder.is_alive() && begun.elapsed() < LAST {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until no process holds the lock of a run; false if one still does after a while.
async fn released(runs: &Runs<'_>, id: &RunId, within: Duration) -> Result<bool, VerbError> {
    let begun = Instant::now();
    while runs.goes_on(id)? {
        if begun.elapsed() >= within {
            return Ok(false);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(true)
}

async fn kill(site: &Site, runs: &Runs<'_>, id: &RunId) -> Result<(), VerbError> {
    site.notice(format!("run {id} was not ended in time; its process is killed"));
    if let Some(holder) = runs.holder(id)? {
        let ended = tokio::task::spawn_blocking(move || holder.end()).await;
        // The lock is released when the process is gone.
        let gone = ended.unwrap_or_default() && released(runs, id, Duration::from_secs(5)).await?;
        if !gone {
            return Err(VerbError::NotEnded {
                run: id.to_string(),
                source: std::io::Error::other("its process does not end"),
            });
        }
    }
    Ok(())
}

/// Ends and records what a process left that could not do it itself.
async fn end_rest(site: &Site, runs: &Runs<'_>, id: &RunId) -> Result<(), VerbError> {
    if let Some(log) = runs.abandoned(&site.context, id)? {
        let drivers = site.drivers(&site.store().await?);
        let why = (
            RunStatus::Cancelled,
            "it was cancelled, and its process did not end in order",
        );
        Box::pin(lifecycle::end_abandoned(&site.context, &drivers, log, why)).await?;
    }
    Ok(())
}
