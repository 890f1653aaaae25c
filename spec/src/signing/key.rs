//! Keys and signatures: Ed25519 (RFC 8032, pure, verified strictly) and ECDSA over P-256 with SHA-256 (FIPS 186-5).
//!
//! Strictly means for Ed25519: the cofactorless equation, `S < L`, and neither `A` nor `R` of small order. For P-256: the
//! signature is DER without any freedom, `r` and `s` from 1 to `n-1`; both values of `s` that verify are taken, because the
//! standard and cosign take both and half of the signatures that honest signers make have the high one. Nothing here may
//! therefore take a signature's bytes for an identity. `spec/300-signing.md` says where verifiers of other tools differ.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::DecodePublicKey as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Digest;

/// What precedes the 32 key bytes in a SubjectPublicKeyInfo (RFC 8410, section 4).
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What precedes the 65 bytes of an uncompressed point in a SubjectPublicKeyInfo (RFC 5480, named curve prime256v1).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What a key signs with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum KeyAlgorithm {
    /// Pure Ed25519. Deterministic, and the only one that older releases of samebundle verify.
    #[default]
    Ed25519,
    /// ECDSA over P-256 with SHA-256: what notation wants, and what cosign makes itself.
    P256,
}

impl KeyAlgorithm {
    /// The word for it in commands and listings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
        }
    }
}

/// Why something is not a public key that may be trusted, or not a key's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not bytes that are a point of the curve.
    #[error("these bytes are not a public key: no point of the curve")]
    NotAPoint,
    /// A point of small order: one signature by it verifies for many messages.
    #[error(
        "this Ed25519 public key is weak (of small order): anybody can make signatures that it accepts; make a new key"
    )]
    Weak,
    /// Not a SubjectPublicKeyInfo of an Ed25519 or P-256 key in PEM.
    #[error("this is not an Ed25519 or P-256 public key in SPKI form (PEM label PUBLIC KEY)")]
    NotSpki,
    /// Not a scalar of P-256.
    #[error("these bytes are not a P-256 secret key: zero, or not below the order of the curve")]
    NotAScalar,
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

    /// Reads what [`Self::hint`] writes; none for any other text.
    pub fn from_hint(hint: &str) -> Option<Self> {
        let bytes = STANDARD.decode(hint).ok().filter(|bytes| bytes.len() == 32)?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        hex.parse().ok()
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
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

crate::serde_as_text!(KeyId);

/// A public key that is not weak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(Public);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Public {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// Takes the 32 bytes of an Ed25519 key (RFC 8032).
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`], [`KeyError::Weak`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes = <&[u8; 32]>::try_from(bytes).map_err(|_| KeyError::NotAPoint)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            Err(KeyError::Weak)
        } else {
            Ok(Self(Public::Ed25519(key)))
        }
    }

    /// Takes a point of P-256 (SEC 1, compressed or not). The curve has prime order: no point of it is weak.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`].
    pub fn from_point(bytes: &[u8]) -> Result<Self, KeyError> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
            .map(|key| Self(Public::P256(key)))
            .map_err(|_| KeyError::NotAPoint)
    }

    /// Reads a SubjectPublicKeyInfo in PEM (RFC 7468).
    ///
    /// # Errors
    /// [`KeyError::NotSpki`], [`KeyError::Weak`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(text) {
            return Self::from_bytes(key.as_bytes());
        }
        p256::ecdsa::VerifyingKey::from_public_key_pem(text)
            .map(|key| Self(Public::P256(key)))
            .map_err(|_| KeyError::NotSpki)
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// As [`Self::from_pem`].
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_der(der) {
            return Self::from_bytes(key.as_bytes());
        }
        p256::ecdsa::VerifyingKey::from_public_key_der(der)
            .map(|key| Self(Public::P256(key)))
            .map_err(|_| KeyError::NotSpki)
    }

    /// Returns what it verifies.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self.0 {
            Public::Ed25519(_) => KeyAlgorithm::Ed25519,
            Public::P256(_) => KeyAlgorithm::P256,
        }
    }

    /// Returns the 32 bytes of RFC 8032, or the 65 bytes of an uncompressed point.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Public::Ed25519(key) => key.as_bytes().to_vec(),
            Public::P256(key) => key.to_encoded_point(false).as_bytes().to_vec(),
        }
    }

    /// Returns the SubjectPublicKeyInfo in DER: 44 bytes, or 91 for P-256.
    pub fn to_spki(&self) -> Vec<u8> {
        let prefix: &[u8] = match self.0 {
            Public::Ed25519(_) => &ED25519_SPKI,
            Public::P256(_) => &P256_SPKI,
        };
        [prefix, &self.to_bytes()].concat()
    }

    /// Returns the SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` prints it.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &self.to_spki())
    }

    /// Returns the key's id.
    pub fn id(&self) -> KeyId {
        KeyId(Digest::sha256(&self.to_spki()))
    }

    /// Tells whether `signature` was made over `message` by this key, in the form that sigstore has: 64 bytes for Ed25519,
    /// DER for P-256.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Public::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }

    /// Tells whether `signature` is an ES256 signature of RFC 7518 over `message`: `r` and `s`, 32 bytes each. Never true
    /// of a key that is not P-256.
    #[must_use]
    pub fn verifies_es256(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Public::Ed25519(_) => false,
            Public::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

/// Writes public bytes in PEM (RFC 7468): 64 characters a line, which are 48 bytes.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let lines: String = der.chunks(48).map(|line| STANDARD.encode(line) + "\n").collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id().short())
    }
}

