//! CNAB thick bundles (cnab-spec 104): a `bundle.json` with its images in one file, without the OCI index that a registry
//! would have.
//!
//! The index is composed as cnab-to-oci composes it, so that the bundle has the digest that it would have in a
//! registry, and everything that follows is the same as for a bundle from a registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use samebundle_registry::archive::ArchiveStore;
use samebundle_registry::archive::thick::ThickBundle;
use samebundle_registry::store::{Memory, Origin, Overlay, SinkExt};
use samebundle_spec::bundle::Bundle;
use samebundle_spec::bundle::index::{self, IndexForm};
use samebundle_spec::bundle::view::Image;
use samebundle_spec::{Descriptor, MediaType};

use crate::opened::OpenError;

/// Composes the index of a thick bundle and returns where everything of it can be read.
///
/// # Errors
/// If `bundle.json` is not valid, or names an image that the file does not hold.
pub async fn compose(thick: ThickBundle) -> Result<(Arc<dyn Origin>, Descriptor), OpenError> {
    let bundle = Bundle::parse(&thick.bundle_json)?;
    let missing = |why: String| OpenError::Part {
        digest: bundle.digest(),
        why,
    };
    let layout = thick
        .layout
        .ok_or_else(|| missing("the file holds no images (artifacts/layout)".to_owned()))?;
    let view = bundle.view();
    let find = |what: &str, image: &Image| {
        find(&layout, image).ok_or_else(|| missing(format!("{what} {} is not in the file", image.image)))
    };
    let first = view
        .invocation_image()
        .ok_or_else(|| missing("it has no invocation image for OCI".to_owned()))?;
    let invocation = find("the invocation image", first)?;
    let mut components = BTreeMap::new();
    for (name, image) in &view.images {
        components.insert(name.clone(), find(&format!("component {name},"), image)?);
    }
    let composed = index::compose(&bundle, &invocation, &components, IndexForm::Null);
    let front = Memory::new();
    let (manifest, manifest_bytes) = composed.config_manifest;
    let (root, root_bytes) = composed.index;
    front
        .push_bytes(MediaType::CNAB_CONFIG, thick.bundle_json)
        .await?;
    front
        .push_bytes(manifest.media_type, Bytes::from(manifest_bytes))
        .await?;
    front
        .push_bytes(root.media_type.clone(), Bytes::from(root_bytes))
        .await?;
    Ok((
        Arc::new(Overlay {
            front,
            back: layout,
            hidden: None,
        }),
        root,
    ))
}

/// Finds an image by its digest, or by its name if `bundle.json` has no digest.
fn find(layout: &ArchiveStore, image: &Image) -> Option<Descriptor> {
    let named = |entry: &&Descriptor| {
        entry
            .annotations
            .get("org.opencontainers.image.ref.name")
            .is_some_and(|name| *name == image.image)
    };
    let found = match image.digest() {
        Some(digest) => layout.entries().iter().find(|entry| entry.digest == digest),
        None => layout.entries().iter().find(named),
    };
    found.map(Descriptor::bare)
}
