//! `runs remove`.

use clap::Args;
use samebundle_runtime::verbs::{self, RemoveRunsReport, RemoveRunsRequest};

use crate::error::CliError;
use crate::render::{
    Report,
    screen::Screen,
    size,
    table::{Column, table},
};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Runs, by their ids, the beginnings or ends of them, or `last`; or names of installations, with --keep or --failed
    #[arg(value_name = "RUN|NAME")]
    runs: Vec<String>,
    /// Keep the newest N runs of each installation
    #[arg(long, value_name = "N")]
    keep: Option<u32>,
    /// Remove only runs that failed or did not finish
    #[arg(long)]
    failed: bool,
    /// Remove only the files of the outputs; records and logs stay
    #[arg(long)]
    outputs_only: bool,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

impl Remove {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = RemoveRunsRequest {
            runs: self.runs,
            keep: self.keep,
            failed: self.failed,
            outputs_only: self.outputs_only,
            dry_run: self.dry_run,
        };
        let report = verbs::runs_remove(&session.site, request).await?;
        Ok(Report::new(
            text(&report, session.program(), session.screen),
            &report,
        ))
    }
}

fn text(report: &RemoveRunsReport, program: &str, screen: Screen) -> String {
    if report.removed.is_empty() {
        return "there are no such runs".to_owned();
    }
    let rows = report.removed.iter().map(|run| {
        vec![
            run.run.to_string(),
            run.installation.to_string(),
            run.status.word().to_owned(),
            size::bytes(run.bytes),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let what = match report.outputs_only {
        true => "the files of ",
        false => "",
    };
    let runs = size::count(rows.len(), "run");
    let verb = if report.dry_run { "would remove" } else { "removed" };
    let next = match report.dry_run || report.outputs_only {
        true => String::new(),
        false => format!("\n`{program} store gc` removes what only they needed"),
    };
    format!(
        "{}\n{verb} {what}{runs}, {}{next}",
        table(
            screen,
            [
                Column::whole("run"),
                "program".into(),
                super::status(),
                Column::number("size")
            ],
            &rows
        ),
        size::bytes(report.bytes)
    )
}
