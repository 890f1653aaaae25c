//! Receipts: a site signs what it verified and holds, and reads the receipts of other sites.

use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_registry::store::{Origin, Source};
use samebundle_registry::trust::{TrustStore, Verified, keys, receipt as holdings};
use samebundle_spec::record::Verification;
use samebundle_spec::signing::{KeyRing, Outcome, Receipt, SigningKey, Summary};
use samebundle_spec::time::Timestamp;
use samebundle_spec::{BundleName, Classify, Descriptor, Digest, ErrorKind, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ResolvedBundle, Site, VerbError, key};

/// The key that signs if none is named.
const DEFAULT_KEY: &str = "default";

/// Where the receipt goes that says what was verified and what the site holds, and who signs it. It is asked for by naming
/// one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReceiptOptions {
    /// The file, written of a refusal too; none: `receipts/DIGEST.json` in the home.
    pub file: Option<PathBuf>,
    /// Name of the key that signs it; none: `default`.
    pub key: Option<BundleName>,
}

/// Asks what a receipt says.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiptRequest {
    /// The receipt.
    pub file: PathBuf,
    /// The site's public key; none: any key in the trust store.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// What a receipt says.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReceiptReport {
    /// Name of the site's key in the trust store, or its id.
    pub site: String,
    /// The bundle's index.
    pub digest: Digest,
    /// What was verified, a package URL.
    pub resource: String,
    /// When.
    pub verified: Timestamp,
    /// The version of samebundle that verified.
    pub version: String,
    /// The policy that decided.
    pub policy: Digest,
    /// Whether the policy was met.
    pub passed: bool,
    /// Why it was taken; none if it was refused.
    pub verification: Option<Verification>,
    /// Why it was refused.
    pub refusal: Option<String>,
    /// What the site held.
    pub held: Vec<Descriptor>,
}

/// Writes a receipt.
#[derive(Debug)]
pub(super) struct ReceiptWriter {
    key: SigningKey,
    /// The file; none: the file of the bundle in the home.
    file: Option<PathBuf>,
    policy: Digest,
}

impl ReceiptWriter {
    /// Loads the key of a receipt before anything else is done; none if no receipt is requested.
    ///
    /// # Errors
    /// If the requested key cannot be used.
    pub(super) fn requested(
        site: &Site,
        options: &ReceiptOptions,
        trust: &TrustStore,
    ) -> Result<Option<Self>, VerbError> {
        if *options == ReceiptOptions::default() {
            return Ok(None);
        }
        let name = match &options.key {
            Some(name) => name.clone(),
            None => DEFAULT_KEY.parse()?,
        };
        Ok(Some(Self {
            key: key::load(site, &name)?,
            file: options.file.clone(),
            policy: policy_digest(trust),
        }))
    }

    /// The same. If no receipt is requested, the default key signs one if it exists and needs no passphrase; otherwise
    /// a notice says that none is written.
    ///
    /// # Errors
    /// As [`Self::requested`].
    pub(super) fn requested_or_default(
        site: &Site,
        options: &ReceiptOptions,
        trust: &TrustStore,
    ) -> Result<Option<Self>, VerbError> {
        if let Some(asked) = Self::requested(site, options, trust)? {
            return Ok(Some(asked));
        }
        let name: BundleName = DEFAULT_KEY.parse()?;
        if !key::is_ready(site, &name)? {
            site.notice(format!(
                "no receipt is written: this home has no key {name} that signs without a passphrase; \
                 `key generate` makes one, --receipt-key KEY names another"
            ));
            return Ok(None);
        }
        Ok(Some(Self {
            key: key::load(site, &name)?,
            file: None,
            policy: policy_digest(trust),
        }))
    }

    /// Writes what was verified, and which of its content in `origin` the store `held_in` holds. After a copy both are
    /// the destination: a file may have left out content that the destination had before.
    ///
    /// # Errors
    /// If a location cannot be asked, or the file cannot be written.
    pub(super) async fn write_accepted<T>(
        &self,
        site: &Site,
        bundle: &ResolvedBundle,
        verified: &Verified<T>,
        (origin, held_in): (&dyn Origin, &dyn Source),
    ) -> Result<String, VerbError> {
        let name = verified.release().map(|release| release.name.as_str());
        let outcome = Outcome::Accepted(verified.verification());
        let held = holdings::held(origin, held_in, &bundle.index).await?;
        self.write(site, bundle, (name, outcome), held)
    }

