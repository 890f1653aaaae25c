//! Runs that are removed, whole or only the files of their outputs.
//!
//! A run is removed by [`remove_run`], and is there whole or not at all. The files of its outputs go in three steps: their
//! folder is renamed, it is emptied, and the record says that they are gone; only then the empty folder goes. So the
//! record is written when there is room again, and a collection ends what a killed process began. Whoever calls these
//! holds the run, so that it does not go on.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use samebundle_registry::durable;
use samebundle_spec::authoring::Runs as Choice;
use samebundle_spec::record::{Run, RunId};
use samebundle_spec::{BundleName, Timestamp, limits};

use super::whole::{aside, remove_whole, rests};
use super::{Swept, size_of};
use crate::engine::native::{RUN_VOLUMES, sweep};
use crate::home::Home;
use crate::image::beneath;
use crate::record::{RUN_OUTPUTS, RecordError, Runs, write_run};

const KILLED: &str = "left by a process that was killed";

/// Counts the runs of each installation, newest first, and tells which of them a choice keeps.
#[derive(Debug)]
pub struct Newest {
    choice: Choice,
    seen: BTreeMap<BundleName, usize>,
}

impl Newest {
    /// Begins to count.
    pub fn of(choice: Choice) -> Self {
        Self {
            choice,
            seen: BTreeMap::new(),
        }
    }

    /// Counts the next run and tells whether it is kept.
    pub fn keeps(&mut self, run: &Run) -> bool {
        let count = self.seen.entry(run.installation.clone()).or_default();
        *count += 1;
        *count <= self.choice.limit()
    }
}

/// Removes a run with everything in its folder and returns how many bytes that were.
///
/// # Errors
/// If it cannot be removed.
pub fn remove_run(home: &Home, id: &RunId) -> Result<u64, RecordError> {
    let folder = Runs::new(home).folder(id);
    let bytes = size_of(&folder);
    match remove_whole(&folder) {
        // Another process removed it just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        removed => removed
            .map(|()| bytes)
            .map_err(RecordError::io("remove", &folder)),
    }
}

/// Returns how many bytes the files of a run's outputs have.
pub fn size_of_files(home: &Home, id: &RunId) -> u64 {
    let outputs = Runs::new(home).folder(id).join(RUN_OUTPUTS);
    size_of(&outputs) + size_of(&aside(&outputs))
}

/// Removes the files of a run's outputs and returns how many bytes they had. The record says from then on that they were
/// removed.
///
/// # Errors
/// If they cannot be removed, or the record cannot be written.
pub fn remove_files(home: &Home, id: &RunId, now: Timestamp) -> Result<u64, RecordError> {
    let runs = Runs::new(home);
    let mut run = runs.get(id)?;
    let folder = runs.folder(id);
    let outputs = folder.join(RUN_OUTPUTS);
    let removed = aside(&outputs);
    let writable = run.format.check_writable();
    writable.map_err(|source| RecordError::Format {
        path: folder.join("run.json").display().to_string(),
        source,
    })?;
    let bytes = size_of_files(home, id);
    let io = |operation| RecordError::io(operation, &outputs);
    // Volumes that end with a run are there if it was interrupted.
    let volumes = folder.join(RUN_VOLUMES);
    let of_volumes = size_of(&volumes);
    beneath::remove_path(&volumes).map_err(RecordError::io("remove", &volumes))?;
    // Where there is nothing to free, a full disk is no reason to fail.
    if has_files(&outputs).map_err(io("read"))? {
        beneath::remove_path(&removed).map_err(io("remove"))?;
        std::fs::rename(&outputs, &removed).map_err(io("rename"))?;
        durable::sync_folder(&folder).map_err(io("rename"))?;
    }
    if !removed.try_exists().map_err(io("read"))? {
        return Ok(of_volumes);
    }
    empty(&removed).map_err(io("remove"))?;
    run.files_removed = Some(now);
    write_run(&folder, &run)?;
    std::fs::remove_dir(&removed).map_err(io("remove"))?;
    Ok(bytes + of_volumes)
}

/// Tells whether there are files below a folder.
fn has_files(folder: &Path) -> io::Result<bool> {
    let mut todo = vec![folder.to_owned()];
    while let Some(path) = todo.pop() {
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let entries = match std::fs::read_dir(&path) {
                    // It is removed like the rest.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(true),
                    entries => entries?,
                };
                for entry in entries {
                    todo.push(entry?.path());
                }
            }
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn empty(folder: &Path) -> io::Result<()> {
    let root = beneath::Root::open(folder)?;
    for entry in std::fs::read_dir(folder)? {
        beneath::remove(&root, &entry?.file_name())?;
    }
    Ok(())
}

/// Ends the removals that killed processes began, and removes folders of runs that never began and are older than `grace`
/// before `now`.
///
/// # Errors
/// If the runs cannot be listed, or something cannot be removed.
pub fn sweep_runs(
    home: &Home,
    now: SystemTime,
    grace: Duration,
    dry_run: bool,
) -> Result<Vec<Swept>, RecordError> {
    let folder = home.runs();
    let runs = Runs::new(home);
    let mut swept = sweep_rests(&folder, dry_run).map_err(RecordError::io("sweep", &folder))?;
    for id in runs.ids()? {
        let path = runs.folder(&id);
        let rest = aside(&path.join(RUN_OUTPUTS));
        if rest.exists()
            && let Some(_held) = runs.hold(&id)?
        {
            let bytes = match dry_run {
                true => size_of_files(home, &id),
                false => remove_files(home, &id, now.into())?,
            };
            swept.push(Swept {
                path: rest,
                bytes,
                why: KILLED,
            });
        }
        let old = || {
            let modified = std::fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
            // As of all of scratch: a run that begins now has a young folder.
            let grace = grace.max(Duration::from_secs(limits::STORE_GRACE_SECONDS));
            modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age >= grace))
        };
        if old()
            && matches!(runs.get(&id), Err(RecordError::NoRun { .. }))
            && let Some(_held) = runs.hold(&id)?
        {
            let bytes = match dry_run {
                true => size_of(&path),
                false => remove_run(home, &id)?,
            };
            swept.push(Swept {
                path,
                bytes,
                why: KILLED,
            });
        }
    }
    let hints = sweep(home, dry_run).map_err(RecordError::io("sweep", &home.cache()))?;
    swept.extend(hints.into_iter().map(|(path, bytes)| Swept {
        path,
        bytes,
        why: "names results of runs that are gone",
    }));
    Ok(swept)
}

