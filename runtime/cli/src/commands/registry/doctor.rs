//! `registry doctor`.

use std::fmt::Write;

use clap::Args;
use samebundle_runtime::verbs::{self, RegistryDoctorReport, RegistryDoctorRequest};
use samebundle_spec::Repository;

use crate::error::CliError;
use crate::render::{
    Report, safe,
    screen::Screen,
    table::{Column, table},
};
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Registry and repository to try things in
    #[arg(value_name = "DST", value_parser = values::repository)]
    repository: Repository,
    /// Another host that uploads may go to when the registry sends them there, without credentials; may be given several times
    #[arg(long = "upload-host", value_name = "HOST[:PORT]")]
    upload_hosts: Vec<String>,
}

impl Doctor {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = RegistryDoctorRequest {
            repository: self.repository,
            upload_hosts: self.upload_hosts.into_iter().collect(),
        };
        let report = verbs::registry_doctor(&session.site, request).await?;
        Ok(Report::new(text(&report, session.screen)?, &report))
    }
}

fn text(report: &RegistryDoctorReport, screen: Screen) -> Result<String, CliError> {
    let rows = report.checks.iter().map(|check| {
        let verdict = match check.works {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not known",
        };
        vec![check.what.to_owned(), verdict.to_owned(), check.detail.clone()]
    });
    let rows: Vec<_> = rows.collect();
    let mut text = table(
        screen,
        ["what".into(), Column::whole("verdict"), Column::prose("detail")],
        &rows,
    );
    for digest in &report.left {
        write!(text, "\nstays in {}: {digest}", report.repository)?;
    }
    write!(text, "\nprofile: {}", safe(&report.file))?;
    Ok(text)
}
