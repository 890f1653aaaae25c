//! Attestations about a bundle or a file: where it comes from (SLSA provenance) and what is in it (an SPDX bill of
//! materials).
//!
//! The same envelope as a release, another predicate type. None of them says that this is a release, so none counts as one;
//! each is asked for by its type.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::statement::{AnyStatement, STATEMENT_TYPE, Wire, WireDigest, WireSubject, form};
use super::{Bundle, KeyId, KeyRing, SignatureFault, SigningKey, StatementError, decide, dsse::Envelope};
use crate::{Digest, MediaType};

/// A kind of attestation that is made, signed and asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Predicate {
    /// SLSA provenance v1.
    Slsa,
    /// An SPDX document, version 2.3 in JSON.
    Spdx,
}

impl Predicate {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Slsa, Self::Spdx];

    /// The word for it in policies and commands.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Slsa => "slsa",
            Self::Spdx => "spdx",
        }
    }

    /// The predicate type of the statement.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Slsa => "https://slsa.dev/provenance/v1",
            Self::Spdx => "https://spdx.dev/Document",
        }
    }

    /// The artifact type of the document that is an unsigned referrer of a bundle: the plain predicate for tools that read it.
    pub const fn document(self) -> MediaType {
        match self {
            Self::Slsa => MediaType::SLSA,
            Self::Spdx => MediaType::SPDX,
        }
    }
}

/// A statement about a bundle or a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Attestation {
    /// Name of the file; empty for a bundle.
    pub name: String,
    /// SHA-256 digest of the bundle's index, or of the file.
    pub subject: Digest,
    /// What kind of statement.
    pub kind: Predicate,
    /// What it says.
    pub predicate: Value,
}

impl Attestation {
    /// Writes the statement.
    ///
    /// # Errors
    /// [`StatementError::Form`] if the predicate cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StatementError> {
        let wire = Wire {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![WireSubject {
                name: self.name.clone(),
                digest: WireDigest {
                    sha256: self.subject.hex(),
                },
            }],
            predicate_type: self.kind.uri().to_owned(),
            predicate: &self.predicate,
        };
        serde_json::to_vec(&wire).map_err(form)
    }

    /// Signs it.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn sign(&self, key: &SigningKey) -> Result<Bundle, StatementError> {
        Ok(Bundle {
            hint: key.public().id().hint(),
            envelope: Envelope::sign(MediaType::IN_TOTO.as_str(), self.to_bytes()?, key),
        })
    }
}

/// Verifies a signed attestation of one kind, with the trusted keys.
///
/// # Errors
/// Why it does not count; [`SignatureFault::OtherPredicate`] if it says something else.
pub fn attested(
    document: &[u8],
    kind: Predicate,
    keys: &KeyRing,
) -> Result<(KeyId, Attestation), SignatureFault> {
    let (key, payload) = decide::open(document, keys)?;
    let bad = |error: StatementError| SignatureFault::BadStatement {
        why: error.to_string(),
    };
    let any = AnyStatement::from_bytes(&payload).map_err(bad)?;
    if any.predicate_type != kind.uri() {
        let found = any.shown_type();
        return Err(SignatureFault::OtherPredicate { found });
    }
    let subject = any.only_subject().map_err(bad)?;
    let name = any.only_name().to_owned();
    let predicate = any.predicate;
    Ok((
        key,
        Attestation {
            name,
            subject,
            kind,
            predicate,
        },
    ))
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::signing::examine;

    #[test]
    fn an_attestation_is_no_release_and_no_other_attestation() {
        let key = SigningKey::from_seed(&Zeroizing::new([1; 32]));
        let keys = KeyRing::from([("alice".parse().unwrap(), key.public())]);
        let made = Attestation {
            name: "a file".to_owned(),
            subject: Digest::sha256(b"index"),
            kind: Predicate::Slsa,
            predicate: serde_json::json!({"buildDefinition": {}}),
        };
        let document = made.sign(&key).unwrap().to_bytes().unwrap();
        assert_eq!(
            attested(&document, Predicate::Slsa, &keys).unwrap(),
            (key.public().id(), made)
        );
        for refused in [
            attested(&document, Predicate::Spdx, &keys).map(|_| ()),
            examine(&document, &keys).map(|_| ()),
            crate::signing::foreign::examine_bundle(&document, &keys).map(|_| ()),
        ] {
            assert!(
                matches!(&refused, Err(SignatureFault::OtherPredicate { found }) if found == Predicate::Slsa.uri()),
                "{refused:?}"
            );
        }
        let text = String::from_utf8(document).unwrap();
        let altered = text.replacen("\"payload\":\"ey", "\"payload\":\"eX", 1);
        let refused = attested(altered.as_bytes(), Predicate::Slsa, &keys);
        assert!(
            matches!(refused, Err(SignatureFault::BadSignature { .. })),
            "{refused:?}"
        );
    }
}
