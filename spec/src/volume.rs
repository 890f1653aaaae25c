//! The head of a volume: one of the files that an archive is cut into (`spec/220-volumes.md`).
//!
//! ```text
//! samebundle volume 1 SHA256\n    64 digits over what follows, up to the end of the head
//! {...}\n                          this head, in canonical JSON
//! zeros                            up to HEAD_BYTES
//! ```
//!
//! Every head holds the checksums of all volumes, so any one of them tells what the set is, which files are missing, and
//! which are damaged.

use serde::{Deserialize, Serialize};

use crate::{Algorithm, Digest, canonical, json, limits};

/// Length of the head of every volume, bytes.
pub const HEAD_BYTES: u64 = 64 << 10;
/// Content of a volume comes in units of this length, bytes: what the parity code takes at one time.
pub const UNIT_BYTES: u64 = 64;
/// What a head starts with; a reader of a newer form says so.
const MAGIC: &str = "samebundle volume 1 ";
/// What every form starts with.
const FAMILY: &[u8] = b"samebundle volume ";

/// Why bytes are not the head of a volume, or why an archive cannot be cut into such volumes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// Not a volume at all.
    #[error("it is no volume of an archive")]
    NotAVolume,
    /// A volume of another version.
    #[error("it is a volume of a form that this samebundle does not read; use a newer one")]
    Newer,
    /// Its head is damaged.
    #[error("its head is damaged: {why}")]
    Head {
        /// What is wrong.
        why: String,
    },
    /// The archive cannot be cut into such volumes.
    #[error("an archive cannot be cut so: {why}")]
    Cut {
        /// The reason, and the values that are possible.
        why: String,
    },
}

fn head(why: impl ToString) -> VolumeError {
    VolumeError::Head { why: why.to_string() }
}

fn cut(why: impl ToString) -> VolumeError {
    VolumeError::Cut { why: why.to_string() }
}

/// A set of volumes: an archive cut into pieces, and pieces of parity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeSet {
    /// Length of the archive, bytes.
    pub archive_bytes: u64,
    /// Most content of one volume, bytes; a multiple of [`UNIT_BYTES`]. All pieces but the last have this length.
    pub content_bytes: u64,
    /// How many volumes are parity.
    pub parity: u32,
    /// SHA-256 digest of the content of each volume: the pieces in their order, then the parity.
    pub volumes: Vec<Digest>,
}

/// The head of one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeHead {
    /// Which volume of the set this is, from 0; the parity comes behind the pieces.
    pub number: u32,
    /// The set, the same in every volume.
    pub set: VolumeSet,
}

impl VolumeSet {
    /// How much content a volume of at most `size` bytes has.
    ///
    /// # Errors
    /// [`VolumeError::Cut`] if that is too small.
    pub fn content_of(size: u64) -> Result<u64, VolumeError> {
        let content = size.saturating_sub(HEAD_BYTES) / UNIT_BYTES * UNIT_BYTES;
        match content < HEAD_BYTES {
            true => Err(cut(format!(
                "a volume needs {} bytes at least, not {size}",
                2 * HEAD_BYTES
            ))),
            false => Ok(content),
        }
    }

    /// How many pieces the archive is cut into.
    pub fn pieces(&self) -> usize {
        usize::try_from(self.archive_bytes.div_ceil(self.content_bytes.max(1)).max(1)).unwrap_or(usize::MAX)
    }

    /// Length of a volume's content, bytes; 0 for a number that no volume has.
    pub fn length(&self, number: usize) -> u64 {
        let pieces = self.pieces();
        if number >= self.volumes.len() {
            0
        } else if number + 1 < pieces {
            self.content_bytes
        } else if number < pieces {
            self.archive_bytes - self.content_bytes * (pieces as u64 - 1)
        } else {
            self.parity_bytes()
        }
    }

    /// Length of each parity volume's content, bytes: that of the longest piece, up to a whole unit.
    pub fn parity_bytes(&self) -> u64 {
        let longest = self.archive_bytes.min(self.content_bytes);
        longest.div_ceil(UNIT_BYTES) * UNIT_BYTES
    }

