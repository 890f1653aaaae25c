//! Layers that containers see as folders, unpacked once and kept.
//!
//! The folder appears only when it is complete: it is filled under another name, synced, and renamed after the whole
//! layer was read and hashed. Two processes may do so at once; both make the same, and the folder of the first stays.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_registry::store::{Source, SourceExt};
use samebundle_spec::Descriptor;
use tokio_util::io::SyncIoBridge;

use crate::event::Events;
use crate::image::stream::TarStream;
use crate::meter::Meter;

/// Makes a folder from a layer unless it exists: `fill` gets the uncompressed stream and an empty folder. `step` is what
/// the events call it.
///
/// # Errors
/// If the layer cannot be read, or `fill` fails; then nothing is left.
pub(super) async fn once(
    source: &dyn Source,
    layer: &Descriptor,
    folder: PathBuf,
    (step, events): (String, &dyn Events),
    fill: impl FnOnce(&mut dyn Read, &Path) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let stream = source.fetch(layer).await.map_err(io::Error::other)?;
    let meter = Meter::new(step, None, Some(layer.size));
    let bridge = meter.reading(SyncIoBridge::new(stream));
    let layer = layer.clone();
    let unpacked = tokio::task::spawn_blocking(move || {
        let parent = folder.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent)?;
        let temporary = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
        fill(&mut TarStream::new(&layer, None, bridge)?, temporary.path())?;
        // Containers may run as any user.
        std::fs::set_permissions(temporary.path(), PermissionsExt::from_mode(0o755))?;
        durable::sync_folder(temporary.path())?;
        match std::fs::rename(temporary.path(), &folder) {
            Err(_) if folder.exists() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                let _gone = temporary.keep();
                durable::sync_folder(parent)
            }
        }
    });
    match meter.watch(events, unpacked).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
