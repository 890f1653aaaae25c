//! `store check`.

use clap::Args;
use samebundle_runtime::verbs::{self, StoreCheckRequest};

use crate::error::CliError;
use crate::render::{Report, size};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Only check what is there and how large it is, without hashing
    #[arg(long)]
    quick: bool,
}

impl Check {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = StoreCheckRequest { quick: self.quick };
        let report = verbs::store_check(&session.site, request).await?;
        if report.findings.is_empty() {
            let how = if self.quick { "there" } else { "whole" };
            let bytes = size::bytes(report.bytes);
            let text = format!("{} contents, {bytes}: all {how}", report.blobs);
            return Ok(Report::new(text, &report));
        }
        Err(CliError::Faulty {
            message: format!("the store has {} faults", report.findings.len()),
            report: Box::new(Report::new(report.findings.join("\n"), &report)),
        })
    }
}
