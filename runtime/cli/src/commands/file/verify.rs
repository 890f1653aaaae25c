//! `file verify`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, VerifyFileRequest};

use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The file
    file: PathBuf,
    /// The signature [default: FILE.sigstore.json]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The public key [default: any key in the trust store]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print what is stated, not only who stated it
    #[arg(long)]
    show: bool,
}

impl Verify {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = VerifyFileRequest {
            file: session.at(&self.file),
            signature: self.signature.map(|file| session.at(&file)),
            key: self.key.map(|file| session.at(&file)),
        };
        let report = verbs::verify_file(&session.site, request)?;
        let mut text = format!(
            "{} ({}) is signed by {}: {}",
            safe(&report.file),
            report.digest,
            safe(&report.signer),
            report.kind.word()
        );
        if self.show {
            write!(text, "\n{:#}", report.predicate)?;
        }
        Ok(Report::new(text, &report))
    }
}
