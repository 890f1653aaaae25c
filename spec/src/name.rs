//! Names that are safe as path components, tags and labels; versions; and paths inside archives.

use std::fmt;
use std::str::FromStr;

use crate::limits;

/// Why a text is not a name, a version or an entry path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a name.
    #[error(
        "name {text:?} is not valid: lower-case letters, digits, '.', '_', '-', starting and ending with a letter or digit, at most 63"
    )]
    Name {
        /// The text, shortened.
        text: String,
    },
    /// Not a version.
    #[error("version {text:?} is not a semantic version such as 1.0.0")]
    Version {
        /// The text, shortened.
        text: String,
    },
    /// Not a path that an archive may have.
    #[error("path {text:?} is refused: {why}")]
    Path {
        /// The text, shortened and escaped.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        crate::serde_as_text!($name);
    };
}
pub(crate) use text_type;

/// The name of a bundle, an installation or a key: `[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?`, no `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleName(String);
text_type!(BundleName);

impl FromStr for BundleName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        let valid = text.len() <= limits::NAME_BYTES
            && edge(text.chars().next())
            && edge(text.chars().next_back())
            && text.chars().all(inner)
            && !text.contains("..");
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Name { text: shown(text) })
        }
    }
}

impl BundleName {
    /// Reads a name as people write it: upper-case letters are lowered.
    ///
    /// # Errors
    /// As [`FromStr`].
    pub fn as_written(text: &str) -> Result<Self, NameError> {
        text.to_ascii_lowercase().parse()
    }
}

/// A semantic version (SemVer 2.0) of at most 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

impl Version {
    /// Returns the parsed version, for comparisons.
    pub fn semver(&self) -> &semver::Version {
        &self.0
    }

    /// Returns the version as an OCI tag: `+` becomes `_`, as Helm does.
    pub fn as_tag(&self) -> String {
        self.0.to_string().replace('+', "_")
    }

    /// Reads a version as people write it: `1` and `1.0` are `1.0.0`.
    ///
    /// # Errors
    /// As [`FromStr`].
    pub fn as_written(text: &str) -> Result<Self, NameError> {
        let (numbers, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
        match plain_numbers(numbers) {
            Some(1) => format!("{numbers}.0.0{rest}").parse(),
            Some(2) => format!("{numbers}.0{rest}").parse(),
            _ => text.parse(),
        }
    }

    /// The same behind a name, where people also write `v1.0`, as tags of git have it.
    ///
    /// # Errors
    /// As [`FromStr`].
    pub fn as_named(text: &str) -> Result<Self, NameError> {
        let number = text
            .strip_prefix('v')
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        Self::as_written(number.unwrap_or(text))
    }
}

/// Returns how many numbers stand in a text that is nothing but numbers with dots between them.
fn plain_numbers(text: &str) -> Option<usize> {
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    text.split('.').all(number).then(|| text.split('.').count())
}

/// Returns the other ways to write a version that is nothing but numbers, the longer first: `1.0.0` and `1` for `1.0`.
pub fn other_spellings(version: &str) -> Vec<String> {
    let Some(count) = plain_numbers(version).filter(|count| *count <= 3) else {
        return Vec::new();
    };
    let longer = (count..3).rev().map(|given| {
        let zeros = ".0".repeat(given - count + 1);
        format!("{version}{zeros}")
    });
    let shorter = std::iter::successors(version.strip_suffix(".0"), |text| text.strip_suffix(".0"));
    longer.chain(shorter.map(str::to_owned)).collect()
}

impl FromStr for Version {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::Version { text: shown(text) };
        if text.len() > limits::VERSION_BYTES {
            return Err(error());
        }
        semver::Version::parse(text).map(Self).map_err(|_| error())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

crate::serde_as_text!(Version);

/// A relative path that an archive or a layer of a content artifact may have, safe on every system.
///
/// Components are separated by `/`; none is empty, `.` or `..`, holds a control character, a backslash or a colon, ends
/// in a dot or space, or is a device name of Windows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(String);
text_type!(EntryPath);

const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

fn component_fault(component: &str) -> Option<&'static str> {
    if component.is_empty() {
        return Some("an empty component");
    }
    if component == "." || component == ".." {
        return Some("a '.' or '..' component");
    }
    if component.len() > limits::COMPONENT_BYTES {
        return Some("a component longer than 255 bytes");
    }
    // Bidirectional controls and zero-width characters make a name look like another.
    let deceptive = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    if component.chars().any(|c| c.is_control() || deceptive(c)) {
        return Some("a control or invisible character");
    }
    if component.contains(['\\', ':', '<', '>', '"', '|', '?', '*']) {
        return Some("a character that some system reads as a separator or wildcard");
    }
    if component.ends_with(['.', ' ']) {
        return Some("a component that ends in a dot or space");
    }
    let stem = component
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let numbered = |prefix| {
        stem.strip_prefix(prefix).is_some_and(|rest: &str| {
            matches!(
                rest,
                "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"
            )
        })
    };
    if DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt") {
        return Some("a device name");
    }
    None
}

