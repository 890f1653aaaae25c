//! From the upper folder of an overlay to the uncompressed tar of an OCI layer.
//!
//! Deterministic: entries sorted by name, all times 0, no user names, headers in one form. Overlay's marks of deleted
//! files become the layer's own. Sockets and devices are left out. A program that compares times with what it wrote
//! itself (Python's `.pyc` files unless `SOURCE_DATE_EPOCH` was set) sees other times afterwards.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::whiteout::{self, LayerOwner};

/// Writes a folder that this process made as a layer whose files all belong to root.
///
/// # Errors
/// The system's error.
pub fn pack_folder(folder: &Path, to: impl Write) -> io::Result<()> {
    write(folder, LayerOwner::User, &BTreeSet::new(), true, to)
}

/// Writes a container's upper folder as a layer. `left_out` are the paths from its root at which something was mounted:
/// they are left out, with all below them.
///
/// # Errors
/// The system's error.
pub fn pack(upper: &Path, owner: LayerOwner, left_out: &BTreeSet<PathBuf>, to: impl Write) -> io::Result<()> {
    write(upper, owner, left_out, false, to)
}

fn write(
    upper: &Path,
    owner: LayerOwner,
    left_out: &BTreeSet<PathBuf>,
    as_root: bool,
    to: impl Write,
) -> io::Result<()> {
    let mut packer = Packer {
        upper,
        owner,
        // Root itself may have given folders to the users that have them in the image.
        as_root: as_root && !rustix::process::geteuid().is_root(),
        tar: Builder::new(to),
        seen: HashMap::new(),
    };
    packer.tar.follow_symlinks(false);
    let mut open = vec![names(upper)?.into_iter()];
    let mut path = PathBuf::new();
    // Depth costs memory, not stack: a container can make paths of any depth.
    while let Some(folder) = open.last_mut() {
        let Some(name) = folder.next() else {
            open.pop();
            path.pop();
            continue;
        };
        path.push(name);
        if !left_out.contains(&path) && packer.entry(&path)? {
            open.push(names(&upper.join(&path))?.into_iter());
        } else {
            path.pop();
        }
    }
    packer.tar.into_inner()?.flush()
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

struct Packer<'a, W: Write> {
    upper: &'a Path,
    owner: LayerOwner,
    /// Whether root owns everything, whoever does here.
    as_root: bool,
    tar: Builder<W>,
    /// Files with more than one name, by device and inode, with the path under which they were written.
    seen: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<'_, W> {
    /// Writes one entry; true if it is a folder whose entries follow.
    fn entry(&mut self, path: &Path) -> io::Result<bool> {
        let file = self.upper.join(path);
        let metadata = std::fs::symlink_metadata(&file)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.folder(path, &file, &metadata)?;
            return Ok(true);
        }
        if kind.is_char_device() && metadata.rdev() == 0 {
            let mut name = OsString::from(whiteout::PREFIX);
            name.push(path.file_name().unwrap_or_default());
            self.mark(path.parent().unwrap_or(Path::new("")), &name)?;
        } else if kind.is_symlink() {
            let mut header = self.header(&metadata, EntryType::Symlink, 0);
            self.tar
                .append_link(&mut header, path, std::fs::read_link(&file)?)?;
        } else if kind.is_fifo() {
            let mut header = self.header(&metadata, EntryType::Fifo, 0);
            self.tar.append_data(&mut header, path, io::empty())?;
        } else if kind.is_file() {
            self.file(path, &file, &metadata)?;
        }
        Ok(false)
    }

    fn folder(&mut self, path: &Path, file: &Path, metadata: &Metadata) -> io::Result<()> {
        let mut header = self.header(metadata, EntryType::Directory, 0);
        self.tar.append_data(&mut header, path, io::empty())?;
        if whiteout::is_opaque(File::open(file)?, self.owner)? {
            self.mark(path, OsStr::new(whiteout::OPAQUE))?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, file: &Path, metadata: &Metadata) -> io::Result<()> {
        let inode = (metadata.dev(), metadata.ino());
        if metadata.nlink() > 1 {
            if let Some(first) = self.seen.get(&inode) {
                let mut header = self.header(metadata, EntryType::Link, 0);
                return self.tar.append_link(&mut header, path, first);
            }
            self.seen.insert(inode, path.to_owned());
        }
        let mut header = self.header(metadata, EntryType::Regular, metadata.len());
        self.tar.append_data(&mut header, path, File::open(file)?)
    }

    /// Writes the mark of something deleted.
    fn mark(&mut self, parent: &Path, name: &OsStr) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        self.tar.append_data(&mut header, parent.join(name), io::empty())
    }

    fn header(&self, metadata: &Metadata, kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(if self.as_root {
            0
        } else {
            u64::from(metadata.uid())
        });
        header.set_gid(if self.as_root {
            0
        } else {
            u64::from(metadata.gid())
        });
        header.set_mtime(0);
        header.set_size(size);
        header
    }
}
