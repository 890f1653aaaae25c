//! `runs`: the runs of a home, chosen and sorted by what went in and what was measured.

use std::cmp::Ordering;

use samebundle_spec::bundle::parameter::nearest;
use samebundle_spec::record::{Run, RunId, RunStatus, short_names};
use samebundle_spec::{BundleName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::aspect::{Aspect, Condition, Value};
use super::outputs::Results;
use super::summary::{RunSummary, TaskSummary};
use super::{CheckedTask, Site, VerbError, approvals};
use crate::record::{Installations, RecordError, Runs};

/// Asks for runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunsRequest {
    /// Only runs of this installation, or one run: its id, the beginning or end of it, or `last`.
    #[serde(default)]
    pub of: Option<String>,
    /// Only runs of this installation.
    #[serde(default)]
    pub program: Option<BundleName>,
    /// Only runs of which one of these came; none: all.
    #[serde(default)]
    pub status: Vec<RunStatus>,
    /// Only runs that began at this time or later.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Only runs that meet all of these: `NAME=VALUE`, or `!=`, `<`, `<=`, `>`, `>=` between them.
    #[serde(default)]
    pub conditions: Vec<String>,
    /// Only the newest, so many of those that are left.
    #[serde(default)]
    pub last: Option<usize>,
    /// What they are sorted by, with a `-` before it for the largest first: `started`, `duration`, `status`, `parameters.NAME`,
    /// `metrics.NAME`. None: the newest first.
    #[serde(default)]
    pub sort: Option<String>,
    /// The metrics to name in the report, in this order; none: all.
    #[serde(default)]
    pub metrics: Vec<String>,
}

/// Runs, newest first or sorted.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunsReport {
    /// Each in short.
    pub runs: Vec<RunSummary>,
    /// The metrics that were asked for, or all that one of the runs has.
    pub metrics: Vec<MetricName>,
    /// The tasks, if one run was asked for, in the order in which they began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<TaskSummary>>,
    /// What persons decided about tasks of one run, checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<CheckedTask>,
    /// What it left, as it is shown.
    #[serde(skip)]
    pub results: Option<Results>,
}

/// The name of a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MetricName {
    /// The whole name.
    pub name: String,
    /// The shortest end of it that no other has.
    pub short: String,
}

/// What a word of a person means.
pub(super) enum Meant {
    Installation(BundleName),
    Run(RunId),
}

/// Lists runs.
///
/// # Errors
/// If the text names neither an installation nor a run, a name of a parameter or metric is not known, or a record cannot be
/// read.
pub fn runs(site: &Site, request: &RunsRequest) -> Result<RunsReport, VerbError> {
    let home = Runs::new(site.home());
    let mut runs = home.list(None)?;
    for run in &mut runs {
        home.see(run)?;
    }
    let of = request.of.as_deref();
    let mut one = false;
    match of.map(|text| meant(site, &runs, text)).transpose()? {
        None => {}
        Some(Meant::Installation(name)) => runs.retain(|run| run.installation == name),
        Some(Meant::Run(id)) => {
            one = true;
            runs.retain(|run| run.id == id);
        }
    }
    if let Some(program) = &request.program {
        if !runs.iter().any(|run| run.installation == *program) {
            Installations::new(site.home()).get(program)?;
        }
        runs.retain(|run| run.installation == *program);
    }
    let tasks = one.then(|| runs.iter().flat_map(|run| &run.tasks).map(TaskSummary::from));
    let tasks = tasks.map(Iterator::collect);
    let approvals = match runs.first().filter(|_| one) {
        Some(run) => approvals::checked(site, run)?,
        None => Vec::new(),
    };
    let results = runs.first().filter(|_| one);
    let results = results.map(|run| Results::of(run, &home.folder(&run.id), None));
    let short = home.short_ids()?;
    let now = site.context.clock.now();
    let summary = |run: &Run| {
        let short = short.get(&run.id).cloned();
        RunSummary::of(run, short.unwrap_or_else(|| run.id.to_string()), now)
    };
    let mut runs: Vec<RunSummary> = runs.iter().map(summary).collect();
    // Names are those of all runs before they are chosen, so that what no run meets, or only others have, is no error.
    let wanted = request.metrics.iter().map(|text| Aspect::metric(text, &runs));
    let wanted: Vec<String> = wanted.collect::<Result<_, _>>()?;
    choose(&mut runs, request)?;
    let metrics = metric_names(&runs, &wanted);
    Ok(RunsReport {
        runs,
        metrics,
        tasks,
        approvals,
        results,
    })
}

