//! `resume`.

use clap::Args;
use samebundle_runtime::verbs::{self, ResumeRequest};

use super::detach::{self, DetachOptions};
use super::run::ended;
use crate::args::{CredentialOptions, MetadataOptions, Params};
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run
    #[arg(value_name = "RUN|NAME", default_value = "last")]
    run: String,
    #[command(flatten)]
    params: Params,
    #[command(flatten)]
    credentials: CredentialOptions,
    #[command(flatten)]
    metadata: MetadataOptions,
    #[command(flatten)]
    detach: DetachOptions,
}

impl Resume {
    /// Runs the command. Only secret parameters are given: no record has them.
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = ResumeRequest {
            run: self.run,
            parameters: self.params.given(session)?,
            credentials: self.credentials.given(session)?,
            metadata: self.metadata.given(session)?,
        };
        if self.detach.detach {
            return detach::resume(session, request).await;
        }
        ended(session, verbs::resume(&session.site, request).await?)
    }
}
