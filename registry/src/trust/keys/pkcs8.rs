//! PKCS#8 private keys (RFC 5958, RFC 8410) in DER and PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::pkcs8::KeypairBytes;
use samebundle_spec::signing::SigningKey;
use zeroize::Zeroizing;

use super::Fault;

/// What precedes the 32 seed bytes in version 1, which every reader knows (version 2 adds the public key).
const PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Writes the key as PKCS#8 DER, 48 bytes.
pub(super) fn to_der(key: &SigningKey) -> Zeroizing<Vec<u8>> {
    let mut der = Zeroizing::new(Vec::with_capacity(48));
    der.extend_from_slice(&PREFIX);
    der.extend_from_slice(key.seed().as_slice());
    der
}

/// Writes the key as PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` does.
pub(super) fn to_pem(key: &SigningKey) -> Zeroizing<String> {
    // 48 bytes are 64 characters: one line of PEM.
    let body = Zeroizing::new(STANDARD.encode(to_der(key).as_slice()));
    Zeroizing::new(format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        *body
    ))
}

/// Reads PKCS#8 DER of version 1 or 2; a public key in it must belong to the secret one.
pub(super) fn from_der(der: &[u8]) -> Result<SigningKey, Fault> {
    KeypairBytes::from_pkcs8_der(der)
        .map_err(|_| fault())
        .and_then(|pair| checked(&pair))
}

/// Reads PKCS#8 PEM.
pub(super) fn from_pem(text: &str) -> Result<SigningKey, Fault> {
    KeypairBytes::from_pkcs8_pem(text.trim())
        .map_err(|_| fault())
        .and_then(|pair| checked(&pair))
}

fn checked(pair: &KeypairBytes) -> Result<SigningKey, Fault> {
    let key = SigningKey::from_seed(&Zeroizing::new(pair.secret_key));
    match &pair.public_key {
        Some(public) if public.to_bytes() != *key.public().as_bytes() => Err(Fault::Invalid(
            "PKCS#8",
            "its public key is not that of its secret key".to_owned(),
        )),
        _ => Ok(key),
    }
}

fn fault() -> Fault {
    Fault::Invalid(
        "PKCS#8",
        "it is not an unencrypted Ed25519 key; other algorithms are not used".to_owned(),
    )
}
