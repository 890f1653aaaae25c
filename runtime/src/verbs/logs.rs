//! `logs`: what the tasks of a run printed.

use std::collections::VecDeque;

use samebundle_spec::Timestamp;
use samebundle_spec::record::{Run, RunId, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Site, VerbError};
use crate::record::{LogLine, Noise, Runs, own_part};

/// Asks for what a run's tasks printed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogsRequest {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run.
    pub run: String,
    /// Only this task and those inside of it: its name or the end of it.
    #[serde(default)]
    pub task: Option<String>,
    /// Only the last lines, so many.
    #[serde(default)]
    pub tail: Option<usize>,
    /// Only lines that were printed at this time or later. A line without a time counts as printed when its task ended.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Also what the KFP executor and pip print of themselves.
    #[serde(default)]
    pub all: bool,
}

/// What a run's tasks printed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LogsReport {
    /// The run.
    pub run: RunId,
    /// The lines in the order in which they came.
    pub log: Vec<LogLine>,
    /// How many lines of the KFP executor and of pip were left out.
    pub hidden: usize,
}

/// Chooses lines, each given once and in order.
struct Choice<'a> {
    request: &'a LogsRequest,
    run: Run,
    noise: Noise,
    hidden: usize,
}

impl Choice<'_> {
    /// Tells whether a line is shown, and leaves out of it what the task did not print.
    fn takes(&mut self, line: &mut LogLine) -> bool {
        let noise = self.noise.takes(line);
        let named = self
            .request
            .task
            .as_ref()
            .is_none_or(|task| names(&line.task, task));
        if !named || self.request.since.is_some_and(|since| self.time(line) < since) {
            return false;
        }
        let hidden = noise && !self.request.all;
        self.hidden += usize::from(hidden);
        if !self.request.all {
            line.line.truncate(own_part(&line.line).len());
        }
        !hidden
    }

    fn time(&self, line: &LogLine) -> Timestamp {
        let of_task = || {
            let task = self.run.tasks.iter().find(|task| task.name == line.task)?;
            task.finished
        };
        let time = line.time.or_else(of_task).or(self.run.finished);
        time.unwrap_or(self.run.started)
    }
}

/// Tells whether a task is the one that is named, or inside of it. A name may be the end of one: `train` of `loop/0/train`.
fn names(task: &str, name: &str) -> bool {
    let ends = task.rmatch_indices(name).map(|(at, _)| at);
    ends.into_iter().any(|at| {
        let rest = &task[at + name.len()..];
        (at == 0 || task[..at].ends_with('/')) && (rest.is_empty() || rest.starts_with('/'))
    })
}

fn choose<'a>(site: &Site, request: &'a LogsRequest) -> Result<(RunId, Choice<'a>), VerbError> {
    let runs = Runs::new(site.home());
    let id = runs.find_id(&request.run)?;
    let run = runs.get(&id)?;
    let choice = Choice {
        request,
        run,
        noise: Noise::default(),
        hidden: 0,
    };
    Ok((id, choice))
}

/// Reads what a run's tasks printed.
///
/// # Errors
/// If there is no such run or task, or its log cannot be read.
pub fn logs(site: &Site, request: &LogsRequest) -> Result<LogsReport, VerbError> {
    let (id, mut choice) = choose(site, request)?;
    let mut printed = Runs::new(site.home()).follow_log(&id);
    let mut log = VecDeque::new();
    let mut of_task = false;
    while let Some(mut line) = printed.line()? {
        of_task = of_task || request.task.as_ref().is_some_and(|task| names(&line.task, task));
        if choice.takes(&mut line) {
            log.push_back(line);
            if request.tail.is_some_and(|tail| log.len() > tail) {
                log.pop_front();
            }
        }
    }
    if let Some(task) = &request.task
        && !of_task
        && !choice.run.tasks.iter().any(|one| names(&one.name, task))
    {
        return Err(VerbError::no_task(&choice.run, task));
    }
    Ok(LogsReport {
        run: id,
        log: log.into(),
        hidden: choice.hidden,
    })
}

/// Gives what a run's tasks print to `show`, until the run has ended: what was printed before as [`logs`] would, then each
/// line as it is printed. Returns the run and what came of it.
///
/// # Errors
/// If there is no such run, or its log cannot be read. A task may still begin, so a name that no task has is no error while
/// the run goes on.
pub async fn follow_logs(
    site: &Site,
    request: &LogsRequest,
    mut show: impl FnMut(&LogLine),
) -> Result<(RunId, RunStatus), VerbError> {
    let (id, mut choice) = choose(site, request)?;
    let runs = Runs::new(site.home());
    let mut printed = runs.follow_log(&id);
    let mut last = VecDeque::new();
    while let Some(mut line) = printed.line()? {
        if choice.takes(&mut line) {
            last.push_back(line);
            if request.tail.is_some_and(|tail| last.len() > tail) {
                last.pop_front();
            }
        }
    }
    last.iter().for_each(&mut show);
    while let Some(mut line) = printed.next_line().await? {
        if choice.takes(&mut line) {
            show(&line);
        }
    }
    let run = runs.get(&id)?;
    match &request.task {
        Some(task) if !run.tasks.iter().any(|one| names(&one.name, task)) => {
            Err(VerbError::no_task(&run, task))
        }
        _ => Ok((id, run.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_its_name_or_the_end_of_it() {
        for (task, name) in [
            ("train", "train"),
            ("loop/0/train", "train"),
            ("loop/0/train", "0/train"),
            ("loop/0/train", "loop"),
            ("loop/0/train", "loop/0"),
        ] {
            assert!(names(task, name), "{task} {name}");
        }
        for (task, name) in [
            ("train", "rain"),
            ("train-2", "train"),
            ("loop/10/train", "0/train"),
        ] {
            assert!(!names(task, name), "{task} {name}");
        }
    }
}
