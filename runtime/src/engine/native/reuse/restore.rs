//! Restores the outputs of a task from its record and its files. The record may come from elsewhere, so that no path of it
//! leads out of the task's own folder, and nothing counts that its digest does not name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use samebundle_spec::pipeline::{ArtifactSpec, Component, coerce};
use samebundle_spec::record::{ArtifactRecord, OutputRecord};

use super::super::artifact::{Artifact, Values};
use super::super::facts::ROOT;
use super::super::folder::{self, Listed};
use super::super::resolve::artifact_folder;
use super::link;
use crate::image::beneath;
use crate::record::RUN_OUTPUTS;

/// The outputs of a task as a record has them.
type Outputs = BTreeMap<String, OutputRecord>;

/// The outputs of a task of a run.
#[derive(Clone, Debug)]
pub(in super::super) struct Place {
    /// The folder of all outputs of the run.
    outputs: PathBuf,
    /// The path of the task.
    task: String,
}

impl Place {
    pub(in super::super) fn new(run: &Path, task: &str) -> Self {
        Self {
            outputs: run.join(RUN_OUTPUTS),
            task: task.to_owned(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.outputs.join(&self.task)
    }

    /// Returns the task's folder in containers.
    fn seen(&self) -> String {
        format!("{ROOT}/{}", self.task)
    }
}

/// Restores the outputs of a task of another run: their files are linked into this one.
pub(super) fn taken(record: &Outputs, component: &Component, from: &Place, own: &Place) -> Option<Values> {
    if from.task != own.task && names(record, &from.seen()) {
        return None;
    }
    let values = values(record, component, from, own)?;
    let whole = is_sound(&own.task) && bring(&values, from, own).is_some() && is_whole(&values, own);
    if !whole {
        // What was linked until then is not the task's output.
        let _ = beneath::remove_path(&own.folder());
    }
    whole.then_some(values)
}

/// Restores the outputs of a task of the same run, whose files are in their places.
pub(in super::super) fn kept(record: &Outputs, component: &Component, own: &Place) -> Option<Values> {
    let values = values(record, component, own, own)?;
    is_whole(&values, own).then_some(values)
}

/// Tells whether an output says where the files of its task are, which another task has not.
fn names(record: &Outputs, seen: &str) -> bool {
    let has = |output: &OutputRecord| match output {
        OutputRecord::Value(value) => value.to_string().contains(seen),
        OutputRecord::Artifacts(artifacts) => {
            let mut all = artifacts.iter().flat_map(|one| one.metadata.values());
            all.any(|value| value.to_string().contains(seen))
        }
    };
    record.values().any(has)
}

fn values(record: &Outputs, component: &Component, from: &Place, own: &Place) -> Option<Values> {
    let mut values = Values::default();
    for (name, spec) in &component.outputs.parameters {
        let OutputRecord::Value(value) = record.get(name)? else {
            return None;
        };
        values
            .parameters
            .insert(name.clone(), coerce(value, spec.parameter_type).ok()?);
    }
    for (name, spec) in &component.outputs.artifacts {
        let OutputRecord::Artifacts(list) = record.get(name)? else {
            return None;
        };
        let list = list.iter().map(|one| artifact(name, spec, one, from, own));
        values
            .artifacts
            .insert(name.clone(), list.collect::<Option<_>>()?);
    }
    Some(values)
}

fn artifact(
    name: &str,
    spec: &ArtifactSpec,
    record: &ArtifactRecord,
    from: &Place,
    own: &Place,
) -> Option<Artifact> {
    if record.artifact_type != spec.artifact_type.schema_title {
        return None;
    }
    let below = match &record.path {
        Some(path) => Some(below(path.strip_prefix("outputs/")?, &from.task)?),
        None => None,
    };
    let planned = || format!("{}/{}/{name}", own.seen(), artifact_folder(name));
    let uri = match (&record.uri, below) {
        (Some(uri), _) if uri.contains("://") => uri.clone(),
        (Some(uri), _) => format!("{}/{}", own.seen(), self::below(uri, &from.seen())?),
        (None, Some(below)) => format!("{}/{below}", own.seen()),
        (None, None) => planned(),
    };
    Some(Artifact {
        name: name.to_owned(),
        artifact_type: spec.artifact_type.clone(),
        uri,
        metadata: record.metadata.clone().into_iter().collect(),
        digest: record.digest,
        folder: record.folder,
        size: record.size,
        path: below.map(|below| format!("{RUN_OUTPUTS}/{}/{below}", own.task)),
        origin: None,
    })
}

/// Returns the rest of a path below a folder, if it stays there.
fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
    is_sound(rest).then_some(rest)
}

fn is_sound(path: &str) -> bool {
    path.split('/').all(|name| !["", ".", ".."].contains(&name)) && !path.contains('\0')
}

/// Links the files of the outputs into the task's own folder, which is made anew.
fn bring(values: &Values, from: &Place, own: &Place) -> Option<()> {
    beneath::remove_path(&own.folder()).ok()?;
    for artifact in values.artifacts.values().flatten() {
        let Some(path) = &artifact.path else { continue };
        let below = below(path.strip_prefix("outputs/")?, &own.task)?;
        link::tree(&from.folder(), &own.folder(), below).ok()?;
    }
    Some(())
}

/// Tells whether the files are what the digests say.
fn is_whole(values: &Values, own: &Place) -> bool {
    values.artifacts.values().flatten().all(|artifact| {
        let Some(path) = artifact
            .path
            .as_deref()
            .and_then(|path| path.strip_prefix("outputs/"))
        else {
            return artifact.digest.is_none();
        };
        let found = folder::output(&own.outputs, path).ok().flatten();
        found.is_some_and(|found| {
            let content = found.content();
            let folder = matches!(found, Listed::Folder(_));
            folder == artifact.folder
                && Some(content.digest) == artifact.digest
                && content.size == artifact.size
        })
    })
}
