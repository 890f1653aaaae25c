//! `trust list`.

use clap::Args;
use samebundle_runtime::verbs::{self, ScopeRule, TrustReport};

use crate::error::CliError;
use crate::render::{
    Report,
    table::{Column, table},
};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct List {}

impl List {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let report = verbs::trust_list(&session.site)?;
        let rows: Vec<_> = report
            .rules
            .iter()
            .flat_map(|one| rows(session, &report, one))
            .collect();
        let text = match rows.is_empty() {
            true => "nobody is trusted; `trust add NAME FILE` adds a key".to_owned(),
            false => table(
                session.screen,
                [
                    Column::path("scope"),
                    "key".into(),
                    Column::whole("fingerprint"),
                    Column::number("threshold"),
                ],
                &rows,
            ),
        };
        Ok(Report::new(text, &report))
    }
}

/// A line for each key of a rule. A rule without a key is shown as well, because it refuses everything.
fn rows(session: &Session, report: &TrustReport, one: &ScopeRule) -> Vec<Vec<String>> {
    let row = |key: String, id: String| {
        let threshold = one.rule.threshold.to_string();
        vec![one.scope.to_string(), key, id, threshold]
    };
    if one.rule.keys.is_empty() {
        return vec![row("(nobody)".to_owned(), String::new())];
    }
    let rows = one.rule.keys.iter().map(|name| {
        let id = report.keys.get(name);
        row(
            name.to_string(),
            id.map_or_else(String::new, |id| session.screen.key(id)),
        )
    });
    rows.collect()
}