/// A secret key. Wiped from memory when dropped; shows nothing of itself.
pub struct SigningKey(Secret);

enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

impl SigningKey {
    /// Makes the Ed25519 key of a seed: 32 bytes from the system's random source, or read from a key file.
    ///
    /// There is no way to give seed and public key separately, so no signature can leak the seed by a wrong pair.
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Self {
        Self(Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed)))
    }

    /// Makes the P-256 key of a scalar: 32 bytes, big-endian, from 1 to `n-1`.
    ///
    /// Of random bytes about one in 2^32 is not such a number: draw again.
    ///
    /// # Errors
    /// [`KeyError::NotAScalar`].
    pub fn from_scalar(scalar: &Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        p256::ecdsa::SigningKey::from_slice(scalar.as_slice())
            .map(|key| Self(Secret::P256(key)))
            .map_err(|_| KeyError::NotAScalar)
    }

    /// Returns what it signs with.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self.0 {
            Secret::Ed25519(_) => KeyAlgorithm::Ed25519,
            Secret::P256(_) => KeyAlgorithm::P256,
        }
    }

    /// Returns the seed or the scalar, to be written encrypted.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        match &self.0 {
            Secret::Ed25519(key) => Zeroizing::new(key.to_bytes()),
            Secret::P256(key) => Zeroizing::new(key.to_bytes().into()),
        }
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(match &self.0 {
            Secret::Ed25519(key) => Public::Ed25519(key.verifying_key()),
            Secret::P256(key) => Public::P256(*key.verifying_key()),
        })
    }

    /// Signs a message: 64 bytes of Ed25519, or DER of ECDSA. The same message gives the same bytes (RFC 8032 section
    /// 5.1.6, RFC 6979).
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.0 {
            Secret::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
        }
    }

    /// Signs a message as ES256 of RFC 7518 does: `r` and `s`, 32 bytes each. None for a key that is not P-256.
    pub fn sign_es256(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.0 {
            Secret::Ed25519(_) => None,
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                Some(signature.to_bytes().to_vec())
            }
        }
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
        assert_eq!(*SigningKey::from_seed(&key.secret()).secret(), [7; 32]);
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

    fn p256(byte: u8) -> SigningKey {
        SigningKey::from_scalar(&Zeroizing::new([byte; 32])).unwrap()
    }

    #[test]
    fn p256_signs_verifies_and_round_trips() {
        let (key, other) = (p256(1), p256(2));
        let public = key.public();
        let signature = key.sign(b"message");
        assert_eq!(signature, key.sign(b"message"));
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"messagf", &signature));
        assert!(!other.public().verifies(b"message", &signature));
        let raw = key.sign_es256(b"message").unwrap();
        assert!(public.verifies_es256(b"message", &raw));
        assert!(!public.verifies(b"message", &raw) && !public.verifies_es256(b"message", &signature));
        assert_eq!(public.to_spki().len(), 91);
        assert_eq!(PublicKey::from_pem(&public.to_pem()).unwrap(), public);
        assert_eq!(PublicKey::from_point(&public.to_bytes()).unwrap(), public);
        assert_eq!(*SigningKey::from_scalar(&key.secret()).unwrap().secret(), [1; 32]);
        // An Ed25519 key has neither form of ECDSA.
        let ed25519 = SigningKey::from_seed(&Zeroizing::new([1; 32]));
        assert_eq!(ed25519.sign_es256(b"message"), None);
        assert!(!ed25519.public().verifies_es256(b"message", &raw));
    }

    #[test]
    fn p256_refuses_what_is_no_key() {
        for bytes in [[0; 32], [0xff; 32]] {
            let made = SigningKey::from_scalar(&Zeroizing::new(bytes)).map(|_| ());
            assert_eq!(made, Err(KeyError::NotAScalar));
        }
        let mut point = p256(1).public().to_bytes();
        point[64] ^= 1;
        assert_eq!(PublicKey::from_point(&point), Err(KeyError::NotAPoint));
        // The point at infinity, and the hybrid form.
        assert_eq!(PublicKey::from_point(&[0]), Err(KeyError::NotAPoint));
        point[64] ^= 1;
        point[0] = 6 + (point[64] & 1);
        assert_eq!(PublicKey::from_point(&point), Err(KeyError::NotAPoint));
    }

    /// The order of the curve, big-endian.
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];

    /// `n - s`: the other value that verifies.
    fn negated(s: &[u8]) -> Vec<u8> {
        let mut borrow = 0;
        let mut out = vec![0; 32];
        for at in (0..32).rev() {
            let difference = i32::from(N[at]) - i32::from(s[at]) - borrow;
            borrow = i32::from(difference < 0);
            out[at] = u8::try_from(difference.rem_euclid(256)).unwrap();
        }
        out
    }

    /// A DER integer without check: what a test wants.
    fn integer(bytes: &[u8]) -> Vec<u8> {
        [&[2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn minimal(bytes: &[u8]) -> Vec<u8> {
        let from = bytes
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(bytes.len() - 1);
        let sign: &[u8] = if bytes[from] & 0x80 == 0 { &[] } else { &[0] };
        [sign, &bytes[from..]].concat()
    }

    fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
        let body = parts.concat();
        [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
    }

    #[test]
    fn p256_takes_both_values_of_s_and_no_other_encoding() {
        let key = p256(3);
        let public = key.public();
        for message in 0..64_u8 {
            let message = [message];
            let raw = key.sign_es256(&message).unwrap();
            let (r, s) = raw.split_at(32);
            let other = negated(s);
            let good = [minimal(r), minimal(s)];
            let der = sequence(&[integer(&good[0]), integer(&good[1])]);
            assert_eq!(der, key.sign(&message));
            let flipped = sequence(&[integer(&good[0]), integer(&minimal(&other))]);
            assert!(public.verifies(&message, &flipped));
            let padded = |bytes: &[u8]| [&[0], bytes].concat();
            let plus_n = |bytes: &[u8]| {
                // r + n has 33 bytes.
                let mut carry = 0;
                let mut out = vec![0; 33];
                for at in (0..32).rev() {
                    let total = u16::from(bytes[at]) + u16::from(N[at]) + carry;
                    out[at + 1] = (total & 0xff) as u8;
                    carry = total >> 8;
                }
                out[0] = u8::try_from(carry).unwrap();
                minimal(&out)
            };
            let length = u8::try_from(der.len() - 2).unwrap();
            let wrong = [
                (
                    "a leading zero too many",
                    sequence(&[integer(&padded(&good[0])), integer(&good[1])]),
                ),
                (
                    "a leading zero too many in s",
                    sequence(&[integer(&good[0]), integer(&padded(&good[1]))]),
                ),
                ("r + n", sequence(&[integer(&plus_n(r)), integer(&good[1])])),
                ("s + n", sequence(&[integer(&good[0]), integer(&plus_n(s))])),
                ("r = 0", sequence(&[integer(&[0]), integer(&good[1])])),
                ("s = 0", sequence(&[integer(&good[0]), integer(&[0])])),
                ("r = n", sequence(&[integer(&minimal(&N)), integer(&good[1])])),
                ("an empty integer", sequence(&[integer(&[]), integer(&good[1])])),
                (
                    "a third integer",
                    sequence(&[integer(&good[0]), integer(&good[1]), integer(&[1])]),
                ),
                ("one integer", sequence(&[integer(&good[0])])),
                ("bytes after it", [der.as_slice(), &[0]].concat()),
                ("a long length", [&[0x30, 0x81, length], &der[2..]].concat()),
                (
                    "an indefinite length",
                    [&[0x30, 0x80], &der[2..], &[0, 0]].concat(),
                ),
                ("cut", der[..der.len() - 1].to_vec()),
                ("a set", [&[0x31], &der[1..]].concat()),
                ("nothing", Vec::new()),
            ];
            for (what, signature) in wrong {
                assert!(!public.verifies(&message, &signature), "{what}");
            }
        }
    }
}
