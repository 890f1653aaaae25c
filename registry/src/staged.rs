//! Files that come into a folder together: all are written to a folder beside their places first, and each is then renamed
//! to its place.
//!
//! Failure: until all files are written and all places were looked at, nothing outside the temporary folder changes, and
//! that folder is removed. A file replaces what has its name if that is a file or a symbolic link; a link is replaced and
//! not followed, so nothing outside the folder is touched.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::PathError;
use crate::durable::{self, folder_of, kind_of, not_a_file};

/// The temporary folder of files that will come into another one.
#[derive(Debug)]
pub struct StagedFolder {
    staged: TempDir,
    target: PathBuf,
}

impl StagedFolder {
    /// Makes the temporary folder in `target`, which is made if it is absent.
    ///
    /// # Errors
    /// The system's error, or that something else than a folder has the name.
    pub fn inside(target: &Path) -> Result<Self, PathError> {
        let no_folder = fs::metadata(target).is_ok_and(|found| !found.is_dir());
        if no_folder {
            let why = not_a_file("it is not a folder; give the name of a folder");
            return Err(PathError::of("write to", target)(why));
        }
        fs::create_dir_all(target).map_err(PathError::of("make", target))?;
        let staged = tempfile::Builder::new().prefix(".new-").tempdir_in(target);
        Ok(Self {
            staged: staged.map_err(PathError::of("make a folder in", target))?,
            target: target.to_owned(),
        })
    }

    /// The temporary folder, to write to.
    pub fn path(&self) -> &Path {
        self.staged.path()
    }

    /// Gives every file its place. Folders that exist stay, with what else is in them.
    ///
    /// # Errors
    /// If a folder, a pipe, a device or a socket has the name of a file, or something else than a folder that of a folder:
    /// then nothing was changed. Otherwise the system's error.
    pub fn commit(self) -> Result<(), PathError> {
        let mut entries = Vec::new();
        list(self.staged.path(), Path::new(""), &mut entries)?;
        for (relative, is_folder) in &entries {
            let place = self.target.join(relative);
            look(&place, *is_folder).map_err(PathError::of("write", &place))?;
        }
        for (relative, is_folder) in &entries {
            let (from, place) = (self.staged.path().join(relative), self.target.join(relative));
            let moved = match is_folder {
                true => durable::make_folder(&place, 0o777),
                // A link is not followed.
                false if from.is_symlink() => fs::rename(&from, &place),
                false => File::open(&from)
                    .and_then(|file| durable::sync(&file))
                    .and_then(|()| fs::rename(&from, &place)),
            };
            moved.map_err(PathError::of("write", &place))?;
        }
        let places = entries.iter().map(|(relative, _)| self.target.join(relative));
        let mut folders: Vec<PathBuf> = places.map(|place| folder_of(&place).to_owned()).collect();
        folders.dedup();
        for folder in &folders {
            durable::sync_folder(folder).map_err(PathError::of("sync", folder))?;
        }
        Ok(())
    }
}

/// Lists files and folders by their path below `root`, a folder before what is in it.
fn list(root: &Path, below: &Path, entries: &mut Vec<(PathBuf, bool)>) -> Result<(), PathError> {
    let folder = root.join(below);
    let listed = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in listed.map_err(PathError::of("list", &folder))? {
        let path = below.join(entry.file_name());
        let kind = entry.file_type().map_err(PathError::of("look at", &folder))?;
        entries.push((path.clone(), kind.is_dir()));
        if kind.is_dir() {
            list(root, &path, entries)?;
        }
    }
    Ok(())
}

/// Looks at what has the name of a file or folder that is to come.
fn look(place: &Path, is_folder: bool) -> io::Result<()> {
    let found = match fs::symlink_metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let kind = match found.is_symlink() {
        true => Some("a symbolic link"),
        false => kind_of(&found),
    };
    match (is_folder, kind) {
        (true, Some("a folder")) | (false, None | Some("a symbolic link")) => Ok(()),
        (true, kind) => {
            let kind = kind.unwrap_or("a file");
            Err(not_a_file(format!(
                "it is {kind}, and a folder comes here; remove it"
            )))
        }
        (false, kind) => {
            let kind = kind.unwrap_or_default();
            Err(not_a_file(format!(
                "it is {kind}, and a file comes here; remove it"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn staged(target: &Path) -> StagedFolder {
        let staged = StagedFolder::inside(target).unwrap();
        fs::write(staged.path().join("a"), "new").unwrap();
        fs::create_dir(staged.path().join("d")).unwrap();
        fs::write(staged.path().join("d/b"), "new").unwrap();
        staged
    }

    #[test]
    fn files_come_together_and_links_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (outside, target) = (folder.path().join("outside"), folder.path().join("x/y"));
        fs::write(&outside, "old").unwrap();
        fs::create_dir_all(target.join("d")).unwrap();
        fs::write(target.join("d/other"), "stays").unwrap();
        symlink(&outside, target.join("a")).unwrap();
        staged(&target).commit().unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"new");
        assert_eq!(fs::read(target.join("d/b")).unwrap(), b"new");
        assert_eq!(fs::read(target.join("d/other")).unwrap(), b"stays");
        assert_eq!(fs::read(outside).unwrap(), b"old");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
    }

    #[test]
    fn nothing_is_written_if_one_place_is_taken() {
        type Make = fn(&Path);
        let make: [(&str, Make); 4] = [
            ("a socket", |target| {
                drop(std::os::unix::net::UnixListener::bind(target.join("d/b")).unwrap());
            }),
            ("a folder", |target| fs::create_dir(target.join("d/b")).unwrap()),
            ("a symbolic link", |target| {
                fs::remove_dir(target.join("d")).unwrap();
                symlink("/", target.join("d")).unwrap();
            }),
            ("a file", |target| {
                fs::remove_dir(target.join("d")).unwrap();
                fs::write(target.join("d"), "").unwrap();
            }),
        ];
        for (kind, make) in make {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("d")).unwrap();
            make(folder.path());
            let error = staged(folder.path()).commit().unwrap_err();
            assert!(error.source.to_string().contains(kind), "{error:?}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{kind}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(StagedFolder::inside(file.path()).is_err());
    }
}
