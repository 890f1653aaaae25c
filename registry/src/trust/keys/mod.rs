//! Key files: made, saved, loaded, imported.
//!
//! A secret key is saved as cosign saves its own (`ENCRYPTED SIGSTORE PRIVATE KEY`: scrypt and NaCl secretbox over
//! PKCS#8), so that cosign and sigstore tools load it; without a passphrase it is plain PKCS#8 PEM. Keys of OpenSSH,
//! minisign, cosign and OpenSSL are imported. Files of secret keys have mode 0600, are made new and never overwritten,
//! and are refused if anybody else may read or write them. The passphrase is given by the caller.
//!
//! Blocking: a passphrase function runs up to some seconds and takes up to [`limits::KDF_MEMORY_BYTES`].

mod cosign;
mod kdf;
mod minisign;
mod openssh;
mod pkcs8;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use samebundle_spec::signing::{KeyAlgorithm, KeyError, PublicKey, SigningKey};
use samebundle_spec::{Classify, ErrorKind, limits};
use zeroize::Zeroizing;

use crate::{PathError, durable};

/// A passphrase. Wiped when dropped.
pub type Passphrase = Zeroizing<String>;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file has no known key format.
    #[error("{path} is no key file that is known here (PKCS#8 or SPKI PEM, cosign, OpenSSH, minisign)")]
    Unknown {
        /// The file.
        path: String,
    },
    /// A key file of a known form with something wrong in it.
    #[error("the {form} key in {path} cannot be used: {why}")]
    Invalid {
        /// Which form it has.
        form: &'static str,
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// It is encrypted and no passphrase was given.
    #[error("the key in {path} is encrypted; a passphrase is needed")]
    PassphraseNeeded {
        /// The file.
        path: String,
    },
    /// It is encrypted with another passphrase, or damaged (the two cannot be told apart).
    #[error("the passphrase does not open the key in {path} (or the file is damaged)")]
    WrongPassphrase {
        /// The file.
        path: String,
    },
    /// Opening it would cost more than is allowed.
    #[error("the key in {path} asks for too much work to open: {why}")]
    TooCostly {
        /// The file.
        path: String,
        /// What it asks for.
        why: String,
    },
    /// Not a public key that may be trusted.
    #[error("the public key in {path} is refused")]
    Public {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// Others may read or write it.
    #[error(
        "the secret key file {path} has mode {mode:04o}; others may read it: make a new key, or `chmod 600` it if it was never shared"
    )]
    Exposed {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Never overwritten.
    #[error("{path} exists already; a key is never overwritten")]
    Exists {
        /// The file.
        path: String,
    },
    /// The file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {why}")]
    Random {
        /// The system's answer.
        why: String,
    },
}

impl Classify for KeyFileError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. }
            | Self::Invalid { .. }
            | Self::TooCostly { .. }
            | Self::PassphraseNeeded { .. } => ErrorKind::Input,
            Self::WrongPassphrase { .. } => ErrorKind::Denied,
            Self::Public { .. } | Self::Exposed { .. } => ErrorKind::NotTrusted,
            Self::Exists { .. } => ErrorKind::Conflict,
            Self::Path(error) if error.source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Path(error) => error.kind(),
            Self::Random { .. } => ErrorKind::Environment,
        }
    }
}

/// Why the bytes of a key cannot be used; the caller that read them adds the path.
#[derive(Debug)]
enum KeyFault {
    Invalid(&'static str, String),
    PassphraseNeeded,
    WrongPassphrase,
    TooCostly(String),
    Public(KeyError),
}

impl KeyFault {
    fn at(self, path: &Path) -> KeyFileError {
        let path = path.display().to_string();
        match self {
            Self::Invalid(form, why) => KeyFileError::Invalid { form, path, why },
            Self::PassphraseNeeded => KeyFileError::PassphraseNeeded { path },
            Self::WrongPassphrase => KeyFileError::WrongPassphrase { path },
            Self::TooCostly(why) => KeyFileError::TooCostly { path, why },
            Self::Public(source) => KeyFileError::Public { path, source },
        }
    }
}

fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyFileError {
    PathError::into(operation, path)
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, KeyFileError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| KeyFileError::Random {
        why: error.to_string(),
    })?;
    Ok(bytes)
}

/// Makes a new key from the system's random source.
///
/// # Errors
/// [`KeyFileError::Random`].
pub fn generate(algorithm: KeyAlgorithm) -> Result<SigningKey, KeyFileError> {
    match algorithm {
        KeyAlgorithm::Ed25519 => Ok(SigningKey::from_seed(&random()?)),
        KeyAlgorithm::P256 => loop {
            // One draw in 2^32 is no scalar of the curve.
            if let Ok(key) = SigningKey::from_scalar(&random()?) {
                return Ok(key);
            }
        },
    }
}

/// Saves a secret key in a new file: encrypted with the passphrase, or plain PKCS#8 without one.
///
/// # Errors
/// [`KeyFileError::Exists`] if there is a file; otherwise why it cannot be written, and then there is none.
pub fn save(path: &Path, key: &SigningKey, passphrase: Option<&Passphrase>) -> Result<(), KeyFileError> {
    let text = match passphrase {
        Some(passphrase) => {
            let (salt, nonce) = (random()?, random()?);
            cosign::encrypt(key, passphrase, &salt, &nonce).map_err(|fault| fault.at(path))?
        }
        None => pkcs8::to_pem(key),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => KeyFileError::Exists {
                path: path.display().to_string(),
            },
            _ => io("create", path)(source),
        })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // A half-written key must not stay; a failure to remove it changes nothing for the caller.
        let _ = std::fs::remove_file(path);
        return Err(io("write", path)(error));
    }
    durable::sync_folder(path.parent().unwrap_or(Path::new("."))).map_err(io("sync", path))
}

