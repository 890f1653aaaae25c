//! Secret keys as cosign saves them (go-securesystemslib `encrypted`): PEM of a JSON document that holds PKCS#8,
//! encrypted with NaCl secretbox under a key that scrypt derives from the passphrase.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use pem_rfc7468::LineEnding;
use samebundle_spec::signing::SigningKey;
use samebundle_spec::{json, limits};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::kdf::Scrypt;
use super::{KeyFault, Passphrase, pkcs8};

const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
const FORM: &str = "cosign";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    name: String,
    nonce: String,
}

fn invalid(why: impl ToString) -> KeyFault {
    KeyFault::Invalid(FORM, why.to_string())
}

/// Encrypts a key. `salt` and `nonce` must be random and used once.
pub(super) fn encrypt(
    key: &SigningKey,
    passphrase: &Passphrase,
    salt: &[u8; 32],
    nonce: &[u8; 24],
) -> Result<Zeroizing<String>, KeyFault> {
    let Scrypt { log_n, r, p } = Scrypt::COSIGN;
    let secret = Scrypt::COSIGN.derive(passphrase.as_bytes(), salt, 32)?;
    let cipher = XSalsa20Poly1305::new_from_slice(&secret).map_err(invalid)?;
    let sealed = cipher
        .encrypt(Nonce::from_slice(nonce), pkcs8::to_der(key).as_slice())
        .map_err(invalid)?;
    let document = Document {
        kdf: Kdf {
            name: "scrypt".to_owned(),
            params: Params { n: 1 << log_n, r, p },
            salt: STANDARD.encode(salt),
        },
        cipher: Cipher {
            name: "nacl/secretbox".to_owned(),
            nonce: STANDARD.encode(nonce),
        },
        ciphertext: STANDARD.encode(sealed),
    };
    let bytes = serde_json::to_vec(&document).map_err(invalid)?;
    pem_rfc7468::encode_string(LABEL, LineEnding::LF, &bytes)
        .map(Zeroizing::new)
        .map_err(invalid)
}

/// Decrypts a key. Cosign takes the absence of a passphrase for an empty one; here it must be said.
pub(super) fn decrypt(text: &str, passphrase: Option<&Passphrase>) -> Result<SigningKey, KeyFault> {
    let (_, bytes) = pem_rfc7468::decode_vec(text.trim().as_bytes()).map_err(invalid)?;
    let document: Document = json::from_slice(&bytes, limits::KEY_FILE_BYTES).map_err(invalid)?;
    if document.kdf.name != "scrypt" || document.cipher.name != "nacl/secretbox" {
        return Err(invalid("only scrypt and nacl/secretbox are known"));
    }
    let Params { n, r, p } = document.kdf.params;
    if !n.is_power_of_two() {
        return Err(invalid("scrypt's N is not a power of two"));
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(invalid)?;
    let salt = STANDARD.decode(&document.kdf.salt).map_err(invalid)?;
    let nonce: [u8; 24] = STANDARD
        .decode(&document.cipher.nonce)
        .map_err(invalid)?
        .try_into()
        .map_err(|_| invalid("the nonce does not have 24 bytes"))?;
    let sealed = STANDARD.decode(&document.ciphertext).map_err(invalid)?;
    let passphrase = passphrase.ok_or(KeyFault::PassphraseNeeded)?;
    let secret = Scrypt { log_n, r, p }.derive(passphrase.as_bytes(), &salt, 32)?;
    let cipher = XSalsa20Poly1305::new_from_slice(&secret).map_err(invalid)?;
    let opened = cipher.decrypt(Nonce::from_slice(&nonce), sealed.as_slice());
    let der = Zeroizing::new(opened.map_err(|_| KeyFault::WrongPassphrase)?);
    pkcs8::from_der(&der)
}
