//! `init`, `lint` and `build`: from a folder to a bundle in the local store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_registry::durable;
use samebundle_registry::remote::RemoteRepository;
use samebundle_registry::store::{Memory, Resolve, Tags};
use samebundle_registry::trust::discover;
use samebundle_registry::{Origin, Store, StoreError};
use samebundle_spec::record::RunId;
use samebundle_spec::{BundleName, Classify, Descriptor, Digest, ErrorKind, Reference, Tag, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bring::find_pipeline;
use super::resolve::local_tag;
use super::{LocalName, LocationError, Site, VerbError};
use crate::build::{self, BuildInputs, Built, Registries};
use crate::portable;
use crate::record::Installations;

/// Starts a bundle: writes a `samebundle.yaml`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitRequest {
    /// The folder to start in; it is made if it is not there.
    pub folder: PathBuf,
    /// The pipeline, a `.py` or a compiled `.yaml`, by its path in the folder; none: the only one there, or `pipeline.py`.
    #[serde(default)]
    pub pipeline: Option<PathBuf>,
    /// Name of the bundle; none: the folder's.
    #[serde(default)]
    pub name: Option<BundleName>,
}

/// What was started.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InitReport {
    /// The `samebundle.yaml`.
    pub file: String,
    /// The bundle's name.
    pub name: BundleName,
    /// The pipeline's path in the folder.
    pub pipeline: String,
    /// Whether the pipeline is there.
    #[serde(skip)]
    pub has_pipeline: bool,
}

/// Checks sources without building.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LintRequest {
    /// The folder with `samebundle.yaml`.
    pub folder: PathBuf,
    /// Which pipeline, where a Python file has several; none: what `samebundle.yaml` says.
    #[serde(default)]
    pub pipeline: Option<String>,
}

/// Sources without faults.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LintReport {
    /// The bundle's name.
    pub name: BundleName,
    /// The bundle's version.
    pub version: Version,
    /// What in the pipeline has no effect.
    pub notes: Vec<String>,
}

/// Builds a bundle into the local store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildRequest {
    /// The folder with `samebundle.yaml`.
    pub folder: PathBuf,
    /// Which pipeline, where a Python file has several; none: what `samebundle.yaml` says.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// A name in the local store beside the bundle's own.
    #[serde(default)]
    pub tag: Option<LocalName>,
}

/// What was built.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BuildReport {
    /// The bundle's name.
    pub name: BundleName,
    /// The bundle's version.
    pub version: Version,
    /// The index.
    pub digest: Digest,
    /// The size of the index, bytes.
    pub size: u64,
    /// The `bundle.json`.
    pub bundle: Digest,
    /// Its tags in the local store.
    pub tags: Vec<Tag>,
    /// The ids of the author's runs that are attached to it.
    pub runs: Vec<RunId>,
}

/// Opens registries for a build as the site configures them.
#[derive(Debug)]
pub(super) struct SiteRegistries<'a>(pub(super) &'a Site);

#[async_trait]
impl Registries for SiteRegistries<'_> {
    async fn open(&self, reference: &Reference) -> Result<(Arc<dyn Origin>, Descriptor), StoreError> {
        let place = reference.repository.to_string();
        let remote = self.0.remote(&reference.repository);
        let remote = remote.map_err(|error| registry_error(&place, &error))?;
        let index = open_reference(&remote, reference).await?;
        Ok((Arc::new(remote), index))
    }
}

/// Resolves a reference in its repository. Without tag and digest it means the tag `latest`.
pub(super) async fn open_reference(
    remote: &RemoteRepository,
    reference: &Reference,
) -> Result<Descriptor, StoreError> {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => remote.resolve_digest(digest).await,
        (None, Some(tag)) => remote.resolve(tag).await,
        (None, None) => remote.resolve(&latest()?).await,
    }
}

fn latest() -> Result<Tag, StoreError> {
    "latest".parse().map_err(
        |error: samebundle_spec::reference::ReferenceError| StoreError::Invalid {
            subject: "tag latest".to_owned(),
            why: error.to_string(),
        },
    )
}

/// Makes the error of a registry whose client cannot be made.
fn registry_error(place: &str, error: &VerbError) -> StoreError {
    let (place, why) = (place.to_owned(), error.to_string());
    match error.kind() {
        ErrorKind::Denied => StoreError::Denied {
            place,
            operation: "log in to",
            why,
        },
        _ => StoreError::Unavailable {
            place,
            operation: "ask",
            why,
        },
    }
}

