//! Who decides about tasks that wait for a person, which tasks wait, and what of their decisions holds. Everything here is read from
//! records, keys and the policy.

use std::collections::BTreeMap;

use samebundle_spec::approval::{Asked, Ruling, Standing, standing};
use samebundle_spec::pipeline::coerce;
use samebundle_spec::record::{
    Installation, OutputRecord, Run, RunStatus, SignedApproval, TaskQuestion, TaskRecord, Verification,
};
use samebundle_spec::signing::{Approvers, BundleOrigin, KeyId, Scope};
use samebundle_spec::{BundleName, Reference, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Site, VerbError, key};
use crate::record::Installations;

/// A task that waits for a person.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingTask {
    /// Its name.
    pub task: String,
    /// What it asks.
    pub question: TaskQuestion,
    /// What went in, which may help to decide.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Value>,
    /// How many keys have approved with the same answers.
    pub approved: usize,
    /// How many must.
    pub wanted: usize,
    /// Whether nothing more has to be decided: the run can go on.
    pub settled: bool,
}

/// What persons decided about a task, checked.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckedTask {
    /// Its name.
    pub task: String,
    /// What came of the task.
    pub status: RunStatus,
    /// What it asks.
    pub question: TaskQuestion,
    /// How many keys must approve by the policy of this home.
    pub wanted: usize,
    /// Each decision.
    pub decisions: Vec<CheckedApproval>,
    /// What in the record contradicts what was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A decision, checked.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckedApproval {
    /// What was decided; none if it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ruling: Option<Ruling>,
    /// The id of the key that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// The name that the key has here; none if it is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<BundleName>,
    /// Whether the policy of this home lets this key decide.
    pub trusted: bool,
    /// The answers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, Value>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Why it does not hold; none if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The tasks of a run that ask and are not decided.
pub(super) fn suspended(run: &Run) -> impl Iterator<Item = &TaskRecord> {
    let waits = |task: &&TaskRecord| task.status == RunStatus::Suspended && task.question.is_some();
    run.tasks.iter().filter(waits)
}

/// Who decides about runs of an installation: whom the rule that let it in names, else the keys of the home.
///
/// # Errors
/// If the trust store or the keys cannot be read.
pub(super) fn approvers(site: &Site, installation: Option<&Installation>) -> Result<Approvers, VerbError> {
    Ok(rule(site, installation)?.1)
}

pub(super) fn rule(
    site: &Site,
    installation: Option<&Installation>,
) -> Result<(Option<Scope>, Approvers), VerbError> {
    let trust = site.trust()?;
    let by_scope = match installation.map(|one| &one.verification) {
        Some(Verification::Signature { scope, .. }) => scope.parse::<Scope>().ok(),
        _ => None,
    };
    let exact = by_scope.and_then(|scope| Some((scope.clone(), trust.policy().get(&scope)?)));
    let place = match installation.and_then(|one| one.source.parse::<Reference>().ok()) {
        Some(reference) => BundleOrigin::Registry(reference.repository),
        None => BundleOrigin::Local,
    };
    let longest = || trust.explain(&place).map(|(scope, rule)| (scope.clone(), rule));
    let found = exact.or_else(longest);
    if let Some((scope, rule)) = found
        && let Some(approvals) = &rule.approvals
    {
        return Ok((Some(scope), approvals.approvers(trust.keys())));
    }
    let keys = key::own_keys(site)?;
    Ok((None, Approvers { keys, threshold: 1 }))
}

/// Refuses to go on with a run of which everything that waits still waits.
///
/// # Errors
/// [`VerbError::StillWaits`].
pub(super) fn check_settled(site: &Site, run: &Run) -> Result<(), VerbError> {
    let waiting = waiting(site, run);
    match waiting.first() {
        Some(first) if waiting.iter().all(|task| !task.settled) => Err(VerbError::StillWaits {
            run: run.id.to_string(),
            task: first.task.clone(),
        }),
        _ => Ok(()),
    }
}

