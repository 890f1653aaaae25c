//! `lint`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, LintRequest};

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// Folder with samebundle.yaml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Which pipeline, where a Python file has several
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
}

impl Lint {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = LintRequest {
            folder: session.at(&self.dir),
            pipeline: self.pipeline,
        };
        let report = verbs::lint(&session.site, request).await?;
        let (name, version, notes) = (&report.name, &report.version, report.notes.len());
        let text = format!("{name} {version}: no faults, {notes} notes");
        Ok(Report::new(text, &report))
    }
}
