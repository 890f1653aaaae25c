//! The memory of layers of installed packages: `layers/installed/KEY.json` says what is kept for a key.
//!
//! A layer that was unpacked from wheels is the folder `layers/installed/KEY`, and nothing else: it has its name when it
//! is complete. A layer that pip made is a blob of the store. Both are kept as long as the image and the wheelhouse
//! that they were made of are in the store.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_spec::{Descriptor, Digest, MediaType, limits};

/// The annotations that name what a layer was made of.
const IMAGE: &str = "dev.samebundle.image";
const WHEELHOUSE: &str = "dev.samebundle.wheelhouse";

/// A remembered layer.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The layer: in the store, or named by its key if it is a folder.
    pub(crate) layer: Descriptor,
    /// The manifest of its image.
    pub(crate) image: Digest,
    /// The layer of wheels that it was made of.
    pub(crate) wheelhouse: Digest,
    /// Whether it is a folder, which the store knows nothing about.
    pub(crate) folder: bool,
}

/// The files of one key.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
    key: Digest,
}

impl Place {
    pub(super) fn new(layers: &Path, key: Digest) -> Self {
        Self {
            folder: layers.join("installed"),
            key,
        }
    }

    /// The folder of all keys.
    pub(super) fn parent(&self) -> &Path {
        &self.folder
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.named("lock")
    }

    pub(super) fn memory(&self) -> PathBuf {
        self.named("json")
    }

    /// The unpacked layer.
    pub(super) fn unpacked(&self) -> PathBuf {
        self.folder.join(self.key.hex())
    }

    fn named(&self, end: &str) -> PathBuf {
        self.folder.join(format!("{}.{end}", self.key.hex()))
    }

    /// Returns the name of the unpacked layer for operations.
    pub(super) fn layer(&self, bytes: u64) -> Descriptor {
        Descriptor::new(MediaType::OCI_LAYER, self.key, bytes)
    }

    /// Returns the folder of a layer, if that is how it is kept.
    pub(super) fn folder_of(&self, layer: &Descriptor) -> Option<PathBuf> {
        (layer.digest == self.key).then(|| self.unpacked())
    }

    pub(super) fn remember(&self, layer: &Descriptor, image: Digest, wheelhouse: Digest) -> io::Result<()> {
        let remembered = layer
            .clone()
            .with_annotation(IMAGE, image.to_string())
            .with_annotation(WHEELHOUSE, wheelhouse.to_string());
        durable::write(&self.memory(), &serde_json::to_vec(&remembered)?, 0o644)
    }
}

/// Reads a file `KEY.json`. `None` if it cannot be read; then the layer is made again.
pub(crate) fn kept_layer(memory: &Path) -> Option<Kept> {
    let mut bytes = Vec::new();
    let file = File::open(memory).ok()?;
    file.take(limits::MANIFEST_BYTES).read_to_end(&mut bytes).ok()?;
    let layer: Descriptor = serde_json::from_slice(&bytes).ok()?;
    let digest = |name: &str| layer.annotations.get(name)?.parse::<Digest>().ok();
    let (image, wheelhouse) = (digest(IMAGE)?, digest(WHEELHOUSE)?);
    let name = memory.file_stem()?.to_str()?.to_owned();
    Some(Kept {
        folder: layer.digest.hex() == name,
        layer: layer.bare(),
        image,
        wheelhouse,
    })
}
