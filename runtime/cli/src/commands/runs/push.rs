//! `runs push`.

use std::collections::BTreeMap;

use clap::Args;
use samebundle_runtime::metadata::{Sent, SentState};
use samebundle_runtime::verbs::{self, PushRunsReport, PushRunsRequest, PushedRun};

use crate::args::{MetadataOptions, places};
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
    /// Do not try again to send the runs to this place, where they could not be sent; may be given several times
    #[arg(long, value_name = "KIND=PLACE")]
    forget: Vec<String>,
}

impl Push {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = PushRunsRequest {
            runs: self.runs,
            metadata: self.metadata.given(session)?,
            forget: places(&self.forget, session)?,
        };
        let report = verbs::runs_push(&session.site, request).await?;
        let shown = Report::new(text(&report, session.screen), &report);
        let failed = report.pushed.iter().filter_map(|one| one.kind);
        match failed.clone().next() {
            None => Ok(shown),
            Some(kind) => Err(CliError::NotSent {
                report: Box::new(shown),
                kind,
                message: not_sent(&report, failed.count(), session.program()),
            }),
        }
    }
}

/// Why something was not sent, a line for each place.
fn not_sent(report: &PushRunsReport, failed: usize, program: &str) -> String {
    let mut text = format!(
        "{failed} of {} could not be sent",
        size::count(report.pushed.len(), "run")
    );
    let failures = report.pushed.iter();
    let failures = failures.filter_map(|one| Some((one.to.to_string(), one.failed.as_ref()?)));
    for (to, why) in failures.collect::<BTreeMap<_, _>>() {
        text.push_str(&format!("\n{}: {}", safe(&to), safe(why)));
    }
    text.push_str(&format!(
        "\n`{program} runs push` tries again, and `{program} runs push --forget KIND=PLACE` gives a place up"
    ));
    text
}

fn text(report: &PushRunsReport, screen: Screen) -> String {
    match report.pushed.as_slice() {
        [] if !report.forgotten.is_empty() => {
            let rows = report.forgotten.iter();
            let rows = rows.map(|one| vec![one.run.to_string(), safe(&one.to.to_string())]);
            let rows: Vec<_> = rows.collect();
            let columns = [Column::whole("run"), Column::path("not sent any more to")];
            table(screen, columns, &rows)
        }
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
