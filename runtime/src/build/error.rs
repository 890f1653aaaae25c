//! What can go wrong with a build.

use std::path::PathBuf;

use samebundle_registry::{PathError, StoreError};
use samebundle_spec::bundle::BundleError;
use samebundle_spec::pipeline::{PipelineError, PipelineFault, Unsupported};
use samebundle_spec::{Classify, ErrorKind, MediaType};

use super::tools::ToolError;
use super::wheelhouse::WheelhouseError;

/// Why there is no bundle. Then nothing is tagged. The next build finds again what is in the store already.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A source file could not be read.
    #[error("could not read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// An intermediate file could not be written.
    #[error("could not {operation}: {source}")]
    Write {
        /// What was tried, as an infinitive.
        operation: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The folder is no project.
    #[error("there is no samebundle.yaml in {}; `init` writes one: `init {} --from PIPELINE.py`", folder.display(), folder.display())]
    NoManifest {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no such folder.
    #[error("there is no {}", path.display())]
    Absent {
        /// The folder.
        path: PathBuf,
    },
    /// A file stands where a folder is wanted.
    #[error("{} is a file: give the folder of its samebundle.yaml (`run` takes a pipeline's file as well)", path.display())]
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// `samebundle.yaml` is not valid.
    #[error("{path}: {source}")]
    Authoring {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: samebundle_spec::authoring::AuthoringError,
    },
    /// The pipeline's Python cannot be compiled.
    #[error("{place}: {why}")]
    Compile {
        /// The author's file and line.
        place: String,
        /// What is wrong, and what to do about it.
        why: String,
    },
    /// The pipeline cannot be read.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The pipeline contradicts itself.
    #[error("the pipeline has {}:\n{}", counted(.0.len(), "fault"), lines(.0))]
    Faults(Vec<PipelineFault>),
    /// The pipeline asks for what the native engine does not do yet.
    #[error("the pipeline needs what is not there yet:\n{}", lines(.0))]
    Unsupported(Vec<Unsupported>),
    /// `samebundle.yaml` and the pipeline do not fit together.
    #[error("{0}")]
    Mismatch(#[from] super::descriptor::MismatchError),
    /// An image cannot be had or is not of a form that runs.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The packages cannot be collected.
    #[error(transparent)]
    Wheelhouse(#[from] WheelhouseError),
    /// A tool of the build machine failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The bundle's description breaks a rule.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The store could not be read or written, or an image's registry.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The user interrupted.
    #[error("cancelled")]
    Cancelled,
}

fn lines<T: std::fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(|item| format!("  {item}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

impl Classify for BuildError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoManifest { .. } | Self::Absent { .. } => ErrorKind::NotFound,
            Self::NoFolder { .. } => ErrorKind::Usage,
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Read { .. } | Self::Write { .. } => ErrorKind::Environment,
            Self::Authoring { .. }
            | Self::Compile { .. }
            | Self::Pipeline(_)
            | Self::Faults(_)
            | Self::Unsupported(_) => ErrorKind::Input,
            Self::Mismatch(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Wheelhouse(error) => error.kind(),
            Self::Tool(error) => error.kind(),
            Self::Bundle(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Path(error) => error.kind(),
            Self::Cancelled => ErrorKind::Interrupted,
        }
    }
}

/// Why an image cannot be part of a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The source that samebundle.yaml names, or the registry, does not give the image.
    #[error(
        "image {image}: {place} does not give it: {source}; mend `images:` in samebundle.yaml, or say `from:` where it is"
    )]
    Unavailable {
        /// The image, as the pipeline names it.
        image: String,
        /// Where it was looked for.
        place: String,
        /// Why.
        source: StoreError,
    },
    /// The name of an image in the pipeline is no reference.
    #[error(
        "image {image:?} of the pipeline cannot be fetched: {source}; say where it comes from under `images:` in samebundle.yaml"
    )]
    Name {
        /// The image, as the pipeline names it.
        image: String,
        /// Why.
        source: samebundle_spec::reference::ReferenceError,
    },
    /// The image is at a registry, and the build is offline.
    #[error(
        "image {image} would come from {place}, and the build is offline; add `images: {{{image:?}: {{from: \"layout:DIR\"}}}}`"
    )]
    Offline {
        /// The image.
        image: String,
        /// The registry's reference.
        place: String,
    },
    /// An image layout or archive holds several images and nothing says which.
    #[error("image {image}: {place} holds {found} images and none is named {image:?}; name one: {place}:TAG")]
    Ambiguous {
        /// The image.
        image: String,
        /// The layout or archive.
        place: String,
        /// How many.
        found: usize,
    },
    /// An image cannot be read, or does not exist for this machine's platform.
    #[error("image {image}: {source}")]
    Unusable {
        /// The image.
        image: String,
        /// Why.
        source: crate::image::ImageError,
    },
    /// A layer of a kind that cannot be carried.
    #[error("image {image} has a layer of type {media_type}, which cannot be carried or run")]
    Layer {
        /// The image.
        image: String,
        /// The layer's type.
        media_type: MediaType,
    },
    /// The layers of an image could not be searched for lists of packages.
    #[error("image {image} could not be searched for its packages: {why}")]
    Packages {
        /// The image.
        image: String,
        /// Why.
        why: String,
    },
    /// An image has more packages than a bill of materials may have.
    #[error("the bundle holds {count} packages, more than the {most} that a bill of materials takes")]
    TooManyPackages {
        /// How many.
        count: usize,
        /// The limit.
        most: usize,
    },
    /// The manifest is an artifact of another kind.
    #[error("{image} is no image: it has no layers that could be run")]
    NoImage {
        /// The artifact that was to be an image.
        image: String,
    },
    /// A file that is to be put into an image is not one, or lies outside the bundle's folder.
    #[error("image {image}: file {path:?} of `build:` {why}")]
    File {
        /// The image.
        image: String,
        /// The file, as samebundle.yaml names it.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

impl Classify for ImageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable { source, .. } => source.kind(),
            Self::Unusable { source, .. } => source.kind(),
            Self::Offline { .. } => ErrorKind::Unreachable,
            _ => ErrorKind::Input,
        }
    }
}
