//! What volumes that were removed leave: the rest of a removal that was killed, and locks of volumes that are gone.

use std::io;

use super::runs::sweep_rests;
use super::{Swept, size_of};
use crate::home::{Home, LAYERS_LOCK};

/// Removes them. Locks stay while any run is running, because a run locks a volume before it looks at it.
///
/// # Errors
/// If the volumes cannot be listed, or something cannot be removed.
pub fn sweep_volumes(home: &Home, dry_run: bool) -> io::Result<Vec<Swept>> {
    let folder = home.volumes();
    let mut swept = sweep_rests(&folder, dry_run)?;
    let Some(_no_run) = home.try_lock(LAYERS_LOCK)? else {
        return Ok(swept);
    };
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let volume = name
            .to_str()
            .and_then(|name| name.strip_prefix('.')?.strip_suffix(".lock"));
        let gone = volume.is_some_and(|volume| !folder.join(volume).exists());
        if !gone {
            continue;
        }
        let path = entry.path();
        let bytes = size_of(&path);
        if !dry_run {
            std::fs::remove_file(&path)?;
        }
        swept.push(Swept {
            path,
            bytes,
            why: "the volume is gone",
        });
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_go_with_their_volumes_and_stay_while_a_run_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let path = |name: &str| home.volumes().join(name);
        for name in ["kept", ".removed-half"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        for name in [".kept.lock", ".gone.lock", "kept/file"] {
            std::fs::write(path(name), "").unwrap();
        }
        let run = home.try_lock(LAYERS_LOCK).unwrap();
        assert_eq!(sweep_volumes(&home, true).unwrap().len(), 1);
        drop(run);
        assert_eq!(sweep_volumes(&home, true).unwrap().len(), 2);
        assert_eq!(sweep_volumes(&home, false).unwrap().len(), 2);
        assert!(path(".kept.lock").exists() && path("kept/file").exists());
        assert!(!path(".gone.lock").exists() && !path(".removed-half").exists());
    }
}
