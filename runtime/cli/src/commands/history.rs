//! `history`.

use clap::Args;
use samebundle_runtime::verbs::{self, HistoryRequest};

use super::install::trusted_by;
use super::show::seconds;
use crate::args::Named;
use crate::error::CliError;
use crate::render::Report;
use crate::render::table::{Column, table};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    named: Named,
}

impl History {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let name = self.named.installation()?;
        let report = verbs::history(&session.site, &HistoryRequest { name })?;
        let rows = report.history.iter().map(|one| {
            let state = match (one.current, one.kept) {
                (true, _) => "installed",
                (false, true) => "kept: `rollback` goes back to it",
                (false, false) => "",
            };
            vec![
                one.version.clone(),
                session.screen.digest(&one.digest),
                seconds(&one.installed),
                trusted_by(&one.verification),
                one.source.clone(),
                state.to_owned(),
            ]
        });
        let columns = [
            Column::whole("version"),
            Column::whole("digest").optional(),
            Column::whole("installed"),
            Column::from("trusted by").optional(),
            Column::path("from").optional(),
            Column::from("state"),
        ];
        let text = table(session.screen, columns, &rows.collect::<Vec<_>>());
        Ok(Report::new(text, &report))
    }
}
