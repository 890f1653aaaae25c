//! The volumes of a home: folders that tasks share and that outlive their runs.

use std::fs;
use std::io;
use std::path::Path;

use samebundle_registry::durable;
use samebundle_spec::Timestamp;
use samebundle_spec::pipeline::is_key;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Site, VerbError};
use crate::upkeep;

/// The volumes of a home.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VolumesReport {
    /// Each of them, by name.
    pub volumes: Vec<ListedVolume>,
}

/// A volume.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedVolume {
    /// Its name, as pipelines claim it.
    pub name: String,
    /// Its folder.
    pub path: String,
    /// Bytes of its files.
    pub size: u64,
    /// When its folder was changed last.
    pub changed: Option<Timestamp>,
}

/// Removes a volume.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveVolumeRequest {
    /// Its name.
    pub name: String,
}

/// What was removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RemoveVolumeReport {
    /// The volume that is gone.
    pub removed: String,
    /// Bytes that it had.
    pub size: u64,
}

/// Lists the volumes.
///
/// # Errors
/// If their folder cannot be read.
pub fn volume_list(site: &Site) -> Result<VolumesReport, VerbError> {
    let folder = site.home().volumes();
    let mut volumes = Vec::new();
    for entry in fs::read_dir(&folder).map_err(VerbError::io("read", &folder))? {
        let entry = entry.map_err(VerbError::io("read", &folder))?;
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if name.starts_with('.') || !path.is_dir() {
            continue;
        }
        let changed = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        volumes.push(ListedVolume {
            size: upkeep::size_of(&path),
            path: path.display().to_string(),
            changed: changed.map(Timestamp::from),
            name,
        });
    }
    volumes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(VolumesReport { volumes })
}

/// Removes a volume that no run uses.
///
/// # Errors
/// If there is none of that name, a run uses it, or it cannot be removed.
pub fn volume_remove(site: &Site, request: RemoveVolumeRequest) -> Result<RemoveVolumeReport, VerbError> {
    let name = request.name;
    let folder = site.home().volumes();
    let path = folder.join(&name);
    if !is_key(&name) || name.starts_with('.') || !path.is_dir() {
        return Err(VerbError::NoVolume { name });
    }
    let lock = lock(&folder, &name).map_err(VerbError::io("lock", &path))?;
    let Some(_lock) = lock else {
        return Err(VerbError::VolumeInUse { name });
    };
    let size = upkeep::size_of(&path);
    upkeep::remove_whole(&path).map_err(VerbError::io("remove", &path))?;
    Ok(RemoveVolumeReport { removed: name, size })
}

fn lock(folder: &Path, name: &str) -> io::Result<Option<fs::File>> {
    durable::try_lock(&folder.join(format!(".{name}.lock")))
}
