//! Exit codes, and the kinds of error that they stand for. They are part of the format: scripts depend on them.

/// What a caller can do about an error. Every error of every room has exactly one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// Something that was given (a file, a manifest, a parameter) is not valid.
    Input,
    /// The command line itself is wrong.
    Usage,
    /// The bundle's own action or a task of its pipeline failed.
    Failed,
    /// Unsigned, wrongly signed, expired, rolled back, altered, or not allowed by policy.
    NotTrusted,
    /// What was asked for does not exist.
    NotFound,
    /// Credentials are missing or do not suffice.
    Denied,
    /// The registry or the network did not answer after all retries.
    Unavailable,
    /// The registry or the network cannot be reached as things are set up; asking again does not help.
    Unreachable,
    /// This machine, its container engine or its disk cannot do it.
    Environment,
    /// Another process holds the lock, or the name belongs to other content.
    Conflict,
    /// Something that the bundle requires cannot be provisioned here.
    CannotProvision,
    /// The registry throttles, and asks for a longer wait than is waited.
    Throttled,
    /// What answers breaks the registry protocol: a web page, a proxy, a defect.
    Broken,
    /// A defect of samebundle.
    Internal,
    /// The user interrupted.
    Interrupted,
}

impl ErrorKind {
    /// Every kind, in the order of its code.
    pub const ALL: [Self; 15] = [
        Self::Input,
        Self::Usage,
        Self::Failed,
        Self::NotTrusted,
        Self::NotFound,
        Self::Denied,
        Self::Unavailable,
        Self::Unreachable,
        Self::Environment,
        Self::Conflict,
        Self::CannotProvision,
        Self::Throttled,
        Self::Broken,
        Self::Internal,
        Self::Interrupted,
    ];

    /// The process exit code (0 is success).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Input => 1,
            Self::Usage => 2,
            Self::Failed => 3,
            Self::NotTrusted => 4,
            Self::NotFound => 5,
            Self::Denied => 6,
            Self::Unavailable | Self::Unreachable => 7,
            Self::Environment => 8,
            Self::Conflict => 9,
            Self::CannotProvision => 10,
            Self::Throttled => 11,
            Self::Broken => 12,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }

    /// The stable word used in `--output json`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Usage => "usage",
            Self::Failed => "failed",
            Self::NotTrusted => "not-trusted",
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Unreachable => "unreachable",
            Self::Environment => "environment",
            Self::Conflict => "conflict",
            Self::CannotProvision => "cannot-provision",
            Self::Throttled => "throttled",
            Self::Broken => "broken",
            Self::Internal => "internal",
            Self::Interrupted => "interrupted",
        }
    }
}

/// An error that knows its kind. Implemented by every public error enum with one exhaustive match.
pub trait Classify: std::error::Error {
    /// Returns the kind.
    fn kind(&self) -> ErrorKind;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The normative table has every kind with its code and word, and nothing else.
    #[test]
    fn the_table_is_the_code() {
        let rows = include_str!("../600-exit-codes.md")
            .lines()
            .filter(|line| line.starts_with("| ") && line.contains('`'));
        let table: Vec<_> = rows
            .map(|line| {
                let mut cells = line.split('|').map(str::trim);
                let code = cells.nth(1).unwrap_or_default().to_owned();
                (
                    code,
                    cells.next().unwrap_or_default().trim_matches('`').to_owned(),
                )
            })
            .collect();
        let kinds: Vec<_> = ErrorKind::ALL
            .iter()
            .map(|kind| (kind.exit_code().to_string(), kind.word().to_owned()))
            .collect();
        assert_eq!(table, kinds);
    }
}
