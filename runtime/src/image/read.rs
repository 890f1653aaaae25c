//! From a descriptor to an image's config and list of layers.

use bytes::Bytes;
use samebundle_registry::StoreError;
use samebundle_registry::store::{Source, SourceExt};
use samebundle_spec::image_config::ImageConfig;
use samebundle_spec::manifest::{Document, Manifest};
use samebundle_spec::{Descriptor, Digest, MediaType, Platform, limits};

use super::ImageError;

/// An image for this machine.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its manifest, after an index was resolved.
    pub manifest: Descriptor,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The blob.
    pub blob: Descriptor,
    /// Digest of the uncompressed tar, where it is known.
    pub diff_id: Option<Digest>,
}

impl Layer {
    /// A layer that no config names: its diff id is the blob's digest if that is an uncompressed tar, or unknown.
    pub fn single(blob: &Descriptor) -> Self {
        Self {
            blob: blob.clone(),
            diff_id: (blob.media_type == MediaType::OCI_LAYER).then_some(blob.digest),
        }
    }

    /// Tells whether it is compressed with zstd, which Docker before 23 cannot read.
    pub fn is_zstd(&self) -> bool {
        self.blob.media_type == MediaType::OCI_LAYER_ZSTD
    }

    /// The digest that names the unpacked layer.
    pub fn key(&self) -> Digest {
        self.diff_id.unwrap_or(self.blob.digest)
    }
}

/// Reads an image. From an index it takes the manifest for this machine's platform.
///
/// # Errors
/// If a document cannot be read, is not valid, has more than the limits allow, or is for another platform.
pub async fn read(source: &dyn Source, image: &Descriptor) -> Result<Image, ImageError> {
    let mut manifest = image.clone();
    for _ in 0..limits::GRAPH_DEPTH {
        match document(source, &manifest).await? {
            Document::Manifest(content) => return read_manifest(source, manifest, content).await,
            Document::Artifact(_) => return Err(wrong(image, "it is an artifact, and no image")),
            Document::Index(index) => manifest = pick(&manifest, &index.manifests)?,
        }
    }
    Err(wrong(image, "indexes are nested too deep"))
}

fn wrong(document: &Descriptor, why: impl Into<String>) -> ImageError {
    ImageError::Document {
        document: document.digest,
        why: why.into(),
    }
}

async fn bytes(source: &dyn Source, descriptor: &Descriptor, limit: u64) -> Result<Bytes, ImageError> {
    let fetched = source.fetch_bytes(descriptor, limit).await;
    fetched.map_err(|source| content(descriptor, source))
}

fn content(descriptor: &Descriptor, source: StoreError) -> ImageError {
    ImageError::Content {
        content: descriptor.digest,
        source,
    }
}

async fn document(source: &dyn Source, descriptor: &Descriptor) -> Result<Document, ImageError> {
    let fetched = source.fetch_document(descriptor).await;
    fetched.map_err(|source| content(descriptor, source))
}

async fn read_manifest(
    source: &dyn Source,
    descriptor: Descriptor,
    manifest: Manifest,
) -> Result<Image, ImageError> {
    let config_bytes = bytes(source, &manifest.config, limits::IMAGE_CONFIG_BYTES).await?;
    let config =
        ImageConfig::parse(&config_bytes).map_err(|error| wrong(&manifest.config, error.to_string()))?;
    let blobs = manifest.layers;
    let (most, count) = (limits::IMAGE_LAYERS, blobs.len());
    if count > most {
        return Err(wrong(
            &descriptor,
            format!("it has {count} layers, more than {most}"),
        ));
    }
    let diff_ids = &config.rootfs.diff_ids;
    if count != diff_ids.len() {
        let named = diff_ids.len();
        let why = format!("it names {named} layers where the manifest has {count}");
        return Err(wrong(&manifest.config, why));
    }
    let (is, here) = (format!("{}/{}", config.os, config.architecture), architecture());
    // Hand-made images leave the platform empty; they are assumed to fit.
    if is != "/" && is != format!("linux/{here}") {
        return Err(wrong(
            &descriptor,
            format!("it is for {is}, this machine is linux/{here}"),
        ));
    }
    let layers = blobs.into_iter().zip(diff_ids).map(|(blob, diff_id)| Layer {
        blob,
        diff_id: Some(*diff_id),
    });
    Ok(Image {
        manifest: descriptor,
        layers: layers.collect(),
        config,
    })
}

/// This machine's GOARCH.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn pick(index: &Descriptor, manifests: &[Descriptor]) -> Result<Descriptor, ImageError> {
    let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture();
    let offered = || {
        let names = manifests.iter().filter_map(|entry| entry.platform.as_ref());
        names
            .map(|platform| format!("{}/{}", platform.os, platform.architecture))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let found = manifests
        .iter()
        .find(|entry| entry.platform.as_ref().is_some_and(fits));
    // An index with one image and no platform names that image; build attestations have the platform "unknown".
    let found = found.or_else(|| match manifests {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    });
    found.cloned().ok_or_else(|| {
        wrong(
            index,
            format!(
                "it has no image for linux/{} (it has: {})",
                architecture(),
                offered()
            ),
        )
    })
}
