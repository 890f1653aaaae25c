//! `approve` and `reject`, and what is shown of tasks that wait for a person.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Args;
use samebundle_runtime::verbs::{
    self, ApproveRequest, CheckedApproval, CheckedTask, DecisionReport, RunReport,
};
use samebundle_spec::BundleName;
use samebundle_spec::approval::Ruling;
use samebundle_spec::record::TaskQuestion;
use serde_json::Value;

use super::run;
use crate::args::{CredentialOptions, MetadataOptions, Params};
use crate::error::CliError;
use crate::flags;
use crate::render::{Report, safe, safe_lines};
use crate::session::Session;

/// What both commands take.
#[derive(Debug, Args)]
struct Decision {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run
    #[arg(value_name = "RUN|NAME")]
    run: String,
    /// The task, or the end of its name [default: the one that waits]
    #[arg(value_name = "TASK")]
    task: Option<String>,
    /// Key that signs the decision
    #[arg(long, value_name = "NAME", default_value = "default")]
    key: BundleName,
    /// Leave the run as it is; `resume` goes on with it
    #[arg(long)]
    no_run: bool,
    #[command(flatten)]
    params: Params,
    #[command(flatten)]
    credentials: CredentialOptions,
    #[command(flatten)]
    metadata: MetadataOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    decision: Decision,
    /// Give an answer, NAME=VALUE; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    answers: Vec<String>,
    /// Say why; it is signed and kept
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Reject {
    #[command(flatten)]
    decision: Decision,
    /// Say why; it is signed and kept
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Approve {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let answers = self.answers.iter().map(|text| flags::assignment(text));
        let answers = answers.collect::<Result<_, CliError>>()?;
        let decision = (Ruling::Approved, answers, self.reason);
        self.decision.run(session, decision).await
    }
}

impl Reject {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let decision = (Ruling::Rejected, BTreeMap::new(), Some(self.reason));
        self.decision.run(session, decision).await
    }
}

impl Decision {
    async fn run(
        self,
        session: &Session,
        (ruling, answers, reason): (Ruling, BTreeMap<String, String>, Option<String>),
    ) -> Result<Report, CliError> {
        let request = ApproveRequest {
            run: self.run,
            task: self.task,
            ruling,
            answers,
            reason,
            key: Some(self.key),
            no_run: self.no_run,
            parameters: self.params.given(session)?,
            credentials: self.credentials.given(session)?,
            metadata: self.metadata.given(session)?,
        };
        let report = Box::pin(verbs::approve(&session.site, request)).await?;
        let mut text = decided(session.program(), &report);
        let Some(ran) = &report.went_on else {
            return Ok(Report::new(text.trim_end(), &report));
        };
        if ruling == Ruling::Approved {
            // The run may fail for other reasons, which is an error as that of `run`.
            run::ended(session, (**ran).clone())?;
        }
        text.push_str(&run::text(session.program(), ran, session.screen)?);
        if let Some(message) = &ran.message {
            writeln!(text, "{}", safe_lines(message))?;
        }
        Ok(Report::new(text.trim_end(), &report))
    }
}

fn decided(program: &str, report: &DecisionReport) -> String {
    let DecisionReport { run, task, key, .. } = report;
    let word = report.ruling.word();
    let mut text = format!("task {} of run {run} {word} with key {key}", safe(task));
    if report.ruling == Ruling::Approved && report.wanted > 1 {
        text.push_str(&format!(", {} of {}", report.approved, report.wanted));
    }
    text.push('\n');
    if report.went_on.is_none() {
        text.push_str(&match report.settled {
            true => format!("go on with it: {program} resume {run}\n"),
            false => format!(
                "it waits for another approval: {program} approve {run} {} --key NAME\n",
                safe(task)
            ),
        });
    }
    text
}

