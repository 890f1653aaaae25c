//! Why source cannot be had from a git repository.

use samebundle_registry::PathError;
use samebundle_spec::{Classify, ErrorKind};

/// Why source cannot be had from a git repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The program could not be started.
    #[error("could not start {program}: {source}; install git, or name it in SAMEBUNDLE_GIT")]
    Start {
        /// The program.
        program: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Git could not do it.
    #[error("git could not {purpose} {url}: {said}{}", fault.remedy())]
    Failed {
        /// What was tried, as an infinitive.
        purpose: &'static str,
        /// The repository.
        url: String,
        /// What git said, in short.
        said: String,
        /// What is wrong, as far as that is known.
        fault: GitFault,
    },
    /// No part of the address is a repository.
    #[error(
        "there is no git repository at {}; {}", tried.join(", "), "if a registry is meant, leave https:// out"
    )]
    NoRepository {
        /// The addresses that were tried.
        tried: Vec<String>,
    },
    /// The repository has no such tag, branch or commit.
    #[error("{url} has no tag, branch or commit {reference}{}", .near.as_ref().map_or_else(String::new, |near| format!("; it has {near}")))]
    NoReference {
        /// The repository.
        url: String,
        /// The name that was asked for.
        reference: String,
        /// Names that are there and look like it.
        near: Option<String>,
    },
    /// The commit has no such folder or file.
    #[error("{url} has no {path} at {reference}{}", .near.as_ref().map_or_else(String::new, |near| format!("; the nearest is {near}")))]
    NoPath {
        /// The repository.
        url: String,
        /// The folder or file.
        path: String,
        /// The tag, branch or commit.
        reference: String,
        /// A path that is there and looks like it.
        near: Option<String>,
    },
    /// It is not in the cache, and nothing may be asked.
    #[error(
        "{text} is not in this home's cache, and --offline opens no socket: run it once without --offline"
    )]
    Offline {
        /// The source.
        text: String,
    },
    /// The source is larger than is taken.
    #[error("{url} has {found} at this commit, more than the {most} that are taken")]
    TooLarge {
        /// The repository.
        url: String,
        /// What it has.
        found: String,
        /// The limit.
        most: String,
    },
    /// Git answered what it never answers.
    #[error("git gave an answer about {url} that cannot be read: {what}")]
    Answer {
        /// The repository.
        url: String,
        /// What cannot be read.
        what: &'static str,
    },
    /// Git did not end in time.
    #[error("git did not {purpose} {url} within {seconds} s; try again, or ask whoever runs that host")]
    Slow {
        /// What was tried, as an infinitive.
        purpose: &'static str,
        /// The repository.
        url: String,
        /// The limit, seconds.
        seconds: u64,
    },
    /// A file could not be written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The user interrupted.
    #[error("cancelled")]
    Cancelled,
}

/// What is wrong when git fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitFault {
    /// There is nothing.
    Missing,
    /// Credentials are missing or do not suffice.
    Denied,
    /// The host of an SSH address shows a key that is not known.
    HostKey,
    /// The host's certificate is not trusted.
    Certificate,
    /// The host's name is not known.
    Name,
    /// Something else, mostly the network.
    Other,
}

impl GitFault {
    /// Finds it in what git printed.
    pub(super) fn of(printed: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| printed.contains(word));
        if has(&["Host key verification failed", "REMOTE HOST IDENTIFICATION"]) {
            Self::HostKey
        } else if has(&["certificate", "SSL", "TLS", "gnutls"]) {
            Self::Certificate
        } else if has(&[
            "could not read Username",
            "could not read Password",
            "Authentication failed",
            "Permission denied",
            "returned error: 401",
            "returned error: 403",
            "access denied",
            "dubious ownership",
        ]) {
            Self::Denied
        } else if has(&["Could not resolve host"]) {
            Self::Name
        } else if has(&[
            "not found",
            "does not exist",
            "not appear to be a git repository",
            "is this a git repository",
            "not a git repository",
            "invalid gitfile format",
            "could not be found",
            "returned error: 404",
            "No such file or directory",
        ]) {
            Self::Missing
        } else {
            Self::Other
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Denied => {
                "; nobody is asked for a password here: give git its credentials first (`git credential approve`, an SSH agent), \
                 and try with `git ls-remote`"
            }
            Self::HostKey => "; connect to the host once with ssh, and compare its key",
            Self::Certificate => {
                "; name the file of the certificates that you trust in GIT_SSL_CAINFO or SSL_CERT_FILE"
            }
            Self::Name => "; mend the host's name",
            Self::Missing | Self::Other => "",
        }
    }
}

impl Classify for GitError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Start { .. } => ErrorKind::Environment,
            Self::Failed { fault, .. } => match fault {
                GitFault::Missing => ErrorKind::NotFound,
                GitFault::Denied => ErrorKind::Denied,
                GitFault::HostKey | GitFault::Certificate | GitFault::Name => ErrorKind::Unreachable,
                GitFault::Other => ErrorKind::Unavailable,
            },
            Self::NoRepository { .. } | Self::NoReference { .. } | Self::NoPath { .. } => ErrorKind::NotFound,
            Self::Offline { .. } => ErrorKind::Unreachable,
            Self::TooLarge { .. } => ErrorKind::Input,
            Self::Answer { .. } | Self::Slow { .. } => ErrorKind::Unavailable,
            Self::Path(error) => error.kind(),
            Self::Cancelled => ErrorKind::Interrupted,
        }
    }
}
