//! Makes what a container wrote readable.
//!
//! The container may be hostile, but it has ended. No link is followed all the same. Failure: what cannot be changed (it
//! belongs to another user) stays as it is, and whoever reads it says so.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The rights that a file and a folder get. The home of samebundle is closed to others, so they are only for the users of
/// other containers.
const FILE: u32 = 0o444;
const FOLDER: u32 = 0o755;

/// Opens up a folder and everything in it.
pub(super) fn open_up(path: &Path) {
    let Ok(root) = rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return;
    };
    let mut open = vec![PathBuf::from(".")];
    while let Some(below) = open.pop() {
        let Ok(folder) = folder(&root, &below) else {
            continue;
        };
        let Ok(entries) = Dir::read_from(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => open.push(below.join(std::ffi::OsStr::from_bytes(name.to_bytes()))),
                FileType::RegularFile if stat.st_mode & FILE != FILE => {
                    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    if let Ok(file) = rustix::fs::openat(&folder, name, flags, Mode::empty()) {
                        let _ = add(&file, stat.st_mode, FILE);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Opens a folder for reading, with the rights that it needs.
fn folder(root: &OwnedFd, below: &Path) -> Result<File, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = |flags| {
        rustix::fs::openat2(
            root,
            below,
            flags | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    };
    let found = open(OFlags::PATH)?;
    let mode = rustix::fs::fstat(&found)?.st_mode;
    if mode & FOLDER != FOLDER {
        let _ = add(&found, mode, FOLDER);
    }
    open(OFlags::RDONLY).map(File::from)
}

/// Adds rights through a handle that can do nothing else.
fn add(handle: &OwnedFd, mode: u32, rights: u32) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    rustix::fs::chmod(path.as_str(), Mode::from_raw_mode((mode | rights) & 0o7777))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn everything_is_readable_and_nothing_else_changes() {
        let home = tempfile::tempdir().unwrap();
        let (out, outside) = (home.path().join("out"), home.path().join("outside"));
        fs::create_dir_all(out.join("closed/deep")).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for (name, bits) in [("secret", 0), ("closed/deep/file", 0o200), ("run", 0o711)] {
            fs::write(out.join(name), "x").unwrap();
            set(&out.join(name), bits);
        }
        fs::write(&outside, "x").unwrap();
        set(&outside, 0o600);
        symlink(&outside, out.join("link")).unwrap();
        set(&out.join("closed/deep"), 0);
        set(&out.join("closed"), 0o100);
        set(&out, 0o500);
        open_up(&out);
        for (path, wanted) in [
            ("", 0o755),
            ("secret", 0o444),
            ("closed", 0o755),
            ("closed/deep/file", 0o644),
            ("run", 0o755),
        ] {
            assert_eq!(mode(&out.join(path)), wanted, "{path}");
        }
        assert_eq!(mode(&outside), 0o600);
    }
}
