//! Takes the history that came with a bundle into this home.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::Cursor;
use std::os::unix::fs::DirBuilderExt;

use samebundle_registry::Origin;
use samebundle_registry::durable;
use samebundle_registry::store::SourceExt;
use samebundle_spec::manifest::Document;
use samebundle_spec::record::{self, Installation, Run, RunId};
use samebundle_spec::{BundleName, Descriptor, MediaType, limits};

use super::PortableError;
use super::history::{self, History};
use crate::context::Context;

/// The histories that came with a bundle, checked.
#[derive(Debug)]
pub struct CarriedHistory {
    histories: Vec<History>,
}

impl CarriedHistory {
    /// The installation as it was when the last of them was written.
    pub fn installation(&self) -> Option<&Installation> {
        let installations = self.histories.iter().map(|history| &history.installation);
        installations.max_by(|a, b| a.installed.cmp(&b.installed))
    }
}

/// Reads the histories among the referrers of a bundle. An export writes exactly one. A bundle that was built several
/// times with its runs may have more, which are taken together.
///
/// # Errors
/// If one cannot be read, or is not of its form.
pub async fn history_of(source: &dyn Origin, index: &Descriptor) -> Result<CarriedHistory, PortableError> {
    let mut histories = Vec::new();
    for descriptor in source.referrers(index, Some(&MediaType::HISTORY)).await? {
        histories.push(read(source, &descriptor).await?);
    }
    Ok(CarriedHistory { histories })
}

async fn read(source: &dyn Origin, descriptor: &Descriptor) -> Result<History, PortableError> {
    let invalid = |why: String| PortableError::History { why };
    let Document::Manifest(manifest) = source.fetch_document(descriptor).await? else {
        return Err(invalid("it is an index".to_owned()));
    };
    let [layer] = manifest.layers.as_slice() else {
        return Err(invalid("it has not exactly one layer".to_owned()));
    };
    let tar = source.fetch_bytes(layer, limits::HISTORY_BYTES).await?;
    history::read(Cursor::new(tar))
}

/// Takes runs into this home, under the name of the installation here. Runs that are here already stay as they are.
/// Returns how many were taken.
///
/// # Errors
/// If a record is damaged or cannot be written.
pub fn import_runs(
    context: &Context,
    imported: &CarriedHistory,
    index: &Descriptor,
    name: &BundleName,
) -> Result<usize, PortableError> {
    let mut taken = 0;
    for history in &imported.histories {
        let mut runs: BTreeMap<&RunId, Vec<(&'static str, &[u8])>> = BTreeMap::new();
        for (id, file, bytes) in &history.files {
            runs.entry(id).or_default().push((file, bytes));
        }
        for (id, files) in runs {
            taken += usize::from(import_run(context, id, &files, index, name)?);
        }
    }
    Ok(taken)
}

fn import_run(
    context: &Context,
    id: &RunId,
    files: &[(&'static str, &[u8])],
    index: &Descriptor,
    name: &BundleName,
) -> Result<bool, PortableError> {
    let folder = context.home.runs().join(id.as_str());
    if folder.join("run.json").exists() {
        return Ok(false);
    }
    let document = files.iter().find(|(file, _)| *file == "run.json");
    let (_, document) = document.ok_or_else(|| PortableError::History {
        why: format!("run {id} has no run.json"),
    })?;
    let mut run: Run =
        record::parse(document, limits::RUN_BYTES).map_err(|error| PortableError::History {
            why: format!("run {id}: {error}"),
        })?;
    if run.id != *id {
        return Err(PortableError::History {
            why: format!("the record of run {id} says it is {}", run.id),
        });
    }
    run.installation = name.clone();
    run.imported_with = Some(index.digest);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(PortableError::io("make", &folder))?;
    durable::sync_folder(&context.home.runs()).map_err(PortableError::io("sync", &folder))?;
    for (file, bytes) in files.iter().filter(|(file, _)| *file != "run.json") {
        let path = folder.join(file);
        durable::write(&path, bytes, 0o600).map_err(PortableError::io("write", &path))?;
    }
    crate::record::write_run(&folder, &run)?;
    Ok(true)
}
