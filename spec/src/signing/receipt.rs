//! What a site says of a bundle that reached it: a SLSA verification summary, signed by the site (`spec/310-receipts.md`).
//!
//! The same envelope as a release, another predicate type, so it never counts as one. The summary's own fields say what was
//! verified, by what policy, when and with what result; an extension field names what the site holds of the bundle, which
//! is what the next archive for that site may leave out.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::statement::{AnyStatement, STATEMENT_TYPE, Wire, WireDigest, WireSubject, form};
use super::{Bundle, KeyId, KeyRing, SignatureFault, SigningKey, StatementError, decide, dsse::Envelope};
use crate::record::Verification;
use crate::{Algorithm, Descriptor, Digest, MediaType, Timestamp, limits};

/// The predicate type of a verification summary (SLSA 1.0 to 1.1).
pub const SUMMARY_TYPE: &str = "https://slsa.dev/verification_summary/v1";
/// The extension field; SLSA wants a URI for its name.
pub const EXTENSION: &str = "https://samebundle.dev/receipt/v1";
/// The kind of policy that was applied (300-signing, 4).
const POLICY_URI: &str = "https://samebundle.dev/policy/v1";
/// Begins the identity of a site; the id of its key follows.
const SITE_URI: &str = "https://samebundle.dev/site/";
/// The version of SLSA whose words are used.
const SLSA_VERSION: &str = "1.1";
/// SLSA 1.1: no level was looked for; that is not what the policy is about.
const UNEVALUATED: &str = "SLSA_BUILD_LEVEL_UNEVALUATED";

/// What came of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The policy was met, or the user consented; only the first passes.
    Accepted(Verification),
    /// It was refused.
    Refused {
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// Whether the policy was met. What was taken by consent did not pass.
    pub const fn passed(&self) -> bool {
        matches!(self, Self::Accepted(Verification::Signature { .. }))
    }
}

/// What was verified, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256 digest of the bundle's index.
    pub subject: Digest,
    /// What was verified, as a URI: a package URL of the bundle.
    pub resource: String,
    /// The version of samebundle that verified.
    pub version: String,
    /// When.
    pub verified: Timestamp,
    /// SHA-256 digest of the policy that decided.
    pub policy: Digest,
    /// What came of it.
    pub outcome: Outcome,
}

