//! What can go wrong with exporting and importing.

use std::io;
use std::path::Path;

use samebundle_registry::archive::tar_entries::TarError;
use samebundle_registry::{PathError, StoreError};
use samebundle_spec::{Classify, ErrorKind};

use crate::record::RecordError;

/// An error of exporting or importing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortableError {
    /// Content could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// History on disk.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The history in the file is no archive of the right form.
    #[error("the history in the file cannot be read")]
    Tar(#[from] TarError),
    /// The history in the file is not of the right form.
    #[error("the history in the file is not valid: {why}")]
    History {
        /// What is wrong.
        why: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl PortableError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        PathError::into(operation, path)
    }
}

impl Classify for PortableError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Record(error) => error.kind(),
            Self::Tar(_) | Self::History { .. } => ErrorKind::NotTrusted,
            Self::Path(error) => error.kind(),
        }
    }
}
