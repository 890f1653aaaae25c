//! `approve` and `reject`: a person decides about a task that waits, and the run goes on.
//!
//! What was decided is signed, checked and appended to the run's log before anything goes on, under the run's lock, so that no
//! decision is lost or counted twice. Then the run goes on as an interrupted one does.

use std::collections::BTreeMap;

use samebundle_spec::pipeline::coerce;
use samebundle_spec::record::{
    Installation, OutputRecord, Run, RunStatus, SignedApproval, TaskDecided, TaskQuestion, TaskRecord,
    Verification,
};
use samebundle_spec::signing::{
    Approval, Approvers, Asked, BundleOrigin, KeyId, Ruling, Scope, Standing, standing,
};
use samebundle_spec::{BundleName, Reference, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::metadata::MetadataGiven;
use super::resume::{ResumeRequest, resume};
use super::run::RunReport;
use super::{CredentialsGiven, Given, Site, VerbError, key};
use crate::record::{Installations, RecordError, Runs};

/// The key that signs if none is named.
const DEFAULT_KEY: &str = "default";

/// A decision about a task that waits.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproveRequest {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run.
    pub run: String,
    /// The task: its name, or the end of it; none: the one that waits.
    #[serde(default)]
    pub task: Option<String>,
    /// What is decided.
    pub ruling: Ruling,
    /// The answers by name, as texts; what is left out has its default.
    #[serde(default)]
    pub answers: BTreeMap<String, String>,
    /// Why, in words. A rejection has to say it.
    #[serde(default)]
    pub reason: Option<String>,
    /// Name of the key that signs; none: `default`.
    #[serde(default)]
    pub key: Option<BundleName>,
    /// Whether the run stays as it is also when enough have decided; `resume` goes on with it later.
    #[serde(default)]
    pub no_run: bool,
    /// Secret parameters that the run was given, which no record has.
    #[serde(default)]
    pub parameters: Given,
    /// Where its credentials come from, beside what the installation remembers.
    #[serde(default)]
    pub credentials: CredentialsGiven,
    /// Where the run is sent to when it has ended.
    #[serde(default)]
    pub metadata: MetadataGiven,
}

/// What was decided.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionReport {
    /// The run.
    pub run: String,
    /// The task.
    pub task: String,
    /// What was decided.
    pub ruling: Ruling,
    /// The answers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, Value>,
    /// Name of the key that signed it.
    pub key: BundleName,
    /// How many keys have approved with the same answers.
    pub approved: usize,
    /// How many must.
    pub wanted: usize,
    /// Whether the question is settled.
    pub settled: bool,
    /// What came of the run, which went on; none if it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub went_on: Option<Box<RunReport>>,
}

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

/// Decides about a task that waits. If that settles it, the run goes on at once.
///
/// # Errors
/// If there is no such run or task, nothing of it waits, the key may not decide, the answers do not fit, or another process does
/// the run: then nothing is written. As `resume`.
pub async fn approve(site: &Site, request: ApproveRequest) -> Result<DecisionReport, VerbError> {
    let store = site.store().await?;
    site.resolve_interrupted(&site.drivers(&store)).await?;
    let mut report = decide(site, &request)?;
    if report.settled && !request.no_run {
        let goes_on = ResumeRequest {
            run: report.run.clone(),
            parameters: request.parameters,
            credentials: request.credentials,
            metadata: request.metadata,
        };
        let run = Box::pin(resume(site, goes_on)).await?;
        report.went_on = Some(Box::new(run));
    }
    Ok(report)
}

