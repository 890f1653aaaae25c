//! Ed25519 keys and signatures (RFC 8032, pure, verified strictly).
//!
//! Strictly means: the cofactorless equation, `S < L`, and neither `A` nor `R` of small order. Verifiers of other tools
//! are more lenient in corner cases that no honest signer produces; `spec/300-signing.md` says which.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::Digest;

/// What precedes the 32 key bytes in a SubjectPublicKeyInfo (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why something is not a public key that may be trusted, or not a key's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 32 bytes that are a point of the curve.
    #[error("these bytes are not an Ed25519 public key")]
    NotAPoint,
    /// A point of small order: one signature by it verifies for many messages.
    #[error(
        "this Ed25519 public key is weak (of small order): anybody can make signatures that it accepts; make a new key"
    )]
    Weak,
    /// Not a SubjectPublicKeyInfo of an Ed25519 key in DER or PEM.
    #[error("this is not an Ed25519 public key in SPKI form (PEM label PUBLIC KEY, algorithm 1.3.101.112)")]
    NotSpki,
    /// Not 64 lower-case hexadecimal digits.
    #[error("key id {text:?} is not 64 lower-case hexadecimal digits")]
    Id {
        /// The text, shortened.
        text: String,
    },
}

/// The identity of a key: SHA-256 of its SubjectPublicKeyInfo in DER, in full. Displays as 64 hexadecimal digits.
///
/// The same hash that cosign and sigstore use; nothing shorter is ever compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl KeyId {
    /// Returns the id as sigstore bundles hint at it: standard base64 of the 32 bytes.
    pub fn hint(&self) -> String {
        STANDARD.encode(self.0.as_bytes())
    }

    /// Returns the first 12 digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        format!("sha256:{text}")
            .parse()
            .map(Self)
            .map_err(|_| KeyError::Id {
                text: text.chars().take(80).collect(),
            })
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// An Ed25519 public key that is not weak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Takes the 32 bytes of RFC 8032.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`], [`KeyError::Weak`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes = <&[u8; 32]>::try_from(bytes).map_err(|_| KeyError::NotAPoint)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            Err(KeyError::Weak)
        } else {
            Ok(Self(key))
        }
    }

    /// Reads a SubjectPublicKeyInfo in PEM (RFC 7468).
    ///
    /// # Errors
    /// [`KeyError::NotSpki`], [`KeyError::Weak`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let key =
            ed25519_dalek::VerifyingKey::from_public_key_pem(text.trim()).map_err(|_| KeyError::NotSpki)?;
        Self::from_bytes(key.as_bytes())
    }

    /// Returns the 32 bytes of RFC 8032.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Returns the SubjectPublicKeyInfo in DER, 44 bytes.
    pub fn to_spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], self.as_bytes()].concat()
    }

    /// Returns the SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` prints it.
    pub fn to_pem(&self) -> String {
        // 44 bytes are 60 characters: one line of PEM.
        let body = STANDARD.encode(self.to_spki());
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    /// Returns the key's id.
    pub fn id(&self) -> KeyId {
        KeyId(Digest::sha256(&self.to_spki()))
    }

    /// Tells whether `signature` was made over `message` by this key. The only verification there is.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id().short())
    }
}

/// An Ed25519 secret key. Wiped from memory when dropped; shows nothing of itself.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Makes the key of a seed: 32 bytes from the system's random source, or read from a key file.
    ///
    /// There is no way to give seed and public key separately, so no signature can leak the seed by a wrong pair.
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Returns the seed, to be written encrypted.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a message (deterministic, RFC 8032 section 5.1.6).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_seed(&Zeroizing::new([byte; 32]))
    }

    #[test]
    fn signs_and_verifies() {
        let (key, other) = (key(1), key(2));
        let signature = key.sign(b"message");
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"messagf", &signature));
        assert!(!other.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"message", &signature[..63]));
    }

    #[test]
    fn keys_round_trip_and_hide_their_secret() {
        let key = key(7);
        let public = key.public();
        assert_eq!(PublicKey::from_pem(&public.to_pem()).unwrap(), public);
        assert_eq!(public.to_pem().lines().count(), 3);
        assert_eq!(public.id().to_string().parse::<KeyId>().unwrap(), public.id());
        assert_eq!(*SigningKey::from_seed(&key.seed()).seed(), [7; 32]);
        assert_eq!(format!("{key:?}"), "SigningKey(***)");
    }

    #[test]
    fn refuses_weak_and_malformed_keys() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(PublicKey::from_bytes(&neutral), Err(KeyError::Weak));
        assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(KeyError::Weak));
        assert_eq!(PublicKey::from_bytes(&[0; 31]), Err(KeyError::NotAPoint));
        let mut off_curve = [0; 32];
        off_curve[0] = 2;
        assert_eq!(PublicKey::from_bytes(&off_curve), Err(KeyError::NotAPoint));
        assert_eq!(
            PublicKey::from_pem("-----BEGIN PUBLIC KEY-----"),
            Err(KeyError::NotSpki)
        );
        assert!("abc".parse::<KeyId>().is_err());
    }
}
