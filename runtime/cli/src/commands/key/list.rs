//! `key list`.

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
        let report = verbs::list_keys(&session.site)?;
        let rows = report.keys.iter().map(|key| {
            let encrypted = if key.encrypted { "yes" } else { "no" };
            vec![
                key.key.to_string(),
                key.id.clone(),
                key.algorithm.clone(),
                encrypted.to_owned(),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let text = match rows.is_empty() {
            true => "there is no key; `key generate` makes one".to_owned(),
            false => table(
                session.screen,
                [
                    Column::from("key"),
                    Column::whole("id"),
                    "algorithm".into(),
                    Column::whole("encrypted"),
                ],
                &rows,
            ),
        };
        Ok(Report::new(text, &report))
    }
}
