//! Files that decide trust, which are read only if nobody else could have written them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use samebundle_spec::{Classify, ErrorKind};

use crate::PathError;

/// Why a file that decides trust is not used.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// A symbolic link, which somebody else could point elsewhere.
    #[error("{path} is a symbolic link, which is not followed here; put the file itself there")]
    Link {
        /// The file or folder.
        path: String,
    },
    /// Not a regular file, or not a folder.
    #[error("{path} is not a {wanted}")]
    Kind {
        /// The file or folder.
        path: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Others may write it.
    #[error(
        "others may write {path} (mode {mode:04o}), so it decides nothing; check its content, then `chmod go-w` it"
    )]
    Writable {
        /// The file or folder.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("{path} belongs to user {owner}, not to you or root, so it decides nothing")]
    Owner {
        /// The file or folder.
        path: String,
        /// Its owner.
        owner: u32,
    },
    /// Larger than any such file is.
    #[error("{path} has more than {limit} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit, bytes.
        limit: u64,
    },
    /// The system's answer.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl GuardError {
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        PathError::into(operation, path)
    }
}

impl Classify for GuardError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Link { .. } | Self::Kind { .. } | Self::Writable { .. } | Self::Owner { .. } => {
                ErrorKind::NotTrusted
            }
            Self::TooLarge { .. } => ErrorKind::Input,
            Self::Path(error) => error.kind(),
        }
    }
}

/// Reads a file of at most `limit` bytes. `None` if it does not exist.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, GuardError> {
    let Some(file) = open(path, rustix::fs::OFlags::empty())? else {
        return Ok(None);
    };
    check(path, &file, "regular file", std::fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(GuardError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(GuardError::TooLarge {
            path: path.display().to_string(),
            limit,
        });
    }
    Ok(Some(bytes))
}

/// Checks a folder. False if there is none.
pub(super) fn folder(path: &Path) -> Result<bool, GuardError> {
    // A path with a slash at its end names the target of a link.
    let path: &Path = &path.components().collect::<PathBuf>();
    match open(path, rustix::fs::OFlags::DIRECTORY)? {
        Some(file) => check(path, &file, "folder", std::fs::Metadata::is_dir).map(|()| true),
        None => Ok(false),
    }
}

/// Opens without following a link, and without waiting for a writer where it is a pipe.
fn open(path: &Path, also: rustix::fs::OFlags) -> Result<Option<File>, GuardError> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | also;
    // The bits are the same number; only the signedness of the C interface differs.
    let flags = flags.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) => {
            Err(GuardError::Link {
                path: path.display().to_string(),
            })
        }
        Err(error) => Err(GuardError::io("open", path)(error)),
    }
}

fn check(
    path: &Path,
    file: &File,
    wanted: &'static str,
    kind: fn(&std::fs::Metadata) -> bool,
) -> Result<(), GuardError> {
    let metadata = file.metadata().map_err(GuardError::io("look at", path))?;
    let shown = || path.display().to_string();
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if !kind(&metadata) {
        Err(GuardError::Kind {
            path: shown(),
            wanted,
        })
    } else if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        Err(GuardError::Owner { path: shown(), owner })
    } else if mode & 0o022 != 0 {
        Err(GuardError::Writable { path: shown(), mode })
    } else {
        Ok(())
    }
}
