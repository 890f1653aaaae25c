//! Writes an installation to one file.

use std::path::{Path, PathBuf};

use samebundle_registry::archive;
use samebundle_registry::archive::volumes::Volume;
use samebundle_registry::chunk::Codec;
use samebundle_registry::layout::Layout;
use samebundle_registry::store::{Overlay, Sink, SinkExt};
use samebundle_spec::authoring::{RunFiles, RunMetadata};
use samebundle_spec::manifest::Manifest;
use samebundle_spec::record::{Installation, Run, RunId, RunStatus};
use samebundle_spec::{Algorithm, Descriptor, Digest, MediaType, Version};

use super::outputs::Parcel;
use super::{LeftBehind, PortableError, history, travelling};
use crate::context::Context;
use crate::event::Event;
use crate::layer;
use crate::record::Runs;

/// What to export, and where to.
#[derive(Debug)]
pub struct ExportOptions {
    /// The installation.
    pub installation: Installation,
    /// The version to name the export by; the bundle's own stays in its `bundle.json`.
    pub version: Version,
    /// How many of the newest finished runs are exported.
    pub runs: usize,
    /// What goes along of each of them.
    pub metadata: RunMetadata,
    /// Which of their files go along.
    pub outputs: RunFiles,
    /// The file to write.
    pub path: PathBuf,
    /// How the archive is written.
    pub archive: archive::Options,
}

/// What was exported.
#[derive(Debug)]
pub struct Exported {
    /// The bundle's index.
    pub index: Descriptor,
    /// The history artifact.
    pub history: Descriptor,
    /// Ids of the exported runs, newest first.
    pub runs: Vec<RunId>,
    /// The files of the runs.
    pub outputs: CarriedOutputs,
    /// Bytes that were left out because the other side has them.
    pub omitted: u64,
    /// The file, or its volumes.
    pub files: Vec<Volume>,
}

/// The files of runs that go along, and those that do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarriedOutputs {
    /// How many artifacts go along, each once.
    pub artifacts: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What stays behind.
    pub left: Vec<LeftBehind>,
}

/// Writes the file; it appears whole or not at all.
///
/// # Errors
/// If content or a record cannot be read, or the file cannot be written.
pub async fn export(
    context: &Context,
    store: &Layout,
    request: ExportOptions,
) -> Result<Exported, PortableError> {
    archive::examine(&request.path, request.archive.cut)?;
    let runs = finished_runs(context, &request.installation, request.runs)?;
    let scratch = tempfile::Builder::new()
        .prefix("export-")
        .tempdir_in(context.home.scratch());
    let scratch = scratch.map_err(PortableError::io("make a folder in", &context.home.scratch()))?;
    context.events.emit(Event::Step {
        name: match runs.len() {
            1 => "collect 1 run".to_owned(),
            many => format!("collect {many} runs"),
        },
    });
    let layout = Layout::create(&scratch.path().join("layout")).await?;
    let index = request.installation.index.clone();
    let own = request.installation.version == request.version.to_string();
    let installation = Installation {
        exported: (!own).then(|| request.version.clone()),
        ..request.installation.clone()
    };
    let history = HistoryArtifact {
        installation: &installation,
        runs: &runs,
        metadata: request.metadata,
        outputs: request.outputs,
        published: false,
    };
    let (history, outputs) = history.push(context, scratch.path(), &index, &layout).await?;
    let tag = request.version.as_tag().parse().ok();
    let source = Overlay {
        front: layout,
        back: store.clone(),
        hidden: Some(MediaType::HISTORY),
    };
    context.events.emit(Event::Step {
        name: format!("write {}", request.path.display()),
    });
    let roots = [(index.clone(), tag)];
    let written = archive::write(&source, &roots, &request.path, &request.archive).await?;
    Ok(Exported {
        index,
        history,
        runs: runs.into_iter().map(|run| run.id).collect(),
        outputs,
        omitted: written.omitted,
        files: written.files,
    })
}

