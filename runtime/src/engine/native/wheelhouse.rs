//! The packages that a bundle carries, and how `pip` in a container is configured to use them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use samebundle_registry::archive::tar_entries::{Entries, Rules};
use samebundle_registry::store::Source;
use samebundle_spec::Descriptor;

use super::{ProgramError, unpacked};
use crate::context::Context;
use crate::driver::{Content, Input};

/// The folder of wheels in containers.
const TARGET: &str = "/samebundle/wheels";

/// A folder of wheels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wheelhouse {
    /// The folder on this machine.
    folder: PathBuf,
    /// The layer that it was unpacked from.
    pub(super) layer: Descriptor,
}

impl Wheelhouse {
    /// Unpacks a wheelhouse once, below the home's layers, into a folder named by the layer's digest.
    ///
    /// # Errors
    /// If the layer cannot be read, is not what its digest says, or holds anything but plain files at its top.
    pub(super) async fn unpack(
        source: &dyn Source,
        layer: &Descriptor,
        context: &Context,
    ) -> Result<Self, ProgramError> {
        let folder = context.home.layers().join("wheels").join(layer.digest.hex());
        let step = ("unpack the wheelhouse".to_owned(), &*context.events);
        let unpacked = unpacked::once(source, layer, folder.clone(), step, fill).await;
        unpacked.map_err(|source| ProgramError::Wheelhouse {
            digest: layer.digest,
            source,
        })?;
        Ok(Self {
            folder,
            layer: layer.clone(),
        })
    }

    /// Returns the folder of wheels on this machine.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the input for a task and its path on this machine.
    pub(super) fn to_input(&self) -> (Input, PathBuf) {
        let input = Input {
            target: TARGET.to_owned(),
            content: Content::Layer(Box::new(self.layer.clone())),
        };
        (input, self.folder.clone())
    }
}

fn fill(mut tar: &mut dyn io::Read, folder: &Path) -> io::Result<()> {
    let mut entries = Entries::new(&mut tar, Rules::default());
    while let Some(entry) = entries.next_entry().map_err(io::Error::other)? {
        if entry.is_folder || entry.path.as_str().contains('/') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is no plain file at its top", entry.path),
            ));
        }
        let mut file = std::fs::File::create_new(folder.join(entry.path.as_str()))?;
        io::copy(&mut entries, &mut file)?;
        file.sync_all()?;
    }
    // The digest is checked at the end of the stream.
    io::copy(&mut tar, &mut io::sink())?;
    Ok(())
}

/// Configures pip to install from the wheelhouse only.
///
/// With `no-index` pip leaves out every index, those of a command's own `--index-url` and `--extra-index-url` too. The
/// image's marker against installing outside a virtual environment (PEP 668) is ignored, because the root is thrown
/// away.
pub(super) fn environment() -> BTreeMap<String, String> {
    let settings = [
        ("PIP_BREAK_SYSTEM_PACKAGES", "1"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("PIP_FIND_LINKS", TARGET),
        ("PIP_NO_CACHE_DIR", "1"),
        ("PIP_NO_INDEX", "1"),
        ("PIP_NO_INPUT", "1"),
        ("PIP_ROOT_USER_ACTION", "ignore"),
        // What pip compiles is then valid by content and not by time, because times in a layer that is kept are zero.
        // The value is the first time that a zip file can hold, in 1980.
        ("SOURCE_DATE_EPOCH", "315532800"),
    ];
    settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}
