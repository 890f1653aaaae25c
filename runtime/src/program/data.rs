//! The data that a bundle carries, as files that tasks read.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_registry::store::{Source, SourceExt};
use samebundle_spec::bundle::program::CarriedData;
use samebundle_spec::{Descriptor, Digester, limits};
use tokio_util::io::SyncIoBridge;

use super::ProgramError;
use crate::driver::Mount;
use crate::image::stream::TarStream;

/// Where containers see data.
const TARGET: &str = "/samebundle/data";

/// A file in a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The folder on this machine.
    pub folder: PathBuf,
    /// The name of the data, and of the file.
    pub name: String,
}

impl Data {
    /// Unpacks data once, below `layers`. The folder appears whole: its name is the layer's digest and the data's name, and a
    /// rename puts it there after all was read and hashed.
    ///
    /// # Errors
    /// If the layer cannot be read, or is not what its digest or the bundle says.
    pub async fn unpack(
        source: &dyn Source,
        carried: &CarriedData,
        layer: &Descriptor,
        layers: &Path,
    ) -> Result<Self, ProgramError> {
        let parent = layers.join("data");
        let name = carried.name.to_string();
        let folder = parent.join(format!("{}.{name}", layer.digest.hex()));
        let data = Self {
            folder: folder.clone(),
            name,
        };
        if folder.exists() {
            return Ok(data);
        }
        let failed = |source| ProgramError::Data {
            name: carried.name.to_string(),
            source,
        };
        let stream = source
            .fetch(layer)
            .await
            .map_err(|error| failed(io::Error::other(error)))?;
        let bridge = SyncIoBridge::new(stream);
        let (carried, layer) = (carried.clone(), layer.clone());
        let unpacked =
            tokio::task::spawn_blocking(move || unpack_to(bridge, &carried, &layer, &parent, &folder)).await;
        match unpacked {
            Ok(result) => result.map_err(failed)?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        Ok(data)
    }

    pub(super) fn mount(&self) -> Mount {
        Mount {
            source: self.folder.clone(),
            target: format!("{TARGET}/{}", self.name),
            writable: false,
        }
    }
}

fn unpack_to(
    stored: impl Read,
    carried: &CarriedData,
    layer: &Descriptor,
    parent: &Path,
    folder: &Path,
) -> io::Result<()> {
    std::fs::create_dir_all(parent)?;
    let temporary = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut plain = TarStream::new(layer, None, stored)?;
    let mut file = std::fs::File::create_new(temporary.path().join(carried.name.as_str()))?;
    let mut digester = Digester::new(carried.digest.algorithm());
    let mut buffer = vec![0; limits::STREAM_BUFFER];
    let mut size = 0;
    loop {
        let count = plain.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        if size > carried.size {
            return Err(wrong(format!("it unpacks to more than {} bytes", carried.size)));
        }
        digester.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
    }
    let found = digester.finish();
    if size != carried.size || found != carried.digest {
        let wanted = format!("{} bytes of digest {}", carried.size, carried.digest);
        return Err(wrong(format!(
            "it has {size} bytes of digest {found}, not {wanted}"
        )));
    }
    file.sync_all()?;
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
