//! `trust add`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, AddTrustRequest, VerbError};
use samebundle_spec::BundleName;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Name to know the key by
    name: BundleName,
    /// The public key: PEM, OpenSSH or minisign
    file: PathBuf,
    /// Registry or repository that the key may sign for, e.g. registry.example/team [default: everything]
    #[arg(long)]
    scope: Option<String>,
}

impl Add {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let scope = self.scope.map(|scope| scope.parse()).transpose();
        let request = AddTrustRequest {
            name: self.name,
            file: session.at(&self.file),
            scope: scope.map_err(VerbError::Scope)?,
        };
        let report = verbs::trust_add(&session.site, request)?;
        let (name, id, scope) = (&report.key, report.id.short(), &report.scope);
        Ok(Report::new(
            format!("key {name} ({id}) is trusted for {scope}"),
            &report,
        ))
    }
}