/// Signs the decision and appends it.
fn decide(site: &Site, request: &ApproveRequest) -> Result<DecisionReport, VerbError> {
    let runs = Runs::new(site.home());
    let id = runs.find_id(&request.run)?;
    let installation = Installations::new(site.home()).get(&runs.get(&id)?.installation)?;
    let (scope, approvers) = rule(site, Some(&installation))?;
    let by = match &request.key {
        Some(name) => name.clone(),
        None => DEFAULT_KEY.parse()?,
    };
    // A passphrase is asked for before anybody else is kept waiting.
    let signing_key = key::load(site, &by)?;
    let public = signing_key.public();
    if !approvers.keys.values().any(|may| may.id() == public.id()) {
        let may = approvers.keys.keys().map(ToString::to_string).collect();
        return Err(VerbError::NoApprover { key: by, scope, may });
    }
    let log = runs.waiting(&site.context, &id)?;
    let run = log.run();
    let task = find(&run, request.task.as_deref())?;
    let question = task.question.as_ref().ok_or_else(|| nothing_waits(&run))?;
    let asked = asked(&run, task, question);
    let approval = approval(site, request, (&asked, task, &approvers), public.id())?;
    let answers = approval.answers.clone();
    let decided = TaskDecided {
        task: task.name.clone(),
        decision: approval
            .sign(run.bundle_digest, &signing_key)
            .map_err(|error| undecidable(&asked, format!("the decision cannot be signed: {error}")))?,
    };
    let mut decisions = task.decisions.clone();
    decisions.push(decided.decision.clone());
    log.decide(decided)?;
    let (approved, settled) = match standing(&asked, &decisions, &approvers, site.now()) {
        Standing::Waits { approved } => (approved, false),
        Standing::Approved { .. } => (approvers.threshold, true),
        Standing::Rejected { .. } | Standing::Over => (0, true),
    };
    Ok(DecisionReport {
        run: run.id.to_string(),
        task: task.name.clone(),
        ruling: request.ruling,
        answers,
        key: by,
        approved,
        wanted: approvers.threshold,
        settled,
        went_on: None,
    })
}

/// Makes the decision that is signed, if it can count.
fn approval(
    site: &Site,
    request: &ApproveRequest,
    (asked, task, approvers): (&Asked<'_>, &TaskRecord, &Approvers),
    key: KeyId,
) -> Result<Approval, VerbError> {
    let refused = |why: String| Err(undecidable(asked, why));
    let now = site.now();
    match standing(asked, &task.decisions, approvers, now) {
        Standing::Waits { .. } => {}
        Standing::Over => {
            let until = asked.question.until.unwrap_or(now);
            return refused(format!(
                "its time was over at {until}; `resume {}` ends it",
                asked.run
            ));
        }
        Standing::Approved { .. } | Standing::Rejected { .. } => {
            return refused(format!("it is decided already; `resume {}` goes on", asked.run));
        }
    }
    let before = counting(asked, &task.decisions, approvers);
    let answers = match request.ruling {
        Ruling::Rejected if request.reason.is_none() => {
            return Err(VerbError::Usage("say why with --reason TEXT".to_owned()));
        }
        Ruling::Rejected => BTreeMap::new(),
        Ruling::Approved if before.iter().any(|one| one.key == key) => {
            return refused("this key has approved it before, and counts once".to_owned());
        }
        Ruling::Approved => answers(asked.question, &request.answers, &before)?,
    };
    if let Some(other) = before
        .iter()
        .find(|one| request.ruling == Ruling::Approved && one.answers != answers)
    {
        let given = serde_json::to_string(&other.answers).unwrap_or_default();
        return refused(format!(
            "it was approved before with other answers, {given}; approve with the same, or reject it"
        ));
    }
    Ok(Approval {
        run: asked.run.clone(),
        task: asked.task.to_owned(),
        attempt: asked.attempt,
        question: asked.question.digest(),
        ruling: request.ruling,
        answers,
        reason: request.reason.clone(),
        time: now,
        key,
    })
}

/// Whoever gives no answers agrees with those that were given before.
fn answers(
    question: &TaskQuestion,
    texts: &BTreeMap<String, String>,
    before: &[Approval],
) -> Result<BTreeMap<String, Value>, VerbError> {
    match before.first() {
        Some(first) if texts.is_empty() => Ok(first.answers.clone()),
        _ => Ok(question.typed(texts)?),
    }
}

/// The decisions until now that count.
fn counting(asked: &Asked<'_>, decisions: &[SignedApproval], approvers: &Approvers) -> Vec<Approval> {
    let may = |id: KeyId| approvers.keys.values().any(|key| key.id() == id);
    let valid = decisions.iter().filter_map(|one| one.about(asked).ok());
    valid.filter(|one| may(one.key)).collect()
}

fn undecidable(asked: &Asked<'_>, why: String) -> VerbError {
    VerbError::Undecidable {
        run: asked.run.to_string(),
        task: asked.task.to_owned(),
        why,
    }
}

fn asked<'a>(run: &'a Run, task: &'a TaskRecord, question: &'a TaskQuestion) -> Asked<'a> {
    Asked {
        bundle: run.bundle_digest,
        run: &run.id,
        task: &task.name,
        attempt: task.attempts,
        question,
    }
}

