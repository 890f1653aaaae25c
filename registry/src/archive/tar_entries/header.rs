//! One header block of a tar archive (POSIX.1-1988 ustar, and the form of GNU tar), read so that no two readers differ.

use super::Refusal;

/// Every header is a block, and content is padded to whole ones, bytes.
pub(super) const BLOCK: usize = 512;
/// Largest size that the octal field holds, bytes: beyond it, and only there, sizes are written another way.
pub(crate) const OCTAL_SIZE: u64 = 0o77_777_777_777;

pub(super) const OTHER_MAGIC: &str = "neither POSIX ustar nor GNU tar";
pub(super) const OTHER_FORMAT: &str = "not empty: sparse, of many volumes, or of another format";

/// What a header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// Extended header of POSIX.1-2001 for the next entry.
    Pax,
    /// Long name of GNU tar for the next entry.
    LongName,
}

/// A header that follows the rules.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Prefix and name, as bytes.
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
    /// The owner may execute it.
    pub(super) executable: bool,
}

const POSIX: &[u8] = b"ustar\x0000";
const GNU: &[u8] = b"ustar  \0";

fn fault(field: &'static str, why: &'static str) -> Refusal {
    Refusal::Header { field, why }
}

impl Header {
    /// Reads a block that is not all zero.
    pub(super) fn parse(block: &[u8; BLOCK], others: bool) -> Result<Self, Refusal> {
        check_sum(block)?;
        let magic = &block[257..265];
        if magic != POSIX && magic != GNU {
            return Err(fault("magic", OTHER_MAGIC));
        }
        let posix = magic == POSIX;
        let unused = if posix { &block[500..] } else { &block[369..] };
        if unused.iter().any(|&byte| byte != 0) {
            return Err(fault("unused part", OTHER_FORMAT));
        }
        for (field, range) in [("uid", 108..116), ("gid", 116..124), ("mtime", 136..148)] {
            optional_number(field, &block[range])?;
        }
        let kind = kind(block[156])?;
        if !text("link name", &block[157..257])?.is_empty() {
            return Err(fault("link name", "not empty, but this is no link"));
        }
        let size = number("size", &block[124..136])?;
        if kind == Kind::Folder && size != 0 {
            return Err(fault("size", "not zero, but this is a folder"));
        }
        let mut path = text("name", &block[..100])?.to_vec();
        if posix {
            let prefix = text("prefix", &block[345..500])?;
            if !prefix.is_empty() {
                path = [prefix, b"/", &path].concat();
            }
        }
        Ok(Self {
            kind,
            path,
            size,
            executable: mode(kind, number("mode", &block[100..108])?, others)?,
        })
    }
}

fn kind(flag: u8) -> Result<Kind, Refusal> {
    match flag {
        b'0' | 0 => Ok(Kind::File),
        b'5' => Ok(Kind::Folder),
        b'x' => Ok(Kind::Pax),
        b'L' => Ok(Kind::LongName),
        found => Err(Refusal::Kind { found: found as char }),
    }
}

/// Checks the permission bits. They are never applied; those that would matter if they were are refused.
fn mode(kind: Kind, mode: u64, others: bool) -> Result<bool, Refusal> {
    let file_type = mode & 0o170_000;
    let expected = if kind == Kind::Folder {
        0o040_000
    } else {
        0o100_000
    };
    if mode > 0o177_777 || (file_type != 0 && file_type != expected) {
        return Err(fault("mode", "of another kind of file"));
    }
    if mode & 0o7000 != 0 && !others {
        return Err(fault("mode", "setuid, setgid or sticky"));
    }
    Ok(mode & 0o100 != 0)
}

fn check_sum(block: &[u8; BLOCK]) -> Result<(), Refusal> {
    let field = &block[148..156];
    // The field is not part of its own sum: only in one of the two forms that are written is no byte of it free.
    let usual = field.ends_with(b"\0 ") && field[..6].iter().all(u8::is_ascii_digit);
    let long = field.ends_with(b"\0") && field[..7].iter().all(u8::is_ascii_digit);
    if !usual && !long {
        return Err(fault(
            "checksum",
            "neither six digits, NUL, space nor seven digits, NUL",
        ));
    }
    let stored = number("checksum", field)?;
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(place, &byte)| {
            if (148..156).contains(&place) {
                32
            } else {
                u64::from(byte)
            }
        })
        .sum();
    if stored == sum {
        Ok(())
    } else {
        Err(fault("checksum", "wrong: the header is damaged"))
    }
}

/// Reads a text that ends at the first NUL; nothing may hide behind it.
fn text<'a>(field: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], Refusal> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    if bytes[end..].iter().any(|&byte| byte != 0) {
        return Err(fault(field, "followed by hidden bytes"));
    }
    Ok(&bytes[..end])
}

fn optional_number(field: &'static str, bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.iter().all(|&byte| byte == 0 || byte == b' ') {
        return Ok(());
    }
    // GNU tar writes negative times and large ids in base 256.
    if bytes[0] == 0x80 || bytes[0] == 0xff {
        return Ok(());
    }
    number(field, bytes).map(|_| ())
}

/// Reads octal digits, with spaces before and spaces or NULs behind; or base 256, where octal does not suffice.
fn number(field: &'static str, bytes: &[u8]) -> Result<u64, Refusal> {
    if bytes[0] == 0x80 {
        let wide = bytes[1..].iter().try_fold(0_u64, |value, &byte| {
            value.checked_mul(256).map(|value| value | u64::from(byte))
        });
        return match wide {
            Some(value) if value > OCTAL_SIZE && value <= i64::MAX as u64 => Ok(value),
            _ => Err(fault(field, "in base 256, but not of a size that needs it")),
        };
    }
    let start = bytes.iter().position(|&byte| byte != b' ').unwrap_or(bytes.len());
    let digits = bytes[start..]
        .iter()
        .take_while(|byte| (b'0'..=b'7').contains(byte))
        .count();
    let (digits, rest) = bytes[start..].split_at(digits);
    if digits.is_empty() || rest.iter().any(|&byte| byte != 0 && byte != b' ') {
        return Err(fault(field, "not an octal number"));
    }
    // 12 digits of 3 bits at most.
    Ok(digits
        .iter()
        .fold(0, |value, &digit| value * 8 + u64::from(digit - b'0')))
}
