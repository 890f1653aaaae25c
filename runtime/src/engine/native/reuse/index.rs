//! Finds results by their keys: `HOME/cache/results/AB/KEY` names the tasks of runs whose record says that they had this key,
//! a line each, the newest first.
//!
//! A run that came from elsewhere is not among them: nobody signed it, and whoever runs a program to see that it does the same
//! must not get the results of others.
//!
//! It is only a hint, and may be wrong, cut or removed at any time: who reads it looks at the record of the run. So nothing
//! of it is synced.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use samebundle_spec::Digest;
use samebundle_spec::record::{RunId, TakenFrom};

use crate::home::Home;
use crate::record::Runs;

/// How many results are remembered for a key, so that the removal of one run does not lose what another has.
const KEPT: usize = 4;

/// The most bytes that are read of a file.
const BYTES: u64 = 64 * 1024;

fn folder(home: &Home) -> PathBuf {
    home.cache().join("results")
}

fn place(home: &Home, key: Digest) -> PathBuf {
    let hex = key.hex();
    folder(home).join(&hex[..2]).join(hex)
}

/// Returns where a result with this key may be, the newest first.
pub(super) fn find(home: &Home, key: Digest) -> Vec<TakenFrom> {
    read(&place(home, key)).unwrap_or_default()
}

fn read(path: &Path) -> io::Result<Vec<TakenFrom>> {
    let mut text = String::new();
    // The cache is anybody's to change: what is no file is not waited for.
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, OFlags::RDONLY | flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    file.take(BYTES).read_to_string(&mut text)?;
    let one = |line: &str| {
        let (run, task) = line.split_once(' ')?;
        let (run, task) = (run.parse().ok()?, task.to_owned());
        Some(TakenFrom { run, task })
    };
    Ok(text.lines().filter_map(one).take(KEPT).collect())
}

/// Remembers a result. Where that fails, the task is run again some day.
pub(super) fn offer(home: &Home, key: Digest, result: &TakenFrom) {
    let path = place(home, key);
    let mut all = vec![result.clone()];
    all.extend(
        read(&path)
            .unwrap_or_default()
            .into_iter()
            .filter(|one| one != result),
    );
    all.truncate(KEPT);
    let _ = write(&path, &all);
}

fn write(path: &Path, all: &[TakenFrom]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    for one in all {
        writeln!(file, "{} {}", one.run, one.task)?;
    }
    file.persist(path)?;
    Ok(())
}

/// Forgets the results of runs that are gone. Returns the files that were removed, or would be, with their sizes.
///
/// # Errors
/// If the runs cannot be listed.
pub(crate) fn sweep(home: &Home, dry_run: bool) -> io::Result<Vec<(PathBuf, u64)>> {
    let runs = Runs::new(home).ids().map_err(io::Error::other)?;
    let is_there = |id: &RunId| runs.binary_search(id).is_ok();
    let mut removed = Vec::new();
    for folder in entries(&folder(home))? {
        for path in entries(&folder)? {
            let known = read(&path).unwrap_or_default();
            if known.iter().any(|one| is_there(&one.run)) {
                continue;
            }
            let bytes = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
            if dry_run || fs::remove_file(&path).is_ok() {
                removed.push((path, bytes));
            }
        }
    }
    Ok(removed)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_the_cache_is_no_result_and_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let key = Digest::sha256(b"key");
        let path = place(&home, key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(find(&home, key).is_empty());
        assert_eq!(sweep(&home, false).unwrap().len(), 1);
        assert!(!path.exists());
    }
}