impl FromStr for EntryPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |why| {
            Err(NameError::Path {
                text: shown(&text.escape_debug().to_string()),
                why,
            })
        };
        if text.len() > limits::PATH_BYTES {
            return error("longer than 1024 bytes");
        }
        if text.split('/').count() > limits::PATH_DEPTH {
            return error("deeper than 32 levels");
        }
        match text.split('/').find_map(component_fault) {
            Some(why) => error(why),
            None => Ok(Self(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_everywhere() {
        for good in ["a", "arxiv.1303", "digits", "a-b_c.d", &"x".repeat(63)] {
            assert!(good.parse::<BundleName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\0b",
            "-rf",
            "CON",
            "a..b",
            "A",
            "é",
            "a-",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<BundleName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_strict() {
        assert_eq!("1.0.0+b1".parse::<Version>().unwrap().as_tag(), "1.0.0_b1");
        for bad in ["1.0", "v1.0.0", "../../x", "1.0.0+../../x", ""] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_versions_are_read_as_people_write_them() {
        for (text, name) in [("arXiv.1303.5778v1", "arxiv.1303.5778v1"), ("digits", "digits")] {
            assert_eq!(BundleName::as_written(text).unwrap().as_str(), name);
        }
        assert!(BundleName::as_written("É").is_err());
        for (text, version) in [("1", "1.0.0"), ("1.10", "1.10.0"), ("1.0.0-rc.1", "1.0.0-rc.1")] {
            assert_eq!(Version::as_written(text).unwrap().to_string(), version);
        }
        for bad in ["", "1.", ".1", "1..2", "1.0.0.0", "v1", "01"] {
            assert!(Version::as_written(bad).is_err(), "{bad}");
        }
        assert_eq!(other_spellings("1.1"), ["1.1.0"]);
        assert_eq!(other_spellings("1"), ["1.0.0", "1.0"]);
        assert_eq!(other_spellings("1.0"), ["1.0.0", "1"]);
        assert_eq!(other_spellings("1.1.0"), ["1.1"]);
        for other in ["latest", "1.0.0-rc.1", "1.0.0.0", "1.2.3", ""] {
            assert_eq!(other_spellings(other), [""; 0], "{other}");
        }
    }

    #[test]
    fn entry_paths_refuse_what_any_system_would_follow() {
        for good in ["a", "a/b.c", "blobs/sha256/abc", ".hidden", "a b/c"] {
            assert!(good.parse::<EntryPath>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "./a",
            "a/../b",
            "a\\b",
            "c:x",
            "con",
            "COM1.txt",
            "a\n",
            "x.",
            "\u{202e}a",
        ] {
            assert!(bad.parse::<EntryPath>().is_err(), "{bad:?}");
        }
        assert!("a/".repeat(40).parse::<EntryPath>().is_err());
    }
}