/// Loads or imports a secret key of any known form.
///
/// # Errors
/// [`KeyFileError::Exposed`] if others may read the file; [`KeyFileError::PassphraseNeeded`] if it is encrypted and none
/// is given; otherwise what is wrong with it.
pub fn load(path: &Path, passphrase: Option<&Passphrase>) -> Result<SigningKey, KeyFileError> {
    let text = text(path, read(path, Access::Secret)?)?;
    let secret = match KeyFileFormat::of(&text) {
        Some(KeyFileFormat::Pkcs8) => pkcs8::from_pem(&text),
        Some(KeyFileFormat::Sec1) => pkcs8::from_sec1_pem(&text),
        Some(KeyFileFormat::Cosign) => cosign::decrypt(&text, passphrase),
        Some(KeyFileFormat::OpenSsh) => openssh::secret(&text, passphrase),
        Some(KeyFileFormat::MinisignSecret) => minisign::secret(&text, passphrase),
        Some(KeyFileFormat::EncryptedPkcs8) => Err(KeyFault::Invalid(
            "encrypted PKCS#8",
            "decrypt it first: openssl pkcs8 -in FILE -out NEW (under umask 077)".to_owned(),
        )),
        Some(KeyFileFormat::Spki | KeyFileFormat::MinisignPublic | KeyFileFormat::OpenSshPublic) => Err(
            KeyFault::Invalid("public", "a secret key is needed here".to_owned()),
        ),
        None => {
            return Err(KeyFileError::Unknown {
                path: path.display().to_string(),
            });
        }
    };
    secret.map_err(|fault| fault.at(path))
}

/// Loads a public key: SPKI PEM, minisign, or OpenSSH.
///
/// # Errors
/// What is wrong with the file or the key. Weak keys are refused.
pub fn load_public(path: &Path) -> Result<PublicKey, KeyFileError> {
    parse_public(path, read(path, Access::Public)?)
}

/// Parses the content of a public key file; `path` is for messages.
pub(super) fn parse_public(path: &Path, bytes: Vec<u8>) -> Result<PublicKey, KeyFileError> {
    let text = text(path, bytes)?;
    let key = match KeyFileFormat::of(&text) {
        Some(KeyFileFormat::Spki) => PublicKey::from_pem(&text).map_err(KeyFault::Public),
        Some(KeyFileFormat::MinisignPublic) => minisign::public(&text),
        Some(KeyFileFormat::OpenSshPublic) => openssh::public(&text),
        Some(_) => Err(KeyFault::Invalid(
            "secret",
            "a public key is needed here; make one with `key export`".to_owned(),
        )),
        None => {
            return Err(KeyFileError::Unknown {
                path: path.display().to_string(),
            });
        }
    };
    key.map_err(|fault| fault.at(path))
}

/// Tells whether a secret key file is encrypted, so that the caller knows whether to ask for a passphrase.
///
/// # Errors
/// As [`load`], before anything is decrypted.
pub fn is_encrypted(path: &Path) -> Result<bool, KeyFileError> {
    match load(path, None) {
        Ok(_) => Ok(false),
        Err(KeyFileError::PassphraseNeeded { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The formats of key files, which their first line tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyFileFormat {
    Pkcs8,
    Sec1,
    EncryptedPkcs8,
    Cosign,
    OpenSsh,
    OpenSshPublic,
    MinisignSecret,
    MinisignPublic,
    Spki,
}

impl KeyFileFormat {
    fn of(text: &str) -> Option<Self> {
        let label = text
            .trim_start()
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.split_once("-----"));
        match label.map(|(label, _)| label) {
            Some("PRIVATE KEY") => Some(Self::Pkcs8),
            Some("EC PRIVATE KEY") => Some(Self::Sec1),
            Some("ENCRYPTED PRIVATE KEY") => Some(Self::EncryptedPkcs8),
            Some("ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY") => Some(Self::Cosign),
            Some("OPENSSH PRIVATE KEY") => Some(Self::OpenSsh),
            Some("PUBLIC KEY") => Some(Self::Spki),
            Some(_) => None,
            None if text.starts_with("ssh-ed25519 ") || text.starts_with("ecdsa-sha2-nistp256 ") => {
                Some(Self::OpenSshPublic)
            }
            None => match minisign::length(text)? {
                minisign::PUBLIC_BYTES => Some(Self::MinisignPublic),
                minisign::SECRET_BYTES => Some(Self::MinisignSecret),
                _ => None,
            },
        }
    }
}

enum Access {
    Secret,
    Public,
}

fn read(path: &Path, access: Access) -> Result<Vec<u8>, KeyFileError> {
    let file = File::open(path).map_err(io("open", path))?;
    let metadata = file.metadata().map_err(io("look at", path))?;
    let mode = metadata.mode() & 0o7777;
    if matches!(access, Access::Secret) && mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed {
            path: path.display().to_string(),
            mode,
        });
    }
    let mut bytes = Vec::new();
    let read = file.take(limits::KEY_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(io("read", path))?;
    Ok(bytes)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<Zeroizing<String>, KeyFileError> {
    let fits = bytes.len() as u64 <= limits::KEY_FILE_BYTES;
    let text = String::from_utf8(bytes).ok().filter(|_| fits);
    text.map(Zeroizing::new).ok_or_else(|| KeyFileError::Unknown {
        path: path.display().to_string(),
    })
}

#[cfg(test)]
mod tests;
