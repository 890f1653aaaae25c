//! `logout`.

use clap::Args;
use samebundle_runtime::verbs::{self, LogoutRequest};

use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The registry, HOST or HOST:PORT
    registry: String,
}

impl Logout {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = LogoutRequest {
            registry: self.registry,
        };
        let report = verbs::logout(&session.site, &request).await?;
        let registry = safe(&report.registry);
        let text = match report.files.as_slice() {
            [] => format!("nobody was logged in to {registry}"),
            files => format!(
                "logged out of {registry}: removed from {}",
                safe(&files.join(", "))
            ),
        };
        Ok(Report::new(text, &report))
    }
}
