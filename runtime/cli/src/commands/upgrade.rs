//! `upgrade`.

use clap::Args;
use samebundle_runtime::verbs::{self, Location, UpgradeRequest, VerbError};

use super::install;
use crate::args::{Consent, CredentialOptions, Environment, Params, name_among};
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The installation, and the new bundle [default: from where it came, the newest there]
    #[arg(value_names = ["NAME", "BUNDLE"], num_args = 1..=3, required_unless_present = "named")]
    words: Vec<String>,
    #[arg(short = 'n', id = "named", long = "name", value_name = "NAME", hide = true)]
    named: Option<String>,
    #[command(flatten)]
    params: Params,
    #[command(flatten)]
    credentials: CredentialOptions,
    #[command(flatten)]
    environment: Environment,
    #[command(flatten)]
    consent: Consent,
}

impl Upgrade {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let (name, rest) = name_among(&self.words, self.named.as_deref());
        let name = name.ok_or_else(|| CliError::Usage("name an installation".to_owned()))?;
        let from = match rest {
            [] => None,
            [from] => Some(from.parse::<Location>().map_err(VerbError::from)?),
            [_, more, ..] => return Err(CliError::Usage(format!("{more:?} is one word too many"))),
        };
        let request = UpgradeRequest {
            name: name.parse().map_err(VerbError::Name)?,
            from: from.map(|from| session.location(from)),
            parameters: self.params.given(session)?,
            credentials: self.credentials.given(session)?,
            environment: self.environment.env,
            consent: self.consent.into(),
        };
        let report = verbs::upgrade(&session.site, request).await?;
        Ok(Report::new(install::text(session.program(), &report), &report))
    }
}
