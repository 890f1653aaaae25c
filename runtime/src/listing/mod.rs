//! The listing of a folder: the text whose digest is the digest of the folder.
//!
//! It has a line for each entry, in the order of the paths: `file SHA256 SIZE PATH`, `folder PATH` or `link TEXT PATH`,
//! with `PATH` relative, `/` between names, and bytes other than letters, digits and `._-+@=,` written as `%XX`; in the
//! text of a link `/` stays. Owners, times and modes do not count. So a folder is known by content, and can be put
//! together of files that are known by theirs.

mod links;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use samebundle_spec::{Digest, limits};

pub use links::LinkFault;
use links::Links;
pub(crate) use links::relative;

/// What has a name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File {
        /// SHA-256 of its bytes.
        digest: Digest,
        /// Its bytes.
        size: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link, with its text.
    Link(Vec<u8>),
}

/// The entries of a folder, by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// By path in its escaped form, whose order is that of the lines.
    entries: BTreeMap<String, Entry>,
}

/// Why a text is no listing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// A line has another form.
    #[error("line {line} is no line of a listing")]
    Line {
        /// The line, from 1.
        line: usize,
    },
    /// The lines are not in order, or an entry's folder is not listed.
    #[error("{path}: it is not in its place")]
    Place {
        /// The entry, escaped.
        path: String,
    },
    /// A link is not kept.
    #[error("the link {path} {fault}")]
    Link {
        /// The link, escaped.
        path: String,
        /// Its text, escaped.
        text: String,
        /// Why.
        fault: LinkFault,
    },
}

impl Listing {
    /// Adds an entry.
    pub fn add(&mut self, path: &[u8], entry: Entry) {
        self.entries.insert(escaped(path), entry);
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether the folder is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries by path, a folder before what is in it.
    pub fn entries(&self) -> impl Iterator<Item = (Vec<u8>, &Entry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (plain(path).unwrap_or_default(), entry))
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        let sizes = self.entries.values().map(|entry| match entry {
            Entry::File { size, .. } => *size,
            Entry::Folder | Entry::Link(_) => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// The text.
    pub fn to_text(&self) -> String {
        let lines = self.entries.iter().map(|(path, entry)| match entry {
            Entry::File { digest, size } => format!("file {} {size} {path}\n", digest.hex()),
            Entry::Folder => format!("folder {path}\n"),
            Entry::Link(text) => format!("link {} {path}\n", escaped(text)),
        });
        lines.collect()
    }

    /// Follows all links.
    ///
    /// # Errors
    /// The first that leads out of the folder, or in a circle.
    pub fn check_links(&self) -> Result<(), ListingError> {
        let mut links = Links::default();
        for (path, entry) in self.entries() {
            if let Entry::Link(text) = entry {
                links.add(path, text.clone());
            }
        }
        links.check().map_err(|(path, text, fault)| ListingError::Link {
            path: escaped(path),
            text: escaped(text),
            fault,
        })
    }

    /// Reads a listing strictly: every entry has a name that stays in the folder, stands in its order, and its own folder is
    /// listed; and links are as [`Self::check_links`] wants them.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn parse(text: &str) -> Result<Self, ListingError> {
        let mut listing = Self::default();
        let whole = text.is_empty() || text.ends_with('\n');
        for (number, line) in text.lines().enumerate() {
            let invalid = ListingError::Line { line: number + 1 };
            let Some((path, entry)) = parse_line(line).filter(|_| whole && number < limits::OUTPUT_ENTRIES)
            else {
                return Err(invalid);
            };
            let misplaced = || ListingError::Place {
                path: path.to_owned(),
            };
            let last = listing.entries.last_key_value();
            let in_order = last.is_none_or(|(last, _)| last.as_str() < path);
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            let in_folder = parent.is_none_or(|parent| listing.entries.get(parent) == Some(&Entry::Folder));
            if !in_order || !in_folder {
                return Err(misplaced());
            }
            listing.entries.insert(path.to_owned(), entry);
        }
        listing.check_links()?;
        Ok(listing)
    }
}

fn parse_line(line: &str) -> Option<(&str, Entry)> {
    let words: Vec<&str> = line.split(' ').collect();
    let (path, entry) = match words.as_slice() {
        ["file", digest, size, path] => {
            let (digest, length): (Digest, u64) =
                (format!("sha256:{digest}").parse().ok()?, size.parse().ok()?);
            (length.to_string() == **size).then_some(())?;
            (*path, Entry::File { digest, size: length })
        }
        ["folder", path] => (*path, Entry::Folder),
        ["link", text, path] => (*path, Entry::Link(plain(text)?)),
        _ => return None,
    };
    let names = path.split('/');
    let stays = names
        .clone()
        .all(|name| !name.is_empty() && name != "." && name != "..");
    let stays = stays && names.count() <= limits::OUTPUT_DEPTH + 1;
    // A path that hides a `/` or a NUL is no path.
    let decoded = plain(path)?;
    let as_deep = decoded.iter().filter(|byte| **byte == b'/').count() == path.matches('/').count();
    (stays && as_deep && !decoded.contains(&0)).then_some((path, entry))
}

/// Writes a path without spaces and line ends.
pub(crate) fn escaped(path: &[u8]) -> String {
    let mut out = String::new();
    for byte in path {
        if byte.is_ascii_alphanumeric() || b"/._-+@=,".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Reads what [`escaped`] writes, and nothing else.
fn plain(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        if *first == b'%' {
            let (hex, others) = others.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = others;
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
    (escaped(&bytes) == text).then_some(bytes)
}
