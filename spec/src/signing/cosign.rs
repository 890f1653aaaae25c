//! The payload of a cosign `.sig` layer ("simple signing", as containers/image defines it).
//!
//! It names a digest and nothing else, so it never decides trust here: it is written for those who verify with cosign.

use serde::{Deserialize, Serialize};

use crate::{Digest, limits};

/// The annotation of a `.sig` layer that holds the signature in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const TYPE: &str = "cosign container image signature";

/// Why bytes are not such a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cosign signature payload: {why}")]
pub struct PayloadError {
    why: String,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    critical: Critical,
    optional: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: Digest,
}

/// Writes the payload that says: `subject` is signed. The bytes are what is signed.
///
/// # Errors
/// [`PayloadError`], which no digest gives.
pub fn payload(subject: &Digest) -> Result<Vec<u8>, PayloadError> {
    let wire = Wire {
        critical: Critical {
            // Not compared by any verifier; left empty so that the signature stays true where the bundle is copied to.
            identity: Identity {
                docker_reference: String::new(),
            },
            image: Image {
                docker_manifest_digest: *subject,
            },
            kind: TYPE.to_owned(),
        },
        optional: None,
    };
    serde_json::to_vec(&wire).map_err(|error| PayloadError {
        why: error.to_string(),
    })
}

/// Returns the digest that a payload is about.
///
/// # Errors
/// [`PayloadError`] if it is not a cosign payload.
pub fn subject(payload: &[u8]) -> Result<Digest, PayloadError> {
    let wire: Wire =
        crate::json::from_slice(payload, limits::SIGNATURE_BYTES).map_err(|error| PayloadError {
            why: error.to_string(),
        })?;
    if wire.critical.kind == TYPE {
        Ok(wire.critical.image.docker_manifest_digest)
    } else {
        Err(PayloadError {
            why: format!("its type is not {TYPE:?}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_cosign_writes() {
        let digest = Digest::sha256(b"");
        let bytes = payload(&digest).unwrap();
        let expected = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":""}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert_eq!(subject(&bytes).unwrap(), digest);
        assert!(
            subject(
                &expected
                    .replace("cosign container", "atomic container")
                    .into_bytes()
            )
            .is_err()
        );
    }
}
