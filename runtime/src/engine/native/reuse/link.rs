//! Links files of one run into another, so that both have them and they take their space once. Where a file cannot be linked
//! it is copied. No link of a file system is followed on the way.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use samebundle_spec::limits;

use crate::image::beneath::Root;

/// Links the file or folder at the path `below` one folder to the same path below another.
pub(super) fn tree(from: &Path, to: &Path, below: &str) -> io::Result<()> {
    let (folders, name) = below.rsplit_once('/').unwrap_or((".", below));
    fs::create_dir_all(to)?;
    let (from, to) = (Root::open(from)?, Root::open(to)?);
    let (from, to) = (
        from.folder(Path::new(folders))?,
        to.make_folders(Path::new(folders))?,
    );
    let name = std::ffi::CString::new(name)?;
    let mut left = limits::OUTPUT_ENTRIES;
    one(&from, &to, &name, 0, &mut left)
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: usize, left: &mut usize) -> io::Result<()> {
    *left = left.checked_sub(1).ok_or(io::ErrorKind::FileTooLarge)?;
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => file(from, to, name),
        FileType::Symlink => {
            let text = rustix::fs::readlinkat(from, name, Vec::new())?;
            Ok(rustix::fs::symlinkat(text, to, name)?)
        }
        FileType::Directory if depth < limits::OUTPUT_DEPTH => {
            made(rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o755)))?;
            let (from, to) = (open(from, name)?, open(to, name)?);
            for entry in Dir::read_from(&from)? {
                let entry = entry?;
                let inner = entry.file_name();
                if inner != c"." && inner != c".." {
                    one(&from, &to, inner, depth + 1, left)?;
                }
            }
            Ok(())
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn open(folder: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

/// That two outputs share a file or a folder is no error: the digests decide.
fn made(made: Result<(), Errno>) -> io::Result<()> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        made => Ok(made?),
    }
}

/// Another file system, a file of another user and too many links are reasons to copy.
fn file(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> io::Result<()> {
    match rustix::fs::linkat(from, name, to, name, AtFlags::empty()) {
        Err(Errno::XDEV | Errno::PERM | Errno::ACCESS | Errno::MLINK | Errno::OPNOTSUPP) => {
            copy(from, to, name)
        }
        linked => made(linked),
    }
}

fn copy(from: impl AsFd, to: impl AsFd, name: &CStr) -> io::Result<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut source = File::from(rustix::fs::openat(from, name, read, Mode::empty())?);
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&source)?.st_mode & 0o777);
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut copy = File::from(rustix::fs::openat(to, name, write, mode)?);
    io::copy(&mut source, &mut copy)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn files_folders_and_links_are_there_twice_and_take_their_space_once() {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("from"), home.path().join("to"));
        fs::create_dir_all(from.join("a/x/deep")).unwrap();
        fs::write(from.join("a/x/deep/file"), "1").unwrap();
        symlink("deep/file", from.join("a/x/link")).unwrap();
        tree(&from, &to, "a/x").unwrap();
        let inode = |path: &Path| fs::metadata(path.join("a/x/deep/file")).unwrap().ino();
        assert_eq!(inode(&from), inode(&to));
        assert_eq!(
            fs::read_link(to.join("a/x/link")).unwrap(),
            Path::new("deep/file")
        );
        let copied = home.path().join("copied");
        fs::create_dir(&copied).unwrap();
        let open = |path: &Path| Root::open(path).unwrap().folder(Path::new("")).unwrap();
        copy(open(&from.join("a/x/deep")), open(&copied), c"file").unwrap();
        assert_eq!(fs::read(copied.join("file")).unwrap(), b"1");
    }

    #[test]
    fn a_link_on_the_way_leads_nowhere() {
        let home = tempfile::tempdir().unwrap();
        let secret = home.path().join("secret");
        fs::create_dir_all(&secret).unwrap();
        fs::write(secret.join("file"), "s").unwrap();
        let (from, to) = (home.path().join("from"), home.path().join("to"));
        fs::create_dir(&from).unwrap();
        symlink(&secret, from.join("a")).unwrap();
        assert!(tree(&from, &to, "a/file").is_err());
        assert!(!to.join("a/file").exists());
    }
}