/// A site's statement about a bundle that reached it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What was verified, and what came of it.
    pub summary: Summary,
    contents: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WirePredicate {
    verifier: Verifier,
    time_verified: Timestamp,
    resource_uri: String,
    policy: PolicyReference,
    verification_result: Verdict,
    verified_levels: Vec<String>,
    slsa_version: String,
    #[serde(rename = "https://samebundle.dev/receipt/v1")]
    extension: Extension,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verifier {
    id: String,
    version: Versions,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Versions {
    samebundle: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyReference {
    uri: String,
    digest: WireDigest,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verdict {
    Passed,
    Failed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extension {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verification: Option<Verification>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    held: Vec<Held>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Held {
    media_type: MediaType,
    digest: Digest,
    size: u64,
}

impl Receipt {
    /// Makes a receipt of what is `held`, in any order, with any number of repetitions.
    pub fn new(summary: Summary, held: impl IntoIterator<Item = Descriptor>) -> Self {
        let mut contents: Vec<Descriptor> = held.into_iter().map(|one| one.bare()).collect();
        contents.sort_by(|a, b| order(a).cmp(&order(b)));
        contents.dedup();
        Self { summary, contents }
    }

    /// The digests of what the site held when it signed: index, manifests, layers, signatures.
    pub fn held(&self) -> BTreeSet<Digest> {
        self.contents.iter().map(|content| content.digest).collect()
    }

    /// The same with media types and sizes, sorted by digest.
    pub fn contents(&self) -> &[Descriptor] {
        &self.contents
    }

    /// Signs it with the site's key, which becomes the verifier's identity.
    ///
    /// # Errors
    /// [`StatementError::Form`] if it holds something that a receipt cannot say, or becomes larger than
    /// [`limits::ATTESTATION_BYTES`].
    pub fn sign(&self, key: &SigningKey) -> Result<Bundle, StatementError> {
        let id = key.public().id();
        let payload = self.to_bytes(id)?;
        let bundle = Bundle {
            hint: id.hint(),
            envelope: Envelope::sign(MediaType::IN_TOTO.as_str(), payload, key),
        };
        let size = bundle.to_bytes().map_err(form)?.len() as u64;
        if size > limits::ATTESTATION_BYTES {
            let contents = self.contents.len();
            return Err(form(format!("with {contents} contents it has {size} bytes")));
        }
        Ok(bundle)
    }

    /// Verifies a signed receipt with the keys of the sites that are known.
    ///
    /// # Errors
    /// Why it does not count; [`SignatureFault::OtherPredicate`] if it says something else.
    pub fn verify(document: &[u8], keys: &KeyRing) -> Result<(KeyId, Self), SignatureFault> {
        let (key, payload) = decide::open(document, keys)?;
        let receipt = Self::from_bytes(&payload, key).map_err(|error| match error {
            StatementError::OtherPredicate { found } => SignatureFault::OtherPredicate { found },
            StatementError::Form { why } => SignatureFault::BadStatement { why },
        })?;
        Ok((key, receipt))
    }

    fn to_bytes(&self, site: KeyId) -> Result<Vec<u8>, StatementError> {
        self.check()?;
        let summary = &self.summary;
        let (verification, refusal) = match &summary.outcome {
            Outcome::Accepted(verification) => (Some(verification.clone()), None),
            Outcome::Refused { why } => (None, Some(why.clone())),
        };
        let (verdict, level) = match summary.outcome.passed() {
            true => (Verdict::Passed, UNEVALUATED),
            false => (Verdict::Failed, "FAILED"),
        };
        let held = self.contents.iter().map(|content| Held {
            media_type: content.media_type.clone(),
            digest: content.digest,
            size: content.size,
        });
        let predicate = WirePredicate {
            verifier: Verifier {
                id: format!("{SITE_URI}{site}"),
                version: Versions {
                    samebundle: summary.version.clone(),
                },
            },
            time_verified: summary.verified,
            resource_uri: summary.resource.clone(),
            policy: PolicyReference {
                uri: POLICY_URI.to_owned(),
                digest: sha256(&summary.policy),
            },
            verification_result: verdict,
            verified_levels: vec![level.to_owned()],
            slsa_version: SLSA_VERSION.to_owned(),
            extension: Extension {
                verification,
                refusal,
                held: held.collect(),
            },
        };
        let wire = Wire {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![WireSubject {
                name: String::new(),
                digest: sha256(&summary.subject),
            }],
            predicate_type: SUMMARY_TYPE.to_owned(),
            predicate,
        };
        serde_json::to_vec(&wire).map_err(form)
    }

    fn from_bytes(bytes: &[u8], site: KeyId) -> Result<Self, StatementError> {
        let any = AnyStatement::from_bytes(bytes)?;
        if any.predicate_type != SUMMARY_TYPE {
            let found = any.shown_type();
            return Err(StatementError::OtherPredicate { found });
        }
        let subject = any.only_subject()?;
        let wire: Wire<WirePredicate> =
            crate::json::from_slice(bytes, limits::ATTESTATION_BYTES).map_err(form)?;
        let wire = wire.predicate;
        if wire.verifier.id != format!("{SITE_URI}{site}") {
            return Err(form("its verifier is not the site whose key signed it"));
        }
        if wire.policy.uri != POLICY_URI {
            return Err(form(format!("its policy is not of the kind {POLICY_URI}")));
        }
        let outcome = match (wire.extension.verification, wire.extension.refusal) {
            (Some(verification), None) => Outcome::Accepted(verification),
            (None, Some(why)) => Outcome::Refused { why },
            _ => return Err(form("it must have one of verification and refusal")),
        };
        let (verdict, level) = match outcome.passed() {
            true => (Verdict::Passed, UNEVALUATED),
            false => (Verdict::Failed, "FAILED"),
        };
        if wire.verification_result != verdict || wire.verified_levels != [level] {
            return Err(form("its result is not what its details say"));
        }
        let held = wire.extension.held;
        let contents: Vec<Descriptor> = held
            .into_iter()
            .map(|one| Descriptor::new(one.media_type, one.digest, one.size))
            .collect();
        if contents.windows(2).any(|pair| order(&pair[0]) >= order(&pair[1])) {
            return Err(form("what is held must be sorted by digest, each content once"));
        }
        let summary = Summary {
            subject,
            resource: wire.resource_uri,
            version: wire.verifier.version.samebundle,
            verified: wire.time_verified,
            policy: format!("sha256:{}", wire.policy.digest.sha256)
                .parse()
                .map_err(form)?,
            outcome,
        };
        let receipt = Self { summary, contents };
        receipt.check()?;
        Ok(receipt)
    }

    fn check(&self) -> Result<(), StatementError> {
        let summary = &self.summary;
        if [summary.subject, summary.policy]
            .iter()
            .any(|digest| digest.algorithm() != Algorithm::Sha256)
        {
            return Err(form("bundle and policy must be named by SHA-256"));
        }
        let uri =
            summary.resource.contains(':') && summary.resource.bytes().all(|byte| byte.is_ascii_graphic());
        if !uri {
            return Err(form(format!(
                "{:?} is no URI of what was verified",
                summary.resource
            )));
        }
        if self.contents.len() > limits::GRAPH_CONTENTS {
            return Err(form(format!(
                "it names more than {} contents",
                limits::GRAPH_CONTENTS
            )));
        }
        match self.contents.iter().any(|one| one.size > limits::JSON_INTEGER) {
            true => Err(form("a size is over 2^53-1")),
            false => Ok(()),
        }
    }
}

/// The order of descriptors.
fn order(content: &Descriptor) -> (Digest, &MediaType, u64) {
    (content.digest, &content.media_type, content.size)
}

fn sha256(digest: &Digest) -> WireDigest {
    WireDigest { sha256: digest.hex() }
}

#[cfg(test)]
mod tests;
