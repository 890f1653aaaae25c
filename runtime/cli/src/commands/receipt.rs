//! Receipts: what this site verified and holds, signed with its key; and reading those of other sites.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_registry::store::{Origin, Source};
use samebundle_registry::trust::{TrustStore, Verified, keys, receipt};
use samebundle_spec::signing::{KeyRing, Outcome, Receipt, SigningKey, Summary};
use samebundle_spec::{BundleName, Classify, Descriptor, Digest, ErrorKind, limits};
use serde_json::{Value, json};

use super::key;
use super::opened::Opened;
use crate::args;
use crate::error::CliError;
use crate::render::{Report, safe, size};
use crate::session::Session;

/// The key that signs if none is named.
const DEFAULT_KEY: &str = "default";

/// A receipt that will be written.
#[derive(Debug)]
pub(crate) struct Issue {
    key: SigningKey,
    /// The file; none: the home's own for the bundle.
    file: Option<PathBuf>,
    policy: Digest,
}

impl Issue {
    /// Makes ready what signs a receipt, before anything is done; none if nobody asked for one.
    ///
    /// # Errors
    /// If the key that was asked for cannot be used, or the policy cannot be read.
    pub(crate) fn asked(
        session: &Session,
        options: &args::ReceiptOptions,
        trust: &TrustStore,
    ) -> Result<Option<Self>, CliError> {
        if options.receipt.is_none() && options.receipt_key.is_none() {
            return Ok(None);
        }
        let name = match &options.receipt_key {
            Some(name) => name.clone(),
            None => default_key()?,
        };
        let file = options.receipt.as_ref();
        Ok(Some(Self {
            key: key::load(session, &name, &options.passphrase)?,
            file: file.map(|file| session.settings.current_dir.join(file)),
            policy: policy_digest(trust),
        }))
    }

    /// The same; if nobody asked, with the default key if it is there and needs no question. Says so where it is not.
    ///
    /// # Errors
    /// As [`Self::asked`].
    pub(crate) fn asked_or_usual(
        session: &Session,
        options: &args::ReceiptOptions,
        trust: &TrustStore,
    ) -> Result<Option<Self>, CliError> {
        if let Some(asked) = Self::asked(session, options, trust)? {
            return Ok(Some(asked));
        }
        let name = default_key()?;
        if !key::is_ready(session, &name, &options.passphrase)? {
            session.notice(format!(
                "no receipt is written: this home has no key {name:?} that signs without a passphrase; \
                 `key generate` makes one, --receipt-key KEY names another"
            ));
            return Ok(None);
        }
        Ok(Some(Self {
            key: key::load(session, &name, &options.passphrase)?,
            file: None,
            policy: policy_digest(trust),
        }))
    }

    /// Writes what was verified, and what `place` holds of what belongs to it in `origin`. After a copy both are where it
    /// went: a file may have left out what was there before.
    ///
    /// # Errors
    /// If the place cannot be asked, or the file cannot be written.
    pub(crate) async fn accepted(
        &self,
        session: &Session,
        opened: &Opened,
        verified: &Verified<Descriptor>,
        (origin, place): (&dyn Origin, &dyn Source),
    ) -> Result<PathBuf, CliError> {
        let name = verified.release().map(|release| release.name.as_str());
        let outcome = Outcome::Accepted(verified.verification());
        let held = receipt::held(origin, place, &opened.index).await?;
        self.write(session, opened, (name, outcome), held)
    }

    /// Writes that it was refused, if a file was named for that.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn refused(&self, session: &Session, opened: &Opened, error: &CliError) -> Result<(), CliError> {
        if self.file.is_some() && error.kind() == ErrorKind::NotTrusted {
            let why = error.to_string();
            // Whatever is here of it, nobody may build on it.
            self.write(session, opened, (None, Outcome::Refused { why }), Vec::new())?;
        }
        Ok(())
    }

    fn write(
        &self,
        session: &Session,
        opened: &Opened,
        (name, outcome): (Option<&str>, Outcome),
        held: Vec<Descriptor>,
    ) -> Result<PathBuf, CliError> {
        let digest = opened.index.digest;
        let summary = Summary {
            subject: digest,
            resource: format!("pkg:oci/{}@sha256%3A{}", name.unwrap_or("bundle"), digest.hex()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            verified: session.now().whole_seconds(),
            policy: self.policy,
            outcome,
        };
        let signed = Receipt::new(summary, held).sign(&self.key);
        let unsaid = |why: String| CliError::Usage(format!("the receipt cannot be written: {why}"));
        let document = signed.map_err(|error| unsaid(error.to_string()))?.to_bytes();
        let document = document.map_err(|error| unsaid(error.to_string()))?;
        let file = match &self.file {
            Some(file) => file.clone(),
            None => session.home.receipts().join(format!("{}.json", digest.hex())),
        };
        durable::write(&file, &document, 0o644).map_err(CliError::io("write", &file))?;
        Ok(file)
    }
}

