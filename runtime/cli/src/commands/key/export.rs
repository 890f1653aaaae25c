//! `key export`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, ExportKeyRequest};
use samebundle_spec::BundleName;

use crate::args::Passphrase;
use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Name of the key
    #[arg(default_value = "default", value_parser = BundleName::as_written)]
    name: BundleName,
    /// Write to this file instead of standard output
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// The certificate that stands for the key in notation's trust store, instead of the key (p256 only; needs the secret key)
    #[arg(long)]
    certificate: bool,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Export {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let site = session.site_asking(&self.passphrase);
        let request = ExportKeyRequest {
            name: self.name,
            certificate: self.certificate,
            file: self.file.map(|file| session.at(&file)),
        };
        let report = verbs::export_key(&site, request)?;
        let text = match &report.file {
            Some(file) => format!("wrote {}", safe(file)),
            None => report.pem.trim_end().to_owned(),
        };
        Ok(Report::new(text, &report))
    }
}
