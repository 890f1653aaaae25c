//! `push`.

use clap::Args;
use samebundle_runtime::verbs::{self, CopyRequest, Location};

use super::copy;
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The bundle in the local store
    #[arg(value_name = "BUNDLE", value_parser = values::location())]
    from: Location,
    /// Where to [default tag: the bundle's version]
    #[arg(value_name = "DST", value_parser = values::location())]
    to: Location,
}

impl Push {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = CopyRequest {
            from: session.location(self.from),
            to: session.location(self.to),
            volumes: None,
        };
        let report = verbs::copy(&session.site, request).await?;
        Ok(Report::new(copy::text(&report), &report))
    }
}
