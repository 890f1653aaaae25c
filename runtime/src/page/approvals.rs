//! What a task asks a person, and what persons decided.
//!
//! A page has no trust store: it says by which key each decision was signed and whether that signature holds, and not whether
//! anybody trusts the key.

use maud::{Markup, html};
use samebundle_spec::approval::{Asked, Ruling};
use samebundle_spec::record::{Run, SignedApproval, TaskRecord};

use super::{run::lines, text};

/// The question of a task and the decisions about it; nothing of a task that asks nobody.
pub(super) fn of(run: &Run, task: &TaskRecord) -> Markup {
    html! {
        @if let Some(asked) = Asked::of(run, task) {
            @let question = asked.question;
            h3 { "Question" }
            @if let Some(words) = &question.text { p { (lines(words)) } }
            dl.facts.small {
                dt { "asked" } dd { (text::time(question.since)) }
                @if let Some(until) = question.until { dt { "until" } dd { (text::time(until)) } }
                @for (name, form) in &question.answers {
                    dt { (name) } dd { (form.answer_type) @if let Some(said) = &form.description { ": " (lines(said)) } }
                }
            }
            @if task.decisions.is_empty() { p.note { "Nobody has decided yet." } }
            ul { @for decision in &task.decisions { li { (decided(decision, &asked)) } } }
        }
    }
}

fn decided(decision: &SignedApproval, asked: &Asked<'_>) -> Markup {
    let approval = match decision.about(asked) {
        Ok(approval) => approval,
        Err(fault) => return html! { strong { "A decision that does not count: " } (fault) },
    };
    html! {
        strong { (approval.ruling.word()) } " by key " code title=(approval.key) { (approval.key.short()) }
        " at " (text::time(approval.time))
        @if let Some(reason) = &approval.reason { ": " (lines(reason)) }
        @if approval.ruling == Ruling::Approved {
            @for (name, answer) in &approval.answers { ", " (name) " = " (text::value(answer)) }
        }
    }
}
