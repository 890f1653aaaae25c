//! What of past runs travels along: the runs (`last:5`, `all`, `none`), and of their files `all`, `none` or a size.

use std::fmt;
use std::str::FromStr;

use crate::bundle::quantity::Quantity;
use crate::limits;

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

/// A choice of the files that runs left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunFiles {
    /// None.
    None,
    /// All.
    All,
    /// Those that fit into so many bytes: of the newest runs first, and of a run the smallest first.
    UpTo(u64),
}

/// A text that is no choice of files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a choice of files (all, none, or a size such as 256Mi)")]
pub struct RunFilesError {
    text: String,
}

impl Default for RunFiles {
    fn default() -> Self {
        Self::UpTo(limits::CARRIED_OUTPUTS)
    }
}

impl RunFiles {
    /// How many bytes at most.
    pub fn limit(self) -> u64 {
        match self {
            Self::None => 0,
            Self::All => u64::MAX,
            Self::UpTo(bytes) => bytes,
        }
    }
}

impl FromStr for RunFiles {
    type Err = RunFilesError;

    fn from_str(text: &str) -> Result<Self, RunFilesError> {
        let bytes = || {
            let amount: Quantity = text.strip_suffix('B').unwrap_or(text).parse().ok()?;
            u64::try_from(amount.thousandths() / 1_000).ok()
        };
        match text {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            _ => bytes().map(Self::UpTo).ok_or_else(|| RunFilesError {
                text: text.chars().take(40).collect(),
            }),
        }
    }
}

impl fmt::Display for RunFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::All => f.write_str("all"),
            Self::UpTo(bytes) if bytes.is_multiple_of(1 << 20) => write!(f, "{}Mi", bytes >> 20),
            Self::UpTo(bytes) => write!(f, "{bytes}"),
        }
    }
}

crate::serde_as_text!(RunFiles);

/// What of each run goes along beside the files that it left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunMetadata {
    /// Its records, what its tasks printed, and a description of it as a Workflow Run RO-Crate.
    #[default]
    All,
    /// Its records alone: what ran, with what, and what came of it.
    Records,
}

/// A text that is no choice of metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a choice of metadata (all or records)")]
pub struct RunMetadataError {
    text: String,
}

impl FromStr for RunMetadata {
    type Err = RunMetadataError;

    fn from_str(text: &str) -> Result<Self, RunMetadataError> {
        match text {
            "all" => Ok(Self::All),
            "records" => Ok(Self::Records),
            _ => Err(RunMetadataError {
                text: text.chars().take(40).collect(),
            }),
        }
    }
}

impl fmt::Display for RunMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Records => "records",
        })
    }
}

crate::serde_as_text!(RunMetadata);
