//! Models in images: the files below `/models` of an image (KServe's and KFP's "modelcar"), without running it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use samebundle_registry::store::Source;
use samebundle_spec::{Classify, Descriptor};

use super::{OutsideError, of_kind};
use crate::image::{ImageError, LayerOwner, Layers, beneath, is_opaque, read};
use crate::meter::Meter;

/// The folder of an image in which its model is.
const MODELS: &str = "models";

impl From<ImageError> for OutsideError {
    fn from(error: ImageError) -> Self {
        of_kind(error.kind(), &error)
    }
}

/// Fetches the files below `/models` of an image into a folder. Layers are unpacked in a scratch folder, one after the other.
pub(crate) async fn fetch(
    source: Arc<dyn Source>,
    image: &Descriptor,
    scratch: &Path,
    to: &Path,
    meter: &Meter,
) -> Result<(), OutsideError> {
    let failed = |error: io::Error| OutsideError::Failed(error.to_string());
    let image = read(&*source, image).await?;
    let folder = tempfile::Builder::new().prefix("modelcar-").tempdir_in(scratch);
    let folder = folder.map_err(failed)?;
    let owner = match rustix::process::geteuid().is_root() {
        true => LayerOwner::Root,
        false => LayerOwner::User,
    };
    let layers = Layers::new(folder.path(), owner, source);
    for layer in &image.layers {
        let unpacked = layers.ensure(layer, meter).await?;
        let to = to.to_owned();
        let merged = tokio::task::spawn_blocking(move || {
            merge(&unpacked.join(MODELS), &to, owner)?;
            beneath::remove_path(&unpacked)
        });
        merged
            .await
            .map_err(io::Error::other)
            .and_then(|done| done)
            .map_err(failed)?;
    }
    // A folder of the scratch is left for the next collection if it cannot be removed.
    drop(folder);
    match fs::symlink_metadata(to).is_ok_and(|found| found.is_dir()) {
        true => Ok(()),
        false => Err(OutsideError::Failed("the image has no folder /models".to_owned())),
    }
}

/// Moves an entry of a layer over what lower layers left.
fn merge(from: &Path, to: &Path, owner: LayerOwner) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(from) else {
        return Ok(());
    };
    let kind = metadata.file_type();
    let lower = fs::symlink_metadata(to);
    if !kind.is_dir() {
        if lower.is_ok() {
            beneath::remove_path(to)?;
        }
        return match kind.is_file() || kind.is_symlink() {
            // What stands for a deleted file is a device.
            false if kind.is_char_device() => Ok(()),
            false => Err(io::Error::other("a model holds files, folders and links only")),
            true => {
                if kind.is_file() {
                    readable(from, &metadata, 0o444)?;
                }
                fs::rename(from, to)
            }
        };
    }
    let hides = is_opaque(fs::File::open(from)?, owner)?;
    if lower.is_ok_and(|lower| hides || !lower.is_dir()) {
        beneath::remove_path(to)?;
    }
    if !to.is_dir() {
        fs::create_dir(to)?;
    }
    readable(from, &metadata, 0o755)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        merge(&from.join(&name), &to.join(&name), owner)?;
    }
    Ok(())
}

/// Makes a file readable for any user of a container.
fn readable(path: &Path, metadata: &fs::Metadata, bits: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(metadata.permissions().mode() | bits))
}

#[cfg(test)]
mod tests {
    use samebundle_registry::store::{Memory, SinkExt};
    use samebundle_spec::MediaType;
    use serde_json::json;

    use super::*;

    /// A layer with files, as an uncompressed tar.
    fn layer(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o600);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    async fn image(store: &Memory, layers: &[Vec<u8>]) -> Descriptor {
        let mut blobs = Vec::new();
        for layer in layers {
            blobs.push(
                store
                    .push_bytes(MediaType::OCI_LAYER, layer.clone().into())
                    .await
                    .unwrap(),
            );
        }
        let diff_ids: Vec<_> = blobs.iter().map(|blob| blob.digest).collect();
        let config = json!({"architecture": crate::image::architecture(), "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let push = |kind, value: serde_json::Value| store.push_bytes(kind, value.to_string().into());
        let config = push(MediaType::OCI_CONFIG, config).await.unwrap();
        let manifest = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": blobs});
        push(MediaType::OCI_MANIFEST, manifest).await.unwrap()
    }

    #[tokio::test]
    async fn the_models_of_all_layers_are_put_together() {
        let store = Memory::new();
        let first = [
            ("models/a.bin", "1"),
            ("models/old/b.bin", "2"),
            ("models/gone", "3"),
            ("etc/passwd", "x"),
        ];
        let second = [
            ("models/a.bin", "new"),
            ("models/.wh.gone", ""),
            ("models/old/.wh..wh..opq", ""),
            ("models/old/c", "4"),
        ];
        let car = image(&store, &[layer(&first), layer(&second)]).await;
        let none = image(&store, &[layer(&first[3..])]).await;
        let folder = tempfile::tempdir().unwrap();
        let meter = Meter::new("import", None, None);
        let store: Arc<dyn Source> = Arc::new(store);
        let to = folder.path().join("to");
        fetch(Arc::clone(&store), &car, folder.path(), &to, &meter)
            .await
            .unwrap();
        let read = |path: &str| fs::read_to_string(to.join(path)).ok();
        assert_eq!(read("a.bin").as_deref(), Some("new"));
        assert_eq!(read("old/c").as_deref(), Some("4"));
        assert_eq!(
            [read("gone"), read("old/b.bin"), read("etc/passwd")],
            [None, None, None]
        );
        let mode = fs::metadata(to.join("a.bin")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "any user of a container may read it");
        let refused = fetch(store, &none, folder.path(), &folder.path().join("none"), &meter).await;
        assert!(matches!(refused, Err(OutsideError::Failed(why)) if why.contains("no folder /models")));
    }
}
