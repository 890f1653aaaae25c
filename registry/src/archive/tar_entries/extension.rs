//! Extension headers: PAX records (POSIX.1-2001, "pax Extended Header") and GNU tar's long names.

use super::Refusal;

/// What an extension says about the entry behind it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

fn fault(why: &'static str) -> Refusal {
    Refusal::Extension { why }
}

/// Reads GNU tar's long name: text that ends with one NUL.
pub(super) fn long_name(bytes: &[u8]) -> Result<Extension, Refusal> {
    match bytes.split_last() {
        Some((0, name)) if !name.is_empty() && !name.contains(&0) => Ok(Extension {
            path: Some(name.to_vec()),
            size: None,
        }),
        _ => Err(fault("a long name that does not end with its only NUL")),
    }
}

pub(super) const OTHER_RECORD: &str = "a record of a kind that is not accepted";

/// How records begin that `others` write of a file's attributes, which may be any bytes.
const ATTRIBUTES: [&[u8]; 7] = [
    b"SCHILY.xattr.",
    b"SCHILY.acl.",
    b"SCHILY.fflags",
    b"SCHILY.dev",
    b"SCHILY.ino",
    b"LIBARCHIVE.xattr.",
    b"RHT.security.",
];

/// Reads PAX records, `LENGTH KEY=VALUE\n` each.
pub(super) fn pax(mut bytes: &[u8], others: bool) -> Result<Extension, Refusal> {
    let mut extension = Extension::default();
    let mut seen: Vec<&[u8]> = Vec::new();
    while !bytes.is_empty() {
        let [key, value, rest] = record(bytes)?;
        if seen.contains(&key) {
            return Err(fault("a record twice"));
        }
        seen.push(key);
        if !(others && ATTRIBUTES.iter().any(|attribute| key.starts_with(attribute))) {
            apply(&mut extension, key, value)?;
        }
        bytes = rest;
    }
    Ok(extension)
}

/// Splits the first record off: key, value, rest.
fn record(bytes: &[u8]) -> Result<[&[u8]; 3], Refusal> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ');
    let space = space.ok_or(fault("a record without a length"))?;
    let length = decimal(&bytes[..space]).and_then(|length| usize::try_from(length).ok());
    let length = length.ok_or(fault("a record whose length is not a number"))?;
    if length > bytes.len() || length <= space + 1 {
        return Err(fault("a record whose length is wrong"));
    }
    let (record, rest) = bytes.split_at(length);
    let Some((b'\n', pair)) = record[space + 1..].split_last() else {
        return Err(fault("a record that does not end with a new line"));
    };
    let equals = pair.iter().position(|&byte| byte == b'=');
    let equals = equals.ok_or(fault("a record without '='"))?;
    let (key, value) = (&pair[..equals], &pair[equals + 1..]);
    Ok([key, value, rest])
}

fn apply(extension: &mut Extension, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() || value.is_empty() || value.contains(&0) {
        return Err(fault("a record with an empty or cut key or value"));
    }
    match key {
        b"path" => extension.path = Some(value.to_vec()),
        b"size" => extension.size = Some(decimal(value).ok_or(fault("a size that is not a number"))?),
        b"mtime" | b"atime" | b"ctime" | b"LIBARCHIVE.creationtime" => {
            if !is_time(value) {
                return Err(fault("a time that is not a number"));
            }
        }
        b"uid" | b"gid" => {
            decimal(value).ok_or(fault("an owner that is not a number"))?;
        }
        b"uname" | b"gname" | b"comment" => {}
        // Links, sparse maps, extended attributes, and what only some readers know.
        _ => return Err(fault(OTHER_RECORD)),
    }
    Ok(())
}

/// Reads decimal digits without sign or leading zeros.
fn decimal(bytes: &[u8]) -> Option<u64> {
    let canonical =
        bytes.iter().all(u8::is_ascii_digit) && (bytes.len() == 1 || bytes.first() != Some(&b'0'));
    let text = std::str::from_utf8(bytes).ok().filter(|_| canonical)?;
    text.parse().ok().filter(|&value: &u64| value <= i64::MAX as u64)
}

fn is_time(value: &[u8]) -> bool {
    let value = value.strip_prefix(b"-").unwrap_or(value);
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    parts.all(|digits| !digits.is_empty() && digits.len() <= 20 && digits.iter().all(u8::is_ascii_digit))
}
