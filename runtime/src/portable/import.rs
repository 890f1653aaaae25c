//! Takes the history that came with a bundle into this home.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::{self, Cursor};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use samebundle_registry::Origin;
use samebundle_registry::durable;
use samebundle_registry::store::SourceExt;
use samebundle_spec::manifest::Document;
use samebundle_spec::record::{self, Installation, Run, RunId};
use samebundle_spec::{BundleName, Descriptor, MediaType, limits};
use tokio_util::io::SyncIoBridge;

use super::PortableError;
use super::history::{self, History};
use super::outputs::{self, Unpacked};
use crate::context::Context;
use crate::event::Event;
use crate::record::{RECORD, Runs};

/// The histories that came with a bundle, checked.
#[derive(Debug)]
pub struct CarriedHistory {
    histories: Vec<Carried>,
}

#[derive(Debug)]
struct Carried {
    history: History,
    /// The layer with the files of its runs.
    outputs: Option<Descriptor>,
}

impl CarriedHistory {
    /// How many runs they hold.
    pub fn runs(&self) -> usize {
        let files = self.histories.iter().flat_map(|carried| &carried.history.files);
        let ids: std::collections::BTreeSet<&RunId> = files.map(|(id, ..)| id).collect();
        ids.len()
    }

    /// The installation as it was when the last of them was written.
    pub fn installation(&self) -> Option<&Installation> {
        let installations = self.histories.iter().map(|carried| &carried.history.installation);
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

async fn read(source: &dyn Origin, descriptor: &Descriptor) -> Result<Carried, PortableError> {
    let invalid = |why: String| PortableError::History { why };
    let Document::Manifest(manifest) = source.fetch_document(descriptor).await? else {
        return Err(invalid("it is an index".to_owned()));
    };
    let mut layers = manifest.layers.iter();
    let Some(layer) = layers
        .next()
        .filter(|layer| layer.media_type == MediaType::HISTORY)
    else {
        return Err(invalid("its first layer is no history".to_owned()));
    };
    let tar = source.fetch_bytes(layer, limits::HISTORY_BYTES).await?;
    Ok(Carried {
        history: history::read(Cursor::new(tar))?,
        outputs: layers
            .find(|layer| layer.media_type == MediaType::OUTPUTS)
            .cloned(),
    })
}

/// A run that came along.
#[derive(Debug)]
struct Coming {
    run: Run,
    folder: PathBuf,
    /// The other files of its folder; none if the run is here already.
    files: Option<Vec<(&'static str, Vec<u8>)>>,
    /// Whether the run is here already with another record.
    differs: bool,
}

/// Runs that came along, with their files in scratch folders. All of it has been checked, and nothing has its place yet.
#[derive(Debug)]
pub struct ComingRuns {
    groups: Vec<(Vec<Coming>, Option<Unpacked>)>,
}

/// What became of the runs that came along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenRuns {
    /// How many are new here.
    pub new: usize,
    /// How many are here already.
    pub known: usize,
    /// Those of them whose record here is another one; it stays.
    pub different: Vec<RunId>,
}

/// Checks runs that came along, and unpacks the files of theirs that came and are missing here.
///
/// # Errors
/// If a record or a file is not what the history says, or a file cannot be written.
pub async fn prepare_runs(
    context: &Context,
    source: &dyn Origin,
    imported: CarriedHistory,
) -> Result<ComingRuns, PortableError> {
    let mut groups = Vec::new();
    for carried in imported.histories {
        let mut runs: BTreeMap<RunId, Vec<(&'static str, Vec<u8>)>> = BTreeMap::new();
        for (id, file, bytes) in carried.history.files {
            runs.entry(id).or_default().push((file, bytes));
        }
        let coming = runs.into_iter().map(|(id, files)| coming(context, id, files));
        let coming: Vec<Coming> = coming.collect::<Result<_, _>>()?;
        let wanted = coming.iter().any(Coming::wants_files);
        let unpacked = match carried.outputs.filter(|_| wanted) {
            Some(layer) => {
                let runs = coming.iter().map(|coming| coming.run.clone());
                Some(unpack(context, source, layer, runs.collect()).await?)
            }
            None => None,
        };
        groups.push((coming, unpacked));
    }
    Ok(ComingRuns { groups })
}

impl ComingRuns {
    /// Gives the runs their places in this home, under the name of the installation here. Of runs that are here already, the
    /// record stays as it is.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn take(
        self,
        context: &Context,
        index: &Descriptor,
        name: &BundleName,
    ) -> Result<TakenRuns, PortableError> {
        let mut taken = TakenRuns::default();
        for (coming, unpacked) in self.groups {
            for mut one in coming {
                if one.files.is_some() {
                    one.run.installation = name.clone();
                    one.run.imported_with = Some(index.digest);
                }
                match one.take(context, unpacked.as_ref())? {
                    true => taken.new += 1,
                    false => taken.known += 1,
                }
                if one.differs {
                    taken.different.push(one.run.id);
                }
            }
        }
        Ok(taken)
    }
}

/// Unpacks files on a thread for blocking work.
async fn unpack(
    context: &Context,
    source: &dyn Origin,
    layer: Descriptor,
    runs: Vec<Run>,
) -> Result<Unpacked, PortableError> {
    context.events.emit(Event::Step {
        name: "unpack the outputs of its runs".to_owned(),
    });
    let bytes = source.fetch(&layer).await?;
    let scratch = context.home.scratch();
    let folder = scratch.clone();
    let unpacked = tokio::task::spawn_blocking(move || {
        Unpacked::read(&layer, SyncIoBridge::new(bytes), &runs, &scratch)
    });
    let unpacked = unpacked.await.map_err(io::Error::other);
    unpacked.map_err(PortableError::io("write to", &folder))?
}

fn coming(
    context: &Context,
    id: RunId,
    files: Vec<(&'static str, Vec<u8>)>,
) -> Result<Coming, PortableError> {
    let document = files.iter().find(|(file, _)| *file == RECORD);
    let (_, document) = document.ok_or_else(|| PortableError::History {
        why: format!("run {id} has no {RECORD}"),
    })?;
    let run: Run = record::parse(document, limits::RUN_BYTES).map_err(|error| PortableError::History {
        why: format!("run {id}: {error}"),
    })?;
    if run.id != id {
        return Err(PortableError::History {
            why: format!("the record of run {id} says it is {}", run.id),
        });
    }
    let runs = Runs::new(&context.home);
    let folder = runs.folder(&id);
    if folder.join(RECORD).exists() {
        let known = runs.get(&id)?;
        return Ok(Coming {
            differs: !same_run(&known, run),
            run: known,
            folder,
            files: None,
        });
    }
    Ok(Coming {
        run,
        folder,
        files: Some(files),
        differs: false,
    })
}

/// Tells whether two records are of the same run, apart from what each home says of its own.
fn same_run(here: &Run, coming: Run) -> bool {
    let coming = Run {
        installation: here.installation.clone(),
        imported_with: here.imported_with,
        files_removed: here.files_removed,
        ..coming
    };
    *here == coming
}

impl Coming {
    /// Tells whether files of the run may be missing here: it is new, or came before without all of them.
    fn wants_files(&self) -> bool {
        let came_before = self.run.imported_with.is_some() && self.run.files_removed.is_none();
        self.files.is_some() || (came_before && outputs::lacks_files(&self.run, &self.folder))
    }

    /// Writes the run: its record last, which makes it one. Tells whether it is new here.
    fn take(&self, context: &Context, unpacked: Option<&Unpacked>) -> Result<bool, PortableError> {
        let folder = &self.folder;
        if let Some(files) = &self.files {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(PortableError::io("make", folder))?;
            durable::sync_folder(&context.home.runs()).map_err(PortableError::io("sync", folder))?;
            for (file, bytes) in files.iter().filter(|(file, _)| *file != RECORD) {
                let path = folder.join(file);
                durable::write(&path, bytes, 0o600).map_err(PortableError::io("write", &path))?;
            }
        }
        if let Some(unpacked) = unpacked.filter(|_| self.wants_files()) {
            unpacked.place(&self.run, folder)?;
        }
        if self.files.is_some() {
            crate::record::write_run(folder, &self.run)?;
        }
        Ok(self.files.is_some())
    }
}
