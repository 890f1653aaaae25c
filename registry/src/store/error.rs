//! The errors of a store.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use samebundle_spec::{Classify, Digest, ErrorKind, MediaType};

use crate::path_error::PathError;

/// Which end of a copy an error comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The store that is read.
    Source,
    /// The store that is written.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// An error of a store. Absent, denied, throttled, broken and altered are different errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A blob, a manifest or a tag does not exist.
    #[error("{subject} is not in {place}")]
    NotFound {
        /// A tag, a digest, a repository.
        subject: String,
        /// The store, as a person would name it.
        place: String,
    },
    /// Neither a delta archive nor the store that it is copied to has the blob.
    #[error(
        "{place} leaves out what the other side held already, and {digest} is not there; first import the version that it was made against ({since}), or take an archive that was made without --since"
    )]
    LeftOut {
        /// The content.
        digest: Digest,
        /// The archive.
        place: String,
        /// The root that the other side was said to hold.
        since: Digest,
    },
    /// The bytes are not what the descriptor says: altered, cut or damaged.
    #[error("content {digest} is altered or damaged: {why}")]
    Mismatch {
        /// The digest that was wanted.
        digest: Digest,
        /// What differs.
        why: String,
    },
    /// A blob or manifest is larger than this use of it allows.
    #[error("content {digest} has {size} bytes, more than the {limit} that are read here")]
    TooLarge {
        /// The content.
        digest: Digest,
        /// Its size, bytes.
        size: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// A document (manifest, index, layout file, archive) breaks the rules of its format.
    #[error("{subject} is not valid: {why}")]
    Invalid {
        /// The document, and where it was.
        subject: String,
        /// What is wrong, with the position if there is one.
        why: String,
    },
    /// Credentials are missing or do not suffice.
    #[error("could not {operation} {place}: {why}")]
    Denied {
        /// The registry and repository.
        place: String,
        /// What was asked, an infinitive with its preposition: "could not {operation} {place}".
        operation: &'static str,
        /// The registry's answer, shortened.
        why: String,
    },
    /// The other side did not answer, or answered with a transient error, after all retries.
    #[error("could not {operation} {place}: {why}")]
    Unavailable {
        /// The registry and repository.
        place: String,
        /// What was asked, an infinitive with its preposition: "could not {operation} {place}".
        operation: &'static str,
        /// The last failure.
        why: String,
    },
    /// The other side cannot be reached with the present settings (a name, a certificate, a proxy). A retry does not help.
    #[error("could not {operation} {place}: {why}")]
    Unreachable {
        /// The registry and repository.
        place: String,
        /// What was asked, an infinitive with its preposition: "could not {operation} {place}".
        operation: &'static str,
        /// What is wrong, and what to do about it.
        why: String,
    },
    /// The other side still answers 429 after all waits.
    #[error("could not {operation} {place}, which refuses more requests for now: {why}")]
    Throttled {
        /// The registry and repository.
        place: String,
        /// What was asked, an infinitive with its preposition: "could not {operation} {place}".
        operation: &'static str,
        /// The registry's answer, shortened.
        why: String,
    },
    /// The answer of the other side breaks its protocol: a web page, a proxy, a defect.
    #[error("could not {operation} {place}, whose answer is not a registry's: {why}")]
    Broken {
        /// The registry and repository.
        place: String,
        /// What was asked, an infinitive with its preposition: "could not {operation} {place}".
        operation: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The other side does not do that at all.
    #[error("could not {operation} {place}: that is not supported there")]
    Unsupported {
        /// The place.
        place: String,
        /// What was asked, an infinitive with its preposition: "could not {operation} {place}".
        operation: &'static str,
    },
    /// Another process holds the lock, or the store refuses to overwrite.
    #[error("{subject} is in use or already taken: {why}")]
    Conflict {
        /// The file, tag or name.
        subject: String,
        /// Who or what holds it.
        why: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A file seems to be sound, but has a format that is neither read nor written.
    #[error("{} is {what}, and not an archive of a known format; {remedy}", path.display())]
    OtherForm {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
        /// How it becomes readable.
        remedy: String,
    },
    /// A document names other blobs in a way that is not known here, so it could only be copied without them.
    #[error(
        "{digest} is of the type {media_type}, whose parts are not known here, so it cannot be moved whole; take it with the tool that made it, or have that tool make an OCI image manifest of it"
    )]
    UnknownParts {
        /// The document.
        digest: Digest,
        /// Its type.
        media_type: MediaType,
    },
    /// A foreign layer, which only its publisher distributes, does not exist here.
    #[error(
        "{digest} is a foreign layer, which {place} does not hold: its publisher offers it at {}, and such addresses are not followed; put it there first, or take an image without foreign layers",
        urls.join(", ")
    )]
    Foreign {
        /// The layer.
        digest: Digest,
        /// The store that was searched.
        place: String,
        /// The URLs at which its publisher offers it.
        urls: Vec<String>,
    },
    /// The user cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Which side of a copy failed.
    #[error("the {side} of the copy failed")]
    Copy {
        /// The side.
        side: Side,
        /// What failed there.
        #[source]
        source: Box<StoreError>,
    },
}

impl StoreError {
    /// Makes the error of a failed read of a blob: `InvalidData` is a mismatch, the rest are errors of input and output.
    pub fn read(digest: Digest, source: io::Error) -> Self {
        // A stream from a registry carries its own error.
        let source = match source.downcast::<Self>() {
            Ok(error) => return error,
            Err(source) => source,
        };
        if source.kind() == io::ErrorKind::InvalidData {
            Self::Mismatch {
                digest,
                why: source.to_string(),
            }
        } else {
            PathError::into("read", Path::new(&digest.to_string()))(source)
        }
    }

    /// Makes the error of a failed file operation.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        PathError::into(operation, path)
    }

    /// Tells whether the bytes are at fault: altered, cut, damaged, or against the rules of their format.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Mismatch { .. } | Self::Invalid { .. } | Self::TooLarge { .. } => true,
            Self::Copy { source, .. } => source.is_damage(),
            _ => false,
        }
    }
}

impl Classify for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::LeftOut { .. } | Self::Foreign { .. } => ErrorKind::NotFound,
            Self::Mismatch { .. } => ErrorKind::NotTrusted,
            Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::Unsupported { .. }
            | Self::OtherForm { .. }
            | Self::UnknownParts { .. } => ErrorKind::Input,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::Throttled { .. } => ErrorKind::Throttled,
            Self::Broken { .. } => ErrorKind::Broken,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Path(error) => error.kind(),
            Self::Cancelled => ErrorKind::Interrupted,
            Self::Copy { source, .. } => source.kind(),
        }
    }
}