/// Passes on what came of a verification; that it was refused is written before.
///
/// # Errors
/// The refusal, or why its receipt cannot be written.
pub(crate) fn noted(
    session: &Session,
    issue: Option<&Issue>,
    opened: &Opened,
    result: Result<Verified<Descriptor>, CliError>,
) -> Result<Verified<Descriptor>, CliError> {
    if let (Some(issue), Err(error)) = (issue, &result) {
        issue.refused(session, opened, error)?;
    }
    result
}

/// The policy of a trust store, by which receipts name it: as samebundle writes it.
fn policy_digest(trust: &TrustStore) -> Digest {
    Digest::sha256(&trust.policy().to_bytes())
}

fn default_key() -> Result<BundleName, CliError> {
    DEFAULT_KEY
        .parse()
        .map_err(|error: samebundle_spec::name::NameError| CliError::Usage(error.to_string()))
}

/// Reads a receipt and checks it with the site's public key, or with any that is trusted here.
///
/// # Errors
/// [`CliError::Receipt`] if it is not what one of these keys signed.
pub(crate) fn read(
    session: &Session,
    file: &Path,
    key: Option<&Path>,
) -> Result<(String, Receipt), CliError> {
    let ring = match key {
        Some(key) => {
            let public = keys::load_public(&session.settings.current_dir.join(key))?;
            KeyRing::from([(default_key()?, public)])
        }
        None => session.trust()?.keys().clone(),
    };
    let file = session.settings.current_dir.join(file);
    let length = std::fs::metadata(&file)
        .map_err(CliError::io("read", &file))?
        .len();
    if length > limits::ATTESTATION_BYTES {
        return Err(CliError::Usage(format!(
            "{} has {length} bytes: it is no receipt",
            file.display()
        )));
    }
    let document = std::fs::read(&file).map_err(CliError::io("read", &file))?;
    let read = Receipt::verify(&document, &ring);
    let (id, receipt) = read.map_err(|fault| CliError::Receipt {
        file: file.display().to_string(),
        fault,
    })?;
    let named = ring.iter().find(|(_, public)| key.is_none() && public.id() == id);
    let site = named.map_or_else(|| id.short(), |(name, _)| name.to_string());
    Ok((site, receipt))
}

/// Shows a receipt.
pub(crate) fn show(session: &Session, args: &args::Receipt) -> Result<Report, CliError> {
    let (site, receipt) = read(session, &args.file, args.key.as_deref())?;
    let summary = &receipt.summary;
    let result = match &summary.outcome {
        Outcome::Accepted(verification) if summary.outcome.passed() => {
            format!("passed: trusted by {}", super::history::trusted_by(verification))
        }
        Outcome::Accepted(verification) => {
            format!(
                "not passed: taken by {}",
                super::history::trusted_by(verification)
            )
        }
        Outcome::Refused { why } => format!("refused: {}", safe(why)),
    };
    let bytes = receipt.contents().iter().map(|content| content.size);
    let mut text = format!(
        "site {site}, {}\n{}\n{result}",
        summary.verified,
        safe(&summary.resource)
    );
    write!(
        text,
        "\nholds {} contents, {}",
        receipt.contents().len(),
        size::bytes(bytes.fold(0, u64::saturating_add))
    )?;
    Ok(Report::new(text, as_json(&site, &receipt)))
}

fn as_json(site: &str, receipt: &Receipt) -> Value {
    let summary = &receipt.summary;
    let (verification, refusal) = match &summary.outcome {
        Outcome::Accepted(verification) => (Some(verification), None),
        Outcome::Refused { why } => (None, Some(why)),
    };
    json!({
        "site": site, "digest": summary.subject, "resource": summary.resource, "verified": summary.verified,
        "version": summary.version, "policy": summary.policy, "passed": summary.outcome.passed(),
        "verification": verification, "refusal": refusal, "held": receipt.contents(),
    })
}
