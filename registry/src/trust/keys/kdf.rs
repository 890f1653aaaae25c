//! Passphrase functions, with a bound on what a hostile file can make them cost.

use samebundle_spec::limits;
use zeroize::Zeroizing;

use super::KeyFault;

/// Parameters of scrypt (RFC 7914): N is `2^log_n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scrypt {
    pub(super) log_n: u8,
    pub(super) r: u32,
    pub(super) p: u32,
}

impl Scrypt {
    /// What cosign writes: 64 MiB, about a fifth of a second.
    pub(super) const COSIGN: Self = Self {
        log_n: 16,
        r: 8,
        p: 1,
    };

    /// Derives `length` bytes.
    pub(super) fn derive(
        self,
        passphrase: &[u8],
        salt: &[u8],
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
        let costly = || {
            let Self { log_n, r, p } = self;
            KeyFault::TooCostly(format!("scrypt with N=2^{log_n}, r={r}, p={p}"))
        };
        let blocks = 1_u64
            .checked_shl(self.log_n.into())
            .filter(|n| *n > 1)
            .and_then(|n| n.checked_mul(self.r.into()));
        let memory = blocks.and_then(|blocks| blocks.checked_mul(128));
        let work = blocks.and_then(|blocks| blocks.checked_mul(self.p.into()));
        if memory.is_none_or(|memory| memory > limits::KDF_MEMORY_BYTES)
            || work.is_none_or(|work| work > limits::KDF_BLOCKS)
        {
            return Err(costly());
        }
        // The length in `Params` is for password hashes only; the output's own length counts.
        let params = scrypt::Params::new(self.log_n, self.r, self.p, 32).map_err(|_| costly())?;
        let mut output = Zeroizing::new(vec![0; length]);
        scrypt::scrypt(passphrase, salt, &params, &mut output).map_err(|_| costly())?;
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7914, section 12, second vector.
    #[test]
    fn derives_what_the_rfc_says() {
        let scrypt = Scrypt {
            log_n: 10,
            r: 8,
            p: 16,
        };
        let output = scrypt.derive(b"password", b"NaCl", 64).unwrap();
        assert_eq!(output[..4], [0xfd, 0xba, 0xbe, 0x1c]);
        assert_eq!(
            output[60..],
            [
                0xc7, 0x27, 0xaf, 0xb9, 0x4a, 0x83, 0xee, 0x6d, 0x83, 0x60, 0xcb, 0xdf, 0xa2, 0xcc, 0x06,
                0x40
            ][12..]
        );
    }

    #[test]
    fn refuses_what_would_cost_too_much() {
        for (log_n, r, p) in [
            (21, 8, 1),
            (20, 8, 3),
            (63, 8, 1),
            (64, 8, 1),
            (255, 1, 1),
            (10, u32::MAX, 1),
            (10, 8, u32::MAX),
            (0, 8, 1),
            (10, 0, 1),
            (10, 8, 0),
        ] {
            let scrypt = Scrypt { log_n, r, p };
            assert!(
                matches!(scrypt.derive(b"", b"", 32), Err(KeyFault::TooCostly(_))),
                "{scrypt:?}"
            );
        }
    }
}