/// Attaches the newest finished runs of an installation to a bundle in the store, so that they travel wherever it is pushed.
/// Returns their ids, newest first; with none, nothing is attached.
///
/// # Errors
/// If a record cannot be read, or the store cannot be written.
pub async fn attach_history(
    context: &Context,
    store: &Layout,
    index: &Descriptor,
    installation: &Installation,
    most: usize,
    outputs: RunFiles,
) -> Result<Vec<RunId>, PortableError> {
    let runs = finished_runs(context, installation, most)?;
    if !runs.is_empty() {
        let scratch = tempfile::Builder::new()
            .prefix("history-")
            .tempdir_in(context.home.scratch());
        let scratch = scratch.map_err(PortableError::io("make a folder in", &context.home.scratch()))?;
        let history = HistoryArtifact {
            installation,
            runs: &runs,
            metadata: RunMetadata::All,
            outputs,
            published: true,
        };
        history.push(context, scratch.path(), index, store).await?;
    }
    Ok(runs.into_iter().map(|run| run.id).collect())
}

fn finished_runs(
    context: &Context,
    installation: &Installation,
    most: usize,
) -> Result<Vec<Run>, PortableError> {
    let mut runs = Runs::new(&context.home).list(Some(&installation.name))?;
    runs.retain(|run| run.status != RunStatus::Running);
    runs.truncate(most);
    Ok(runs)
}

/// What a history artifact is made of.
struct HistoryArtifact<'a> {
    installation: &'a Installation,
    runs: &'a [Run],
    metadata: RunMetadata,
    outputs: RunFiles,
    /// Whether its author wants it to travel wherever the bundle is pushed.
    published: bool,
}

impl HistoryArtifact<'_> {
    /// Writes the artifact as a referrer of `subject`.
    async fn push(
        &self,
        context: &Context,
        scratch: &Path,
        subject: &Descriptor,
        layout: &Layout,
    ) -> Result<(Descriptor, CarriedOutputs), PortableError> {
        let tar = scratch.join("history.tar");
        history::write(
            &tar,
            self.installation,
            self.runs,
            self.metadata,
            &Runs::new(&context.home),
        )?;
        let layer = describe(&tar)?;
        let file = tokio::fs::File::open(&tar)
            .await
            .map_err(PortableError::io("read", &tar))?;
        layout.push(&layer, Box::pin(file)).await?;
        let mut layers = vec![layer];
        let parcel = Parcel::choose(self.runs, &Runs::new(&context.home), self.outputs)?;
        let carried = CarriedOutputs {
            artifacts: parcel.artifacts,
            bytes: parcel.bytes,
            left: parcel.left.clone(),
        };
        if !parcel.is_empty() {
            context.events.emit(Event::Step {
                name: format!("collect {} outputs", parcel.artifacts),
            });
            let write = move |to: &mut dyn std::io::Write| parcel.write(to);
            let written = layer::write_in(scratch, MediaType::OUTPUTS, Codec::Zstd, write).await?;
            let pushed = written.push(layout).await?;
            layers.extend([Some(pushed.layer), pushed.index].into_iter().flatten());
        }
        layout
            .push_bytes(MediaType::OCI_EMPTY, bytes::Bytes::from_static(b"{}"))
            .await?;
        let manifest = Manifest::artifact(MediaType::HISTORY, layers).with_subject(subject.bare());
        let manifest = travelling::described(manifest, self.runs.len(), self.published);
        let pushed = layout
            .push_bytes(MediaType::OCI_MANIFEST, manifest.to_bytes().into())
            .await?;
        Ok((pushed, carried))
    }
}

fn describe(path: &Path) -> Result<Descriptor, PortableError> {
    let file = std::fs::File::open(path).map_err(PortableError::io("read", path))?;
    let hashed = Digest::of_reader(Algorithm::Sha256, file);
    let (digest, size) = hashed.map_err(PortableError::io("read", path))?;
    Ok(Descriptor::new(MediaType::HISTORY, digest, size))
}
