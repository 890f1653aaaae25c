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
            let word = |yes| if yes { "yes" } else { "no" };
            // The public half of an encrypted key is only known while it lies beside it.
            let unknown = || "not known".to_owned();
            vec![
                key.key.to_string(),
                key.id.as_ref().map_or_else(unknown, |id| session.screen.key(id)),
                key.algorithm.map_or_else(unknown, |one| one.word().to_owned()),
                word(key.encrypted).to_owned(),
                word(key.trusted).to_owned(),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let text = match rows.is_empty() {
            true => "there is no key; `key generate` makes one".to_owned(),
            false => table(
                session.screen,
                [
                    Column::from("key"),
                    Column::whole("fingerprint"),
                    "algorithm".into(),
                    Column::whole("encrypted"),
                    Column::whole("trusted"),
                ],
                &rows,
            ),
        };
        Ok(Report::new(text, &report))
    }
}
