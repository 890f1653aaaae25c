//! `registry ls`.

use clap::Args;
use samebundle_runtime::verbs::{self, ListRepositoriesRequest};

use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The registry, HOST or HOST:PORT
    registry: String,
}

impl Ls {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = ListRepositoriesRequest {
            registry: self.registry,
        };
        let report = verbs::registry_ls(&session.site, &request).await?;
        // Each line can be given to another command.
        let lines = report.repositories.iter();
        let lines = lines.map(|name| safe(&format!("{}/{name}", report.registry)));
        let lines: Vec<_> = lines.collect();
        Ok(Report::new(lines.join("\n"), &report))
    }
}
