//! From the tar of a layer to a folder in overlayfs form.
//!
//! A layer may hold links, and entries may go through links that the same layer made: they are resolved beneath the root,
//! as every engine does it by chroot. Refused, never skipped: names with `..`, a root that is no folder, hard links to what
//! is not in the layer, headers beyond the limits, sparse PAX forms. Left out on purpose: devices (a container has its own
//! `/dev`), and extended attributes (file capabilities among them). Set-user-id bits are kept as data; containers run with
//! `no_new_privs`, which takes their effect away.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use samebundle_spec::{Digest, limits};
use tar::EntryType;

use super::Layer;
use super::beneath::{self, Root};
use super::error::is_of_this_machine;
use super::stream::TarStream;
use super::whiteout::{self, LayerOwner};

/// What an unpacked layer was.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Digest of the whole tar.
    pub(super) diff_id: Digest,
    /// How many devices were left out.
    pub(super) devices: usize,
}

/// Unpacks a layer into an empty folder. An error of kind `InvalidData` means that the layer is refused.
pub(super) fn unpack(stream: TarStream<'_>, folder: &Path, owner: LayerOwner) -> io::Result<Unpacked> {
    let allowance = stream.allowance();
    let mut unpacker = Unpacker {
        root: Root::open(folder)?,
        owner,
        parent: None,
        folders: Vec::new(),
        devices: 0,
    };
    let mut archive = tar::Archive::new(stream);
    let mut count = 0;
    allowance.headers();
    for entry in archive.entries()? {
        allowance.content();
        let mut entry = entry?;
        count += 1;
        if count > limits::LAYER_ENTRIES {
            return Err(refused(format!(
                "it has more than {} entries",
                limits::LAYER_ENTRIES
            )));
        }
        unpacker
            .entry(&mut entry)
            .map_err(|error| named(&entry.path_bytes(), error))?;
        io::copy(&mut entry, &mut io::sink())?;
        allowance.headers();
    }
    unpacker.finish()?;
    Ok(Unpacked {
        devices: unpacker.devices,
        diff_id: archive.into_inner().finish()?,
    })
}

/// Reads a layer that another tool will unpack, and refuses those names that `unpack` would refuse.
///
/// # Errors
/// Of kind `InvalidData` with the entry's name if the layer is refused, or is not what its digests say.
pub fn scan(layer: &Layer, bytes: impl Read) -> io::Result<()> {
    let stream = TarStream::new(&layer.blob, layer.diff_id, bytes)?;
    let allowance = stream.allowance();
    let mut archive = tar::Archive::new(stream);
    allowance.headers();
    for (number, entry) in archive.entries()?.enumerate() {
        allowance.content();
        let mut entry = entry?;
        if number >= limits::LAYER_ENTRIES {
            return Err(refused("it has too many entries"));
        }
        scan_entry(&mut entry).map_err(|error| named(&entry.path_bytes(), error))?;
        io::copy(&mut entry, &mut io::sink())?;
        allowance.headers();
    }
    let found = archive.into_inner().finish()?;
    match layer.diff_id {
        Some(wanted) if wanted != found => Err(refused(format!("its diff id is {found}, not {wanted}"))),
        _ => Ok(()),
    }
}

fn scan_entry<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
    refuse_sparse_records(entry)?;
    let kind = entry.header().entry_type();
    let path = relative(&entry.path_bytes())?;
    if path.file_name().is_none() && !matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) {
        return Err(refused("the root of a layer must be a folder"));
    }
    match kind {
        EntryType::Symlink => link_target(entry).map(|_| ()),
        EntryType::Link => relative(link_target(entry)?.as_bytes()).map(|_| ()),
        _ => Ok(()),
    }
}

fn refused(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Puts the entry's name before what is wrong with it. An error of this machine is passed on as it is.
pub(super) fn named(name: &[u8], error: io::Error) -> io::Error {
    if is_of_this_machine(&error) {
        return error;
    }
    let name = String::from_utf8_lossy(name);
    io::Error::new(error.kind(), format!("entry {name:?}: {error}"))
}

/// What an entry's header says of a file.
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    modified: Timestamps,
}

