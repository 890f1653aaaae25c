//! Unpacked layers that no image in the store has any more.
//!
//! A layer is mounted below running containers, so a sweep holds the lock that runs share: nothing is removed while any
//! run is running. An incomplete layer never has the name of a complete one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use samebundle_registry::layout::Layout;
use samebundle_registry::store::SourceExt;
use samebundle_spec::image_config::ImageConfig;
use samebundle_spec::{Descriptor, Digest, MediaType, limits};

use super::whole::remove_whole;
use super::{Swept, size_of};
use crate::engine::native::kept_layer;
use crate::home::{Home, LAYERS_LOCK};
use crate::image::ImageError;

const WHY: &str = "no image in the store has this layer";

/// Removes unpacked layers that are not among `live`, the content of the store that is needed. `None` if running runs
/// use layers now.
///
/// # Errors
/// If a configuration or a folder cannot be read, or something cannot be removed.
pub async fn sweep_layers(
    home: &Home,
    store: &Layout,
    live: &BTreeMap<Digest, Descriptor>,
    dry_run: bool,
) -> Result<Option<Vec<Swept>>, ImageError> {
    let folder = home.layers();
    let lock = home
        .try_lock(LAYERS_LOCK)
        .map_err(ImageError::io("lock", &folder))?;
    let Some(lock) = lock else {
        return Ok(None);
    };
    let keys = keys(store, live).await?;
    let layers = folder.clone();
    let task = tokio::task::spawn_blocking(move || {
        let swept = sweep(&layers, &keys, dry_run);
        drop(lock);
        swept
    });
    let swept = task.await.map_err(io::Error::other).and_then(|swept| swept);
    swept.map(Some).map_err(ImageError::io("sweep", &folder))
}

/// The digests that name unpacked layers: of blobs, and the diff ids in configurations of images.
async fn keys(store: &Layout, live: &BTreeMap<Digest, Descriptor>) -> Result<BTreeSet<Digest>, ImageError> {
    let mut keys: BTreeSet<Digest> = live.keys().copied().collect();
    let configs = [MediaType::OCI_CONFIG, MediaType::DOCKER_CONFIG];
    for config in live.values().filter(|live| configs.contains(&live.media_type)) {
        let content = |source| ImageError::Content {
            content: config.digest,
            source,
        };
        let bytes = store
            .fetch_bytes(config, limits::IMAGE_CONFIG_BYTES)
            .await
            .map_err(content)?;
        // An image that could not be read could not be unpacked either.
        if let Ok(config) = ImageConfig::parse(&bytes) {
            keys.extend(config.rootfs.diff_ids);
        }
    }
    Ok(keys)
}

fn sweep(layers: &Path, keys: &BTreeSet<Digest>, dry_run: bool) -> io::Result<Vec<Swept>> {
    let names: BTreeSet<String> = keys.iter().map(|key| key.hex()).collect();
    let mut swept = Vec::new();
    let parts = ["user", "wheels", "data"].map(|part| layers.join(part));
    for folder in std::iter::once(layers.to_owned()).chain(parts) {
        for (name, path) in entries(&folder)? {
            let stem = name.split('.').next().unwrap_or_default();
            let is_key = stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
            let left = name.starts_with('.') || name.ends_with(".partial");
            if left || (is_key && !names.contains(stem)) {
                let why = if left {
                    "left by a process that was killed"
                } else {
                    WHY
                };
                swept.push(remove(&path, why, dry_run)?);
            }
        }
    }
    let folder = layers.join("installed");
    for (name, path) in entries(&folder)? {
        let memory = folder
            .join(name.split('.').next().unwrap_or_default())
            .with_extension("json");
        let needed = kept_layer(&memory).is_some_and(|kept| {
            let made_of = keys.contains(&kept.image) && keys.contains(&kept.wheelhouse);
            made_of && (kept.folder || keys.contains(&kept.layer.digest))
        });
        if !needed {
            swept.push(remove(&path, WHY, dry_run)?);
        }
    }
    Ok(swept)
}

fn entries(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            all.push((name, entry.path()));
        }
    }
    // The record of installed packages is removed after its lock: a name sorts after its own prefix.
    all.sort_by(|a, b| b.cmp(a));
    Ok(all)
}

fn remove(path: &Path, why: &'static str, dry_run: bool) -> io::Result<Swept> {
    let swept = Swept {
        path: path.to_owned(),
        bytes: size_of(path),
        why,
    };
    if !dry_run {
        remove_whole(path)?;
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_packages_are_kept_as_long_as_what_they_were_made_of() {
        let folder = tempfile::tempdir().unwrap();
        let (key, image, wheels) = (Digest::sha256(b"k"), Digest::sha256(b"i"), Digest::sha256(b"w"));
        let place = folder.path().join("installed").join(key.hex());
        std::fs::create_dir_all(&place).unwrap();
        let memory = Descriptor::new(MediaType::OCI_LAYER, key, 4)
            .with_annotation("dev.samebundle.image", image.to_string())
            .with_annotation("dev.samebundle.wheelhouse", wheels.to_string());
        std::fs::write(place.with_extension("json"), serde_json::to_vec(&memory).unwrap()).unwrap();
        std::fs::write(place.with_extension("lock"), "").unwrap();
        assert_eq!(
            sweep(folder.path(), &BTreeSet::from([image, wheels]), false).unwrap(),
            []
        );
        let swept = sweep(folder.path(), &BTreeSet::from([image]), false).unwrap();
        assert_eq!(swept.len(), 3, "the folder, its memory and its lock");
        assert!(!place.exists());
    }

    #[test]
    fn layers_of_no_image_go_and_what_is_half_there_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let (live, dead) = (Digest::sha256(b"live"), Digest::sha256(b"dead"));
        let path = |name: String| folder.path().join(name);
        for folder in [
            path(live.hex()),
            path(dead.hex()),
            path(format!("{}.partial", live.hex())),
            path(format!("user/{}", dead.hex())),
            path(format!("wheels/{}", live.hex())),
            path("wheels/.new-x".to_owned()),
            path(format!("data/{}.model", live.hex())),
            path(format!("data/{}.model", dead.hex())),
        ] {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("file"), "four").unwrap();
        }
        std::fs::create_dir(path("installed".to_owned())).unwrap();
        for name in [
            format!("installed/{}.json", dead.hex()),
            format!("installed/{}.lock", dead.hex()),
            format!("{}.lock", dead.hex()),
        ] {
            std::fs::write(path(name), "{}").unwrap();
        }
        let keys = BTreeSet::from([live]);
        let would = sweep(folder.path(), &keys, true).unwrap();
        let did = sweep(folder.path(), &keys, false).unwrap();
        assert_eq!(would, did);
        let mut gone: Vec<String> = did
            .iter()
            .map(|swept| {
                swept
                    .path
                    .strip_prefix(folder.path())
                    .unwrap()
                    .display()
                    .to_string()
            })
            .collect();
        gone.sort();
        let mut wanted = vec![
            dead.hex(),
            format!("{}.lock", dead.hex()),
            format!("{}.partial", live.hex()),
            format!("user/{}", dead.hex()),
            "wheels/.new-x".to_owned(),
            format!("data/{}.model", dead.hex()),
            format!("installed/{}.json", dead.hex()),
            format!("installed/{}.lock", dead.hex()),
        ];
        wanted.sort();
        assert_eq!(gone, wanted);
        assert!(path(live.hex()).join("file").exists());
        assert_eq!(sweep(folder.path(), &keys, false).unwrap(), []);
        assert_eq!(entries(folder.path()).unwrap().len(), 5);
    }
}
