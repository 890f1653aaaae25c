//! The packages that a bundle carries, and how `pip` in a container is made to take them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_registry::store::tar_entries::{Entries, Rules};
use samebundle_registry::store::{Source, SourceExt};
use samebundle_spec::{Descriptor, Digest};
use tokio_util::io::SyncIoBridge;

use super::ProgramError;
use crate::driver::Mount;
use crate::image::stream::TarStream;

/// Where containers see the wheels.
const TARGET: &str = "/samebundle/wheels";

/// A folder of wheels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wheelhouse {
    /// The folder on this machine.
    pub folder: PathBuf,
    /// Digest of the layer that it was unpacked from.
    pub digest: Digest,
}

impl Wheelhouse {
    /// Unpacks a wheelhouse once, below `layers`. The folder appears whole: its name is the layer's digest, and a rename
    /// puts it there after all was read and hashed.
    ///
    /// # Errors
    /// If the layer cannot be read, is not what its digest says, or holds anything but plain files at its top.
    pub async fn unpack(
        source: &dyn Source,
        layer: &Descriptor,
        layers: &Path,
    ) -> Result<Self, ProgramError> {
        let parent = layers.join("wheels");
        let folder = parent.join(layer.digest.hex());
        let wheelhouse = Self {
            folder: folder.clone(),
            digest: layer.digest,
        };
        if folder.exists() {
            return Ok(wheelhouse);
        }
        let failed = |source| ProgramError::Wheelhouse {
            digest: layer.digest,
            source,
        };
        let stream = source
            .fetch(layer)
            .await
            .map_err(|error| failed(io::Error::other(error)))?;
        let bridge = SyncIoBridge::new(stream);
        let layer = layer.clone();
        let unpacked = tokio::task::spawn_blocking(move || {
            let tar = TarStream::new(&layer, None, bridge)?;
            unpack_to(tar, &parent, &folder)
        });
        let unpacked = unpacked.await;
        match unpacked {
            Ok(result) => result.map_err(failed)?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        Ok(wheelhouse)
    }

    pub(super) fn mount(&self) -> Mount {
        Mount {
            source: self.folder.clone(),
            target: TARGET.to_owned(),
            writable: false,
        }
    }
}

fn unpack_to(mut tar: impl io::Read, parent: &Path, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(parent)?;
    let temporary = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
    let mut entries = Entries::new(&mut tar, Rules::default());
    while let Some(entry) = entries.next_entry().map_err(io::Error::other)? {
        if entry.is_folder || entry.path.as_str().contains('/') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is no plain file at its top", entry.path),
            ));
        }
        let mut file = std::fs::File::create_new(temporary.path().join(entry.path.as_str()))?;
        io::copy(&mut entries, &mut file)?;
        file.sync_all()?;
    }
    // The digest is checked where the stream ends.
    io::copy(&mut tar, &mut io::sink())?;
    // Containers may run as any user.
    std::fs::set_permissions(
        temporary.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    durable::sync_folder(temporary.path())?;
    match std::fs::rename(temporary.path(), folder) {
        // Another process was as fast; what it made is the same.
        Err(_) if folder.exists() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            let _gone = temporary.keep();
            durable::sync_folder(parent)
        }
    }
}

/// Sets up pip: from the wheelhouse only.
///
/// With `no-index` pip leaves out every index, those of a command's own `--index-url` and `--extra-index-url` too. The
/// image's mark against installing beside the system's packages (PEP 668) does not count in a root that is thrown away.
pub(super) fn environment() -> BTreeMap<String, String> {
    let settings = [
        ("PIP_BREAK_SYSTEM_PACKAGES", "1"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("PIP_FIND_LINKS", TARGET),
        ("PIP_NO_CACHE_DIR", "1"),
        ("PIP_NO_INDEX", "1"),
        ("PIP_NO_INPUT", "1"),
        ("PIP_ROOT_USER_ACTION", "ignore"),
        // What pip compiles is then valid by content, not by time: times in a kept layer are zero. The value is the
        // first that a zip file can hold, 1980.
        ("SOURCE_DATE_EPOCH", "315532800"),
    ];
    settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}
