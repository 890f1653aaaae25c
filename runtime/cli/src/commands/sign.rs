//! `sign`.

use std::fmt::Write;

use clap::Args;
use samebundle_runtime::verbs::{self, Location, SignRequest, VerbError};
use samebundle_spec::{BundleName, Repository};

use crate::args::Passphrase;
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The bundle, in the local store or a registry
    #[arg(value_name = "BUNDLE", value_parser = values::location())]
    bundle: Location,
    /// Name of the key
    #[arg(long, default_value = "default", value_parser = BundleName::as_written)]
    key: BundleName,
    /// Sequence number; a later one replaces an earlier one [default: seconds since 1970]
    #[arg(long)]
    sequence: Option<u64>,
    /// Days until the signature expires [default: never]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    expires_in: Option<u32>,
    /// Bind the signature to this repository; may be given several times
    #[arg(long = "repository", value_name = "REGISTRY/REPO")]
    repositories: Vec<String>,
    /// Sign although the key has signed this version with other content
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Sign {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let site = session.site_asking(&self.passphrase);
        let repositories = self.repositories.iter().map(|text| text.parse::<Repository>());
        let request = SignRequest {
            bundle: session.location(self.bundle),
            key: self.key,
            sequence: self.sequence,
            expires_in_days: self.expires_in,
            repositories: repositories
                .collect::<Result<_, _>>()
                .map_err(VerbError::Reference)?,
            replace: self.replace,
        };
        let report = verbs::sign(&site, request).await?;
        let release = &report.statement;
        let mut text = format!(
            "signed {} {} ({}) with key {}",
            release.name, release.version, report.digest, report.key
        );
        for kind in &report.attested {
            write!(text, "\nattested: {}", kind.word())?;
        }
        Ok(Report::new(text, &report))
    }
}
