//! Versions of document formats.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The version of a document's format, `major.minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Format {
    major: u16,
    minor: u16,
}

/// A document's format cannot be read, or must not be written over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not `major.minor`.
    #[error("{text:?} is not a format version such as 1.0")]
    Form {
        /// The text, shortened.
        text: String,
    },
    /// A newer major.
    #[error("the document has format {found}, this version reads {known}; use a newer samebundle")]
    Unreadable {
        /// What the document has.
        found: Format,
        /// What is known here.
        known: Format,
    },
    /// A newer minor, about to be written over.
    #[error(
        "the document has format {found}, newer than {known}; it is read but not changed, use a newer samebundle"
    )]
    ReadOnly {
        /// What the document has.
        found: Format,
        /// What is known here.
        known: Format,
    },
}

impl Format {
    /// The format that this version writes.
    pub const CURRENT: Self = Self { major: 1, minor: 0 };

    /// Checks that a document of this format can be read.
    ///
    /// # Errors
    /// [`FormatError::Unreadable`] for another major.
    pub fn check_readable(self) -> Result<(), FormatError> {
        if self.major == Self::CURRENT.major {
            Ok(())
        } else {
            Err(FormatError::Unreadable {
                found: self,
                known: Self::CURRENT,
            })
        }
    }

    /// Checks that a document of this format may be written over.
    ///
    /// # Errors
    /// For another major or a newer minor.
    pub fn check_writable(self) -> Result<(), FormatError> {
        self.check_readable()?;
        match self.minor.cmp(&Self::CURRENT.minor) {
            Ordering::Less | Ordering::Equal => Ok(()),
            Ordering::Greater => Err(FormatError::ReadOnly {
                found: self,
                known: Self::CURRENT,
            }),
        }
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let parsed = text.split_once('.').and_then(|(major, minor)| {
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| FormatError::Form {
            text: text.chars().take(32).collect(),
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

crate::serde_as_text!(Format);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_minors_are_read_but_not_written_and_newer_majors_neither() {
        let format = |text: &str| text.parse::<Format>().unwrap();
        assert!(format("1.0").check_writable().is_ok());
        assert!(format("1.7").check_readable().is_ok());
        assert!(matches!(
            format("1.7").check_writable(),
            Err(FormatError::ReadOnly { .. })
        ));
        assert!(matches!(
            format("2.0").check_readable(),
            Err(FormatError::Unreadable { .. })
        ));
        assert!("1".parse::<Format>().is_err());
    }
}
