//! `doctor`.

use clap::Args;
use samebundle_runtime::verbs;

use crate::error::CliError;
use crate::render::{Report, table::table};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let report = verbs::doctor(&session.site).await?;
        let rows = report.checks.iter().map(|check| {
            vec![
                check.what.clone(),
                check.verdict.words().to_owned(),
                check.detail.clone(),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let shown = Report::new(table(&["what", "verdict", "detail"], &rows), &report);
        match report.works {
            true => Ok(shown),
            false => Err(CliError::NothingRuns {
                report: Box::new(shown),
            }),
        }
    }
}
