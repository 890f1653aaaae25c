//! `doctor`.

use clap::Args;
use samebundle_runtime::verbs;

use crate::error::CliError;
use crate::render::{
    Report,
    table::{Column, table},
};
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
        let text = table(
            session.screen,
            ["what".into(), Column::whole("verdict"), Column::prose("detail")],
            &rows,
        );
        let shown = Report::new(text, &report);
        match report.works {
            true => Ok(shown),
            false => Err(CliError::NothingRuns {
                report: Box::new(shown),
            }),
        }
    }
}