    /// Writes that the bundle was refused, if the request names a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn write_refused(
        &self,
        site: &Site,
        bundle: &ResolvedBundle,
        error: &VerbError,
    ) -> Result<(), VerbError> {
        if self.file.is_some() && error.kind() == ErrorKind::NotTrusted {
            let why = error.to_string();
            // Nothing counts as held, because nobody may rely on a refused bundle.
            self.write(site, bundle, (None, Outcome::Refused { why }), Vec::new())?;
        }
        Ok(())
    }

    fn write(
        &self,
        site: &Site,
        bundle: &ResolvedBundle,
        (name, outcome): (Option<&str>, Outcome),
        held: Vec<Descriptor>,
    ) -> Result<String, VerbError> {
        let digest = bundle.index.digest;
        let summary = Summary {
            subject: digest,
            resource: format!("pkg:oci/{}@sha256%3A{}", name.unwrap_or("bundle"), digest.hex()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            verified: site.now().whole_seconds(),
            policy: self.policy,
            outcome,
        };
        let unsaid = |why: String| VerbError::Usage(format!("the receipt cannot be written: {why}"));
        let signed = Receipt::new(summary, held).sign(&self.key);
        let document = signed.map_err(|error| unsaid(error.to_string()))?.to_bytes();
        let document = document.map_err(|error| unsaid(error.to_string()))?;
        let file = match &self.file {
            Some(file) => file.clone(),
            None => site.home().receipts().join(format!("{}.json", digest.hex())),
        };
        durable::write(&file, &document, 0o644).map_err(VerbError::io("write", &file))?;
        Ok(file.display().to_string())
    }
}

/// Passes on the result of a verification, and writes the receipt of a refusal before.
///
/// # Errors
/// The refusal, or why its receipt cannot be written.
pub(super) fn write_if_refused(
    site: &Site,
    writer: Option<&ReceiptWriter>,
    bundle: &ResolvedBundle,
    result: Result<Verified<Descriptor>, VerbError>,
) -> Result<Verified<Descriptor>, VerbError> {
    if let (Some(writer), Err(error)) = (writer, &result) {
        writer.write_refused(site, bundle, error)?;
    }
    result
}

/// Returns the digest by which receipts name the policy of a trust store: that of the policy as samebundle writes it.
fn policy_digest(trust: &TrustStore) -> Digest {
    Digest::sha256(&trust.policy().to_bytes())
}

/// Reads a receipt and checks it with the site's public key, or with all keys that are trusted here. Returns the site's
/// name as well.
///
/// # Errors
/// [`VerbError::Receipt`] if none of these keys signed it.
pub(super) fn read(site: &Site, file: &Path, key: Option<&Path>) -> Result<(String, Receipt), VerbError> {
    let ring = match key {
        Some(key) => KeyRing::from([(DEFAULT_KEY.parse()?, keys::load_public(key)?)]),
        None => site.trust()?.keys().clone(),
    };
    let document =
        durable::read_named(file, limits::ATTESTATION_BYTES).map_err(VerbError::io("read", file))?;
    let read = Receipt::verify(&document, &ring);
    let (id, receipt) = read.map_err(|fault| VerbError::Receipt {
        file: file.display().to_string(),
        fault,
    })?;
    let named = ring.iter().find(|(_, public)| key.is_none() && public.id() == id);
    let site = named.map_or_else(|| id.short(), |(name, _)| name.to_string());
    Ok((site, receipt))
}

/// Checks a receipt and says what is in it.
///
/// # Errors
/// If it cannot be read, or no known key signed it.
pub fn receipt(site: &Site, request: ReceiptRequest) -> Result<ReceiptReport, VerbError> {
    let (site, receipt) = read(site, &request.file, request.key.as_deref())?;
    let held = receipt.contents().to_vec();
    let summary = receipt.summary;
    let passed = summary.outcome.passed();
    let (verification, refusal) = match summary.outcome {
        Outcome::Accepted(verification) => (Some(verification), None),
        Outcome::Refused { why } => (None, Some(why)),
    };
    Ok(ReceiptReport {
        site,
        digest: summary.subject,
        resource: summary.resource,
        verified: summary.verified,
        version: summary.version,
        policy: summary.policy,
        passed,
        verification,
        refusal,
        held,
    })
}
