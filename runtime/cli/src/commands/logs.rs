//! `logs`.

use std::io::Write;

use clap::Args;
use samebundle_runtime::verbs::{self, LogsReport, LogsRequest};
use samebundle_runtime::{Clock, Event};
use samebundle_spec::record::LogLine;

use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;
use crate::settings::SystemClock;
use crate::values::{self, Since};

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run
    #[arg(value_name = "RUN|NAME", default_value = "last")]
    run: String,
    /// Only this task and those inside of it: its name, or the end of it
    #[arg(long)]
    task: Option<String>,
    /// Only the last N lines
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
    /// Only lines that were printed in this time, e.g. 10m, or since a point in time
    #[arg(long, value_name = "TIME", value_parser = values::since)]
    since: Option<Since>,
    /// Go on until the run has ended, also if another process runs it
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    /// Runs the command. With -v, nothing is left out.
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = LogsRequest {
            run: self.run,
            task: self.task,
            tail: self.tail,
            since: self.since.map(|since| since.before(SystemClock.now())),
            all: session.verbose,
        };
        if self.follow {
            let show = |line: &LogLine| {
                if !session.output.is_document() {
                    // A closed standard output must not stop what is followed from being seen to its end.
                    drop(writeln!(std::io::stdout().lock(), "{}", shown(line)));
                }
            };
            let (run, status) = verbs::follow_logs(&session.site, &request, show).await?;
            if !session.output.is_document() {
                notice(session, format!("run {run} {}", status.word()));
                return Ok(Report::new("", &run));
            }
        }
        let report = verbs::logs(&session.site, &request)?;
        if report.log.is_empty() && report.hidden > 0 {
            notice(session, hidden(&report));
        }
        let lines = report.log.iter().map(shown);
        Ok(Report::new(lines.collect::<Vec<_>>().join("\n"), &report))
    }
}

fn notice(session: &Session, text: String) {
    session.site.context.events.emit(Event::Notice { text });
}

fn hidden(report: &LogsReport) -> String {
    format!(
        "the tasks printed nothing of their own; -v shows {} lines of the KFP executor and of pip",
        report.hidden
    )
}

fn shown(line: &LogLine) -> String {
    format!("{} | {}", safe(&line.task), safe(&line.line))
}
