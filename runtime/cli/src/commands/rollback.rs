//! `rollback`.

use clap::Args;
use samebundle_runtime::verbs::{self, RollbackRequest, VerbError};
use samebundle_spec::Version;

use super::install;
use crate::args::{Environment, name_among};
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The installation, and the version to go back to [default: the one before the last change]
    #[arg(value_names = ["NAME", "VERSION"], num_args = 1..=3, required_unless_present = "named")]
    words: Vec<String>,
    #[arg(short = 'n', id = "named", long = "name", value_name = "NAME", hide = true)]
    named: Option<String>,
    #[command(flatten)]
    environment: Environment,
}

impl Rollback {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let (name, rest) = name_among(&self.words, self.named.as_deref());
        let name = name.ok_or_else(|| CliError::Usage("name an installation".to_owned()))?;
        let to = match rest {
            [] => None,
            [to] => Some(Version::as_named(to).map_err(VerbError::Name)?),
            [_, more, ..] => return Err(CliError::Usage(format!("{more:?} is one word too many"))),
        };
        let request = RollbackRequest {
            name: name.parse().map_err(VerbError::Name)?,
            to,
            environment: self.environment.env,
        };
        let report = verbs::rollback(&session.site, request).await?;
        let text = install::changed(session.program(), &report, "rolled back");
        Ok(Report::new(text, &report))
    }
}
