//! `import`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, ImportReport, ImportRequest, Imported, Location};
use samebundle_spec::BundleName;

use super::copy;
use super::install::trusted_by;
use crate::args::{Consent, Environment, ReceiptOptions};
use crate::error::CliError;
use crate::render::{Report, safe, size};
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file, or one of its volumes
    file: PathBuf,
    /// Name of the installation [default: the one it was exported as]
    #[arg(long, value_parser = BundleName::as_written)]
    name: Option<BundleName>,
    /// Bring it into this registry instead of this home, as it is; nothing is installed [default tag: the bundle's version]
    #[arg(long, value_name = "REGISTRY/REPO[:TAG]", conflicts_with = "name", value_parser = values::location())]
    to: Option<Location>,
    #[command(flatten)]
    environment: Environment,
    #[command(flatten)]
    receipt: ReceiptOptions,
    #[command(flatten)]
    consent: Consent,
}

impl Import {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let site = session.site_asking(&self.receipt.passphrase);
        let request = ImportRequest {
            file: session.at(&self.file),
            name: self.name,
            to: self.to.map(|to| session.location(to)),
            environment: self.environment.env,
            receipt: self.receipt.request(session),
            consent: self.consent.into(),
        };
        let report = verbs::import(&site, request).await?;
        Ok(Report::new(text(session.program(), &report)?, &report))
    }
}

/// How many runs came along, and how many of them were here.
fn runs(imported: &Imported) -> String {
    let new = size::count(imported.runs, "run");
    match (imported.runs, imported.known) {
        (_, 0) => new,
        (0, known) => format!("{}, here already", size::count(known, "run")),
        (_, known) => format!("{new} and {known} that were here already"),
    }
}

fn text(program: &str, report: &ImportReport) -> Result<String, CliError> {
    let (mut text, receipt) = match report {
        ImportReport::Copied(copied) => (copy::text(&copied.copy), &copied.receipt),
        ImportReport::Installed(imported) => {
            let one = &imported.installation;
            let text = format!(
                "imported {} {} ({}) with {}, trusted by {}\nrun it with: {program} run {}",
                one.name,
                safe(&one.known_version()),
                one.index.digest.short(),
                runs(imported),
                trusted_by(&one.verification),
                one.name,
            );
            (text, &imported.receipt)
        }
    };
    if let Some(file) = receipt {
        write!(text, "\nreceipt: {}", safe(file))?;
    }
    Ok(text)
}
