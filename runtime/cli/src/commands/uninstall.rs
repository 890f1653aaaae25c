//! `uninstall`.

use clap::Args;
use samebundle_runtime::verbs::{self, UninstallRequest};

use crate::args::{Environment, Named};
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    environment: Environment,
}

impl Uninstall {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = UninstallRequest {
            name: self.named.installation()?,
            environment: self.environment.env,
        };
        let report = verbs::uninstall(&session.site, request).await?;
        let text = format!("uninstalled {}; its runs stay", report.uninstalled);
        Ok(Report::new(text, &report))
    }
}
