//! `store forget`.

use clap::Args;
use samebundle_runtime::verbs::{self, LocalName, StoreForgetRequest};

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// Name of the bundle, or NAME:VERSION
    #[arg(value_name = "NAME[:VERSION]")]
    name: LocalName,
}

impl Forget {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let report = verbs::store_forget(&session.site, StoreForgetRequest { name: self.name }).await?;
        let text = format!(
            "forgot {}; store gc removes what nothing else needs",
            report.forgotten.join(", ")
        );
        Ok(Report::new(text, &report))
    }
}
