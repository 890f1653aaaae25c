//! `approve` and `reject`: a person decides about a task that waits, and the run goes on.
//!
//! What was decided is signed, checked and appended to the run's log before anything goes on, under the run's lock, so that no
//! decision is lost or counted twice. Then the run goes on as an interrupted one does.

use std::collections::BTreeMap;

use samebundle_spec::BundleName;
use samebundle_spec::approval::{Approval, Asked, Ruling, Standing, standing};
use samebundle_spec::record::{Run, SignedApproval, TaskDecided, TaskQuestion, TaskRecord};
use samebundle_spec::signing::{Approvers, KeyId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::approvals::{rule, suspended};
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
    if !approvers.may(public.id()) {
        let may = approvers.keys.keys().map(ToString::to_string).collect();
        return Err(VerbError::NoApprover { key: by, scope, may });
    }
    let log = runs.waiting(&site.context, &id)?;
    let run = log.run();
    let task = find(&run, request.task.as_deref())?;
    let asked = Asked::of(&run, task).ok_or_else(|| nothing_waits(&run))?;
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
    let now = site.now();
    check_open(asked, standing(asked, &task.decisions, approvers, now))?;
    let answers = match request.ruling {
        Ruling::Rejected if request.reason.is_none() => {
            return Err(VerbError::Usage("say why with --reason TEXT".to_owned()));
        }
        Ruling::Rejected => BTreeMap::new(),
        Ruling::Approved => {
            let before = counting(asked, &task.decisions, approvers);
            agreed(asked, &request.answers, &before, key)?
        }
    };
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

/// Refuses to decide what is settled.
fn check_open(asked: &Asked<'_>, standing: Standing) -> Result<(), VerbError> {
    let run = asked.run;
    let why = match (standing, asked.question.until) {
        (Standing::Waits { .. }, _) => return Ok(()),
        (Standing::Over, Some(until)) => format!("its time was over at {until}; `resume {run}` ends it"),
        _ => format!("it is decided already; `resume {run}` goes on"),
    };
    Err(undecidable(asked, why))
}

/// Returns the answers, if they are those that others have given and this key has not approved before.
fn agreed(
    asked: &Asked<'_>,
    texts: &BTreeMap<String, String>,
    before: &[Approval],
    key: KeyId,
) -> Result<BTreeMap<String, Value>, VerbError> {
    if before.iter().any(|one| one.key == key) {
        let why = "this key has approved it before, and counts once".to_owned();
        return Err(undecidable(asked, why));
    }
    let answers = answers(asked.question, texts, before)?;
    match before.iter().find(|one| one.answers != answers) {
        None => Ok(answers),
        Some(other) => {
            let given = serde_json::to_string(&other.answers).unwrap_or_default();
            let why = format!(
                "it was approved before with other answers, {given}; approve with the same, or reject it"
            );
            Err(undecidable(asked, why))
        }
    }
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
    let valid = decisions.iter().filter_map(|one| one.about(asked).ok());
    valid.filter(|one| approvers.may(one.key)).collect()
}

fn undecidable(asked: &Asked<'_>, why: String) -> VerbError {
    VerbError::Undecidable {
        run: asked.run.to_string(),
        task: asked.task.to_owned(),
        why,
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
