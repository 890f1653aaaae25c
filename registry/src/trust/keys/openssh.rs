//! OpenSSH keys (PROTOCOL.key), encrypted ones too.
//!
//! The container is read here and not by `ssh_key::PrivateKey`: that refuses one P-256 key of 256, whose
//! number begins with a zero byte that OpenSSH leaves out.

use samebundle_spec::limits;
use samebundle_spec::signing::{PublicKey, SigningKey};
use ssh_encoding::{Decode, Reader};
use ssh_key::public::{EcdsaPublicKey, KeyData};
use ssh_key::{Cipher, Kdf};
use zeroize::Zeroizing;

use super::{KeyFault, Passphrase};

const FORM: &str = "OpenSSH";
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// OpenSSH breaks the lines of its armour at 70 characters.
const WIDTH: usize = 70;

fn invalid(why: impl ToString) -> KeyFault {
    KeyFault::Invalid(FORM, why.to_string())
}

/// Reads a secret key.
pub(super) fn secret(text: &str, passphrase: Option<&Passphrase>) -> Result<SigningKey, KeyFault> {
    let mut armour = pem_rfc7468::Decoder::new_wrapped(text.trim().as_bytes(), WIDTH).map_err(invalid)?;
    let mut bytes = Zeroizing::new(Vec::new());
    armour.decode_to_end(&mut bytes).map_err(invalid)?;
    let mut rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| invalid("it is of another version"))?;
    let (cipher, kdf, mut section) = container(&mut rest).map_err(invalid)?;
    if cipher.is_some() {
        if let Kdf::Bcrypt { rounds, .. } = &kdf
            && *rounds > limits::BCRYPT_ROUNDS
        {
            return Err(KeyFault::TooCostly(format!("bcrypt with {rounds} rounds")));
        }
        let passphrase = passphrase.ok_or(KeyFault::PassphraseNeeded)?;
        let (key, iv) = kdf
            .derive_key_and_iv(cipher, passphrase.as_bytes())
            .map_err(invalid)?;
        // What follows the section is the tag of a cipher that has one.
        let tag = (!rest.is_empty())
            .then(|| rest.try_into())
            .transpose()
            .map_err(invalid)?;
        cipher
            .decrypt(&key, &iv, &mut section, tag)
            .map_err(|_| KeyFault::WrongPassphrase)?;
    }
    let mut section = section.as_slice();
    let numbers = (u32::decode(&mut section), u32::decode(&mut section));
    match numbers {
        (Ok(one), Ok(other)) if one == other => pair(&mut section),
        _ if cipher.is_some() => Err(KeyFault::WrongPassphrase),
        _ => Err(invalid("its secret part is damaged")),
    }
}

/// Reads what is around the secret part: its cipher, how the cipher's key is derived, and the part itself.
fn container(reader: &mut impl Reader) -> ssh_key::Result<(Cipher, Kdf, Zeroizing<Vec<u8>>)> {
    let cipher = Cipher::decode(reader)?;
    let kdf = Kdf::decode(reader)?;
    let number = u32::decode(reader)?;
    if number != 1 || cipher.is_some() != kdf.is_some() {
        return Err(ssh_key::Error::FormatEncoding);
    }
    let _public = Vec::<u8>::decode(reader)?;
    Ok((cipher, kdf, Zeroizing::new(Vec::decode(reader)?)))
}

/// Reads the key of a secret part behind its two check numbers.
fn pair(reader: &mut impl Reader) -> Result<SigningKey, KeyFault> {
    let mut field = || Vec::<u8>::decode(reader).map(Zeroizing::new).map_err(invalid);
    match field()?.as_slice() {
        b"ssh-ed25519" => {
            let public = field()?;
            let secret = field()?;
            let seed = secret
                .first_chunk::<32>()
                .ok_or_else(|| invalid("its secret key is too short"))?;
            matching(SigningKey::from_seed(&Zeroizing::new(*seed)), &public)
        }
        b"ecdsa-sha2-nistp256" => {
            let _curve = field()?;
            let public = field()?;
            let number = field()?;
            let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
            let digits = &number[start..];
            let mut scalar = Zeroizing::new([0; 32]);
            let zeros = scalar
                .len()
                .checked_sub(digits.len())
                .ok_or_else(|| invalid("its secret number is too long"))?;
            scalar[zeros..].copy_from_slice(digits);
            matching(SigningKey::from_scalar(&scalar).map_err(invalid)?, &public)
        }
        _ => Err(invalid(
            "it is neither an Ed25519 nor a P-256 key (ssh-keygen -t ed25519, or -t ecdsa -b 256)",
        )),
    }
}

/// A public key that is stored with the secret one must belong to it.
fn matching(key: SigningKey, public: &[u8]) -> Result<SigningKey, KeyFault> {
    if key.public().to_bytes() == public {
        Ok(key)
    } else {
        Err(invalid("its public key is not that of its secret key"))
    }
}

/// Reads a public key, the line of an `id_ed25519.pub` or `id_ecdsa.pub`.
pub(super) fn public(text: &str) -> Result<PublicKey, KeyFault> {
    let key = ssh_key::PublicKey::from_openssh(text.trim()).map_err(invalid)?;
    let public = match key.key_data() {
        KeyData::Ed25519(key) => PublicKey::from_bytes(key.as_ref()),
        KeyData::Ecdsa(EcdsaPublicKey::NistP256(point)) => PublicKey::from_point(point.as_bytes()),
        _ => return Err(invalid("it is neither an Ed25519 nor a P-256 key")),
    };
    public.map_err(KeyFault::Public)
}
