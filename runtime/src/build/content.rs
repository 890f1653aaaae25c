//! The content artifact: the parts of a program that are no images, one layer each, distinguished by media type.

use samebundle_registry::Store;
use samebundle_spec::bundle::program::CarriedData;
use samebundle_spec::{Descriptor, Manifest, MediaType};

use super::error::BuildError;
use super::image::push;
use crate::layer::Layer;

/// The annotation that names the file of a layer, for tools that write layers to disk.
const TITLE: &str = "org.opencontainers.image.title";

/// The content artifact in the store.
#[derive(Clone, Debug)]
pub(super) struct ContentArtifact {
    /// Its manifest.
    pub(super) manifest: Descriptor,
    /// The pipeline's layer.
    pub(super) pipeline: Descriptor,
}

/// The parts of the artifact, in this order.
#[derive(Debug)]
pub(super) struct ContentParts<'a> {
    pub(super) pipeline: Vec<u8>,
    pub(super) wheelhouse: Option<&'a Layer>,
    pub(super) data: &'a [(CarriedData, Layer)],
    /// Chunk indexes of layers of images.
    pub(super) indexes: Vec<Descriptor>,
}

/// Writes the artifact: the pipeline, the wheelhouse and the data if there are any, and chunk indexes in the order of
/// the digests of their layers. The indexes of layers of images are here as well, because an image cannot hold one.
pub(super) async fn write(store: &dyn Store, parts: ContentParts<'_>) -> Result<ContentArtifact, BuildError> {
    let pipeline = push(store, MediaType::PIPELINE, parts.pipeline).await?;
    let mut layers = vec![pipeline.clone().with_annotation(TITLE, "pipeline.yaml")];
    let named = |layer: &Layer, title: &str| layer.layer.bare().with_annotation(TITLE, title);
    layers.extend(parts.wheelhouse.map(|layer| named(layer, "wheelhouse.tar.zst")));
    let data = parts.data.iter();
    layers.extend(data.map(|(data, layer)| named(layer, &format!("{}.zst", data.name))));
    let mut indexes = parts.indexes;
    indexes.extend(parts.wheelhouse.and_then(|layer| layer.index.clone()));
    indexes.extend(parts.data.iter().filter_map(|(_, layer)| layer.index.clone()));
    indexes.sort_by(|a, b| a.annotations.cmp(&b.annotations));
    indexes.dedup();
    layers.extend(indexes);
    push(store, MediaType::OCI_EMPTY, b"{}".to_vec()).await?;
    let artifact = Manifest::artifact(MediaType::CONTENT, layers);
    let mut manifest = push(store, MediaType::OCI_MANIFEST, artifact.to_bytes()).await?;
    manifest.artifact_type = artifact.artifact_type;
    Ok(ContentArtifact { manifest, pipeline })
}
