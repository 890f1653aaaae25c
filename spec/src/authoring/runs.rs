//! Which runs travel along: `last:5`, `all`, `none`.

use std::fmt;
use std::str::FromStr;

/// A choice of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runs {
    /// None.
    #[default]
    None,
    /// Every run.
    All,
    /// As many of the latest.
    Last(u32),
}

/// A text that is no choice of runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a choice of runs (last:N, all or none)")]
pub struct RunsError {
    text: String,
}

impl Runs {
    /// How many runs at most.
    pub fn limit(self) -> usize {
        match self {
            Self::None => 0,
            Self::All => usize::MAX,
            Self::Last(count) => usize::try_from(count).unwrap_or(usize::MAX),
        }
    }
}

impl FromStr for Runs {
    type Err = RunsError;

    fn from_str(text: &str) -> Result<Self, RunsError> {
        let error = || RunsError {
            text: text.chars().take(40).collect(),
        };
        match text {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            _ => text
                .strip_prefix("last:")
                .and_then(|count| count.parse().ok())
                .map(Self::Last)
                .ok_or_else(error),
        }
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::All => f.write_str("all"),
            Self::Last(count) => write!(f, "last:{count}"),
        }
    }
}

crate::serde_as_text!(Runs);