/// Leaves out the runs that were not asked for, and sorts the others.
fn choose(runs: &mut Vec<RunSummary>, request: &RunsRequest) -> Result<(), VerbError> {
    let conditions = request.conditions.iter();
    let conditions = conditions.map(|text| Condition::read(text, runs));
    let conditions: Vec<Condition> = conditions.collect::<Result<_, _>>()?;
    let sort = match request.sort.as_deref() {
        None => None,
        Some(text) => {
            let down = text.starts_with('-');
            let name = text.strip_prefix('-').unwrap_or(text);
            Some((Aspect::read(name, runs)?, down))
        }
    };
    runs.retain(|run| {
        let status = request.status.is_empty() || request.status.contains(&run.status);
        let since = request.since.is_none_or(|since| run.started >= since);
        status && since && conditions.iter().all(|condition| condition.holds(run))
    });
    runs.truncate(request.last.unwrap_or(usize::MAX));
    if let Some((aspect, down)) = sort {
        let key = |run: &RunSummary| aspect.of(run).filter(Value::has_order);
        runs.sort_by(|a, b| match (key(a), key(b)) {
            (Some(a), Some(b)) if down => Value::compare(&b, &a),
            (Some(a), Some(b)) => Value::compare(&a, &b),
            (a, b) => match (a.is_none(), b.is_none()) {
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ => Ordering::Equal,
            },
        });
    }
    Ok(())
}

/// The metrics of runs, or those that were asked for, by their whole names.
pub(super) fn metric_names(runs: &[RunSummary], wanted: &[String]) -> Vec<MetricName> {
    let mut all: Vec<&str> = Vec::new();
    let of_runs = runs.iter().flat_map(|run| run.metrics.keys());
    for name in of_runs.chain(wanted) {
        if !all.contains(&name.as_str()) {
            all.push(name);
        }
    }
    let short = short_names(all.iter().copied());
    let named = |name: &str| MetricName {
        name: name.to_owned(),
        short: short.get(name).copied().unwrap_or(name).to_owned(),
    };
    match wanted {
        [] => all.into_iter().map(named).collect(),
        wanted => wanted.iter().map(|name| named(name)).collect(),
    }
}

/// Finds what a text names. A whole name goes before the beginning of an id, and an installation that is gone may have left
/// runs.
pub(super) fn meant(site: &Site, runs: &[Run], text: &str) -> Result<Meant, VerbError> {
    if text != "last"
        && let Ok(name) = text.parse::<BundleName>()
        && (runs.iter().any(|run| run.installation == name) || is_installed(site, &name)?)
    {
        return Ok(Meant::Installation(name));
    }
    match Runs::new(site.home()).find_id(text) {
        Ok(id) => Ok(Meant::Run(id)),
        Err(RecordError::NoRun { near, .. }) => {
            let names: Vec<String> = runs.iter().map(|run| run.installation.to_string()).collect();
            Err(VerbError::NothingOf {
                text: text.to_owned(),
                near: nearest(text, &names).or(near),
            })
        }
        Err(error) => Err(error.into()),
    }
}

fn is_installed(site: &Site, name: &BundleName) -> Result<bool, VerbError> {
    match Installations::new(site.home()).get(name) {
        Ok(_) => Ok(true),
        Err(RecordError::NoInstallation { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
