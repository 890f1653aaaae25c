//! What a task asks a person, and what persons decided.
//!
//! A page has no trust store: it says by which key each decision was signed and whether that signature holds, and not whether
//! anybody trusts the key.

use maud::{Markup, html};
use samebundle_spec::record::{SignedApproval, TaskRecord};
use samebundle_spec::signing::Ruling;

use super::{run::lines, text};

/// The question of a task and the decisions about it; nothing of a task that asks nobody.
pub(super) fn of(task: &TaskRecord) -> Markup {
    html! {
        @if let Some(question) = &task.question {
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
            ul { @for decision in &task.decisions { li { (decided(decision)) } } }
        }
    }
}

fn decided(decision: &SignedApproval) -> Markup {
    let Ok((key, _, approval)) = decision.open() else {
        return html! { strong { "A decision whose signature does not hold" } };
    };
    html! {
        strong { (approval.ruling.word()) } " by key " code title=(key.id()) { (key.id().short()) }
        " at " (text::time(approval.time))
        @if let Some(reason) = &approval.reason { ": " (lines(reason)) }
        @if approval.ruling == Ruling::Approved {
            @for (name, answer) in &approval.answers { ", " (name) " = " (text::value(answer)) }
        }
    }
}
