//! Files and folders of this machine that a person gave, copied into a run: what a run read must not change with them.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags};
use samebundle_spec::limits;

/// Copies a file or folder. What a person names may be a link; links in a folder stay links.
///
/// # Errors
/// If it is not there, cannot be read, is a device, a socket or a pipe, or has too many entries.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let handle = rustix::fs::open(from, flags, Mode::empty())?;
    let mut entries = 0;
    copy_open(handle, to, 0, &mut entries)
}

fn copy_open(handle: rustix::fd::OwnedFd, to: &Path, depth: usize, entries: &mut usize) -> io::Result<()> {
    *entries += 1;
    if *entries > limits::OUTPUT_ENTRIES || depth > limits::OUTPUT_DEPTH {
        return Err(io::Error::other("it has too many files, or folders in folders"));
    }
    let stat = rustix::fs::fstat(&handle)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let mut from = File::from(handle);
            let mut file = File::create_new(to)?;
            // Where the file system can, the two share their blocks.
            io::copy(&mut from, &mut file)?;
            file.sync_all()
        }
        FileType::Directory => copy_folder(&handle, to, depth, entries),
        _ => Err(io::Error::other("it is neither a file nor a folder")),
    }
}

fn copy_folder(handle: &rustix::fd::OwnedFd, to: &Path, depth: usize, entries: &mut usize) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in Dir::read_from(handle)? {
        let entry = entry?;
        let name = entry.file_name();
        if [&b"."[..], b".."].contains(&name.to_bytes()) {
            continue;
        }
        let to = to.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        match rustix::fs::openat(handle, name, flags, Mode::empty()) {
            Ok(inner) => copy_open(inner, &to, depth + 1, entries)?,
            Err(rustix::io::Errno::LOOP) => {
                let text = rustix::fs::readlinkat(handle, name, Vec::new())?;
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(text.as_bytes()), &to)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