/// Writes a `samebundle.yaml` that names the pipeline, with further settings as comments.
///
/// # Errors
/// If the folder has one already, its name cannot name a bundle, the pipeline is in another folder, or the file cannot
/// be written.
pub fn init(_: &Site, request: InitRequest) -> Result<InitReport, VerbError> {
    let folder = request.folder;
    std::fs::create_dir_all(&folder).map_err(VerbError::io("make", &folder))?;
    let path = folder.join(build::MANIFEST);
    if path.exists() {
        return Err(VerbError::Usage(format!(
            "{} is there already; it is not written over",
            path.display()
        )));
    }
    let name = match request.name {
        Some(name) => name,
        None => name_from_folder(&folder)?,
    };
    let pipeline = match &request.pipeline {
        Some(pipeline) => {
            let plain = pipeline_path(&folder, pipeline)?;
            let path = folder.join(&plain);
            match std::fs::metadata(&path) {
                Ok(_) => plain,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(LocationError::NoFile { path }.into());
                }
                Err(error) => return Err(VerbError::io("find", &path)(error)),
            }
        }
        None => match find_pipeline(&folder) {
            Some(found) => found.to_string_lossy().into_owned(),
            None => "pipeline.py".to_owned(),
        },
    };
    let text = template(&name, &pipeline);
    durable::write(&path, text.as_bytes(), 0o644).map_err(VerbError::io("write", &path))?;
    Ok(InitReport {
        file: path.display().to_string(),
        has_pipeline: folder.join(&pipeline).exists(),
        name,
        pipeline,
    })
}

pub(super) fn name_from_folder(folder: &Path) -> Result<BundleName, VerbError> {
    let found = folder.canonicalize().map_err(VerbError::io("find", folder))?;
    let name = found.file_name().unwrap_or_default();
    let name = name.to_string_lossy().to_lowercase();
    name.parse().map_err(|_| {
        VerbError::Usage(format!(
            "the folder's name {name:?} cannot name a bundle; give --name"
        ))
    })
}

/// Returns the pipeline's path as `samebundle.yaml` has it: relative to its own folder.
fn pipeline_path(folder: &Path, pipeline: &Path) -> Result<String, VerbError> {
    let below = pipeline.strip_prefix(folder).unwrap_or(pipeline);
    let text = below.to_string_lossy().into_owned();
    let plain = below.is_relative() && !text.contains("..") && !text.contains(['"', '\n']);
    match plain {
        true => Ok(text),
        false => Err(VerbError::Usage(format!(
            "{} is not in {}: copy it there",
            pipeline.display(),
            folder.display()
        ))),
    }
}

pub(super) fn template(name: &BundleName, pipeline: &str) -> String {
    format!(
        r#"apiVersion: samebundle.dev/v1
kind: Program
name: {name}
version: 0.1.0
program:
  # A pipeline of the kfp SDK: its .py, compiled when the bundle is built, or the compiled .yaml.
  pipeline: "{pipeline}"
  # The packages that its components install travel along.
  wheelhouse: auto
# Images come from their registries unless another source is named here:
# images:
#   python:3.11: {{from: "layout:images/python"}}
# Limits on top of the pipeline's own parameters:
# parameters:
#   epochs: {{minimum: 1}}
# What it needs where it runs; said before anything is made if it cannot be had:
# requires:
#   resources: {{cpu: 2, memory: 2Gi, gpu: {{count: 0}}, disk: {{size: 1Gi, class: standard}}}}
"#
    )
}

/// Checks sources: everything that a build checks before it fetches an image.
///
/// # Errors
/// The faults of the sources, or why they cannot be read or compiled.
pub async fn lint(site: &Site, request: LintRequest) -> Result<LintReport, VerbError> {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let registries = SiteRegistries(site);
    let inputs = BuildInputs {
        function: request.pipeline.as_deref(),
        ..inputs(site, &request.folder, &store, &[], &registries)
    };
    let checked = build::lint(&inputs, &site.context).await?;
    let notes: Vec<String> = checked.notes.iter().map(ToString::to_string).collect();
    for note in &notes {
        site.notice(note.clone());
    }
    Ok(LintReport {
        name: checked.name,
        version: checked.version,
        notes,
    })
}

