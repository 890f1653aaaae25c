//! `logs`.

use clap::Args;
use samebundle_runtime::verbs::{self, LogsRequest};

use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The run: its id, the beginning of it, or `last`
    #[arg(default_value = "last")]
    run: String,
    /// Only this task
    #[arg(long)]
    task: Option<String>,
}

impl Logs {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = LogsRequest {
            run: self.run,
            task: self.task,
        };
        let report = verbs::logs(&session.site, &request)?;
        let lines = report.log.iter();
        let lines = lines.map(|line| format!("{} | {}", safe(&line.task), safe(&line.line)));
        let text = lines.collect::<Vec<_>>().join("\n");
        Ok(Report::new(text, &report))
    }
}
