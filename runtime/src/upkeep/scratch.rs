//! What killed processes left in `scratch/`.
//!
//! A process keeps unfinished files in a folder of its own, on which it holds the kernel's lock while it lives
//! ([`Home::scratch`]): a folder that can be locked belongs to no process. A run leaves an empty folder (`scratch/RUN`)
//! when its tasks have ended, which the next start removes. Other leftovers of runs that are not running, and all other
//! files, are removed by age.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use samebundle_spec::limits;
use samebundle_spec::record::{RunId, RunStatus};

use super::whole::lock_folder;
use super::{Swept, size_of};
use crate::home::{Home, PROCESS_PREFIX};
use crate::image::beneath;
use crate::record::{RecordError, Runs};

/// Removes the folders of processes that were killed, and empty ones of runs that have ended. It is quick if there are
/// none: every start does it.
///
/// # Errors
/// If the folder cannot be listed, or something cannot be removed.
pub fn sweep_process_scratch(home: &Home, dry_run: bool) -> io::Result<Vec<Swept>> {
    let mut swept = Vec::new();
    for (name, path) in entries(&home.scratches())? {
        if name.starts_with(PROCESS_PREFIX)
            && let Some(lock) = lock_folder(&path)?
        {
            // Its process may have removed the folder just now and then released the lock.
            if path.is_dir() {
                swept.push(remove(&path, "left by a process that was killed", dry_run)?);
            }
            drop(lock);
        }
        if name.parse::<RunId>().is_ok() && !dry_run && !goes_on(home, &name) {
            // One that is not empty stays, as does one that cannot be removed: an empty folder takes no space.
            let _ = std::fs::remove_dir(&path);
        }
    }
    Ok(swept)
}

/// Removes the same, and all else that was not changed for the time of `grace` before `now`, except the roots of
/// running runs. The caller has resolved runs that were interrupted.
///
/// # Errors
/// As [`sweep_process_scratch`].
pub fn sweep_scratch(home: &Home, now: SystemTime, grace: Duration, dry_run: bool) -> io::Result<Vec<Swept>> {
    let mut swept = sweep_process_scratch(home, dry_run)?;
    for (name, path) in entries(&home.scratches())? {
        let Ok(modified) = std::fs::symlink_metadata(&path).and_then(|metadata| metadata.modified()) else {
            continue;
        };
        // No lock tells whether it is in use (by a probe, say), so a young file is never removed, whatever grace is
        // asked for.
        let grace = grace.max(Duration::from_secs(limits::STORE_GRACE_SECONDS));
        let old = now.duration_since(modified).is_ok_and(|age| age >= grace);
        if old && !name.starts_with(PROCESS_PREFIX) && !goes_on(home, &name) {
            swept.push(remove(&path, "old, and of no run that goes on", dry_run)?);
        }
    }
    Ok(swept)
}

/// A run whose record cannot be read may be running.
fn goes_on(home: &Home, name: &str) -> bool {
    let Ok(id) = name.parse::<RunId>() else {
        return false;
    };
    match Runs::new(home).get(&id) {
        Ok(run) => run.status == RunStatus::Running,
        Err(RecordError::NoRun { .. }) => false,
        Err(_) => true,
    }
}

fn entries(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            all.push((name, entry.path()));
        }
    }
    all.sort();
    Ok(all)
}

fn remove(path: &Path, why: &'static str, dry_run: bool) -> io::Result<Swept> {
    let bytes = size_of(path);
    if !dry_run {
        beneath::remove_path(path)?;
    }
    Ok(Swept {
        path: path.to_owned(),
        bytes,
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_of_the_dead_go_and_those_of_the_living_stay() {
        let folder = tempfile::tempdir().unwrap();
        let living = Home::open(folder.path()).unwrap();
        let own = living.scratch();
        assert_eq!(living.scratch(), own, "one a process");
        std::fs::write(own.join("half"), "four").unwrap();
        let dead = living.scratches().join("process-dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("half"), "four").unwrap();
        let home = Home::open(folder.path()).unwrap();
        let swept = sweep_process_scratch(&home, false).unwrap();
        assert_eq!(swept.len(), 1);
        assert_eq!((&swept[0].path, swept[0].bytes), (&dead, 4));
        assert!(own.join("half").exists() && !dead.exists());
        drop(living);
        assert!(!own.exists());
    }

    #[test]
    fn empty_folders_of_runs_that_ended_go_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let [ended, unreadable] = ["01J00000000000000000000000", "01J00000000000000000000001"];
        for name in [ended, unreadable, "probe-1"] {
            std::fs::create_dir(home.scratches().join(name)).unwrap();
        }
        std::fs::create_dir(home.runs().join(unreadable)).unwrap();
        std::fs::write(home.runs().join(unreadable).join("run.json"), "{").unwrap();
        assert_eq!(sweep_process_scratch(&home, true).unwrap(), []);
        assert!(home.scratches().join(ended).exists());
        assert_eq!(sweep_process_scratch(&home, false).unwrap(), []);
        assert!(!home.scratches().join(ended).exists());
        assert!(home.scratches().join(unreadable).exists() && home.scratches().join("probe-1").exists());
    }

    #[test]
    fn the_rest_goes_by_age() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let [gone, unreadable] = ["01J00000000000000000000000", "01J00000000000000000000001"];
        for name in [gone, unreadable, "export-x", "probe-1"] {
            std::fs::create_dir_all(home.scratches().join(name).join("root")).unwrap();
        }
        std::fs::create_dir(home.runs().join(unreadable)).unwrap();
        std::fs::write(home.runs().join(unreadable).join("run.json"), "{").unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let year = Duration::from_secs(365 * 86_400);
        assert_eq!(
            sweep_scratch(&home, SystemTime::UNIX_EPOCH, year, false).unwrap(),
            []
        );
        let swept = sweep_scratch(&home, now, year, false).unwrap();
        let names: Vec<_> = swept
            .iter()
            .map(|swept| swept.path.file_name().unwrap())
            .collect();
        assert_eq!(names, [gone, "export-x", "probe-1"]);
        assert!(home.scratches().join(unreadable).exists());
    }
}
