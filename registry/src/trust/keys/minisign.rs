//! minisign keys: a comment line and one line of base64, little-endian numbers.
//!
//! | secret key | bytes |
//! | --- | --- |
//! | signature algorithm `Ed`, passphrase function `Sc` or zeros, checksum algorithm `B2` | 2 each |
//! | salt; libsodium's operations and memory limits | 32; 8 each |
//! | key number, seed, public key, BLAKE2b-256 of algorithm, number and keys: XORed with scrypt's output | 8, 32, 32, 32 |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use samebundle_spec::signing::{PublicKey, SigningKey};
use zeroize::Zeroizing;

use super::kdf::Scrypt;
use super::{KeyFault, Passphrase};

/// Length of a decoded public key, bytes.
pub(super) const PUBLIC_BYTES: usize = 42;
/// Length of a decoded secret key, bytes.
pub(super) const SECRET_BYTES: usize = 158;
/// Where the encrypted part begins.
const SEALED: usize = 54;

fn invalid(why: &str) -> KeyFault {
    KeyFault::Invalid("minisign", why.to_owned())
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next()?;
    let line = match first.strip_prefix("untrusted comment:") {
        Some(_) => lines.next()?,
        None => first,
    };
    let bytes = STANDARD.decode(line.trim()).ok().map(Zeroizing::new);
    bytes.filter(|bytes| bytes.starts_with(b"Ed") && lines.next().is_none())
}

/// The decoded length, if the text has minisign's form.
pub(super) fn length(text: &str) -> Option<usize> {
    decode(text).map(|bytes| bytes.len())
}

/// Reads a public key.
pub(super) fn public(text: &str) -> Result<PublicKey, KeyFault> {
    let bytes = decode(text).filter(|bytes| bytes.len() == PUBLIC_BYTES);
    let bytes = bytes.ok_or_else(|| invalid("it does not have 42 bytes"))?;
    PublicKey::from_bytes(&bytes[10..]).map_err(KeyFault::Public)
}

/// Reads a secret key, encrypted or not.
pub(super) fn secret(text: &str, passphrase: Option<&Passphrase>) -> Result<SigningKey, KeyFault> {
    let bytes = decode(text).filter(|bytes| bytes.len() == SECRET_BYTES);
    let mut bytes = bytes.ok_or_else(|| invalid("it does not have 158 bytes"))?;
    if bytes[4..6] != *b"B2" {
        return Err(invalid("its checksum is not BLAKE2b"));
    }
    let encrypted = match &bytes[2..4] {
        b"Sc" => true,
        [0, 0] => false,
        _ => return Err(invalid("its passphrase function is not scrypt")),
    };
    if encrypted {
        let passphrase = passphrase.ok_or(KeyFault::PassphraseNeeded)?;
        let limit = |at: usize| {
            bytes[at..at + 8]
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let scrypt = parameters(limit(38), limit(46));
        let mask = scrypt.derive(passphrase.as_bytes(), &bytes[6..38], SECRET_BYTES - SEALED)?;
        bytes[SEALED..]
            .iter_mut()
            .zip(mask.iter())
            .for_each(|(byte, mask)| *byte ^= mask);
    }
    // minisign leaves the checksum empty in a key without passphrase; that the two halves fit is checked below.
    if encrypted {
        let mut hash = Blake2b::<U32>::new();
        hash.update(&bytes[..2]);
        hash.update(&bytes[SEALED..126]);
        if hash.finalize()[..] != bytes[126..] {
            return Err(KeyFault::WrongPassphrase);
        }
    }
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&bytes[62..94]);
    let key = SigningKey::from_seed(&seed);
    if key.public().to_bytes() == bytes[94..126] {
        Ok(key)
    } else {
        Err(invalid("its public key is not that of its secret key"))
    }
}

/// libsodium's choice of scrypt parameters for its two limits (`pickparams` of crypto_pwhash_scryptsalsa208sha256).
fn parameters(operations: u64, memory: u64) -> Scrypt {
    const R: u64 = 8;
    let operations = operations.max(32_768);
    let log = |most: u64| (1_u8..63).find(|log| 1 << log > most / 2).unwrap_or(63);
    if operations < memory / 32 {
        let log_n = log(operations / (R * 4));
        return Scrypt { log_n, r: 8, p: 1 };
    }
    let log_n = log(memory / (R * 128));
    let parallel = (operations / 4) >> log_n;
    let p = u32::try_from(parallel.min(0x3fff_ffff) / R).unwrap_or(u32::MAX);
    Scrypt { log_n, r: 8, p }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_the_parameters_that_libsodium_picks() {
        let scrypt = |log_n, p| Scrypt { log_n, r: 8, p };
        // SENSITIVE, which minisign uses, and INTERACTIVE.
        assert_eq!(parameters(33_554_432, 1_073_741_824), scrypt(20, 1));
        assert_eq!(parameters(524_288, 16_777_216), scrypt(14, 1));
        assert_eq!(parameters(0, 0), scrypt(1, 512));
    }
}
