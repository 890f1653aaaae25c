//! `verify`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, Location, VerifyRequest};
use samebundle_spec::signing;

use crate::args::{Consent, Predicate, ReceiptOptions};
use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The bundle
    #[arg(value_name = "BUNDLE", value_parser = values::location())]
    bundle: Location,
    /// Decide by this policy instead of the home's
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Ask for a signed attestation of this kind as well; may be given several times
    #[arg(long = "predicate", value_enum, value_name = "KIND")]
    predicates: Vec<Predicate>,
    /// Print what is attested, not only who attested it
    #[arg(long, requires = "predicates")]
    show: bool,
    #[command(flatten)]
    receipt: ReceiptOptions,
    #[command(flatten)]
    consent: Consent,
}

impl Verify {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let site = session.site_asking(&self.receipt.passphrase);
        let request = VerifyRequest {
            bundle: session.location(self.bundle),
            policy: self.policy.map(|file| session.at(&file)),
            predicates: self
                .predicates
                .into_iter()
                .map(signing::Predicate::from)
                .collect(),
            receipt: self.receipt.request(session),
            consent: self.consent.into(),
        };
        let report = verbs::verify(&site, request).await?;
        let mut text = report.verdict();
        if let Some(file) = &report.receipt {
            write!(text, "\nreceipt: {}", safe(file))?;
        }
        for attested in report.attested.iter().filter(|_| self.show) {
            write!(text, "\n{:#}", attested.predicate)?;
        }
        Ok(Report::new(text, &report))
    }
}
