//! `runs crate`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, CrateRequest};

use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Crate {
    /// The run: its id, the beginning of it, or `last`
    #[arg(value_name = "RUN", default_value = "last")]
    run: String,
    /// Write it to this folder
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

impl Crate {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = CrateRequest {
            run: self.run,
            to: session.at(&self.to),
        };
        let report = verbs::runs_crate(&session.site, &request)?;
        let mut text = format!(
            "run {} is described in {}/ro-crate-metadata.json",
            report.run, report.folder
        );
        for left in &report.left {
            text.push_str(&format!("\n{}", safe(left)));
        }
        Ok(Report::new(text, &report))
    }
}
