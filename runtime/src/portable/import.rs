//! Takes the history that came with a bundle into this home.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::Cursor;
use std::os::unix::fs::DirBuilderExt;

use samebundle_registry::Origin;
use samebundle_registry::durable;
use samebundle_registry::store::SourceExt;
use samebundle_spec::manifest::Document;
use samebundle_spec::record::{Installation, Run};
use samebundle_spec::{BundleName, Descriptor, MediaType, json, limits};

use super::PortableError;
use super::history::{self, History};
use crate::context::Context;

/// A history that came with a bundle, checked.
#[derive(Debug)]
pub struct Imported {
    history: History,
}

impl Imported {
    /// The installation as it was exported.
    pub fn installation(&self) -> &Installation {
        &self.history.installation
    }
}

/// Reads the history that lies beside a bundle, if there is one. The newest form of several is the last by digest; an
/// export has exactly one.
///
/// # Errors
/// If it cannot be read, or is not of its form.
pub async fn history_of(source: &dyn Origin, index: &Descriptor) -> Result<Option<Imported>, PortableError> {
    let found = source.referrers(index, Some(&MediaType::HISTORY)).await?;
    let Some(descriptor) = found.last() else {
        return Ok(None);
    };
    let invalid = |why: String| PortableError::History { why };
    let bytes = source.fetch_bytes(descriptor, limits::MANIFEST_BYTES).await?;
    let document =
        Document::parse(&bytes, &descriptor.media_type).map_err(|error| invalid(error.to_string()))?;
    let Document::Manifest(manifest) = document else {
        return Err(invalid("it is an index".to_owned()));
    };
    let [layer] = manifest.layers.as_slice() else {
        return Err(invalid("it has not exactly one layer".to_owned()));
    };
    let tar = source.fetch_bytes(layer, limits::HISTORY_BYTES).await?;
    Ok(Some(Imported {
        history: history::read(Cursor::new(tar))?,
    }))
}

/// Takes runs into this home, under the name that the bundle is installed by now. Runs that are here already stay as they
/// are. Returns how many were taken.
///
/// # Errors
/// If a record is damaged or cannot be written.
pub fn import_runs(
    context: &Context,
    imported: &Imported,
    index: &Descriptor,
    name: &BundleName,
) -> Result<usize, PortableError> {
    let mut runs: BTreeMap<&str, Vec<(&'static str, &[u8])>> = BTreeMap::new();
    for (id, file, bytes) in &imported.history.files {
        runs.entry(id).or_default().push((file, bytes));
    }
    let mut taken = 0;
    for (id, files) in runs {
        taken += usize::from(import_run(context, id, &files, index, name)?);
    }
    Ok(taken)
}

fn import_run(
    context: &Context,
    id: &str,
    files: &[(&'static str, &[u8])],
    index: &Descriptor,
    name: &BundleName,
) -> Result<bool, PortableError> {
    let folder = context.home.runs().join(id);
    if folder.join("run.json").exists() {
        return Ok(false);
    }
    let record = files.iter().find(|(file, _)| *file == "run.json");
    let (_, record) = record.ok_or_else(|| PortableError::History {
        why: format!("run {id} has no run.json"),
    })?;
    let mut run: Run =
        json::from_slice(record, limits::RUN_BYTES).map_err(|error| PortableError::History {
            why: error.to_string(),
        })?;
    run.format
        .check_readable()
        .map_err(|error| PortableError::History {
            why: error.to_string(),
        })?;
    if run.id != id {
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
