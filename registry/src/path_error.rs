//! The error of an operation on a file or folder.

use std::io;
use std::path::{Path, PathBuf};

use samebundle_spec::{Classify, ErrorKind};

/// A path that does not lead to a file of the expected type. It is inside an [`io::Error`] of kind
/// [`InvalidInput`](io::ErrorKind::InvalidInput).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAFile(String);

impl From<NotAFile> for io::Error {
    fn from(why: NotAFile) -> Self {
        Self::new(io::ErrorKind::InvalidInput, why)
    }
}

impl NotAFile {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// An operation on a file or folder failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} {}", path.display())]
pub struct PathError {
    /// What was tried, as an infinitive.
    pub operation: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

impl PathError {
    /// Makes the error of a failed operation.
    pub fn of(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self {
            operation,
            path,
            source,
        }
    }

    /// The same, as the error type of a room.
    pub fn into<E: From<Self>>(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> E {
        let of = Self::of(operation, path);
        move |source| of(source).into()
    }

    /// Tells whether a file was to be read and is not there.
    fn is_missing(&self) -> bool {
        ["read", "open"].contains(&self.operation) && self.source.kind() == io::ErrorKind::NotFound
    }
}

impl Classify for PathError {
    fn kind(&self) -> ErrorKind {
        // These mean that the given path is wrong; everything else is the state of this machine.
        match self.source.get_ref() {
            Some(why) if why.is::<NotAFile>() => ErrorKind::Input,
            _ if self.is_missing() => ErrorKind::NotFound,
            _ => ErrorKind::Environment,
        }
    }
}
