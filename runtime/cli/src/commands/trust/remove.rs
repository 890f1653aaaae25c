//! `trust remove`.

use clap::Args;
use samebundle_runtime::verbs::{self, RemoveTrustRequest};
use samebundle_spec::BundleName;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Name of the key
    name: BundleName,
}

impl Remove {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let report = verbs::trust_remove(&session.site, RemoveTrustRequest { name: self.name })?;
        Ok(Report::new(
            format!("key {} is no longer trusted", report.key),
            &report,
        ))
    }
}