/// The tasks of a run that wait for a person. Of a run that ended otherwise nothing waits.
pub(super) fn waiting(site: &Site, run: &Run) -> Vec<WaitingTask> {
    if run.status != RunStatus::Suspended {
        return Vec::new();
    }
    let installation = Installations::new(site.home()).get(&run.installation).ok();
    let approvers = approvers(site, installation.as_ref()).unwrap_or_default();
    let waits = suspended(run).filter_map(|task| {
        let asked = Asked::of(run, task)?;
        let standing = standing(&asked, &task.decisions, &approvers, site.now());
        let inputs = task.inputs.iter().filter_map(|(name, input)| match input {
            OutputRecord::Value(value) => Some((name.clone(), value.clone())),
            OutputRecord::Artifacts(_) => None,
        });
        Some(WaitingTask {
            task: task.name.clone(),
            question: asked.question.clone(),
            inputs: inputs.collect(),
            approved: match &standing {
                Standing::Waits { approved } => *approved,
                _ => 0,
            },
            wanted: approvers.threshold,
            settled: !matches!(standing, Standing::Waits { .. }),
        })
    });
    waits.collect()
}

/// Checks what persons decided about the tasks of a run, from the record alone.
///
/// # Errors
/// If the trust store or the keys cannot be read.
pub(super) fn checked(site: &Site, run: &Run) -> Result<Vec<CheckedTask>, VerbError> {
    let asking: Vec<&TaskRecord> = run.tasks.iter().filter(|task| task.question.is_some()).collect();
    if asking.is_empty() {
        return Ok(Vec::new());
    }
    let installation = Installations::new(site.home()).get(&run.installation).ok();
    let (scope, approvers) = rule(site, installation.as_ref())?;
    let trust = site.trust()?;
    // Without a rule about decisions, those of others count as those of whoever is trusted here.
    let others = scope.is_none() && run.imported_with.is_some();
    let trusted = |id: KeyId| others && trust.keys().values().any(|key| key.id() == id);
    let named = |id: KeyId| {
        let mut all = approvers.keys.iter().chain(trust.keys());
        all.find(|(_, key)| key.id() == id).map(|(name, _)| name.clone())
    };
    let checked = asking.into_iter().filter_map(|task| {
        let asked = Asked::of(run, task)?;
        let decisions = task.decisions.iter().map(|one| {
            let mut checked = opened(one, &asked);
            checked.name = checked.key.and_then(named);
            checked.trusted = checked.key.is_some_and(|id| approvers.may(id) || trusted(id));
            checked
        });
        let decisions: Vec<CheckedApproval> = decisions.collect();
        Some(CheckedTask {
            task: task.name.clone(),
            status: task.status,
            question: asked.question.clone(),
            wanted: approvers.threshold,
            problem: problem(task, &decisions),
            decisions,
        })
    });
    Ok(checked.collect())
}

/// Reads a decision and checks its signature and what it is about.
fn opened(decision: &SignedApproval, asked: &Asked<'_>) -> CheckedApproval {
    let opened = decision.open();
    let fault = decision.about(asked).err().map(|fault| fault.to_string());
    let read = opened.ok().map(|(_, _, approval)| approval);
    let key = read.as_ref().map(|one| one.key);
    let (ruling, time) = (
        read.as_ref().map(|one| one.ruling),
        read.as_ref().map(|one| one.time),
    );
    let (answers, reason) = read.map(|one| (one.answers, one.reason)).unwrap_or_default();
    CheckedApproval {
        ruling,
        key,
        name: None,
        trusted: false,
        answers,
        reason,
        time,
        fault,
    }
}

/// Says what in the record of a task contradicts what was signed about it.
fn problem(task: &TaskRecord, decisions: &[CheckedApproval]) -> Option<String> {
    let question = task.question.as_ref()?;
    let valid = || decisions.iter().filter(|one| one.fault.is_none());
    let approved = valid().filter(|one| one.ruling == Some(Ruling::Approved));
    let mut approved = approved.map(|one| {
        let typed = one.answers.iter().map(|(name, value)| {
            let form = question.answers.get(name);
            let typed = form.and_then(|form| coerce(value, form.answer_type).ok());
            (name.clone(), OutputRecord::Value(typed.unwrap_or(Value::Null)))
        });
        typed.collect::<BTreeMap<_, _>>()
    });
    match task.status {
        RunStatus::Succeeded if valid().next().is_none() => {
            Some("the record says that it was approved, and nobody signed that".to_owned())
        }
        RunStatus::Succeeded if !approved.any(|answers| answers == task.outputs) => {
            Some("its outputs in the record are not the answers that were signed".to_owned())
        }
        _ => None,
    }
}
