//! DSSE envelopes (secure-systems-lab/dsse, protocol and envelope 1.0).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use super::{PublicKey, SigningKey};

/// URL-safe base64, which readers of DSSE must also take.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the bytes that are signed: type and content, each with its length, so that neither can be read as the other.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// A signed payload whose signatures are not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeSignature {
    /// A hint at the key, never trusted.
    pub key_id: Option<String>,
    /// The raw signature.
    pub signature: Vec<u8>,
}

/// Why an envelope cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {field} of a DSSE envelope is not base64")]
pub struct EnvelopeError {
    field: &'static str,
}

/// The envelope as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wire {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

impl Envelope {
    /// Signs a payload.
    pub fn sign(payload_type: &str, payload: Vec<u8>, key: &SigningKey) -> Self {
        let signature = key.sign(&pre_authentication_encoding(payload_type, &payload));
        Self {
            payload_type: payload_type.to_owned(),
            payload,
            // cosign refuses an id that is not equal to the bundle's hint, so none is written.
            signatures: vec![EnvelopeSignature {
                key_id: None,
                signature,
            }],
        }
    }

    /// Returns the media type of the payload, which is signed as well.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// Returns the signatures.
    pub fn signatures(&self) -> &[EnvelopeSignature] {
        &self.signatures
    }

    /// Returns the payload if one of the signatures was made over it by `key`; only then may it be parsed.
    pub fn verified_payload(&self, key: &PublicKey) -> Option<&[u8]> {
        let message = pre_authentication_encoding(&self.payload_type, &self.payload);
        self.signatures
            .iter()
            .any(|entry| key.verifies(&message, &entry.signature))
            .then_some(&self.payload)
    }

    pub(super) fn to_wire(&self) -> Wire {
        Wire {
            payload: STANDARD.encode(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: self
                .signatures
                .iter()
                .map(|entry| WireSignature {
                    keyid: entry.key_id.clone(),
                    sig: STANDARD.encode(&entry.signature),
                })
                .collect(),
        }
    }

    pub(super) fn from_wire(wire: Wire) -> Result<Self, EnvelopeError> {
        let decode = |field, text: &str| {
            STANDARD
                .decode(text)
                .or_else(|_| URL_SAFE.decode(text))
                .map_err(|_| EnvelopeError { field })
        };
        let signatures = wire.signatures.into_iter().map(|entry| {
            Ok(EnvelopeSignature {
                signature: decode("signature", &entry.sig)?,
                key_id: entry.keyid,
            })
        });
        Ok(Self {
            signatures: signatures.collect::<Result<_, _>>()?,
            payload: decode("payload", &wire.payload)?,
            payload_type: wire.payload_type,
        })
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn encodes_as_the_protocol_document_does() {
        let bytes = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn the_type_is_part_of_what_is_signed() {
        let key = SigningKey::from_seed(&Zeroizing::new([3; 32]));
        let envelope = Envelope::sign("a/b", b"payload".to_vec(), &key);
        assert_eq!(envelope.verified_payload(&key.public()), Some(&b"payload"[..]));
        let mut wire = envelope.to_wire();
        wire.payload_type = "a/c".to_owned();
        let envelope = Envelope::from_wire(wire).unwrap();
        assert_eq!(envelope.verified_payload(&key.public()), None);
    }

    #[test]
    fn reads_url_safe_base64() {
        let key = SigningKey::from_seed(&Zeroizing::new([3; 32]));
        let envelope = Envelope::sign("a/b", vec![0xff; 5], &key);
        let mut wire = envelope.to_wire();
        assert!(wire.payload.contains('/'));
        wire.payload = wire.payload.replace('/', "_").replace('=', "");
        assert_eq!(Envelope::from_wire(wire.clone()).unwrap(), envelope);
        wire.payload.push('*');
        assert!(Envelope::from_wire(wire).is_err());
    }
}
