//! OpenSSH keys (PROTOCOL.key), encrypted ones too.

use samebundle_spec::limits;
use samebundle_spec::signing::{PublicKey, SigningKey};
use ssh_key::private::{EcdsaKeypair, KeypairData};
use ssh_key::public::{EcdsaPublicKey, KeyData};
use ssh_key::{Kdf, PrivateKey};
use zeroize::Zeroizing;

use super::{KeyFault, Passphrase};

const FORM: &str = "OpenSSH";

fn invalid(why: impl ToString) -> KeyFault {
    KeyFault::Invalid(FORM, why.to_string())
}

/// Reads a secret key.
pub(super) fn secret(text: &str, passphrase: Option<&Passphrase>) -> Result<SigningKey, KeyFault> {
    let mut key = PrivateKey::from_openssh(text.trim()).map_err(invalid)?;
    if key.is_encrypted() {
        if let Kdf::Bcrypt { rounds, .. } = key.kdf()
            && *rounds > limits::BCRYPT_ROUNDS
        {
            return Err(KeyFault::TooCostly(format!("bcrypt with {rounds} rounds")));
        }
        let passphrase = passphrase.ok_or(KeyFault::PassphraseNeeded)?;
        key = key
            .decrypt(passphrase.as_bytes())
            .map_err(|_| KeyFault::WrongPassphrase)?;
    }
    match key.key_data() {
        KeypairData::Ed25519(pair) => {
            let key = SigningKey::from_seed(&Zeroizing::new(pair.private.to_bytes()));
            matching(key, pair.public.as_ref())
        }
        KeypairData::Ecdsa(EcdsaKeypair::NistP256 { public, private }) => {
            let scalar = <[u8; 32]>::try_from(private.as_slice()).map_err(invalid)?;
            let key = SigningKey::from_scalar(&Zeroizing::new(scalar)).map_err(invalid)?;
            matching(key, public.as_bytes())
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
