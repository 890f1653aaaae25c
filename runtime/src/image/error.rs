//! What can go wrong with an image.

use std::io;
use std::path::Path;

use samebundle_registry::StoreError;
use samebundle_spec::{Classify, Digest, ErrorKind};

/// An error of reading, unpacking or packing an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Content of the image could not be read.
    #[error("content {content} of an image could not be read")]
    Content {
        /// Manifest, config or layer.
        content: Digest,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A manifest, index or config breaks the rules, or there is none for this machine.
    #[error("image document {document} cannot be used: {why}")]
    Document {
        /// The document.
        document: Digest,
        /// What is wrong.
        why: String,
    },
    /// A layer is hostile or damaged. Nothing of it is kept.
    #[error("layer {layer} is refused: {why}")]
    Layer {
        /// The layer.
        layer: Digest,
        /// What is wrong, with the entry's name where there is one.
        why: String,
    },
    /// A file could not be read or written.
    #[error("could not {operation} {path}")]
    Io {
        /// What was tried, as an infinitive.
        operation: &'static str,
        /// The file.
        path: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl ImageError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}

impl Classify for ImageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Content { source, .. } => source.kind(),
            Self::Document { .. } | Self::Layer { .. } => ErrorKind::Input,
            Self::Io { .. } => ErrorKind::Environment,
        }
    }
}
