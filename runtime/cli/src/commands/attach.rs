//! `attach`.

use clap::Args;
use samebundle_runtime::verbs::{self, AttachRequest, Attached};

use super::run::ended;
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run
    #[arg(value_name = "RUN|NAME", default_value = "last")]
    run: String,
}

impl Attach {
    /// Runs the command. Its exit code is that of the run.
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = AttachRequest { run: self.run };
        match verbs::attach(&session.site, &request).await? {
            Attached::Ended(run) => ended(session, *run),
            Attached::Left(run) => Err(CliError::Interrupted(format!(
                "detached from run {run}, which goes on; `{program} attach {run}` follows it again, and `{program} cancel {run}` ends it",
                program = session.program()
            ))),
        }
    }
}
