//! `receipt`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, ReceiptReport, ReceiptRequest};

use super::install::trusted_by;
use crate::error::CliError;
use crate::render::{Report, safe, size};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Receipt {
    /// The receipt
    file: PathBuf,
    /// The site's public key [default: any key in the trust store]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Receipt {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = ReceiptRequest {
            file: session.at(&self.file),
            key: self.key.map(|key| session.at(&key)),
        };
        let report = verbs::receipt(&session.site, request)?;
        Ok(Report::new(text(&report), &report))
    }
}

fn text(receipt: &ReceiptReport) -> String {
    let result = match (&receipt.verification, &receipt.refusal) {
        (Some(verification), _) if receipt.passed => {
            format!("passed: trusted by {}", trusted_by(verification))
        }
        (Some(verification), _) => format!("not passed: taken by {}", trusted_by(verification)),
        (None, refusal) => format!("refused: {}", safe(refusal.as_deref().unwrap_or_default())),
    };
    let bytes = receipt.held.iter().map(|content| content.size);
    format!(
        "site {}, {}\n{}\n{result}\nholds {} contents, {}",
        receipt.site,
        receipt.verified,
        safe(&receipt.resource),
        receipt.held.len(),
        size::bytes(bytes.fold(0, u64::saturating_add))
    )
}
