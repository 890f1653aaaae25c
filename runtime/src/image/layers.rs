//! The folder of unpacked layers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samebundle_registry::durable;
use samebundle_registry::store::{Source, SourceExt};
use tokio::runtime::Handle;
use tokio_util::io::SyncIoBridge;

use super::beneath;
use super::read::Layer;
use super::stream::TarStream;
use super::unpack::{Unpacked, unpack};
use super::{ImageError, LayerOwner};
use crate::meter::Meter;

/// Unpacked layers, shared by all containers of a home.
#[derive(Clone, Debug)]
pub struct Layers {
    folder: PathBuf,
    owner: LayerOwner,
    source: Arc<dyn Source>,
}

impl Layers {
    /// Layers under `HOME/layers`, unpacked from `source`.
    pub fn new(home: &Path, owner: LayerOwner, source: Arc<dyn Source>) -> Self {
        let folder = home.join("layers");
        Self {
            folder: match owner {
                LayerOwner::Root => folder,
                LayerOwner::User => folder.join("user"),
            },
            owner,
            source,
        }
    }

    /// The owner of the unpacked files.
    pub fn owner(&self) -> LayerOwner {
        self.owner
    }

    /// Tells whether a layer is unpacked.
    pub fn has(&self, layer: &Layer) -> bool {
        self.folder.join(layer.key().hex()).is_dir()
    }

    /// Unpacks a layer unless that was done before, and returns its folder. The meter counts the bytes of the blob.
    ///
    /// # Errors
    /// If the layer cannot be read, is not what its digests say, or is refused. Nothing of it is kept then.
    pub async fn ensure(&self, layer: &Layer, meter: &Meter) -> Result<PathBuf, ImageError> {
        let this = self.clone();
        let (layer, meter) = (layer.clone(), meter.clone());
        let handle = Handle::current();
        let task = tokio::task::spawn_blocking(move || this.ensure_blocking(&layer, &meter, &handle));
        match task.await {
            Ok(result) => result,
            Err(error) => Err(ImageError::io("unpack a layer into", &self.folder)(error.into())),
        }
    }

    fn ensure_blocking(&self, layer: &Layer, meter: &Meter, handle: &Handle) -> Result<PathBuf, ImageError> {
        let name = layer.key().hex();
        let whole = self.folder.join(&name);
        if whole.is_dir() {
            return Ok(whole);
        }
        std::fs::create_dir_all(&self.folder).map_err(ImageError::io("make", &self.folder))?;
        let lock_path = self.folder.join(format!("{name}.lock"));
        let lock = durable::lock(&lock_path).map_err(ImageError::io("lock", &lock_path))?;
        if whole.is_dir() {
            return Ok(whole);
        }
        let partial = self.folder.join(format!("{name}.partial"));
        beneath::remove_path(&partial).map_err(ImageError::io("remove", &partial))?;
        let result = self.unpack_into(layer, &partial, meter, handle);
        if result.is_err() {
            // The first error is the one to report. The next attempt removes what is left.
            let _ = beneath::remove_path(&partial);
        }
        result?;
        std::fs::rename(&partial, &whole).map_err(ImageError::io("rename", &partial))?;
        durable::sync_folder(&self.folder).map_err(ImageError::io("sync", &self.folder))?;
        drop(lock);
        meter.add_parts(1);
        Ok(whole)
    }

    fn unpack_into(
        &self,
        layer: &Layer,
        partial: &Path,
        meter: &Meter,
        handle: &Handle,
    ) -> Result<(), ImageError> {
        std::fs::create_dir(partial).map_err(ImageError::io("make", partial))?;
        set_mode(partial, 0o755).map_err(ImageError::io("make", partial))?;
        let stream = handle
            .block_on(self.source.fetch(&layer.blob))
            .map_err(|source| ImageError::Content {
                content: layer.blob.digest,
                source,
            })?;
        let bytes = meter.reading(SyncIoBridge::new_with_handle(stream, handle.clone()));
        let unpacked = TarStream::new(&layer.blob, layer.diff_id, bytes)
            .and_then(|tar| unpack(tar, partial, self.owner))
            .map_err(|error| ImageError::unpacking(layer.blob.digest, &self.folder, error))?;
        self.check(layer, &unpacked)?;
        // The rename must not become durable before the files do.
        std::fs::File::open(partial)
            .and_then(|folder| Ok(rustix::fs::syncfs(folder)?))
            .map_err(ImageError::io("sync", partial))
    }

    fn check(&self, layer: &Layer, unpacked: &Unpacked) -> Result<(), ImageError> {
        if unpacked.devices > 0 {
            tracing::warn!(layer = %layer.blob.digest, count = unpacked.devices, "devices in a layer were left out");
        }
        match layer.diff_id {
            Some(wanted) if wanted != unpacked.diff_id => Err(ImageError::Layer {
                layer: layer.blob.digest,
                why: format!(
                    "its content has the diff id {}, the image's config says {wanted}",
                    unpacked.diff_id
                ),
            }),
            _ => Ok(()),
        }
    }
}

fn set_mode(folder: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(mode))
}
