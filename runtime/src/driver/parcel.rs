//! A file or folder that is sent between machines: a tar whose only top entry is `content`.
//!
//! Kinds, names, modes and bytes are kept; owners and times are not, because they mean nothing on another machine. A
//! container made its content: no entry can reach outside of the folder in which it is unpacked, and links stay links,
//! for the code that checks outputs. The last entry is an empty file `end`, so a parcel that was cut off is refused.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use tar::{Archive, Builder, EntryType, Header};

const TOP: &str = "content";
const END: &str = "end";

/// Packs a file or folder.
///
/// # Errors
/// The system's error.
pub fn pack(path: &Path, to: impl Write) -> io::Result<()> {
    let mut tar = Builder::new(to);
    tar.follow_symlinks(false);
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let file = if below.as_os_str().is_empty() {
            path.to_owned()
        } else {
            path.join(&below)
        };
        let metadata = fs::symlink_metadata(&file)?;
        if metadata.is_dir() {
            open.extend(names(&file)?.into_iter().rev().map(|name| below.join(name)));
        }
        append(&mut tar, &Path::new(TOP).join(&below), &file, &metadata)?;
    }
    finish(tar)?.flush()
}

/// Packs a file that is given as bytes.
///
/// # Errors
/// It cannot fail in memory.
pub fn of_bytes(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let mut header = header(EntryType::Regular, 0o644, bytes.len() as u64);
    tar.append_data(&mut header, TOP, bytes)?;
    finish(tar)
}

/// Packs a folder of files that are given as bytes.
///
/// # Errors
/// It cannot fail in memory.
pub fn of_files(files: &BTreeMap<String, Vec<u8>>, mode: u32) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    tar.append_data(&mut header(EntryType::Directory, 0o755, 0), TOP, io::empty())?;
    for (name, bytes) in files {
        let mut header = header(EntryType::Regular, mode, bytes.len() as u64);
        tar.append_data(&mut header, Path::new(TOP).join(name), bytes.as_slice())?;
    }
    finish(tar)
}

