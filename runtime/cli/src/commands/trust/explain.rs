//! `trust explain`.

use clap::Args;
use samebundle_runtime::verbs::{self, ExplainTrustRequest, Location};

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The bundle
    #[arg(value_name = "BUNDLE", value_parser = values::location())]
    bundle: Location,
}

impl Explain {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let bundle = session.location(self.bundle);
        let report = verbs::trust_explain(&session.site, ExplainTrustRequest { bundle }).await?;
        let text = format!("{}\n{}", report.rule, report.verdict);
        let printed = Report::new(text, &report);
        match report.trusted {
            true => Ok(printed),
            false => Err(CliError::Refused {
                report: Box::new(printed),
            }),
        }
    }
}
