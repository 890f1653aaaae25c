//! What the records of a home need from the local store.

use samebundle_registry::layout::Held;
use samebundle_spec::authoring::Runs as Choice;

use super::Newest;
use crate::engine::native::kept_layer;
use crate::home::Home;
use crate::record::{Installations, RecordError, Runs};

/// Returns everything that a home needs: the installed bundles, those before an upgrade, those of its runs (all that
/// are running, and of the others those that `runs` chooses for each installation), and layers that were made from
/// images.
///
/// # Errors
/// If a record cannot be read: it may name any content, so nothing may be removed.
pub fn holdings(home: &Home, runs: Choice) -> Result<Vec<Held>, RecordError> {
    let mut held = Vec::new();
    for one in Installations::new(home).list()? {
        held.push(Held {
            digest: one.index.digest,
            descriptor: Some(one.index),
            by: format!("installation {}", one.name),
            with: None,
        });
        held.extend(one.previous.map(|previous| Held {
            digest: previous.digest,
            descriptor: None,
            by: format!("roll-back of {}", one.name),
            with: None,
        }));
    }
    let mut newest = Newest::of(runs);
    for run in Runs::new(home).list(None)? {
        if newest.keeps(&run) || run.status.is_open() {
            held.push(Held {
                digest: run.bundle_digest,
                descriptor: None,
                by: format!("run {}", run.id),
                with: None,
            });
        }
    }
    held.extend(made_of_images(home)?);
    Ok(held)
}

fn made_of_images(home: &Home) -> Result<Vec<Held>, RecordError> {
    let folder = home.layers().join("installed");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RecordError::io("list", &folder)(error)),
    };
    let mut held = Vec::new();
    for entry in entries {
        let path = entry.map_err(RecordError::io("list", &folder))?.path();
        // A folder is no content of the store.
        if let Some(kept) = kept_layer(&path).filter(|kept| !kept.folder) {
            held.push(Held {
                digest: kept.layer.digest,
                descriptor: Some(kept.layer),
                by: "installed packages".to_owned(),
                with: Some(kept.image),
            });
        }
    }
    Ok(held)
}