fn finish<W: Write>(mut tar: Builder<W>) -> io::Result<W> {
    tar.append_data(&mut header(EntryType::Regular, 0o644, 0), END, io::empty())?;
    tar.into_inner()
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn append(tar: &mut Builder<impl Write>, name: &Path, file: &Path, metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let mode = metadata.mode() & 0o7777;
    if kind.is_symlink() {
        let mut header = header(EntryType::Symlink, mode, 0);
        return tar.append_link(&mut header, name, fs::read_link(file)?);
    }
    if kind.is_file() {
        let mut header = header(EntryType::Regular, mode, metadata.len());
        return tar.append_data(&mut header, name, File::open(file)?);
    }
    let entry = match () {
        () if kind.is_dir() => EntryType::Directory,
        // Of what cannot be sent, at least the kind is.
        () if kind.is_fifo() || kind.is_socket() => EntryType::Fifo,
        () => return Err(io::Error::other(format!("{} is a device", name.display()))),
    };
    tar.append_data(&mut header(entry, mode, 0), name, io::empty())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// Unpacks a file or folder to a path that does not exist.
///
/// # Errors
/// If it is no parcel, is cut off, or cannot be written.
pub fn unpack(from: impl Read, path: &Path) -> io::Result<()> {
    let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(parent)?;
    let root = File::open(parent)?;
    let mut archive = Archive::new(from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        if name == Path::new(END) {
            return Ok(());
        }
        place(&root, &inside(&name, last)?, &mut entry)?;
    }
    Err(wrong("it is cut off".to_owned()))
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no parcel of content: {why}"))
}

/// Returns the path of an entry below the parent of what is unpacked.
fn inside(name: &Path, last: &std::ffi::OsStr) -> io::Result<PathBuf> {
    let refused = || wrong(format!("it has an entry {}", name.display()));
    let below = name.strip_prefix(TOP).map_err(|_| refused())?;
    let plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    match plain {
        true => Ok(Path::new(last).join(below)),
        false => Err(refused()),
    }
}

/// Opens the folder of an entry. No link is followed.
fn folder(root: &File, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// Makes one entry.
fn place(root: &File, name: &Path, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
    let parent = folder(root, name.parent().unwrap_or(Path::new("")))?;
    let last = name
        .file_name()
        .ok_or_else(|| wrong("an entry without a name".to_owned()))?;
    let mode = Mode::from_raw_mode(entry.header().mode()?);
    match entry.header().entry_type() {
        EntryType::Directory => {
            rustix::fs::mkdirat(&parent, last, Mode::from_raw_mode(0o700))?;
            // The mode is what it was, whatever the umask. The owner must be able to write into the folder.
            rustix::fs::chmodat(&parent, last, mode | Mode::RWXU, AtFlags::empty())?;
        }
        EntryType::Regular => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(&parent, last, flags, Mode::RUSR | Mode::WUSR)?);
            io::copy(entry, &mut file)?;
            rustix::fs::fchmod(&file, mode)?;
        }
        EntryType::Symlink => {
            let target = entry
                .link_name()?
                .ok_or_else(|| wrong("a link to nothing".to_owned()))?;
            rustix::fs::symlinkat(&*target, &parent, last)?;
        }
        EntryType::Fifo => rustix::fs::mknodat(&parent, last, FileType::Fifo, mode, 0)?,
        other => return Err(wrong(format!("an entry of kind {other:?}"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn moved(from: &Path) -> (tempfile::TempDir, PathBuf) {
        let mut tar = Vec::new();
        pack(from, &mut tar).unwrap();
        let home = tempfile::tempdir().unwrap();
        let to = home.path().join("deep/there");
        unpack(tar.as_slice(), &to).unwrap();
        (home, to)
    }

    #[test]
    fn files_and_folders_arrive_as_they_were() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let (_keep, to) = moved(&file);
        assert_eq!(fs::read(&to).unwrap(), b"x");
        assert_eq!(to.metadata().unwrap().mode() & 0o777, 0o755);
        fs::create_dir_all(home.path().join("a/empty")).unwrap();
        let long = "n".repeat(200);
        fs::write(home.path().join("a").join(&long), "y").unwrap();
        symlink("/etc/passwd", home.path().join("a/link")).unwrap();
        let (_keep, to) = moved(home.path());
        assert_eq!(fs::read(to.join("a").join(long)).unwrap(), b"y");
        assert!(to.join("a/empty").is_dir());
        assert_eq!(
            fs::read_link(to.join("a/link")).unwrap(),
            Path::new("/etc/passwd")
        );
    }

    #[test]
    fn nothing_leaves_its_folder_and_nothing_cut_off_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let link = |tar: &mut Builder<Vec<u8>>, name: &str, target: &Path| {
            tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), name, target)
                .unwrap();
        };
        let file = |tar: &mut Builder<Vec<u8>>, name: &str| {
            let mut header = header(EntryType::Regular, 0o644, 1);
            // The crate's own setter refuses hostile names, which are wanted here.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, &b"x"[..]).unwrap();
        };
        for name in ["content/../../outside/x", "other", "/content/x", "content/out/x"] {
            let mut tar = Builder::new(Vec::new());
            tar.append_data(
                &mut header(EntryType::Directory, 0o755, 0),
                "content",
                io::empty(),
            )
            .unwrap();
            link(&mut tar, "content/out", &outside);
            file(&mut tar, name);
            let tar = tar.into_inner().unwrap();
            let to = home.path().join("to");
            let _ = fs::remove_dir_all(&to);
            assert!(unpack(tar.as_slice(), &to).is_err(), "{name}");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
        }
        let whole = of_bytes(&[7; 5_000]).unwrap();
        for length in [0, 100, 512, 4_000] {
            let to = home.path().join(format!("cut-{length}"));
            assert!(unpack(&whole[..length], &to).is_err(), "{length}");
        }
    }
}