/// Ends the removals in a folder that killed processes began.
pub(super) fn sweep_rests(folder: &Path, dry_run: bool) -> io::Result<Vec<Swept>> {
    let mut swept = Vec::new();
    for path in rests(folder)? {
        let bytes = size_of(&path);
        if !dry_run {
            remove_whole(&path)?;
        }
        swept.push(Swept {
            path,
            bytes,
            why: KILLED,
        });
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use samebundle_spec::record::{RunFinished, RunStatus};

    use super::*;
    use crate::context::Context;
    use crate::context::testing::Still;
    use crate::event::Silent;
    use crate::record::{Mask, testing};

    /// A home with a run that left four bytes.
    fn home(folder: &Path) -> (Home, RunId) {
        let context = Context {
            clock: Arc::new(Still),
            home: Home::open(folder).unwrap(),
            cancel: Default::default(),
            events: Arc::new(Silent),
            offline: true,
        };
        let started = testing::started(1);
        let id = started.id.clone();
        let log = Runs::new(&context.home)
            .begin(&context, started, Mask::default())
            .unwrap();
        let task = log.folder().join(RUN_OUTPUTS).join("task");
        std::fs::create_dir_all(&task).unwrap();
        std::fs::write(task.join("file"), "four").unwrap();
        let finished = RunFinished {
            status: RunStatus::Succeeded,
            message: None,
            outputs: BTreeMap::new(),
            result: id.clone(),
        };
        let _ = log.finish(finished).unwrap();
        (context.home.clone(), id)
    }

    fn sweep(home: &Home, dry_run: bool) -> Vec<(u64, &'static str)> {
        let swept = sweep_runs(home, SystemTime::UNIX_EPOCH, Duration::ZERO, dry_run).unwrap();
        swept.into_iter().map(|swept| (swept.bytes, swept.why)).collect()
    }

    #[test]
    fn a_removal_of_files_that_was_killed_is_ended_and_recorded_by_a_collection() {
        for step in 0..3 {
            let folder = tempfile::tempdir().unwrap();
            let (home, id) = home(folder.path());
            let run = Runs::new(&home).folder(&id);
            assert_eq!(sweep(&home, false), []);
            let outputs = run.join(RUN_OUTPUTS);
            let rest = aside(&outputs);
            std::fs::rename(&outputs, &rest).unwrap();
            if step > 0 {
                empty(&rest).unwrap();
            }
            if step > 1 {
                let mut record = Runs::new(&home).get(&id).unwrap();
                record.files_removed = Some(SystemTime::UNIX_EPOCH.into());
                write_run(&run, &record).unwrap();
            }
            let would = sweep(&home, true);
            assert!(rest.exists());
            assert_eq!(would, [(if step == 0 { 4 } else { 0 }, KILLED)]);
            assert_eq!(sweep(&home, false), would);
            assert!(Runs::new(&home).get(&id).unwrap().files_removed.is_some());
            assert!(!rest.exists() && run.join("events.jsonl").exists());
            assert_eq!(sweep(&home, false), []);
            assert_eq!(
                remove_files(&home, &id, SystemTime::UNIX_EPOCH.into()).unwrap(),
                0
            );
        }
    }

    #[test]
    fn a_removal_of_a_run_that_was_killed_is_ended_by_a_collection() {
        let folder = tempfile::tempdir().unwrap();
        let (home, id) = home(folder.path());
        let run = Runs::new(&home).folder(&id);
        std::fs::rename(&run, aside(&run)).unwrap();
        assert_eq!(Runs::new(&home).list(None).unwrap(), []);
        assert_eq!(sweep(&home, true).len(), 1);
        assert_eq!(sweep(&home, false).len(), 1);
        assert_eq!(std::fs::read_dir(home.runs()).unwrap().count(), 0);
    }

    #[test]
    fn folders_in_which_nothing_began_go_when_they_are_old() {
        let folder = tempfile::tempdir().unwrap();
        let (home, id) = home(folder.path());
        let empty = Runs::new(&home).folder(&testing::started(2).id);
        std::fs::create_dir(&empty).unwrap();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let none = sweep_runs(&home, SystemTime::UNIX_EPOCH, Duration::ZERO, false).unwrap();
        assert_eq!(none, []);
        assert_eq!(sweep_runs(&home, later, Duration::ZERO, false).unwrap().len(), 1);
        assert!(!empty.exists() && Runs::new(&home).get(&id).is_ok());
    }

    #[test]
    fn the_newest_runs_of_each_installation_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (home, id) = home(folder.path());
        let one = Runs::new(&home).get(&id).unwrap();
        let other = Run {
            installation: "other".parse().unwrap(),
            ..one.clone()
        };
        for (choice, wanted) in [
            (Choice::None, [false, false, false]),
            (Choice::Last(1), [true, true, false]),
            (Choice::All, [true, true, true]),
        ] {
            let mut newest = Newest::of(choice);
            assert_eq!([&one, &other, &one].map(|run| newest.keeps(run)), wanted);
        }
    }
}
