//! `publish`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, Location, PublishRequest};
use samebundle_spec::BundleName;

use crate::args::Passphrase;
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// Where to: REGISTRY/REPOSITORY [default tag: the bundle's version]
    #[arg(value_name = "DST", value_parser = values::location())]
    to: Location,
    /// Folder with samebundle.yaml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Which pipeline, where a Python file has several
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Name of the key
    #[arg(long, default_value = "default")]
    key: BundleName,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Publish {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let site = session.site_asking(&self.passphrase);
        let request = PublishRequest {
            folder: session.at(&self.dir),
            pipeline: self.pipeline,
            to: session.location(self.to),
            key: self.key,
        };
        let report = verbs::publish(&site, request).await?;
        let text = format!(
            "published {} {} ({}), signed with key {}\nothers install it with: {} install {}",
            report.built.name,
            report.built.version,
            report.built.digest,
            report.signed.key,
            session.program(),
            report.pushed.to
        );
        Ok(Report::new(text, &report))
    }
}