/// Builds a bundle into the local store.
///
/// # Errors
/// The faults of the sources. Otherwise, if images or packages are not available, a tool fails, the store cannot be
/// written, or the build was cancelled.
pub async fn build(site: &Site, request: BuildRequest) -> Result<BuildReport, VerbError> {
    let store: Arc<dyn Store> = Arc::new(site.store().await?);
    let tags = request
        .tag
        .iter()
        .map(local_tag)
        .collect::<Result<Vec<Tag>, _>>()?;
    let registries = SiteRegistries(site);
    let inputs = BuildInputs {
        function: request.pipeline.as_deref(),
        ..inputs(site, &request.folder, &store, &tags, &registries)
    };
    let before = TagsBefore::of(site, &request.folder).await?;
    let built = built(site, &inputs).await?;
    before.say_what_changed(site, &built).await?;
    let runs = attach_history(site, &built).await?;
    Ok(BuildReport {
        name: built.name,
        version: built.version,
        digest: built.index.digest,
        size: built.index.size,
        bundle: built.bundle,
        tags: built.tags,
        runs,
    })
}

/// What the tags of a bundle named in the local store before it was built.
pub(super) struct TagsBefore(Vec<(Tag, Descriptor)>);

impl TagsBefore {
    /// Looks at the tags; of a folder that cannot be read there are none, and the build says why.
    pub(super) async fn of(site: &Site, folder: &Path) -> Result<Self, VerbError> {
        let Ok(manifest) = build::read_manifest(folder) else {
            return Ok(Self(Vec::new()));
        };
        let store = site.store().await?;
        let mut found = Vec::new();
        for version in [Some(manifest.version), None] {
            let name = manifest.name.clone();
            let tag = local_tag(&LocalName { name, version })?;
            match store.resolve(&tag).await {
                Ok(index) => found.push((tag, index)),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(found))
    }

    /// Gives the tags back what they named.
    pub(super) async fn restore(&self, site: &Site) -> Result<(), VerbError> {
        let store = site.store().await?;
        for (tag, index) in &self.0 {
            store.tag(index, tag).await?;
        }
        Ok(())
    }

    /// Says that a version which was signed names other content now.
    async fn say_what_changed(&self, site: &Site, built: &Built) -> Result<(), VerbError> {
        let version = built.version.as_tag();
        let mut before = self
            .0
            .iter()
            .filter(|(tag, _)| tag.as_str().ends_with(&format!("_{version}")));
        let Some((_, before)) = before.find(|(_, index)| index.digest != built.index.digest) else {
            return Ok(());
        };
        let found = discover::signatures(&site.store().await?, before).await?;
        if !found.documents.is_empty() {
            site.notice(format!(
                "{} {} names other content now than what was signed ({}): raise `version` in samebundle.yaml before others get it",
                built.name, built.version, before.digest
            ));
        }
        Ok(())
    }
}

/// Builds, unless the build is cancelled, and shows what in the pipeline has no effect.
pub(super) async fn built(site: &Site, inputs: &BuildInputs<'_>) -> Result<Built, VerbError> {
    let built = tokio::select! {
        biased;
        () = site.context.cancel.cancelled() => return Err(VerbError::Cancelled { undone: "built" }),
        built = build::build(inputs, &site.context) => built?,
    };
    for note in &built.notes {
        site.notice(note.to_string());
    }
    Ok(built)
}

pub(super) fn inputs<'a>(
    site: &'a Site,
    sources: &'a Path,
    store: &'a Arc<dyn Store>,
    tags: &'a [Tag],
    registries: &'a SiteRegistries<'a>,
) -> BuildInputs<'a> {
    BuildInputs {
        sources,
        manifest: None,
        release: true,
        function: None,
        store,
        runner: site.reach().runner,
        registries,
        tools: &site.reach().tools,
        tags,
    }
}

/// Attaches the author's runs if `history:` asks for some.
async fn attach_history(site: &Site, built: &Built) -> Result<Vec<RunId>, VerbError> {
    let limit = built.history.runs.limit();
    if limit == 0 {
        return Ok(Vec::new());
    }
    let runs = match Installations::new(site.home()).find(&built.name)? {
        Some(installation) => {
            let store = site.store().await?;
            portable::attach_history(
                &site.context,
                &store,
                &built.index,
                &installation,
                limit,
                built.history.outputs,
            )
            .await?
        }
        None => Vec::new(),
    };
    if runs.is_empty() {
        let name = &built.name;
        site.notice(format!(
            "history: {} is asked for, but this home has no finished run of {name}; install and run it, then build again",
            built.history.runs
        ));
    }
    Ok(runs)
}
