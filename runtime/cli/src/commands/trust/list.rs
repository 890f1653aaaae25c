//! `trust list`.

use clap::Args;
use samebundle_runtime::verbs;

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
        let rows = report.rules.iter().flat_map(|one| {
            let ids = &report.keys;
            one.rule.keys.iter().map(move |name| {
                vec![
                    one.scope.to_string(),
                    name.to_string(),
                    ids.get(name)
                        .map_or_else(String::new, |id| session.screen.key(id)),
                    one.rule.threshold.to_string(),
                ]
            })
        });
        let rows: Vec<_> = rows.collect();
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