fn nothing_waits(run: &Run) -> VerbError {
    let (id, status) = (run.id.to_string(), run.status.word());
    RecordError::NotSuspended { id, status }.into()
}

/// Finds the task that is meant among those that wait.
fn find<'a>(run: &'a Run, name: Option<&str>) -> Result<&'a TaskRecord, VerbError> {
    let waiting: Vec<&TaskRecord> = suspended(run).collect();
    if let Some(exact) = waiting.iter().find(|task| Some(task.name.as_str()) == name) {
        return Ok(exact);
    }
    let ends = |task: &&TaskRecord| name.is_none_or(|name| task.name.ends_with(&format!("/{name}")));
    let found: Vec<&TaskRecord> = waiting.into_iter().filter(ends).collect();
    match (found.as_slice(), name) {
        ([one], _) => Ok(one),
        ([], None) => Err(nothing_waits(run)),
        ([], Some(name)) if run.tasks.iter().any(|task| task.name == name) => Err(VerbError::Undecidable {
            run: run.id.to_string(),
            task: name.to_owned(),
            why: "it does not wait for a decision".to_owned(),
        }),
        ([], Some(name)) => Err(VerbError::no_task(run, name)),
        (some, _) => {
            let names: Vec<&str> = some.iter().map(|task| task.name.as_str()).collect();
            let names = names.join(", ");
            Err(VerbError::Usage(format!(
                "several tasks wait; name one of {names}"
            )))
        }
    }
}

/// The tasks of a run that ask and are not decided.
fn suspended(run: &Run) -> impl Iterator<Item = &TaskRecord> {
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

fn rule(site: &Site, installation: Option<&Installation>) -> Result<(Option<Scope>, Approvers), VerbError> {
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
        let question = task.question.as_ref()?;
        let standing = standing(
            &asked(run, task, question),
            &task.decisions,
            &approvers,
            site.now(),
        );
        let inputs = task.inputs.iter().filter_map(|(name, input)| match input {
            OutputRecord::Value(value) => Some((name.clone(), value.clone())),
            OutputRecord::Artifacts(_) => None,
        });
        Some(WaitingTask {
            task: task.name.clone(),
            question: question.clone(),
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
    let approvers = approvers(site, installation.as_ref())?;
    let trust = site.trust()?;
    let named = |id: KeyId| {
        let mut all = approvers.keys.iter().chain(trust.keys());
        all.find(|(_, key)| key.id() == id).map(|(name, _)| name.clone())
    };
    let checked = asking.into_iter().filter_map(|task| {
        let question = task.question.as_ref()?;
        let asked = asked(run, task, question);
        let decisions = task.decisions.iter().map(|one| {
            let mut checked = opened(one, &asked);
            checked.name = checked.key.and_then(named);
            checked.trusted = checked
                .key
                .is_some_and(|id| approvers.keys.values().any(|key| key.id() == id));
            checked
        });
        let decisions: Vec<CheckedApproval> = decisions.collect();
        Some(CheckedTask {
            task: task.name.clone(),
            status: task.status,
            question: question.clone(),
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
