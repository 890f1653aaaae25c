//! Signatures of the Notary Project (`notation`): a JWS with the target's descriptor, and a certificate chain.
//!
//! Written with the key's own certificate ([`super::certificate`]); read with the keys of the trust store, never with a
//! certificate, so that a chain that comes along proves nothing. Only ES256 and the scheme `notary.x509` are read.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{PublicKey, SigningKey, certificate};
use crate::{Descriptor, Digest, Timestamp, limits};

/// The annotation of a signature's manifest that holds the SHA-256 of each certificate of the chain.
pub const THUMBPRINT_ANNOTATION: &str = "io.cncf.notary.x509chain.thumbprint#S256";
const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";
const SCHEME: &str = "io.cncf.notary.signingScheme";
const EXPIRY: &str = "io.cncf.notary.expiry";
const X509: &str = "notary.x509";

/// Why a document is not an envelope that is read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is signed in another way, which is valid but not used here.
    #[error("it is signed with {what}")]
    Other {
        /// What it is signed with.
        what: &'static str,
    },
    /// It breaks the form.
    #[error("it is not a signature of the Notary Project: {why}")]
    Form {
        /// What is wrong.
        why: String,
    },
}

fn form(why: impl ToString) -> EnvelopeError {
    EnvelopeError::Form { why: why.to_string() }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    payload: String,
    protected: String,
    header: Unprotected,
    signature: String,
}

/// The unsigned header. No decision depends on it.
#[derive(Default, Serialize, Deserialize)]
struct Unprotected {
    #[serde(default)]
    x5c: Vec<String>,
    #[serde(rename = "io.cncf.notary.signingAgent", default)]
    agent: String,
}

#[derive(Serialize, Deserialize)]
struct Protected {
    alg: String,
    crit: Vec<String>,
    cty: String,
    #[serde(
        rename = "io.cncf.notary.expiry",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    expiry: Option<Timestamp>,
    #[serde(rename = "io.cncf.notary.signingScheme")]
    scheme: String,
    #[serde(rename = "io.cncf.notary.signingTime", default)]
    time: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payload {
    target_artifact: Descriptor,
}

/// A signature to be pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The envelope.
    pub document: Vec<u8>,
    /// The value of [`THUMBPRINT_ANNOTATION`].
    pub thumbprints: String,
}

/// Signs a descriptor. None for a key that is not P-256, which notation does not read.
///
/// # Errors
/// [`EnvelopeError::Form`], which no value gives.
pub fn sign(
    target: &Descriptor,
    issued: Timestamp,
    expires: Option<Timestamp>,
    key: &SigningKey,
) -> Result<Option<Signature>, EnvelopeError> {
    let Some(certificate) = certificate::self_signed(key) else {
        return Ok(None);
    };
    let mut crit = vec![SCHEME.to_owned()];
    crit.extend(expires.map(|_| EXPIRY.to_owned()));
    let protected = Protected {
        alg: "ES256".to_owned(),
        crit,
        cty: PAYLOAD_TYPE.to_owned(),
        expiry: expires.map(Timestamp::whole_seconds),
        scheme: X509.to_owned(),
        time: Some(issued.whole_seconds()),
    };
    let payload = Payload {
        target_artifact: target.bare(),
    };
    let encode = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
    let protected = encode(serde_json::to_vec(&protected).map_err(form)?);
    let payload = encode(serde_json::to_vec(&payload).map_err(form)?);
    let Some(signature) = key.sign_es256(format!("{protected}.{payload}").as_bytes()) else {
        return Ok(None);
    };
    let wire = Wire {
        payload,
        protected,
        header: Unprotected {
            x5c: vec![STANDARD.encode(&certificate)],
            agent: "samebundle".to_owned(),
        },
        signature: encode(signature),
    };
    Ok(Some(Signature {
        document: serde_json::to_vec(&wire).map_err(form)?,
        thumbprints: format!("[\"{}\"]", Digest::sha256(&certificate).hex()),
    }))
}

/// An envelope whose signature is not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    signed: Vec<u8>,
    signature: Vec<u8>,
    protected: Vec<u8>,
    payload: Vec<u8>,
}

/// What an envelope signs, to be read once its signature is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTarget {
    /// What is signed.
    pub target: Descriptor,
    /// When it was signed, if it says so.
    pub issued: Option<Timestamp>,
    /// The last second in which it is valid.
    pub expires: Option<Timestamp>,
}

impl Envelope {
    /// Parses an envelope.
    ///
    /// # Errors
    /// [`EnvelopeError::Other`] for other algorithms, [`EnvelopeError::Form`] for what breaks the form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let wire: Wire = crate::json::from_slice(bytes, limits::SIGNATURE_BYTES).map_err(form)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(form);
        let envelope = Self {
            signed: format!("{}.{}", wire.protected, wire.payload).into_bytes(),
            signature: decode(&wire.signature)?,
            protected: decode(&wire.protected)?,
            payload: decode(&wire.payload)?,
        };
        // Of the header only the algorithm is looked at before the signature is checked: to say what it is.
        if envelope.header()?.alg != "ES256" {
            return Err(EnvelopeError::Other {
                what: "another algorithm than ES256",
            });
        }
        Ok(envelope)
    }

    fn header(&self) -> Result<Protected, EnvelopeError> {
        crate::json::from_slice(&self.protected, limits::SIGNATURE_BYTES).map_err(form)
    }

    /// Tells whether a key signed it.
    #[must_use]
    pub fn is_by(&self, key: &PublicKey) -> bool {
        key.verifies_es256(&self.signed, &self.signature)
    }

    /// Returns what it signs. Call it only after [`Self::is_by`] returned true for a trusted key.
    ///
    /// # Errors
    /// [`EnvelopeError::Form`] for what breaks the form, or must be understood and is not.
    pub fn signed_target(&self) -> Result<SignedTarget, EnvelopeError> {
        let header = self.header()?;
        if header.cty != PAYLOAD_TYPE || header.scheme != X509 {
            return Err(form("its payload or its scheme is of another kind"));
        }
        if !header.crit.iter().any(|name| name == SCHEME) {
            return Err(form("its scheme is not marked as critical"));
        }
        if let Some(unknown) = header.crit.iter().find(|name| *name != SCHEME && *name != EXPIRY) {
            let unknown: String = unknown.chars().take(80).collect();
            return Err(form(format!("it must not be read without knowing {unknown:?}")));
        }
        let payload: Payload =
            crate::json::from_slice(&self.payload, limits::SIGNATURE_BYTES).map_err(form)?;
        Ok(SignedTarget {
            target: payload.target_artifact,
            issued: header.time,
            expires: header.expiry,
        })
    }
}
