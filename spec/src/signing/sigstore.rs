//! Sigstore bundles v0.3 as JSON, with a public key for verification material (sigstore protobuf-specs, `Bundle`).
//!
//! Only the form that we write and that `cosign verify --key` takes: a DSSE envelope with one signature. Bundles with a
//! certificate or a bare message signature are told apart, so that a reader can say why it does not use them.

use serde::{Deserialize, Serialize};

use super::dsse::{self, Envelope};
use super::{KeyId, SigningKey, Statement, StatementError};
use crate::{MediaType, limits};

/// The media types that bundles of this form have had.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
];

/// A DSSE envelope and a hint at the key that signed it; nothing of it is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Base64 of the key's id, or empty. Never trusted.
    pub hint: String,
    /// The signed payload.
    pub envelope: Envelope,
}

/// Why a document is not a bundle of the form that is used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Signed in another way, which is not wrong but not used.
    #[error("it is signed with {what}, not with a public key and a DSSE envelope")]
    OtherMaterial {
        /// What it has instead.
        what: &'static str,
    },
    /// It breaks the form.
    #[error("it is not a sigstore bundle: {why}")]
    Form {
        /// What is wrong.
        why: String,
    },
}

fn form(why: impl ToString) -> BundleError {
    BundleError::Form { why: why.to_string() }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    media_type: String,
    verification_material: Material,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<dsse::Wire>,
    #[serde(default, skip_serializing)]
    message_signature: Option<serde_json::Value>,
}

/// What else sigstore allows here is read and not used: a key from the trust store needs no log and no timestamp.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Material {
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<Hint>,
    #[serde(skip_serializing)]
    certificate: Option<serde_json::Value>,
    #[serde(skip_serializing)]
    x509_certificate_chain: Option<serde_json::Value>,
    #[serde(skip_serializing)]
    tlog_entries: Option<serde_json::Value>,
    #[serde(skip_serializing)]
    timestamp_verification_data: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    #[serde(default)]
    hint: String,
}

impl Bundle {
    /// Signs a statement.
    ///
    /// # Errors
    /// If the statement cannot be written.
    pub fn sign(statement: &Statement, key: &SigningKey) -> Result<Self, StatementError> {
        Ok(Self {
            hint: key.public().id().hint(),
            envelope: Envelope::sign(MediaType::IN_TOTO.as_str(), statement.to_bytes()?, key),
        })
    }

    /// Tells whether the hint names this key, or names none.
    pub fn may_be_by(&self, key: KeyId) -> bool {
        self.hint.is_empty() || self.hint == key.hint()
    }

    /// Writes the bundle as JSON.
    ///
    /// # Errors
    /// [`BundleError::Form`], which no value of this type gives.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let wire = Wire {
            media_type: MediaType::SIGSTORE_BUNDLE.to_string(),
            verification_material: Material {
                public_key: Some(Hint {
                    hint: self.hint.clone(),
                }),
                ..Material::default()
            },
            dsse_envelope: Some(self.envelope.to_wire()),
            message_signature: None,
        };
        serde_json::to_vec(&wire).map_err(form)
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// [`BundleError::OtherMaterial`] for bundles signed in another way; [`BundleError::Form`] for what breaks the form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        let wire: Wire = crate::json::from_slice(bytes, limits::ATTESTATION_BYTES).map_err(form)?;
        if !MEDIA_TYPES.contains(&wire.media_type.as_str()) {
            return Err(form("its mediaType is none of sigstore's bundles"));
        }
        let material = wire.verification_material;
        let certificate = material.certificate.is_some() || material.x509_certificate_chain.is_some();
        let hint = match material.public_key {
            Some(key) if !certificate => key.hint,
            None if certificate => {
                return Err(BundleError::OtherMaterial {
                    what: "a certificate",
                });
            }
            _ => return Err(form("it must have one of publicKey and certificate")),
        };
        let envelope = match (wire.dsse_envelope, wire.message_signature) {
            (Some(envelope), None) => Envelope::from_wire(envelope).map_err(form)?,
            (None, Some(_)) => {
                return Err(BundleError::OtherMaterial {
                    what: "a message signature",
                });
            }
            _ => return Err(form("it must have one of dsseEnvelope and messageSignature")),
        };
        if envelope.signatures().len() != 1 {
            return Err(form("its envelope must have exactly one signature"));
        }
        Ok(Self { hint, envelope })
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::super::statement::tests::statement;
    use super::*;

    fn signed() -> (SigningKey, Bundle) {
        let key = SigningKey::from_seed(&Zeroizing::new([9; 32]));
        let bundle = Bundle::sign(&statement(), &key).unwrap();
        (key, bundle)
    }

    #[test]
    fn round_trips_in_the_form_that_cosign_writes() {
        let (key, bundle) = signed();
        let bytes = bundle.to_bytes().unwrap();
        assert_eq!(Bundle::from_bytes(&bytes).unwrap(), bundle);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            value["verificationMaterial"]["publicKey"]["hint"],
            key.public().id().hint()
        );
        assert_eq!(
            value["dsseEnvelope"]["payloadType"],
            "application/vnd.in-toto+json"
        );
        assert_eq!(value["dsseEnvelope"]["signatures"].as_array().unwrap().len(), 1);
        assert!(value["dsseEnvelope"]["signatures"][0].get("keyid").is_none());
    }

    #[test]
    fn tells_other_forms_from_broken_ones() {
        let (_, bundle) = signed();
        let text = String::from_utf8(bundle.to_bytes().unwrap()).unwrap();
        let hint = format!("\"publicKey\":{{\"hint\":\"{}\"}}", bundle.hint);
        let change = |from: &str, to: &str| {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            Bundle::from_bytes(changed.as_bytes())
        };
        let certificate = change(&hint, r#""certificate":{"rawBytes":"AA=="}"#);
        assert!(matches!(
            certificate,
            Err(BundleError::OtherMaterial {
                what: "a certificate"
            })
        ));
        for (from, to) in [
            ("bundle.v0.3+json", "bundle.v0.9+json"),
            (hint.as_str(), ""),
            ("\"dsseEnvelope\"", "\"envelope\""),
            ("\"signatures\":[{", "\"signatures\":[{\"sig\":\"AA==\"},{"),
            ("\"sig\":\"", "\"sig\":\"*"),
            ("{\"mediaType\"", "{\"mediaType\":\"x\",\"mediaType\""),
        ] {
            assert!(
                matches!(change(from, to), Err(BundleError::Form { .. })),
                "{from} -> {to}"
            );
        }
    }
}
