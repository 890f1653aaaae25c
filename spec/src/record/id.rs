//! Ids of runs.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// The id of a run, a ULID: 26 digits and capital letters that sort by time and are safe in a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

/// A text is no id of a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no id of a run; an id has 26 digits and capital letters")]
pub struct RunIdError {
    text: String,
}

impl RunId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let fits = text.len() == 26 && text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
        fits.then(|| Self(text.to_owned())).ok_or_else(|| RunIdError {
            text: text.chars().take(64).collect(),
        })
    }
}

crate::serde_as_text!(RunId);

impl Deref for RunId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_safe_in_a_path() {
        assert!("01ARZ3NDEKTSV4RRFFQ69G5FAV".parse::<RunId>().is_ok());
        for bad in [
            "",
            "01J",
            "../ARZ3NDEKTSV4RRFFQ69G5FAV",
            "01arz3ndektsv4rrffq69g5fav",
        ] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
