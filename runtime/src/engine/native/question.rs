//! Tasks that ask a person: they wait without a process, and end as persons decided.

use std::collections::BTreeMap;

use samebundle_spec::approval::{Asked, Standing, standing};
use samebundle_spec::pipeline::{Component, ParameterSpec, Question, QuestionAnswer, coerce};
use samebundle_spec::record::{AnswerForm, RunEventKind, TaskQuestion, TaskSuspended};
use samebundle_spec::time::Timestamp;

use super::Execution;
use super::artifact::{TaskEnd, Values};
use super::error::TaskError;
use super::resolve::Resolver;

impl Execution<'_> {
    /// Asks, or goes on with what was asked before and decided since.
    pub(super) fn ask(
        &self,
        (path, attempt): (&str, u32),
        component: &Component,
        question: &Question,
        inputs: &Values,
    ) -> Result<TaskEnd, TaskError> {
        let past = self.resumed().past(path);
        let past = past.filter(|past| past.attempts == attempt).unwrap_or_default();
        let Some(asked) = past.question else {
            let question = self.asked(path, component, question, inputs)?;
            self.log.append(RunEventKind::TaskSuspended(TaskSuspended {
                task: path.to_owned(),
                attempt,
                question,
            }));
            return Ok(TaskEnd::Suspended);
        };
        let (bundle, run) = self.log.look(|run| (run.bundle_digest, run.id.clone()));
        let asked = Asked {
            bundle,
            run: &run,
            task: path,
            attempt,
            question: &asked,
        };
        match standing(&asked, &past.decisions, &self.plan.approvers, self.now()) {
            Standing::Waits { .. } => Ok(TaskEnd::Suspended),
            Standing::Approved { answers } => answered(component, answers),
            Standing::Rejected { reason } => Err(TaskError::Rejected { reason }),
            Standing::Over => Err(TaskError::NotAnswered {
                until: asked.question.until.unwrap_or(asked.question.since),
            }),
        }
    }

    fn now(&self) -> Timestamp {
        self.context.clock.now().into()
    }

    /// Makes the question of a task, with its inputs in its texts.
    fn asked(
        &self,
        path: &str,
        component: &Component,
        question: &Question,
        inputs: &Values,
    ) -> Result<TaskQuestion, TaskError> {
        let resolver = Resolver {
            inputs,
            facts: &self.facts,
            task: path,
            container: None,
        };
        let mut answers = BTreeMap::new();
        for (name, spec) in &component.outputs.parameters {
            answers.insert(name.clone(), form(spec, question.answers.get(name), &resolver)?);
        }
        let pod = self.plan.pipeline.pod_of(component);
        let limit = question
            .limit_seconds
            .or_else(|| pod.and_then(|pod| pod.deadline_seconds));
        let since = self.now();
        Ok(TaskQuestion {
            text: question
                .text
                .as_deref()
                .map(|text| resolver.text(text))
                .transpose()?,
            answers,
            since,
            until: limit.map(|seconds| since.after(std::time::Duration::from_secs(seconds))),
        })
    }
}

/// Returns the form of an answer, which becomes an output parameter.
fn form(
    spec: &ParameterSpec,
    said: Option<&QuestionAnswer>,
    resolver: &Resolver<'_>,
) -> Result<AnswerForm, TaskError> {
    let typed = |value| coerce(value, spec.parameter_type).ok();
    let description = said.and_then(|said| said.description.as_ref());
    let description = description.or(spec.description.as_ref());
    let allowed = said
        .map(|said| &said.allowed)
        .filter(|allowed| !allowed.is_empty());
    let default = said.and_then(|said| said.default.as_ref());
    Ok(AnswerForm {
        answer_type: spec.parameter_type,
        description: description.map(|text| resolver.text(text)).transpose()?,
        default: default.or(spec.default.as_ref()).and_then(typed),
        allowed: allowed
            .unwrap_or(&spec.literals)
            .iter()
            .filter_map(typed)
            .collect(),
    })
}

/// The answers become the outputs.
fn answered(
    component: &Component,
    answers: BTreeMap<String, serde_json::Value>,
) -> Result<TaskEnd, TaskError> {
    let mut values = Values::default();
    for (name, answer) in answers {
        let Some(spec) = component.outputs.parameters.get(&name) else {
            continue;
        };
        let typed = coerce(&answer, spec.parameter_type).map_err(|source| TaskError::OutputValue {
            output: name.clone(),
            source,
        })?;
        values.parameters.insert(name, typed);
    }
    Ok(TaskEnd::Done(values))
}
