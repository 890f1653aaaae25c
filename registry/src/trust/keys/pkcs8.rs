//! PKCS#8 private keys (RFC 5958) in DER and PEM: Ed25519 (RFC 8410) and P-256 (RFC 5915); and P-256 keys in the older
//! form that OpenSSL calls `EC PRIVATE KEY`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::pkcs8::KeypairBytes;
use p256::pkcs8::DecodePrivateKey as _;
use samebundle_spec::signing::{KeyAlgorithm, SigningKey};
use zeroize::Zeroizing;

use super::KeyFault;

/// What precedes the 32 seed bytes in version 1, which every reader knows (version 2 adds the public key).
const ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// What precedes the 32 bytes of the scalar, as OpenSSL and Go write it.
const P256: [u8; 36] = [
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01,
    0x04, 0x20,
];
/// What stands between the scalar and the 65 bytes of the point.
const P256_POINT: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];

/// Writes the key as PKCS#8 DER: 48 bytes, or 138 for P-256.
pub(super) fn to_der(key: &SigningKey) -> Zeroizing<Vec<u8>> {
    // As long as the longer one, so that no part of the secret is left behind by growing.
    let mut der = Zeroizing::new(Vec::with_capacity(138));
    match key.algorithm() {
        KeyAlgorithm::Ed25519 => {
            der.extend_from_slice(&ED25519);
            der.extend_from_slice(key.secret().as_slice());
        }
        KeyAlgorithm::P256 => {
            der.extend_from_slice(&P256);
            der.extend_from_slice(key.secret().as_slice());
            der.extend_from_slice(&P256_POINT);
            der.extend_from_slice(&key.public().to_bytes());
        }
    }
    der
}

/// Writes the key as PKCS#8 PEM, as `openssl genpkey` does.
pub(super) fn to_pem(key: &SigningKey) -> Zeroizing<String> {
    let der = to_der(key);
    // 64 characters a line are 48 bytes.
    let mut text = Zeroizing::new(String::with_capacity(300));
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in der.chunks(48) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

/// Reads PKCS#8 DER of version 1 or 2; a public key in it must belong to the secret one.
pub(super) fn from_der(der: &[u8]) -> Result<SigningKey, KeyFault> {
    if let Ok(pair) = KeypairBytes::from_pkcs8_der(der) {
        return checked(&pair);
    }
    p256::SecretKey::from_pkcs8_der(der)
        .map_err(|_| fault())
        .and_then(|key| scalar(&key))
}

/// Reads PKCS#8 PEM.
pub(super) fn from_pem(text: &str) -> Result<SigningKey, KeyFault> {
    let text = text.trim();
    if let Ok(pair) = KeypairBytes::from_pkcs8_pem(text) {
        return checked(&pair);
    }
    p256::SecretKey::from_pkcs8_pem(text)
        .map_err(|_| fault())
        .and_then(|key| scalar(&key))
}

/// Reads a P-256 key in PEM as `openssl ecparam -genkey -noout` writes it (SEC 1, RFC 5915).
pub(super) fn from_sec1_pem(text: &str) -> Result<SigningKey, KeyFault> {
    p256::SecretKey::from_sec1_pem(text.trim())
        .map_err(|_| fault())
        .and_then(|key| scalar(&key))
}

fn scalar(key: &p256::SecretKey) -> Result<SigningKey, KeyFault> {
    SigningKey::from_scalar(&Zeroizing::new(key.to_bytes().into())).map_err(|_| fault())
}

fn checked(pair: &KeypairBytes) -> Result<SigningKey, KeyFault> {
    let key = SigningKey::from_seed(&Zeroizing::new(pair.secret_key));
    match &pair.public_key {
        Some(public) if public.to_bytes()[..] != key.public().to_bytes() => Err(KeyFault::Invalid(
            "PKCS#8",
            "its public key is not that of its secret key".to_owned(),
        )),
        _ => Ok(key),
    }
}

fn fault() -> KeyFault {
    KeyFault::Invalid(
        "PKCS#8",
        "it is not an unencrypted Ed25519 or P-256 key whose halves fit; other algorithms are not used"
            .to_owned(),
    )
}
