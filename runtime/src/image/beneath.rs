//! A folder from which no operation can escape.
//!
//! All names are resolved by the kernel with `openat2` and `RESOLVE_IN_ROOT`: absolute links and `..` end at the folder,
//! as in a chroot, also while another process swaps folders for links. Needs Linux 5.6.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// An open folder that bounds every name used with it.
#[derive(Debug)]
pub struct Root(OwnedFd);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const BOUND: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Root {
    /// Opens a folder.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?))
    }

    /// Opens a folder beneath.
    ///
    /// # Errors
    /// The system's error; `ENOSYS` before Linux 5.6.
    pub fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        Ok(rustix::fs::openat2(&self.0, path, FOLDER, Mode::empty(), BOUND)?)
    }

    /// Opens a regular file beneath for reading.
    ///
    /// # Errors
    /// The system's error, or `InvalidInput` if it is something else than a file.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(rustix::fs::openat2(&self.0, path, flags, Mode::empty(), BOUND)?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// Opens a folder beneath and makes it and its parents where they are missing, with mode 0755.
    ///
    /// # Errors
    /// The system's error.
    pub fn make_folders(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut done = PathBuf::new();
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            let parent = self.folder(&done)?;
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            done.push(name);
        }
        self.folder(path)
    }

    /// Makes an empty file beneath, with its parents, if nothing has that name.
    ///
    /// # Errors
    /// The system's error.
    pub fn make_file(&self, path: &Path) -> io::Result<()> {
        let parent = self.make_folders(path.parent().unwrap_or(Path::new("")))?;
        let Some(name) = path.file_name() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns what has a name in a folder, without following links; none if nothing has that name.
pub(super) fn kind(parent: impl AsFd, name: &OsStr) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes the file or folder of a name, with all that it holds. No link is followed. Depth costs memory, not stack.
///
/// # Errors
/// The system's error. That nothing has the name is a success.
pub fn remove(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    if remove_one(parent.as_fd(), name)? {
        return Ok(());
    }
    let mut open: Vec<(OwnedFd, OsString)> = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next.take() {
        let above = open.last().map_or(parent.as_fd(), |(folder, _)| folder.as_fd());
        let folder = open_for_removal(above, &name)?;
        open.push((folder, name));
        while next.is_none() {
            let Some((folder, _)) = open.last() else {
                return Ok(());
            };
            next = empty_but_one_folder(folder)?;
            if next.is_none()
                && let Some((folder, name)) = open.pop()
            {
                drop(folder);
                let above = open.last().map_or(parent.as_fd(), |(folder, _)| folder.as_fd());
                rustix::fs::unlinkat(above, &name, AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(())
}

/// Removes a folder of this machine by its path. That there is none is a success.
///
/// # Errors
/// The system's error.
pub fn remove_path(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    match Root::open(parent) {
        Ok(parent) => remove(parent, name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a file or an empty folder; false for a folder that is not empty.
fn remove_one(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    let flags = match kind(parent, name)? {
        None => return Ok(true),
        Some(FileType::Directory) => AtFlags::REMOVEDIR,
        Some(_) => AtFlags::empty(),
    };
    match rustix::fs::unlinkat(parent, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open_for_removal(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let open = || rustix::fs::openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
    // The owner of a folder may lack the right to read or change it; overlayfs' work folder has mode 0.
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_mode & 0o700 != 0o700 {
        let path = rustix::fs::openat(
            parent,
            name,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&path));
        rustix::fs::chmod(through.as_str(), Mode::RWXU)?;
    }
    Ok(open()?)
}

/// Removes what can be removed in a folder and returns the name of a folder that is not empty.
fn empty_but_one_folder(folder: &OwnedFd) -> io::Result<Option<OsString>> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if !remove_one(folder.as_fd(), name)? {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}
