//! What can go wrong with an image.

use std::io;
use std::path::Path;

use rustix::io::Errno;
use samebundle_registry::{PathError, StoreError};
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
    #[error(transparent)]
    Path(#[from] PathError),
}

/// The errors that an entry's own name, path or links can cause. Every other error is about this machine.
const OF_A_LAYER: [Errno; 8] = [
    Errno::EXIST,
    Errno::ISDIR,
    Errno::LOOP,
    Errno::MLINK,
    Errno::NAMETOOLONG,
    Errno::NOENT,
    Errno::NOTDIR,
    Errno::NOTEMPTY,
];

/// Tells whether an error of unpacking is about this machine (a full disk, a failing one, a right that is missing), and not
/// about the layer.
pub(super) fn is_of_this_machine(error: &io::Error) -> bool {
    let answer = error.raw_os_error().map(Errno::from_raw_os_error);
    answer.is_some_and(|answer| !OF_A_LAYER.contains(&answer))
}

impl ImageError {
    /// An error of writing what a layer holds into a folder: this machine's fault or the layer's.
    pub(crate) fn unpacking(layer: Digest, folder: &Path, error: io::Error) -> Self {
        if is_of_this_machine(&error) {
            return Self::io("unpack a layer into", folder)(error);
        }
        Self::Layer {
            layer,
            why: error.to_string(),
        }
    }

    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        PathError::into(operation, path)
    }
}

impl Classify for ImageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Content { source, .. } => source.kind(),
            Self::Document { .. } | Self::Layer { .. } => ErrorKind::Input,
            Self::Path(error) => error.kind(),
        }
    }
}
