//! The content artifact: what belongs to a program and is no image, one layer a part, told apart by media type.

use samebundle_registry::Store;
use samebundle_spec::{Descriptor, Manifest, MediaType};

use super::error::BuildError;
use super::image::push;

/// Names the file of a layer for tools that write layers to disk.
const TITLE: &str = "org.opencontainers.image.title";

/// The content artifact in the store.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// Its manifest.
    pub(super) manifest: Descriptor,
    /// The pipeline's layer.
    pub(super) pipeline: Descriptor,
}

/// Writes the artifact: the pipeline, then the wheelhouse if there is one.
pub(super) async fn write(
    store: &dyn Store,
    pipeline: Vec<u8>,
    wheelhouse: Option<Descriptor>,
) -> Result<Content, BuildError> {
    let pipeline = push(store, MediaType::PIPELINE, pipeline).await?;
    let mut layers = vec![pipeline.clone().with_annotation(TITLE, "pipeline.yaml")];
    layers.extend(wheelhouse.map(|layer| layer.bare().with_annotation(TITLE, "wheelhouse.tar")));
    push(store, MediaType::OCI_EMPTY, b"{}".to_vec()).await?;
    let artifact = Manifest::artifact(MediaType::CONTENT, layers);
    let mut manifest = push(store, MediaType::OCI_MANIFEST, artifact.to_bytes()).await?;
    manifest.artifact_type = artifact.artifact_type;
    Ok(Content { manifest, pipeline })
}
