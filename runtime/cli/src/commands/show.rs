//! `show`.

use std::fmt::Write;

use clap::Args;
use samebundle_runtime::verbs::{self, ShowReport, ShowRequest};

use super::install::trusted_by;
use crate::args::Named;
use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    named: Named,
}

impl Show {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let name = self.named.installation()?;
        let report = verbs::show(&session.site, &ShowRequest { name })?;
        Ok(Report::new(text(&report)?.trim_end(), &report))
    }
}

fn text(report: &ShowReport) -> Result<String, CliError> {
    let one = &report.installation;
    let mut text = String::new();
    let lines = [
        ("name", one.name.to_string()),
        ("version", safe(&one.known_version())),
        ("bundle", format!("{} {}", safe(&one.bundle), safe(&one.version))),
        ("digest", one.index.digest.to_string()),
        ("from", safe(&one.source)),
        ("trusted by", trusted_by(&one.verification)),
        ("installed", one.installed.to_string()),
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
