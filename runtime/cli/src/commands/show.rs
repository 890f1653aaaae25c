//! `show`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, PageRequest, RunsRequest, ShowReport, ShowRequest};
use samebundle_spec::Timestamp;

use super::install::trusted_by;
use super::runs;
use crate::args::Named;
use crate::error::CliError;
use crate::render::screen::Screen;
use crate::render::table::shortened;
use crate::render::{Report, safe, size};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    named: Named,
    /// Write a page about a run to this file, and name the run: its id, the beginning of it, or `last`. The page holds all that it shows and needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show these runs beside it, separated by spaces or commas, and mark what differs
    #[arg(long, value_name = "RUN", num_args = 1.., value_delimiter = ',', requires = "html")]
    compare: Vec<String>,
    /// Of a run, show everything: all items of loops, all metrics and outputs
    #[arg(long)]
    all: bool,
}

impl Show {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        if let Some(html) = &self.html {
            let request = PageRequest {
                run: self.named.text()?.to_owned(),
                compare: self.compare,
                file: session.at(html),
            };
            let report = verbs::page(&session.site, request).await?;
            let text = format!("wrote {} ({})", safe(&report.file), size::bytes(report.size));
            return Ok(Report::new(text, &report));
        }
        let shown = match self.named.installation() {
            Ok(name) => verbs::show(&session.site, &ShowRequest { name }).map_err(CliError::from),
            Err(error) => Err(error),
        };
        match shown {
            Ok(report) => Ok(Report::new(text(&report, session.screen)?.trim_end(), &report)),
            Err(error) => run(session, self.named.text()?, self.all).unwrap_or(Err(error)),
        }
    }
}

/// The run that a text names, which is no installation.
fn run(session: &Session, text: &str, all: bool) -> Option<Result<Report, CliError>> {
    let request = RunsRequest {
        of: Some(text.to_owned()),
        ..RunsRequest::default()
    };
    let report = verbs::runs(&session.site, &request).ok()?;
    let [one] = report.runs.as_slice() else {
        return None;
    };
    report.tasks.as_ref()?;
    let text = runs::one::text(one, &report, all, session.screen);
    Some(text.map(|text| Report::new(text, &report)))
}

/// A text that stands behind a label, shortened in its middle where the line is too short.
fn fitted(text: &str, screen: Screen) -> String {
    const LABEL: usize = 12;
    let width = screen
        .width
        .map_or(usize::MAX, |width| width.saturating_sub(LABEL));
    shortened(text, width, true)
}

/// A time without the parts of a second.
pub(super) fn seconds(time: &str) -> String {
    let parsed = time.parse::<Timestamp>();
    parsed.map_or_else(|_| safe(time), |time| time.whole_seconds().to_string())
}

fn text(report: &ShowReport, screen: Screen) -> Result<String, CliError> {
    let one = &report.installation;
    let mut text = String::new();
    let lines = [
        ("name", one.name.to_string()),
        ("version", safe(&one.known_version())),
        ("bundle", format!("{} {}", safe(&one.bundle), safe(&one.version))),
        ("digest", screen.digest(&one.index.digest)),
        ("from", fitted(&safe(&one.source), screen)),
        ("trusted by", trusted_by(&one.verification)),
        ("installed", seconds(&one.installed)),
        ("runs", report.runs.to_string()),
    ];
    for (label, value) in lines {
        writeln!(text, "{label:<11} {value}")?;
    }
    for (name, value) in &one.parameters {
        writeln!(text, "parameter   {} = {}", safe(name), safe(&value.to_string()))?;
    }
    for (name, source) in &one.credentials {
        writeln!(text, "credential  {} from {}", safe(name), safe(source))?;
    }
    Ok(text)
}
