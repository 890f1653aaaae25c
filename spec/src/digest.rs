//! Content digests (OCI image-spec 1.1, "Digests").
//!
//! A [`Digest`] holds raw bytes, never text, so a path or a URL that is built from one can contain nothing but
//! lower-case hexadecimal. [`Digester`] is the only place in the project that names the hash crate.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::Digest as _;

use crate::limits;

/// A hash algorithm that blobs and manifests may be named by. Everything else (`md5`, `sha1`, ...) is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, 32 bytes. Trust decisions bind only this one.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of a hash, in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The name of some bytes: an algorithm and a hash. Displays as `sha256:<64 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

/// Why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No colon between algorithm and hash.
    #[error("digest {text:?} is not of the form algorithm:hex")]
    Form {
        /// The text, shortened.
        text: String,
    },
    /// An algorithm that is not on the list.
    #[error("digest algorithm {name:?} is not accepted (sha256, sha512)")]
    Algorithm {
        /// What stood before the colon.
        name: String,
    },
    /// Wrong length or a character that is not lower-case hexadecimal.
    #[error("digest {text:?} does not have {expected} lower-case hexadecimal digits")]
    Hex {
        /// The text, shortened.
        text: String,
        /// How many digits the algorithm wants.
        expected: usize,
    },
}

impl Digest {
    /// Hashes `bytes` with SHA-256.
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut digester = Digester::new(Algorithm::Sha256);
        digester.update(bytes);
        digester.finish()
    }

    /// Returns the algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the raw hash, 32 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.size()]
    }

    /// Returns the hash as lower-case hexadecimal.
    pub fn hex(&self) -> String {
        self.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }

    fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        let mut bytes = [0; 64];
        bytes[..hash.len()].copy_from_slice(hash);
        Self { algorithm, bytes }
    }

    /// Hashes all bytes of a reader, and returns the digest and their number.
    ///
    /// # Errors
    /// The reader's, but for interruptions, after which it is read again.
    pub fn of_reader(algorithm: Algorithm, mut reader: impl Read) -> io::Result<(Self, u64)> {
        let mut digester = Digester::new(algorithm);
        let mut buffer = vec![0; limits::STREAM_BUFFER];
        let mut size = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((digester.finish(), size)),
                Ok(read) => {
                    digester.update(&buffer[..read]);
                    size += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let shown = || text.chars().take(100).collect::<String>();
        let Some((name, hex)) = text.split_once(':') else {
            return Err(DigestError::Form { text: shown() });
        };
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => {
                return Err(DigestError::Algorithm {
                    name: name.chars().take(32).collect(),
                });
            }
        };
        let expected = algorithm.size() * 2;
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let error = || DigestError::Hex {
            text: shown(),
            expected,
        };
        if hex.len() != expected {
            return Err(error());
        }
        let mut bytes = [0; 64];
        for (slot, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let high = nibble(pair[0]).ok_or_else(error)?;
            let low = nibble(pair[1]).ok_or_else(error)?;
            *slot = high << 4 | low;
        }
        Ok(Self { algorithm, bytes })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

crate::serde_as_text!(Digest);

/// Hashes bytes as they stream by.
#[derive(Clone)]
pub struct Digester(Hasher);

#[derive(Clone)]
enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester")
    }
}

impl Digester {
    /// Starts a hash.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the digest of all bytes added.
    pub fn finish(self) -> Digest {
        match self.0 {
            Hasher::Sha256(hasher) => Digest::from_hash(Algorithm::Sha256, &hasher.finalize()),
            Hasher::Sha512(hasher) => Digest::from_hash(Algorithm::Sha512, &hasher.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_hashes() {
        let empty = Digest::sha256(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), empty);
        let mut long = Digester::new(Algorithm::Sha512);
        long.update(b"abc");
        let long = long.finish();
        let read = Digest::of_reader(Algorithm::Sha512, &b"abc"[..]).unwrap();
        assert_eq!(read, (long, 3));
        assert_eq!(long.to_string().parse::<Digest>().unwrap(), long);
    }

    #[test]
    fn refuses_what_could_escape_or_confuse() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let long = hex.repeat(2);
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha256:../../x",
            &format!("SHA256:{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha256:{}", &hex[1..]),
            &format!("sha256:{hex}0"),
            &format!("sha512:{hex}"),
            &format!("sha256:{long}"),
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256+b64:aaaa",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
