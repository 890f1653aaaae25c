//! `pull`.

use clap::Args;
use samebundle_runtime::verbs::{self, Location, PullRequest};

use super::copy;
use crate::args::Consent;
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Where from
    #[arg(value_name = "SRC", value_parser = values::location())]
    from: Location,
    #[command(flatten)]
    consent: Consent,
}

impl Pull {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = PullRequest {
            from: session.location(self.from),
            consent: self.consent.into(),
        };
        let report = verbs::pull(&session.site, request).await?;
        Ok(Report::new(copy::text(&report), &report))
    }
}
