//! OpenSSH keys (PROTOCOL.key), encrypted ones too.

use samebundle_spec::limits;
use samebundle_spec::signing::{PublicKey, SigningKey};
use ssh_key::private::KeypairData;
use ssh_key::{Kdf, PrivateKey};
use zeroize::Zeroizing;

use super::{Fault, Passphrase};

const FORM: &str = "OpenSSH";

fn invalid(why: impl ToString) -> Fault {
    Fault::Invalid(FORM, why.to_string())
}

/// Reads a secret key.
pub(super) fn secret(text: &str, passphrase: Option<&Passphrase>) -> Result<SigningKey, Fault> {
    let mut key = PrivateKey::from_openssh(text.trim()).map_err(invalid)?;
    if key.is_encrypted() {
        if let Kdf::Bcrypt { rounds, .. } = key.kdf()
            && *rounds > limits::BCRYPT_ROUNDS
        {
            return Err(Fault::TooCostly(format!("bcrypt with {rounds} rounds")));
        }
        let passphrase = passphrase.ok_or(Fault::PassphraseNeeded)?;
        key = key
            .decrypt(passphrase.as_bytes())
            .map_err(|_| Fault::WrongPassphrase)?;
    }
    let KeypairData::Ed25519(pair) = key.key_data() else {
        return Err(invalid("it is not an Ed25519 key (ssh-keygen -t ed25519)"));
    };
    let key = SigningKey::from_seed(&Zeroizing::new(pair.private.to_bytes()));
    if key.public().as_bytes() == pair.public.as_ref() {
        Ok(key)
    } else {
        Err(invalid("its public key is not that of its secret key"))
    }
}

/// Reads a public key, the line of an `id_ed25519.pub`.
pub(super) fn public(text: &str) -> Result<PublicKey, Fault> {
    let key = ssh_key::PublicKey::from_openssh(text.trim()).map_err(invalid)?;
    let key = key
        .key_data()
        .ed25519()
        .ok_or_else(|| invalid("it is not an Ed25519 key"))?;
    PublicKey::from_bytes(key.as_ref()).map_err(Fault::Public)
}
