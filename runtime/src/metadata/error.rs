//! Why a run could not be sent.

use std::io;
use std::path::Path;

use samebundle_registry::remote::ClientError;
use samebundle_registry::{PathError, StoreError};
use samebundle_spec::{Classify, ErrorKind};

/// Why a run could not be sent or described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// A text names no place that runs are sent to.
    #[error("{kind:?} names no place for metadata: {why}")]
    Destination {
        /// What stands before the `=`.
        kind: String,
        /// What is wrong.
        why: String,
    },
    /// No socket may be opened.
    #[error("{destination} is not contacted, because offline was asked for; `runs push` sends the run later")]
    Offline {
        /// The place.
        destination: String,
    },
    /// The service could not be reached a moment ago.
    #[error("{why}")]
    Away {
        /// Why.
        why: String,
    },
    /// The service may not be contacted as things are set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The service did not answer, or refuses the credential.
    #[error(transparent)]
    Service(#[from] StoreError),
    /// The service refuses what was sent.
    #[error("could not {operation} {place}, which refuses it: {why}")]
    Refused {
        /// The service.
        place: String,
        /// What was asked, an infinitive with its preposition.
        operation: &'static str,
        /// Its words, shortened.
        why: String,
    },
    /// The answer is not one of such a service.
    #[error(
        "could not {operation} {place}, whose answer is not that of such a service: {why}; is the address right?"
    )]
    Answer {
        /// The service.
        place: String,
        /// What was asked, an infinitive with its preposition.
        operation: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A folder holds something else.
    #[error(
        "{folder} is not free for a crate: it holds {holds}; name another folder, or remove this one first"
    )]
    Occupied {
        /// The folder.
        folder: String,
        /// What is in it.
        holds: String,
    },
    /// The run goes on.
    #[error("run {run} goes on; it is sent when it has ended")]
    GoesOn {
        /// The run.
        run: String,
    },
    /// The sending was cancelled.
    #[error("interrupted; what was sent stays there, and `runs push` sends the rest")]
    Cancelled,
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl MetadataError {
    /// Makes the error of a failed file operation.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        PathError::into(operation, path)
    }
}

impl Classify for MetadataError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Destination { .. } => ErrorKind::Usage,
            Self::Offline { .. } | Self::Away { .. } => ErrorKind::Unreachable,
            Self::Client(error) => error.kind(),
            // A service that has no such address is another service.
            Self::Service(StoreError::NotFound { .. }) => ErrorKind::Broken,
            Self::Service(error) => error.kind(),
            Self::Refused { .. } => ErrorKind::Input,
            Self::Answer { .. } => ErrorKind::Broken,
            Self::GoesOn { .. } | Self::Occupied { .. } => ErrorKind::Conflict,
            Self::Cancelled => ErrorKind::Interrupted,
            Self::Path(error) => error.kind(),
        }
    }
}
