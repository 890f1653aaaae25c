//! `file sign`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, SignFileRequest};
use samebundle_spec::BundleName;

use crate::args::{Passphrase, Predicate};
use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The file
    file: PathBuf,
    /// The JSON document that is stated of the file
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// What the document is
    #[arg(long, value_enum, value_name = "KIND")]
    predicate: Predicate,
    /// Name of the key
    #[arg(long, default_value = "default", value_parser = BundleName::as_written)]
    key: BundleName,
    /// Write the signature to this file [default: FILE.sigstore.json]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Sign {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let site = session.site_asking(&self.passphrase);
        let request = SignFileRequest {
            file: session.at(&self.file),
            kind: self.predicate.into(),
            document: session.at(&self.document),
            key: self.key,
            signature: self.signature.map(|file| session.at(&file)),
        };
        let report = verbs::sign_file(&site, request)?;
        let text = format!(
            "signed {} ({}) with key {}\nwrote {}",
            safe(&report.file),
            report.digest,
            report.key,
            safe(&report.signature)
        );
        Ok(Report::new(text, &report))
    }
}
