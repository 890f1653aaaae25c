//! Deleted files: the names that mark them in a layer's tar, and what overlayfs wants to see instead.
//!
//! OCI image-spec 1.1, layer.md "Whiteouts"; Linux Documentation/filesystems/overlayfs.rst.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, XattrFlags};

/// The prefix of the name of a deleted file.
pub(super) const PREFIX: &str = ".wh.";
/// The mark of a folder that hides the same folder of lower layers.
pub(super) const OPAQUE: &str = ".wh..wh..opq";
/// The prefix of what aufs kept for itself. It means nothing in a layer.
pub(super) const AUFS: &str = ".wh..wh.";

/// Who unpacked a layer, which decides ownership and the name of the opaque mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerOwner {
    /// Root: files keep their owners.
    Root,
    /// Another user, who owns all files; overlay is mounted with `userxattr`.
    User,
}

impl LayerOwner {
    pub(super) fn opaque_mark(self) -> &'static str {
        match self {
            Self::Root => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// Tells whether a folder hides the same folder of lower layers.
///
/// # Errors
/// The system's error, but for "there is no such mark".
pub fn is_opaque(folder: impl AsFd, owner: LayerOwner) -> io::Result<bool> {
    let mut value = [0; 8];
    match rustix::fs::fgetxattr(folder, owner.opaque_mark(), &mut value) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn make_opaque(folder: impl AsFd, owner: LayerOwner) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(
        folder,
        owner.opaque_mark(),
        b"y",
        XattrFlags::empty(),
    )?)
}

/// Makes the character device 0:0 that stands for a deleted file; the kernel lets anyone make it since 5.8.
pub(super) fn make_whiteout(parent: impl AsFd, name: &std::ffi::OsStr) -> io::Result<()> {
    Ok(rustix::fs::mknodat(
        parent,
        name,
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )?)
}