struct Unpacker {
    root: Root,
    owner: LayerOwner,
    /// The folder that the last entry was in: layers list a folder's files one after the other.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Folders whose mode and time are set at the end, when nothing is written into them any more.
    folders: Vec<(PathBuf, u32, Timestamps)>,
    devices: usize,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        refuse_sparse_records(entry)?;
        let path = relative(&entry.path_bytes())?;
        let attributes = attributes(entry.header())?;
        let kind = entry.header().entry_type();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.root_entry(kind, &attributes);
        };
        self.enter(parent)?;
        let name = name.to_owned();
        if name.as_bytes().starts_with(whiteout::PREFIX.as_bytes()) {
            return self.deletion(&name);
        }
        match kind {
            EntryType::Directory => self.make_folder(&path, &name, &attributes),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&name, entry, &attributes)
            }
            EntryType::Symlink => self.symlink(&name, &link_target(entry)?, &attributes),
            EntryType::Link => self.hard_link(&name, &relative(link_target(entry)?.as_bytes())?),
            EntryType::Fifo => self.fifo(&name, &attributes),
            EntryType::Char | EntryType::Block => {
                self.devices += 1;
                Ok(())
            }
            EntryType::XGlobalHeader => Ok(()),
            other => Err(refused(format!(
                "its type {:?} does not belong in a layer",
                other.as_byte() as char
            ))),
        }
    }

    fn root_entry(&mut self, kind: EntryType, attributes: &Attributes) -> io::Result<()> {
        match kind {
            EntryType::Directory => {
                self.folders
                    .push((PathBuf::new(), attributes.mode, attributes.modified.clone()));
                Ok(())
            }
            EntryType::XGlobalHeader => Ok(()),
            _ => Err(refused("the root of a layer must be a folder")),
        }
    }

    /// Opens the folder of an entry, made if the layer does not list it.
    fn enter(&mut self, parent: &Path) -> io::Result<()> {
        if self.parent.as_ref().is_none_or(|(path, _)| path != parent) {
            let folder = match self.root.folder(parent) {
                Ok(folder) => folder,
                Err(_) => self.make_parents(parent)?,
            };
            self.parent = Some((parent.to_owned(), folder));
        }
        Ok(())
    }

    /// Opens a folder that the layer has. The error names what stands in the way.
    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.root.folder(path) {
            Err(error) if !is_of_this_machine(&error) => Err(self.obstacle(path)?),
            other => other,
        }
    }

    /// Says which part of a path is no folder of the layer.
    fn obstacle(&self, path: &Path) -> io::Result<io::Error> {
        let mut done = PathBuf::new();
        for name in path {
            let above = self.root.folder(&done)?;
            done.push(name);
            if self.root.folder(&done).is_ok() {
                continue;
            }
            return Ok(refused(match beneath::kind(&above, name)? {
                Some(FileType::Symlink) => {
                    format!("it goes through a link, {done:?}, which leads to no folder of the layer")
                }
                Some(_) => format!("it goes through {done:?}, which is no folder"),
                None => format!("the layer has no {done:?}"),
            }));
        }
        Ok(refused("its folder changed while it was unpacked"))
    }

    /// Makes folders that the layer does not list. A folder that the layer deletes starts empty and hides the lower
    /// layers.
    fn make_parents(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut done = PathBuf::new();
        for name in path {
            let above = self.root.folder(&done)?;
            done.push(name);
            let before = beneath::kind(&above, name)?;
            if before == Some(FileType::CharacterDevice) {
                beneath::remove(&above, name)?;
            } else if before.is_some() {
                self.folder(&done)?;
                continue;
            }
            rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
            if before.is_some() {
                whiteout::make_opaque(self.root.folder(&done)?, self.owner)?;
            }
        }
        self.root.folder(path)
    }

    fn here(&self) -> io::Result<&OwnedFd> {
        let parent = self.parent.as_ref().map(|(_, folder)| folder);
        parent.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Removes what an earlier entry of the same layer put there; later entries win.
    fn clear(&mut self, name: &OsStr) -> io::Result<()> {
        beneath::remove(self.here()?, name)
    }

    fn deletion(&mut self, name: &OsStr) -> io::Result<()> {
        let here = self.here()?;
        if name == whiteout::OPAQUE {
            return whiteout::make_opaque(here, self.owner);
        }
        if name.as_bytes().starts_with(whiteout::AUFS.as_bytes()) {
            return Ok(());
        }
        let deleted = OsStr::from_bytes(&name.as_bytes()[whiteout::PREFIX.len()..]);
        if deleted.is_empty() || deleted == "." || deleted == ".." {
            return Err(refused("it deletes nothing that has a name"));
        }
        match beneath::kind(here, deleted)? {
            None => whiteout::make_whiteout(here, deleted),
            // The layer has something there itself: only what lower layers have is deleted.
            Some(FileType::Directory) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder = rustix::fs::openat(here, deleted, flags, Mode::empty())?;
                whiteout::make_opaque(&folder, self.owner)
            }
            Some(_) => Ok(()),
        }
    }

    fn make_folder(&mut self, path: &Path, name: &OsStr, attributes: &Attributes) -> io::Result<()> {
        let before = beneath::kind(self.here()?, name)?;
        if before != Some(FileType::Directory) {
            self.clear(name)?;
            self.parent_changed(path);
            rustix::fs::mkdirat(self.here()?, name, Mode::RWXU)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(self.here()?, name, flags, Mode::empty())?;
        if before == Some(FileType::CharacterDevice) {
            whiteout::make_opaque(&folder, self.owner)?;
        }
        self.own(&folder, attributes)?;
        let writable = Mode::from_raw_mode(attributes.mode | 0o700);
        rustix::fs::fchmod(&folder, writable)?;
        self.folders
            .push((path.to_owned(), attributes.mode, attributes.modified.clone()));
        Ok(())
    }

    /// Forgets the open folder if another file or folder has its path now.
    fn parent_changed(&mut self, path: &Path) {
        if self
            .parent
            .as_ref()
            .is_some_and(|(open, _)| open.starts_with(path))
        {
            self.parent = None;
        }
    }

    fn file(&mut self, name: &OsStr, content: &mut impl Read, attributes: &Attributes) -> io::Result<()> {
        self.clear(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(self.here()?, name, flags, Mode::RWXU)?);
        io::copy(content, &mut file)?;
        self.own(&file, attributes)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode))?;
        Ok(rustix::fs::futimens(&file, &attributes.modified)?)
    }

    fn symlink(&mut self, name: &OsStr, target: &OsStr, attributes: &Attributes) -> io::Result<()> {
        self.clear(name)?;
        let here = self.here()?;
        rustix::fs::symlinkat(target, here, name)?;
        if self.owner == LayerOwner::Root {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            rustix::fs::chownat(here, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(rustix::fs::utimensat(
            here,
            name,
            &attributes.modified,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    fn hard_link(&mut self, name: &OsStr, target: &Path) -> io::Result<()> {
        let (Some(folder), Some(file)) = (target.parent(), target.file_name()) else {
            return Err(refused("a hard link cannot name the root"));
        };
        let folder = self.folder(folder)?;
        match beneath::kind(&folder, file)? {
            Some(FileType::Directory) => return Err(refused("a hard link cannot name a folder")),
            None => return Err(refused("its hard link names what the layer does not have")),
            Some(_) => {}
        }
        // A link to itself changes nothing and must not remove the file.
        match rustix::fs::linkat(&folder, file, self.here()?, name, AtFlags::empty()) {
            Err(Errno::EXIST) => {
                let [old, new] = [(folder.as_fd(), file), (self.here()?.as_fd(), name)]
                    .map(|(parent, name)| rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW));
                let (old, new) = (old?, new?);
                if (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino) {
                    return Ok(());
                }
                self.clear(name)?;
                Ok(rustix::fs::linkat(
                    &folder,
                    file,
                    self.here()?,
                    name,
                    AtFlags::empty(),
                )?)
            }
            other => Ok(other?),
        }
    }

    fn fifo(&mut self, name: &OsStr, attributes: &Attributes) -> io::Result<()> {
        self.clear(name)?;
        let mode = Mode::from_raw_mode(attributes.mode & 0o777);
        rustix::fs::mknodat(self.here()?, name, FileType::Fifo, mode, 0)?;
        Ok(())
    }

    fn own(&self, file: impl AsFd, attributes: &Attributes) -> io::Result<()> {
        if self.owner == LayerOwner::Root {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            rustix::fs::fchown(file, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.parent = None;
        // The deepest folder comes last in a layer, so it comes first here: a folder loses its write bit after all
        // below it are done.
        while let Some((path, mode, modified)) = self.folders.pop() {
            let folder = match self.root.folder(&path) {
                Ok(folder) => folder,
                // A later entry put something else there.
                Err(error) if !is_of_this_machine(&error) => continue,
                Err(error) => return Err(error),
            };
            // Without root a folder that its owner cannot search would be closed to the container's root as well.
            let kept = if self.owner == LayerOwner::User {
                mode | 0o700
            } else {
                mode
            };
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(kept))?;
            rustix::fs::futimens(&folder, &modified)?;
        }
        Ok(())
    }
}

/// PAX sparse files keep their map in the content; the tar crate would write the map as data.
fn refuse_sparse_records<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
    let Some(records) = entry.pax_extensions()? else {
        return Ok(());
    };
    for record in records {
        if record?.key_bytes().starts_with(b"GNU.sparse.") {
            return Err(refused("PAX sparse files are not supported"));
        }
    }
    Ok(())
}

fn attributes(header: &tar::Header) -> io::Result<Attributes> {
    let id =
        |value: io::Result<u64>| u32::try_from(value?).map_err(|_| refused("its owner is no 32-bit number"));
    let modified = Timespec {
        tv_sec: i64::try_from(header.mtime()?).unwrap_or(0),
        tv_nsec: 0,
    };
    Ok(Attributes {
        mode: header.mode()? & 0o7777,
        uid: id(header.uid())?,
        gid: id(header.gid())?,
        modified: Timestamps {
            last_access: modified,
            last_modification: modified,
        },
    })
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<OsString> {
    let target = entry
        .link_name_bytes()
        .ok_or_else(|| refused("it is a link to nothing"))?;
    if target.is_empty() || target.len() > limits::LAYER_PATH_BYTES {
        return Err(refused("its target is empty or too long"));
    }
    Ok(OsStr::from_bytes(&target).to_owned())
}

/// Makes a name relative to the layer's root. Leading `/` and `./` are how some tools write that root.
fn relative(name: &[u8]) -> io::Result<PathBuf> {
    if name.len() > limits::LAYER_PATH_BYTES {
        return Err(refused("its name is too long"));
    }
    let mut path = PathBuf::new();
    let mut depth = 0;
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => {
                path.push(part);
                depth += 1;
            }
            Component::ParentDir => return Err(refused("its name has a \"..\"")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if depth > limits::LAYER_PATH_DEPTH {
        return Err(refused("its path is too deep"));
    }
    Ok(path)
}
