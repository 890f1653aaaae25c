//! `cancel`.

use std::time::Duration;

use clap::Args;
use samebundle_runtime::verbs::{self, CancelReport, CancelRequest};
use samebundle_spec::record::RunStatus;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run
    #[arg(value_name = "RUN|NAME")]
    run: String,
    /// How long its process may take to end it in order, e.g. 10s or 2m; then it is killed [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    grace: Option<Duration>,
}

impl Cancel {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = CancelRequest {
            run: self.run,
            grace: self.grace.map_or(CancelRequest::GRACE, |grace| grace.as_secs()),
        };
        let report = Box::pin(verbs::cancel(&session.site, &request)).await?;
        Ok(Report::new(text(&report, session.program()), &report))
    }
}

fn text(report: &CancelReport, program: &str) -> String {
    let (run, status) = (&report.run, report.status);
    match (report.cancelled, status) {
        (true, _) => format!("run {run} is cancelled; nothing of it is left running"),
        (false, RunStatus::Interrupted) => {
            format!(
                "run {run} was interrupted before, and nothing was changed; `{program} resume {run}` goes on with it"
            )
        }
        (false, _) => format!(
            "run {run} had ended before ({}), and nothing was changed",
            status.word()
        ),
    }
}