    /// Whether a volume is parity.
    pub fn is_parity(&self, number: usize) -> bool {
        number >= self.pieces()
    }

    /// The ending of a volume's file name: `v001` for the first piece, `p001` for the first parity.
    pub fn ending(&self, number: usize) -> String {
        match number.checked_sub(self.pieces()) {
            None => format!("v{:03}", number + 1),
            Some(parity) => format!("p{:03}", parity + 1),
        }
    }

    /// Checks that the numbers fit together.
    ///
    /// # Errors
    /// [`VolumeError::Cut`], which names those that do not.
    pub fn check(&self) -> Result<(), VolumeError> {
        if self.content_bytes < HEAD_BYTES || !self.content_bytes.is_multiple_of(UNIT_BYTES) {
            return Err(cut(format!("volumes of {} bytes of content", self.content_bytes)));
        }
        if self.archive_bytes == 0 || self.archive_bytes > limits::JSON_INTEGER {
            return Err(cut(format!("an archive of {} bytes", self.archive_bytes)));
        }
        let wanted = self.pieces().saturating_add(self.parity as usize);
        if wanted > limits::VOLUMES {
            return Err(cut(format!(
                "{wanted} volumes are more than {}; make them larger",
                limits::VOLUMES
            )));
        }
        if self.volumes.len() != wanted {
            return Err(cut(format!(
                "{} checksums for {wanted} volumes",
                self.volumes.len()
            )));
        }
        match self
            .volumes
            .iter()
            .all(|digest| digest.algorithm() == Algorithm::Sha256)
        {
            true => Ok(()),
            false => Err(cut("checksums other than SHA-256")),
        }
    }
}

impl VolumeHead {
    /// Writes the head, [`HEAD_BYTES`] long.
    ///
    /// # Errors
    /// [`VolumeError::Cut`] if the set does not hold together.
    pub fn to_bytes(&self) -> Result<Vec<u8>, VolumeError> {
        self.set.check()?;
        if self.number as usize >= self.set.volumes.len() {
            return Err(cut(format!("there is no volume {}", self.number)));
        }
        let value = serde_json::to_value(self).map_err(cut)?;
        let mut rest = canonical::to_vec(&value).map_err(cut)?;
        rest.push(b'\n');
        let mut bytes = format!("{MAGIC}{}\n", "0".repeat(64)).into_bytes();
        let start = bytes.len();
        rest.resize((HEAD_BYTES as usize).saturating_sub(start), 0);
        bytes.truncate(MAGIC.len());
        bytes.extend_from_slice(Digest::sha256(&rest).hex().as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&rest);
        Ok(bytes)
    }

    /// Whether a file with this beginning is a volume, of any version, whole or not.
    pub fn is_volume(start: &[u8]) -> bool {
        start.starts_with(FAMILY)
    }

