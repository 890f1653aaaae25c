//! `verify`: who signed a bundle, and what the signature covers.

use std::collections::BTreeSet;
use std::path::PathBuf;

use samebundle_registry::durable;
use samebundle_registry::trust::{Attested, Basis, Signer};
use samebundle_spec::record::Verification;
use samebundle_spec::signing::{Policy, Predicate, Release, SignatureFormat};
use samebundle_spec::{Digest, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::receipt::{self, ReceiptOptions, ReceiptWriter};
use super::resolve::resolve_stored;
use super::{Consent, Location, Site, VerbError};

/// Verifies a bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyRequest {
    /// The bundle.
    pub bundle: Location,
    /// A policy file that decides; none: the home's policy.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// What must be attested as well.
    #[serde(default)]
    pub predicates: BTreeSet<Predicate>,
    /// The receipt that is written.
    #[serde(default)]
    pub receipt: ReceiptOptions,
    /// What is accepted although the policy does not.
    #[serde(default)]
    pub consent: Consent,
}

/// A bundle that is trusted, or was taken by consent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VerifyReport {
    /// The bundle's index.
    pub digest: Digest,
    /// Why it is trusted, as records say it.
    pub verification: Verification,
    /// What was signed; none by consent, and where the rule does not ask for it.
    pub release: Option<Release>,
    /// The tool whose signature sufficed although it names no release.
    pub bare: Option<SignatureFormat>,
    /// What is attested.
    pub attested: Vec<AttestedReport>,
    /// The receipt's file, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Why it is trusted, with signers, scope and warnings.
    #[serde(skip)]
    pub basis: Basis,
}

/// Something that is attested of a bundle.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AttestedReport {
    /// What kind of statement.
    pub kind: Predicate,
    /// Name of the key that signed it, or its id.
    pub signer: String,
    /// What it says.
    pub predicate: Value,
}

impl VerifyReport {
    /// Why the bundle is trusted and what the signature covers, in lines for a person.
    pub fn verdict(&self) -> String {
        verdict(self.digest, &self.basis)
    }
}

/// Verifies a bundle and reports who signed it. If a receipt is requested, it is written for a refusal as well.
///
/// # Errors
/// If it is not trusted or does not exist, or the policy, the key of the receipt or its file cannot be used.
pub async fn verify(site: &Site, request: VerifyRequest) -> Result<VerifyReport, VerbError> {
    let bundle = resolve_stored(site, &request.bundle).await?;
    let mut trust = site.trust()?;
    if let Some(file) = &request.policy {
        let bytes = durable::read_named(file, limits::POLICY_BYTES).map_err(VerbError::io("read", file))?;
        trust = trust.with_policy(Policy::from_bytes(&bytes)?)?;
    }
    let writer = ReceiptWriter::requested(site, &request.receipt, &trust)?;
    let result = bundle
        .verify_by(site, request.consent, &trust, request.predicates)
        .await;
    let verified = receipt::write_if_refused(site, writer.as_ref(), &bundle, result)?;
    let receipt = match &writer {
        Some(writer) => {
            let store = site.store().await?;
            let origin = bundle.source.as_ref();
            Some(
                writer
                    .write_accepted(site, &bundle, &verified, (origin, &store))
                    .await?,
            )
        }
        None => None,
    };
    let verification = verified.verification();
    let (index, basis) = verified.into_parts();
    let (release, bare, attested) = match &basis {
        Basis::Policy {
            release,
            bare,
            attested,
            ..
        } => (release.clone(), *bare, attested.as_slice()),
        Basis::Consent { .. } => (None, None, &[][..]),
    };
    Ok(VerifyReport {
        digest: index.digest,
        verification,
        release,
        bare,
        attested: attested.iter().map(AttestedReport::from).collect(),
        receipt,
        basis,
    })
}

impl From<&Attested> for AttestedReport {
    fn from(attested: &Attested) -> Self {
        Self {
            kind: attested.kind,
            signer: signer_name(&attested.signer),
            predicate: attested.predicate.clone(),
        }
    }
}

fn signer_name(signer: &Signer) -> String {
    let name = signer.names.first();
    name.map_or_else(|| signer.id.short(), ToString::to_string)
}

/// Describes for a person, in several lines, why a bundle is trusted and what the signature covers.
pub(super) fn verdict(digest: Digest, basis: &Basis) -> String {
    let (scope, signers, release, warnings, bare, attested) = match basis {
        Basis::Policy {
            scope,
            signers,
            release,
            warnings,
            bare,
            attested,
            ..
        } => (scope, signers, release, warnings, bare, attested),
        Basis::Consent { reason } => {
            return format!("not signed by anybody trusted; taken by consent ({reason}): {digest}");
        }
    };
    let signers: Vec<String> = signers.iter().map(signer_name).collect();
    let mut lines = vec![format!(
        "trusted: signed by {} (rule for {scope})",
        signers.join(", ")
    )];
    if let Some(release) = release {
        let (name, version) = (&release.name, &release.version);
        lines.push(format!("covers: {name} {version}, all content of {digest}"));
        lines.push(format!(
            "sequence {}, signed {}",
            release.sequence, release.issued
        ));
        lines.extend(release.expires.map(|expires| format!("expires {expires}")));
    }
    lines.extend(bare.map(|form| {
        let form = form.word();
        format!("by a signature of {form} alone: it binds {digest}, but no name, version or order")
    }));
    lines.extend(attested.iter().map(|one| {
        let (kind, signer) = (one.kind.word(), signer_name(&one.signer));
        format!("attested: {kind} by {signer}{}", extent(one))
    }));
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

/// Returns how many entries an attestation has, in words.
fn extent(attested: &Attested) -> String {
    let (pointer, what) = match attested.kind {
        Predicate::Slsa => ("/buildDefinition/resolvedDependencies", "dependencies"),
        Predicate::Spdx => ("/packages", "packages"),
    };
    let list = attested.predicate.pointer(pointer).and_then(Value::as_array);
    list.map_or_else(String::new, |list| format!(", {} {what}", list.len()))
}
