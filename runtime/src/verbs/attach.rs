//! `attach`: shows a run that goes on in another process as the process itself would.

use std::time::Duration;

use samebundle_spec::record::{LogLine, Run, RunEvent, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{RunReport, reported};
use super::{Site, VerbError};
use crate::event::Logged;
use crate::record::{Follow, FollowLog, Runs};

/// How long is waited before the run is looked at again.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks to follow a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachRequest {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run.
    pub run: String,
}

/// How following a run ended.
#[derive(Clone, Debug)]
pub enum Attached {
    /// The run has ended, or its process is gone.
    Ended(Box<RunReport>),
    /// The context was cancelled, and the run goes on.
    Left(RunId),
}

/// Follows a run to its end: its events, and what its tasks print, go to those who watch this site, from the first on. Of a run
/// that does not go on only the end is reported. Cancelling the context does nothing to the run.
///
/// # Errors
/// If there is no such run, or its log cannot be read.
pub async fn attach(site: &Site, request: &AttachRequest) -> Result<Attached, VerbError> {
    let runs = Runs::new(site.home());
    let id = runs.find_id(&request.run)?;
    if runs.goes_on(&id)? {
        let mut shown = Shown {
            events: runs.follow(&id)?,
            log: runs.follow_log(&id),
            event: None,
            line: None,
        };
        loop {
            // The lock is looked at first: whatever was appended before it was released can then be read.
            let goes_on = runs.goes_on(&id)?;
            shown.until_now(site)?;
            if !goes_on {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = site.context.cancel.cancelled() => return Ok(Attached::Left(id)),
            }
        }
    }
    Ok(Attached::Ended(Box::new(reported(site, ended(&runs, &id)?))))
}

/// The record of a run that does not go on.
fn ended(runs: &Runs<'_>, id: &RunId) -> Result<Run, VerbError> {
    let mut run = runs.get(id)?;
    runs.see(&mut run)?;
    Ok(run)
}

/// What was shown of a run, and the next event and line of it, which are in different files.
struct Shown {
    events: Follow,
    log: FollowLog,
    event: Option<RunEvent>,
    line: Option<LogLine>,
}

impl Shown {
    /// Shows what was appended until now, in the order of its times.
    fn until_now(&mut self, site: &Site) -> Result<(), VerbError> {
        loop {
            if self.event.is_none() {
                self.event = self.events.event()?;
            }
            if self.line.is_none() {
                self.line = self.log.line()?;
            }
            let line_first = match (&self.event, &self.line) {
                (Some(event), Some(line)) => line.time.is_some_and(|time| time < event.time),
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (None, None) => return Ok(()),
            };
            let watcher = &site.context.events;
            match line_first {
                true => self
                    .line
                    .take()
                    .iter()
                    .for_each(|line| watcher.logged(Logged::Line(line))),
                false => self
                    .event
                    .take()
                    .iter()
                    .for_each(|event| watcher.logged(Logged::Event(event))),
            }
        }
    }
}
