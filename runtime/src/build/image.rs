//! Brings an image into the store in the form that bundles carry: one platform, an OCI manifest, layers byte for byte.
//!
//! An index is narrowed to the manifest of this machine's platform. A Docker schema 2 manifest becomes an OCI manifest over
//! the same blobs, because strict registries refuse schema 2; configuration and layers keep their bytes and digests.

use std::io::Cursor;
use std::sync::Arc;

use samebundle_registry::copy::{Options, Progress, copy};
use samebundle_registry::store::{Origin, SourceExt};
use samebundle_registry::{Store, StoreError};
use samebundle_spec::manifest::Manifest;
use samebundle_spec::{Descriptor, Digest, Document, ImageConfig, MediaType};

use super::error::{BuildError, ImageError};
use crate::context::Context;
use crate::event::{Event, Events};
use crate::image;

/// Copies the image at `root`, for this machine's platform, from `source` into `store`. Errors use `name`.
pub(super) async fn bring(
    name: &str,
    source: &dyn Origin,
    root: &Descriptor,
    store: &dyn Store,
    context: &Context,
) -> Result<image::Image, BuildError> {
    let unusable = |source| ImageError::Unusable {
        image: name.to_owned(),
        source,
    };
    let found = image::read(source, root).await.map_err(unusable)?;
    let document = source.fetch_document(&found.manifest).await?;
    let (Document::Manifest(manifest), true) = (document, !found.layers.is_empty()) else {
        return Err(ImageError::NoImage {
            image: name.to_owned(),
        }
        .into());
    };
    let converted = as_oci(name, &manifest)?;
    let options = Options {
        referrers: false,
        progress: Some(Arc::new(TransferReporter(Arc::clone(&context.events)))),
        cancel: context.cancel.clone(),
        ..Options::default()
    };
    copy(source, store, &found.manifest.bare(), &options)
        .await
        .map_err(|error| match error {
            StoreError::Cancelled => BuildError::Cancelled,
            other => other.into(),
        })?;
    let Some(manifest) = converted else {
        return Ok(image::Image {
            manifest: found.manifest.bare(),
            ..found
        });
    };
    let descriptor = push(store, MediaType::OCI_MANIFEST, manifest.to_bytes()).await?;
    let layers = found.layers.into_iter().zip(manifest.layers);
    Ok(image::Image {
        manifest: descriptor,
        layers: layers
            .map(|(layer, blob)| image::Layer { blob, ..layer })
            .collect(),
        config: found.config,
    })
}

/// Reports the progress of a copy as events.
#[derive(Debug)]
struct TransferReporter(Arc<dyn Events>);

impl Progress for TransferReporter {
    fn advanced(&self, digest: &Digest, done: u64, total: u64) {
        let digest = *digest;
        self.0.emit(Event::Transfer { digest, done, total });
    }
}

/// Returns the manifest in OCI form; none if it has that form already and keeps its digest.
fn as_oci(name: &str, manifest: &Manifest) -> Result<Option<Manifest>, ImageError> {
    let mut blobs = [&manifest.config].into_iter().chain(&manifest.layers);
    let docker = blobs.any(|blob| blob.media_type.as_str().starts_with("application/vnd.docker."));
    if !docker
        && manifest
            .media_type
            .as_ref()
            .is_none_or(|own| *own == MediaType::OCI_MANIFEST)
    {
        return Ok(None);
    }
    let layer = |blob: &Descriptor| {
        let media_type = match blob.media_type.as_str() {
            "application/vnd.docker.image.rootfs.diff.tar.gzip" => MediaType::OCI_LAYER_GZIP,
            "application/vnd.docker.image.rootfs.diff.tar" => MediaType::OCI_LAYER,
            text if text.starts_with("application/vnd.oci.image.layer.v1.tar") => blob.media_type.clone(),
            _ => {
                let media_type = blob.media_type.clone();
                return Err(ImageError::Layer {
                    image: name.to_owned(),
                    media_type,
                });
            }
        };
        Ok(Descriptor {
            media_type,
            ..blob.bare()
        })
    };
    let config = Descriptor {
        media_type: MediaType::OCI_CONFIG,
        ..manifest.config.bare()
    };
    let layers = manifest.layers.iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Some(Manifest::new(config, layers)))
}

/// Makes an image of `base` (or of nothing) with one more layer, and writes its configuration and manifest.
pub(super) async fn compose(
    store: &dyn Store,
    base: Option<&image::Image>,
    layer: (Descriptor, Digest),
    adjust: impl FnOnce(&mut ImageConfig),
) -> Result<image::Image, BuildError> {
    let mut config = base.map_or_else(blank, |base| base.config.clone());
    config.created = None;
    // The history of the base's layers belongs to the base, and a history that names fewer layers than the image has is
    // not valid.
    config.history = Vec::new();
    config.rootfs.diff_ids.push(layer.1);
    adjust(&mut config);
    let mut layers = base.map_or_else(Vec::new, |base| base.layers.clone());
    layers.push(image::Layer {
        blob: layer.0,
        diff_id: Some(layer.1),
    });
    let described = push(store, MediaType::OCI_CONFIG, config.to_bytes()).await?;
    let manifest = Manifest::new(described, layers.iter().map(|layer| layer.blob.clone()).collect());
    let manifest = push(store, MediaType::OCI_MANIFEST, manifest.to_bytes()).await?;
    Ok(image::Image {
        manifest,
        layers,
        config,
    })
}

fn blank() -> ImageConfig {
    ImageConfig {
        architecture: image::architecture().to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    }
}

/// Writes a document into the store.
pub(super) async fn push(
    sink: &dyn Store,
    media_type: MediaType,
    bytes: Vec<u8>,
) -> Result<Descriptor, BuildError> {
    let descriptor = Descriptor::of(media_type, &bytes);
    sink.push(&descriptor, Box::pin(Cursor::new(bytes))).await?;
    Ok(descriptor)
}
