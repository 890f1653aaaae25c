//! Bare signatures: made by cosign or notation over a digest alone, without a release statement.
//!
//! They prove who signed which digest, but neither name nor version nor order. So they suffice only where a rule's
//! `accept` names their tool, and only for a bundle that has no release statement by a trusted key: a release that expired or
//! was signed for another repository does not become good again because cosign's form of the same signature is a referrer too.
//! No mark is kept of them: a rule that accepts them has no protection against rollback.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::decide::{Decision, Question, check_period, open};
use super::statement::AnyStatement;
use super::{KeyId, KeyRing, Policy, Refusal, SignatureFault, cosign, notation};
use crate::{Algorithm, Descriptor, Digest, Timestamp, limits};

/// The predicate type of `cosign sign` in a sigstore bundle. It has nothing but the subject.
pub const COSIGN_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The tool whose format a bare signature has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(
    any(test, feature = "schema"),
    derive(schemars::JsonSchema),
    schemars(rename = "Form")
)]
#[serde(rename_all = "camelCase")]
pub enum SignatureFormat {
    /// A `.sig` layer, or a sigstore bundle that names only the digest.
    Cosign,
    /// A JWS of the Notary Project.
    Notation,
}

impl SignatureFormat {
    /// The word that a policy accepts it by.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cosign => "cosign",
            Self::Notation => "notation",
        }
    }
}

/// A verified bare signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bare {
    /// The trusted key that made it.
    pub key: KeyId,
    /// Its format.
    pub form: SignatureFormat,
    /// Its subject: a digest, and for notation a whole descriptor.
    pub subject: Subject,
    /// When it was made, if it says so.
    pub issued: Option<Timestamp>,
    /// The last second in which it is valid, if it ends.
    pub expires: Option<Timestamp>,
}

/// What a bare signature names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are at most a few at a time, and each is looked at once"
)]
pub enum Subject {
    /// Cosign names a digest.
    Digest(Digest),
    /// Notation names digest, size and media type.
    Descriptor(Descriptor),
}

impl Subject {
    fn is(&self, wanted: &Descriptor) -> bool {
        match self {
            Self::Digest(digest) => *digest == wanted.digest,
            Self::Descriptor(named) => named.bare() == wanted.bare(),
        }
    }

    fn digest(&self) -> Digest {
        match self {
            Self::Digest(digest) => *digest,
            Self::Descriptor(named) => named.digest,
        }
    }
}

/// Verifies a sigstore bundle made by `cosign sign`.
///
/// # Errors
/// Why it does not count; [`SignatureFault::OtherPredicate`] for provenance, a bill of materials and any other statement that
/// is no signature.
pub fn examine_bundle(document: &[u8], keys: &KeyRing) -> Result<Bare, SignatureFault> {
    let (key, payload) = open(document, keys)?;
    let bad = |why: String| SignatureFault::BadStatement { why };
    let any = AnyStatement::from_bytes(&payload).map_err(|error| bad(error.to_string()))?;
    if any.predicate_type != COSIGN_TYPE {
        let found = any.shown_type();
        return Err(SignatureFault::OtherPredicate { found });
    }
    Ok(Bare {
        key,
        form: SignatureFormat::Cosign,
        subject: Subject::Digest(any.only_subject().map_err(|error| bad(error.to_string()))?),
        issued: None,
        expires: None,
    })
}

/// Verifies a layer of cosign's `.sig` tag: its payload, and the raw signature of its annotation.
///
/// # Errors
/// Why it does not count.
pub fn examine_payload(payload: &[u8], signature: &[u8], keys: &KeyRing) -> Result<Bare, SignatureFault> {
    // The layer names no key, so each is tried; the caller bounds the layers.
    let Some(key) = keys.values().find(|key| key.verifies(payload, signature)) else {
        let hint = String::new();
        return Err(SignatureFault::UnknownKey { hint });
    };
    let subject = cosign::subject(payload).map_err(|error| SignatureFault::BadStatement {
        why: error.to_string(),
    })?;
    Ok(Bare {
        key: key.id(),
        form: SignatureFormat::Cosign,
        subject: Subject::Digest(subject),
        issued: None,
        expires: None,
    })
}

/// Verifies an envelope of the Notary Project.
///
/// # Errors
/// Why it does not count.
pub fn examine_notation(document: &[u8], keys: &KeyRing) -> Result<Bare, SignatureFault> {
    let envelope = notation::Envelope::from_bytes(document).map_err(|error| match error {
        notation::EnvelopeError::Other { what } => SignatureFault::OtherMaterial { what },
        notation::EnvelopeError::Form { why } => SignatureFault::Unreadable { why },
    })?;
    let Some(key) = keys.values().find(|key| envelope.is_by(key)) else {
        let hint = String::new();
        return Err(SignatureFault::UnknownKey { hint });
    };
    let claim = envelope
        .signed_target()
        .map_err(|error| SignatureFault::BadStatement {
            why: error.to_string(),
        })?;
    Ok(Bare {
        key: key.id(),
        form: SignatureFormat::Notation,
        subject: Subject::Descriptor(claim.target),
        issued: claim.issued,
        expires: claim.expires,
    })
}

/// Decides whether bare signatures suffice. Call it only when no release statement by a trusted key was found.
///
/// # Errors
/// The [`Refusal`]: no rule accepts them, they are by other keys, about another digest, expired, or too few.
pub fn suffices(
    policy: &Policy,
    keys: &KeyRing,
    question: Question<'_>,
    examined: &[Result<Bare, SignatureFault>],
) -> Result<Decision, Refusal> {
    let Some((scope, rule)) = policy.rule_for(question.place, &[]) else {
        return Err(Refusal::NoRule {
            place: question.place.clone(),
            signed_by: BTreeSet::new(),
        });
    };
    let (wanted, mut faults, mut warnings) = (rule.key_ids(keys), Vec::new(), Vec::new());
    let mut signers = BTreeSet::new();
    let mut forms = BTreeSet::new();
    for bare in examined {
        let judged = bare.as_ref().map_err(Clone::clone).and_then(|bare| {
            if !bare.subject.is(question.subject) {
                let found = bare.subject.digest();
                return Err(SignatureFault::OtherContent { found });
            }
            let (key, form, scope) = (bare.key, bare.form, scope.clone());
            if !wanted.contains(&key) {
                return Err(SignatureFault::KeyNotInRule { key, scope });
            }
            if !rule.accept.contains(&form) {
                return Err(SignatureFault::FormatNotAccepted { key, form, scope });
            }
            check_period(question.now, rule, bare.issued, bare.expires).map(|warning| (bare, warning))
        });
        match judged {
            Ok((bare, warning)) => {
                signers.insert(bare.key);
                forms.insert(bare.form);
                warnings.extend(warning);
            }
            Err(fault) => faults.push(fault),
        }
    }
    if signers.len() >= rule.threshold && question.subject.digest.algorithm() == Algorithm::Sha256 {
        return Ok(Decision {
            scope: scope.clone(),
            rule: rule.clone(),
            signers,
            statement: None,
            bare: forms.into_iter().next(),
            warnings,
        });
    }
    if signers.is_empty() {
        return Err(Refusal::of(question.place, BTreeSet::new(), faults));
    }
    Err(Refusal::TooFew {
        scope: scope.clone(),
        wanted: rule.threshold.min(limits::SIGNATURES),
        found: signers.len(),
    })
}

#[cfg(test)]
mod tests;
