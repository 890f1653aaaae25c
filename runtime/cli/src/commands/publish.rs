//! `publish`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, Location, PublishReport, PublishRequest, Published};
use samebundle_spec::BundleName;

use super::{copy, export};
use crate::args::Passphrase;
use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// Where to: REGISTRY/REPOSITORY [default tag: the bundle's version], or FILE.tgz to carry
    #[arg(value_name = "DST", value_parser = values::location())]
    to: Location,
    /// Folder with samebundle.yaml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Which pipeline, where a Python file has several
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Name of the key
    #[arg(long, default_value = "default", value_parser = BundleName::as_written)]
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
        Ok(Report::new(text(&report, session.program()), &report))
    }
}

fn text(report: &PublishReport, program: &str) -> String {
    let mut text = format!(
        "published {} {} ({}), signed with key {}",
        report.built.name, report.built.version, report.built.digest, report.signed.key,
    );
    match &report.place {
        Published::Pushed(pushed) => text.push_str(&format!(
            "{}\nothers install it with: {program} install {}",
            copy::with_runs(pushed),
            pushed.to
        )),
        Published::Exported(exported) => text.push_str(&format!(
            "\n{}\nothers import it with: {program} import {}",
            export::what(exported),
            safe(&exported.file)
        )),
    }
    text
}
