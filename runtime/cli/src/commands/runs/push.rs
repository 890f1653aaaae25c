//! `runs push`.

use clap::Args;
use samebundle_runtime::metadata::{Sent, SentState};
use samebundle_runtime::verbs::{self, PushRunsReport, PushRunsRequest, PushedRun};

use crate::args::MetadataOptions;
use crate::error::CliError;
use crate::render::screen::Screen;
use crate::render::{Report, safe, size, table::Column, table::table};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Runs, by their ids, the beginnings of them, or `last`; or names of installations [default: all runs]
    #[arg(value_name = "RUN|NAME")]
    runs: Vec<String>,
    #[command(flatten)]
    metadata: MetadataOptions,
}

impl Push {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = PushRunsRequest {
            runs: self.runs,
            metadata: self.metadata.given(session)?,
        };
        let report = verbs::runs_push(&session.site, request).await?;
        Ok(Report::new(text(&report, session.screen), &report))
    }
}

fn text(report: &PushRunsReport, screen: Screen) -> String {
    match report.pushed.as_slice() {
        [] => "there is nothing to send; --metadata mlflow=URL says where to".to_owned(),
        pushed => table(
            screen,
            [
                Column::whole("run"),
                Column::path("to"),
                Column::whole("state"),
                Column::number("sent"),
                Column::number("size"),
            ],
            &pushed.iter().map(row).collect::<Vec<_>>(),
        ),
    }
}

fn row(pushed: &PushedRun) -> Vec<String> {
    let (state, count, bytes) = match &pushed.sent {
        Some(sent) => (word(sent), sent.count.to_string(), size::bytes(sent.bytes)),
        None => ("failed", String::new(), String::new()),
    };
    vec![
        pushed.run.to_string(),
        safe(&pushed.to.to_string()),
        state.to_owned(),
        count,
        bytes,
    ]
}

fn word(sent: &Sent) -> &'static str {
    match sent.state {
        SentState::New => "new",
        SentState::Completed => "completed",
        SentState::Already => "was there",
    }
}