    /// Reads the first [`HEAD_BYTES`] of a file.
    ///
    /// # Errors
    /// [`VolumeError`], which tells a file that is no volume from a damaged volume.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VolumeError> {
        let Some(after) = bytes.strip_prefix(MAGIC.as_bytes()) else {
            return Err(match Self::is_volume(bytes) {
                true => VolumeError::Newer,
                false => VolumeError::NotAVolume,
            });
        };
        if bytes.len() as u64 != HEAD_BYTES {
            return Err(head("it is cut off"));
        }
        let (digits, rest) = after.split_at(64);
        let rest = rest.strip_prefix(b"\n").ok_or_else(|| head("no checksum"))?;
        if digits != Digest::sha256(rest).hex().as_bytes() {
            return Err(head("its checksum is wrong"));
        }
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        let read: Self = json::from_slice(&rest[..end], HEAD_BYTES).map_err(head)?;
        match read.to_bytes() {
            // Only one form is read, so that no byte of the head is free.
            Ok(written) if written == bytes => Ok(read),
            Ok(_) => Err(head("it is not in the one form that it may have")),
            Err(error) => Err(head(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(archive_bytes: u64, content_bytes: u64, parity: u32) -> VolumeSet {
        let mut set = VolumeSet {
            archive_bytes,
            content_bytes,
            parity,
            volumes: Vec::new(),
        };
        let count = set.pieces() + parity as usize;
        set.volumes = (0..count)
            .map(|number| Digest::sha256(&number.to_le_bytes()))
            .collect();
        set
    }

    #[test]
    fn a_head_has_one_form_and_every_bit_of_it_counts() {
        let written = VolumeHead {
            number: 2,
            set: set(200_000, 65_536, 2),
        };
        let bytes = written.to_bytes().unwrap();
        assert_eq!(bytes.len() as u64, HEAD_BYTES);
        assert_eq!(VolumeHead::from_bytes(&bytes).unwrap(), written);
        for at in (0..1_000).chain((1_000..bytes.len()).step_by(997)) {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[at] ^= 1 << bit;
                assert!(VolumeHead::from_bytes(&altered).is_err(), "byte {at}, bit {bit}");
            }
        }
        assert!(VolumeHead::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        assert_eq!(VolumeHead::from_bytes(b"PK"), Err(VolumeError::NotAVolume));
        let newer = [b"samebundle volume 2 ", &bytes[20..]].concat();
        assert_eq!(VolumeHead::from_bytes(&newer), Err(VolumeError::Newer));
    }

    #[test]
    fn the_largest_set_fits_into_a_head() {
        let full = limits::VOLUMES as u64;
        let most = set(
            limits::JSON_INTEGER / full * full,
            limits::JSON_INTEGER / full / 64 * 64,
            0,
        );
        let largest = VolumeSet {
            archive_bytes: most.content_bytes * full,
            volumes: vec![Digest::sha256(b""); limits::VOLUMES],
            ..most
        };
        let head = VolumeHead {
            number: 0,
            set: largest,
        };
        let bytes = head.to_bytes().unwrap();
        assert_eq!(bytes.len() as u64, HEAD_BYTES);
        assert_eq!(VolumeHead::from_bytes(&bytes).unwrap(), head);
    }

    #[test]
    fn refuses_what_does_not_hold_together() {
        let good = set(200_000, 65_536, 2);
        assert_eq!(
            (good.pieces(), good.length(3), good.length(4)),
            (4, 3_392, 65_536)
        );
        assert_eq!(
            (good.ending(3), good.ending(4)),
            ("v004".to_owned(), "p001".to_owned())
        );
        assert_eq!(good.length(6), 0);
        good.check().unwrap();
        for bad in [
            set(200_000, 65_537, 2),
            set(200_000, 64, 2),
            set(0, 65_536, 1),
            set(65_536 * (limits::VOLUMES as u64 + 1), 65_536, 0),
            VolumeSet {
                volumes: good.volumes[1..].to_vec(),
                ..good.clone()
            },
        ] {
            assert!(bad.check().is_err(), "{} volumes", bad.volumes.len());
            assert!(VolumeHead { number: 0, set: bad }.to_bytes().is_err());
        }
        assert!(VolumeHead { number: 6, set: good }.to_bytes().is_err());
        assert!(VolumeSet::content_of(100_000).is_err());
        assert_eq!(VolumeSet::content_of(4_000_000_000).unwrap(), 3_999_934_464);
    }

    proptest! {
        #[test]
        fn lengths_add_up(archive in 1_u64..100_000_000, units in 1_024_u64..1 << 20, parity in 0_u32..4) {
            let set = set(archive, units * UNIT_BYTES, parity);
            prop_assume!(set.check().is_ok());
            let pieces: u64 = (0..set.pieces()).map(|number| set.length(number)).sum();
            prop_assert_eq!(pieces, archive);
            let longest = (0..set.pieces()).map(|number| set.length(number)).max().unwrap();
            prop_assert!(set.parity_bytes() >= longest && set.parity_bytes() < longest + UNIT_BYTES);
        }
    }
}
