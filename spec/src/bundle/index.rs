//! The OCI index of a bundle, written: as cnab-to-oci lays it out, in a form that strict registries take.
//!
//! The order is fixed (configuration, invocation image, components by name) and nothing depends on time or place, so the
//! same bundle has the same index digest everywhere.

use std::collections::BTreeMap;

use super::Bundle;
use super::view::Maintainer;
use crate::manifest::Manifest;
use crate::{Descriptor, Index, MediaType};

/// What a descriptor in the index is: `config`, `invocation` or `component`.
pub const TYPE: &str = "io.cnab.manifest.type";
/// The name of a component.
pub const COMPONENT: &str = "io.cnab.component.name";

/// How documents are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexForm {
    /// Valid OCI documents: media types, the artifact type, one empty layer. Every registry takes them.
    Strict,
    /// Byte for byte as cnab-to-oci writes them: no media types, `"layers":null`. Some registries refuse them.
    Null,
}

/// The documents of a bundle. Children come before parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// `bundle.json`: the configuration blob.
    pub config_blob: Descriptor,
    /// The configuration manifest.
    pub config_manifest: (Descriptor, Vec<u8>),
    /// The index: the root of the bundle.
    pub index: (Descriptor, Vec<u8>),
    /// Whether the OCI empty blob (`{}`) must be stored, too.
    pub empty_blob: bool,
}

/// Composes the documents of a bundle from its bytes, its invocation image and its components by name.
pub fn compose(
    bundle: &Bundle,
    invocation: &Descriptor,
    components: &BTreeMap<String, Descriptor>,
    form: IndexForm,
) -> Composed {
    let config_blob = Descriptor::of(MediaType::CNAB_CONFIG, bundle.raw());
    let config_bytes = match form {
        IndexForm::Strict => Manifest::new(config_blob.clone(), vec![Descriptor::empty()]).to_bytes(),
        IndexForm::Null => null_layers(&config_blob),
    };
    let config_manifest = Descriptor::of(MediaType::OCI_MANIFEST, &config_bytes);
    // Without an artifact type: skopeo 1.9 drops it from an entry, and takes that for a reason to write another index.
    let entry = |descriptor: &Descriptor, kind| descriptor.bare().with_annotation(TYPE, kind);
    let mut manifests = vec![entry(&config_manifest, "config"), entry(invocation, "invocation")];
    manifests.extend(
        components
            .iter()
            .map(|(name, descriptor)| entry(descriptor, "component").with_annotation(COMPONENT, name)),
    );
    let mut index = Index::new(manifests);
    index.annotations = annotations(bundle);
    match form {
        IndexForm::Strict => index.artifact_type = Some(MediaType::CNAB_MANIFEST),
        IndexForm::Null => index.media_type = None,
    }
    let bytes = index.to_bytes();
    let mut descriptor = Descriptor::of(MediaType::OCI_INDEX, &bytes);
    descriptor.artifact_type = index.artifact_type;
    Composed {
        config_blob,
        config_manifest: (config_manifest, config_bytes),
        index: (descriptor, bytes),
        empty_blob: form == IndexForm::Strict,
    }
}

fn null_layers(config: &Descriptor) -> Vec<u8> {
    let config = String::from_utf8_lossy(&to_json(config)).into_owned();
    format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":null}}").into_bytes()
}

fn annotations(bundle: &Bundle) -> BTreeMap<String, String> {
    let view = bundle.view();
    let mut annotations: BTreeMap<String, String> = [
        ("io.cnab.runtime_version", view.schema_version.clone()),
        (
            "org.opencontainers.artifactType",
            MediaType::CNAB_MANIFEST.to_string(),
        ),
        ("org.opencontainers.image.title", view.name.clone()),
        ("org.opencontainers.image.version", view.version.to_string()),
        (
            "org.opencontainers.image.description",
            view.description.clone().unwrap_or_default(),
        ),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    if !view.keywords.is_empty() {
        annotations.insert("io.cnab.keywords".to_owned(), go_json(&view.keywords));
    }
    if !view.maintainers.is_empty() {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let maintainers: Vec<_> = view
            .maintainers
            .iter()
            .map(|maintainer| Maintainer {
                name: maintainer.name.clone(),
                email: filled(&maintainer.email),
                url: filled(&maintainer.url),
            })
            .collect();
        annotations.insert(
            "org.opencontainers.image.authors".to_owned(),
            go_json(&maintainers),
        );
    }
    annotations
}

/// JSON as Go's encoder writes it: it escapes what HTML and JavaScript could trip over.
fn go_json<T: serde::Serialize>(value: &T) -> String {
    String::from_utf8_lossy(&to_json(value))
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn to_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and maps with string keys serialize")
}

#[cfg(test)]
mod tests;