/// What a run waits for, and what to do next; nothing if it waits for nothing.
pub(super) fn waiting(program: &str, run: &RunReport) -> String {
    let mut text = String::new();
    for one in &run.waiting {
        let task = safe(&one.task);
        text.push_str(&format!(
            "task {task} waits for a person{}\n",
            of(one.approved, one.wanted)
        ));
        text.push_str(&question(&one.question));
        for (name, value) in &one.inputs {
            text.push_str(&format!(
                "  input {} is {}\n",
                safe(name),
                safe(&value.to_string())
            ));
        }
        let sets = one.question.answers.iter();
        let sets = sets.filter(|(_, form)| form.default.is_none());
        let sets: Vec<String> = sets.map(|(name, _)| format!(" --set {}=…", safe(name))).collect();
        text.push_str(&format!(
            "decide: {program} approve {} {task}{}\n",
            run.run,
            sets.concat()
        ));
        text.push_str(&format!(
            "    or: {program} reject {} {task} --reason TEXT\n",
            run.run
        ));
    }
    text
}

fn of(approved: usize, wanted: usize) -> String {
    match wanted {
        0 | 1 => String::new(),
        wanted => format!(", {approved} of {wanted} approved"),
    }
}

/// A question as a person reads it.
fn question(question: &TaskQuestion) -> String {
    let mut text = String::new();
    if let Some(words) = &question.text {
        text.push_str(&format!("  {}\n", safe_lines(words)));
    }
    for (name, form) in &question.answers {
        let kind = form.answer_type.as_str().trim_start_matches("NUMBER_");
        let kind = kind.to_lowercase();
        text.push_str(&format!("  answer {} ({kind}", safe(name)));
        if !form.allowed.is_empty() {
            let allowed: Vec<String> = form.allowed.iter().map(Value::to_string).collect();
            text.push_str(&format!(", one of {}", safe(&allowed.join(", "))));
        }
        if let Some(default) = &form.default {
            text.push_str(&format!(", default {}", safe(&default.to_string())));
        }
        let said = form.description.as_deref().unwrap_or_default();
        let colon = if said.is_empty() { "" } else { ": " };
        text.push_str(&format!("){colon}{}\n", safe(said)));
    }
    if let Some(until) = question.until {
        text.push_str(&format!("  until {until}\n"));
    }
    text
}

/// What persons decided about the tasks of a run.
pub(super) fn checked(tasks: &[CheckedTask]) -> String {
    let mut text = String::new();
    for task in tasks {
        text.push_str(&format!("\n\ntask {} asks a person", safe(&task.task)));
        if task.wanted > 1 {
            text.push_str(&format!(", {} must approve", task.wanted));
        }
        text.push('\n');
        text.push_str(&question(&task.question));
        for one in &task.decisions {
            text.push_str(&format!("  {}\n", decision(one)));
        }
        if let Some(problem) = &task.problem {
            text.push_str(&format!("  NOT VALID: {problem}\n"));
        }
    }
    text.trim_end().to_owned()
}

fn decision(one: &CheckedApproval) -> String {
    let word = one.ruling.map_or("decided", Ruling::word);
    let by = match (&one.name, one.key) {
        (Some(name), Some(key)) => format!("key {name} ({}…)", key.short()),
        (None, Some(key)) => format!("the unknown key {}…", key.short()),
        _ => "an unknown key".to_owned(),
    };
    let mut text = format!("{word} by {by}");
    if let Some(time) = one.time {
        text.push_str(&format!(" at {}", time.whole_seconds()));
    }
    for (name, value) in &one.answers {
        text.push_str(&format!(", {} = {}", safe(name), safe(&value.to_string())));
    }
    if let Some(reason) = &one.reason {
        text.push_str(&format!(": {}", safe(reason)));
    }
    text.push_str(&match (&one.fault, one.trusted) {
        (Some(fault), _) => format!(" (NOT VALID: {})", safe(fault)),
        (None, true) => " (trusted here)".to_owned(),
        (None, false) => " (not trusted here)".to_owned(),
    });
    text
}
