//! What can go wrong with a driver.

use samebundle_registry::StoreError;
use samebundle_spec::{Classify, Digest, ErrorKind};

use crate::image::ImageError;

/// An error of a driver: the container could not be run, or it is not known how it ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// This driver cannot run anything on this machine.
    #[error("the {driver} driver cannot be used here: {why}")]
    Unusable {
        /// The driver.
        driver: &'static str,
        /// Why, and what to do about it.
        why: String,
    },
    /// There is no driver of that name.
    #[error(
        "there is no environment {wanted:?}; there are {known}, and local, the first of them that works here. Clusters are not \
         supported yet"
    )]
    Unknown {
        /// The name that was asked for.
        wanted: String,
        /// The names of the drivers.
        known: String,
    },
    /// No driver works on this machine.
    #[error("nothing on this machine can run containers: {reasons}")]
    NoneUsable {
        /// Why not, driver by driver.
        reasons: String,
    },
    /// The image is not one that can be unpacked or run.
    #[error("image {image} cannot be run: {why}")]
    Image {
        /// The image's manifest.
        image: Digest,
        /// Why.
        why: String,
    },
    /// The image's content could not be read.
    #[error("image {image} could not be read from the store")]
    Content {
        /// The image's manifest.
        image: Digest,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The image could not be read or unpacked.
    #[error(transparent)]
    Unpack(#[from] ImageError),
    /// Setting up or starting the container failed.
    #[error("could not {operation} for container {container}: {why}")]
    Start {
        /// What was tried, as an infinitive.
        operation: &'static str,
        /// The container.
        container: String,
        /// The cause.
        why: String,
    },
    /// The container asks for something that this driver does not offer.
    #[error("container {container} needs {what}, which the {driver} driver cannot give to a container")]
    NotOffered {
        /// The driver.
        driver: &'static str,
        /// The container.
        container: String,
        /// What it asks for.
        what: String,
    },
    /// It could not be observed how the container ended.
    #[error("it is not known what became of container {container}: {why}")]
    Lost {
        /// The container.
        container: String,
        /// What was observed last.
        why: String,
    },
}

impl Classify for DriverError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unusable { .. } | Self::NoneUsable { .. } | Self::Start { .. } | Self::Lost { .. } => {
                ErrorKind::Environment
            }
            Self::NotOffered { .. } => ErrorKind::CannotProvision,
            Self::Unknown { .. } => ErrorKind::Usage,
            Self::Image { .. } => ErrorKind::Input,
            Self::Content { source, .. } => source.kind(),
            Self::Unpack(source) => source.kind(),
        }
    }
}
