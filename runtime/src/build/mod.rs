//! Turns sources into a bundle in a store: `samebundle.yaml`, a pipeline, images and packages become one OCI index.
//!
//! ```text
//! samebundle.yaml --check--> pipeline (YAML, or compiled from Python) --check--> images --> wheelhouse --> data
//!   --> invocation image --> content artifact --> bundle.json --> index --> provenance, bill of materials --> tags NAME and NAME_VERSION
//! ```
//!
//! Invariants: the same sources give the same index digest on every machine and in every home; no time, path, user or
//! order of files influences it. A pipeline that contradicts `samebundle.yaml`, or needs what is not supported yet, is
//! refused before anything is fetched.
//!
//! Concurrency: any number of builds may share a store and a home; caches are filled by renames. Memory: one stream
//! buffer for each blob. Failure: the tags are set last, so a build that fails leaves only content that the next build
//! finds again.

mod attest;
mod compile;
mod content;
mod data;
mod declared;
mod descriptor;
mod error;
pub(crate) mod git;
mod image;
mod images;
mod imports;
mod invocation;
mod packages;
mod tarball;
mod tools;
mod wheelhouse;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samebundle_registry::{Source, Store};
use samebundle_spec::authoring::{self, Authored, History, ProgramManifest, Wheelhouse};
use samebundle_spec::bundle::index::{self, Composed, IndexForm};
use samebundle_spec::bundle::program::CarriedData;
use samebundle_spec::pipeline::{Pipeline, PipelineFault};
use samebundle_spec::signing::Predicate;
use samebundle_spec::{BundleName, Descriptor, Digest, MediaType, Tag, Version, limits};

use crate::context::Context;
use crate::event::Event;
use crate::image::Image;
use compile::{Compiled, PythonSource, SourceLines};
use wheelhouse::ProjectPackages;

pub use descriptor::MismatchError;
pub use error::{BuildError, ImageError};
pub use git::{GitError, GitFault};
pub use images::Registries;
pub use tools::ToolError;
pub(crate) use wheelhouse::LOCK;
pub use wheelhouse::WheelhouseError;

/// Name of the authoring manifest.
pub const MANIFEST: &str = "samebundle.yaml";

/// The inputs of a build.
#[derive(Debug)]
pub struct BuildInputs<'a> {
    /// The folder with `samebundle.yaml`.
    pub sources: &'a Path,
    /// What stands in `samebundle.yaml`; none: the file is read.
    pub manifest: Option<ProgramManifest>,
    /// Whether the bundle is tagged as NAME and NAME_VERSION; a working copy is not.
    pub release: bool,
    /// Which pipeline of a Python file, instead of what `samebundle.yaml` says.
    pub function: Option<&'a str>,
    /// The store for the bundle.
    pub store: &'a Arc<dyn Store>,
    /// The static runner: `/cnab/app/run` of the invocation image.
    pub runner: &'a [u8],
    /// The registries for images that are not local.
    pub registries: &'a dyn Registries,
    /// Programs of this machine.
    pub tools: &'a BuildTools,
    /// Tags in addition to NAME and NAME_VERSION.
    pub tags: &'a [Tag],
}

/// Programs of the build machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildTools {
    /// Python 3 with pip and venv, which asks package indexes and makes the environment of the kfp SDK.
    pub python: PathBuf,
    /// A Python that has the kfp SDK, which is used instead of a new environment.
    pub kfp_python: Option<PathBuf>,
    /// Options for every pip, e.g. `--index-url`.
    pub pip_arguments: Vec<String>,
    /// Git, which fetches source.
    pub git: PathBuf,
    /// The certificates that git trusts; none: those that it knows by itself.
    pub git_certificates: Option<PathBuf>,
}

impl Default for BuildTools {
    fn default() -> Self {
        Self {
            python: PathBuf::from("python3"),
            kfp_python: None,
            pip_arguments: Vec::new(),
            git: PathBuf::from("git"),
            git_certificates: None,
        }
    }
}

/// A bundle in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The index.
    pub index: Descriptor,
    /// The bundle's name.
    pub name: BundleName,
    /// The bundle's version.
    pub version: Version,
    /// Digest of `bundle.json`.
    pub bundle: Digest,
    /// Everything in the bundle by component, and the invocation image under the empty name.
    pub components: BTreeMap<String, Descriptor>,
    /// The layer of wheels, if there is one.
    pub wheelhouse: Option<Descriptor>,
    /// The documents that are attached to it, not signed.
    pub attached: BTreeMap<Predicate, Descriptor>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Which runs of the author are to be attached. The caller, which knows the runs, attaches them.
    pub history: History,
    /// What in the pipeline has no effect.
    pub notes: Vec<PipelineFault>,
}

/// Builds a bundle.
///
/// # Errors
/// [`BuildError`]: sources that are not valid or do not fit together, images or packages that cannot be had, tools that
/// fail, a store that cannot be written.
pub async fn build(inputs: &BuildInputs<'_>, context: &Context) -> Result<Built, BuildError> {
    let manifest = manifest_of(inputs, context)?;
    let tags = tags(&manifest, inputs)?;
    let ReadPipeline {
        text,
        pipeline,
        packages,
        notes,
    } = read_pipeline(inputs, &manifest, context).await?;
    descriptor::check(&manifest, &pipeline)?;
    let images::Provided { images, mut indexes } =
        images::provide(inputs, &pipeline, &manifest.images, context).await?;
    let collected = collect_wheels(inputs, &manifest, &pipeline, packages, &images, context).await?;
    let (wheelhouse, wheels) = (collected.layer, collected.wheels);
    let carried = data::carry(inputs, &manifest.data, context).await?;
    step(context, "write the bundle");
    let store = &**inputs.store;
    let (invocation, index) = invocation::make(inputs.runner, store, context).await?;
    let invocation = invocation.manifest;
    indexes.extend(index);
    let parts = content::ContentParts {
        pipeline: text,
        wheelhouse: wheelhouse.as_ref(),
        data: &carried,
        indexes,
    };
    let content = content::write(store, parts).await?;
    let wheelhouse = wheelhouse.map(|wheelhouse| wheelhouse.layer);
    let carried: Vec<CarriedData> = carried.into_iter().map(|(data, _)| data).collect();
    let installed = list_packages(inputs, &images).await?;
    let images = images
        .into_iter()
        .map(|(name, image)| (name, image.manifest))
        .collect();
    let described = descriptor::describe(&descriptor::Sources {
        manifest: &manifest,
        pipeline: &pipeline,
        invocation: &invocation,
        content: &content,
        wheelhouse: wheelhouse.is_some(),
        images: &images,
        carried: &carried,
    })?;
    let (bundle, components) = (&described.bundle, &described.components);
    let composed = index::compose(bundle, &invocation, components, IndexForm::Strict);
    let index = commit(store, bundle.raw(), composed).await?;
    let facts = attest::BuildFacts {
        name: manifest.name.as_str(),
        version: manifest.version.to_string(),
        index: &index,
        pipeline: &content.pipeline,
        runner: Digest::sha256(inputs.runner),
        images: &installed,
        wheelhouse: wheelhouse.as_ref(),
        carried: &carried,
        wheels: &wheels,
    };
    let attached = attest::write(store, &facts).await?;
    for tag in &tags {
        store.tag(&index, tag).await?;
    }
    let mut components = described.components;
    components.insert(String::new(), invocation);
    Ok(Built {
        index,
        name: manifest.name,
        version: manifest.version,
        bundle: described.bundle.digest(),
        components,
        wheelhouse,
        attached,
        tags,
        history: manifest.history,
        notes,
    })
}

/// Returns what in a pipeline has no effect, or no meaning here.
fn notes(pipeline: &Pipeline, lines: &SourceLines) -> Vec<PipelineFault> {
    let notes = pipeline.notes.iter().cloned();
    let mut notes: Vec<PipelineFault> = notes.chain(pipeline.placement_notes()).collect();
    notes.iter_mut().for_each(|note| lines.locate(note));
    notes
}

/// What a check of sources found.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The bundle's name.
    pub name: BundleName,
    /// The bundle's version.
    pub version: Version,
    /// What in the pipeline has no effect.
    pub notes: Vec<PipelineFault>,
}

/// Checks sources as [`build`] does, up to the first image: manifest, pipeline, and whether they fit together.
///
/// # Errors
/// [`BuildError`]: sources that are not valid or do not fit together, or a compiler that fails.
pub async fn lint(inputs: &BuildInputs<'_>, context: &Context) -> Result<Checked, BuildError> {
    let manifest = manifest_of(inputs, context)?;
    data::check(inputs.sources, &manifest.data)?;
    let ReadPipeline { pipeline, notes, .. } = read_pipeline(inputs, &manifest, context).await?;
    descriptor::check(&manifest, &pipeline)?;
    Ok(Checked {
        name: manifest.name,
        version: manifest.version,
        notes,
    })
}

/// Returns the manifest, and says what of it is read otherwise than it is written.
fn manifest_of(inputs: &BuildInputs<'_>, context: &Context) -> Result<ProgramManifest, BuildError> {
    let manifest = match &inputs.manifest {
        Some(manifest) => manifest.clone(),
        None => read_manifest(inputs.sources)?,
    };
    for note in &manifest.notes {
        notice(context, note.clone());
    }
    Ok(manifest)
}

/// Reads and checks `samebundle.yaml` in a folder.
///
/// # Errors
/// [`BuildError`] if it cannot be read, is not valid, or is not of kind Program.
pub fn read_manifest(sources: &Path) -> Result<ProgramManifest, BuildError> {
    if sources.is_file() {
        return Err(BuildError::NoFolder {
            path: sources.to_owned(),
        });
    }
    if !sources.exists() {
        return Err(BuildError::Absent {
            path: sources.to_owned(),
        });
    }
    let path = sources.join(MANIFEST);
    let bytes = read_file(&path, limits::AUTHORING_BYTES).map_err(|error| match error {
        BuildError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            BuildError::NoManifest {
                folder: sources.to_owned(),
            }
        }
        other => other,
    })?;
    match authoring::parse(&bytes).map_err(|source| BuildError::Authoring { path, source })? {
        Authored::Program(manifest) => Ok(*manifest),
        Authored::Environment(other) | Authored::Addon(other) => {
            Err(MismatchError::Kind { kind: other.kind }.into())
        }
    }
}

/// Returns the tags of a bundle: those that were asked for, and of a release its name and its version.
fn tags(manifest: &ProgramManifest, inputs: &BuildInputs<'_>) -> Result<Vec<Tag>, MismatchError> {
    if !inputs.release {
        return Ok(inputs.tags.to_vec());
    }
    let tag = |text: String| {
        text.parse::<Tag>().map_err(|fault| MismatchError::Tag {
            why: fault.to_string(),
        })
    };
    let named = tag(manifest.name.to_string())?;
    let versioned = tag(format!("{}_{}", manifest.name, manifest.version.as_tag()))?;
    let mut tags = vec![versioned, named];
    tags.extend(inputs.tags.iter().cloned());
    tags.dedup();
    Ok(tags)
}

/// A pipeline that was read.
struct ReadPipeline {
    /// The file as the bundle carries it.
    text: Vec<u8>,
    pipeline: Pipeline,
    /// What its components install from the project.
    packages: ProjectPackages,
    /// What in it has no effect, or no meaning here.
    notes: Vec<PipelineFault>,
}

/// Reads the pipeline, compiles it if it is Python, and refuses one that would not run.
async fn read_pipeline(
    inputs: &BuildInputs<'_>,
    manifest: &ProgramManifest,
    context: &Context,
) -> Result<ReadPipeline, BuildError> {
    let name = manifest.program.pipeline.as_str();
    let path = inputs.sources.join(name);
    // This error for a missing file is better than the compiler's.
    let is_notebook = path.extension().is_some_and(|extension| extension == "ipynb");
    let limit = match is_notebook {
        true => limits::NOTEBOOK_BYTES,
        false => limits::PIPELINE_BYTES,
    };
    let bytes = read_file(&path, limit)?;
    let python = is_notebook || path.extension().is_some_and(|extension| extension == "py");
    if path.extension().is_some_and(|extension| extension == "pipeline") {
        let place = name.to_owned();
        let why = "it is a pipeline of Elyra: export it (`elyra-pipeline export`, to Python or to KFP's YAML) and give that file";
        return Err(BuildError::Compile {
            place,
            why: why.to_owned(),
        });
    }
    let compiled = if python {
        let absolute = |path: &Path| {
            path.canonicalize().map_err(|source| BuildError::Read {
                path: path.to_owned(),
                source,
            })
        };
        let source = PythonSource {
            project: &absolute(inputs.sources)?,
            file: &absolute(&path)?,
            function: inputs.function.or(manifest.program.function.as_deref()),
            requirements: &manifest.program.requirements,
        };
        compile::compile(source, inputs.tools, context).await?
    } else {
        Compiled::as_is(bytes)
    };
    step(context, "check the pipeline");
    let shown = if python {
        format!("{name} (compiled)")
    } else {
        name.to_owned()
    };
    let Compiled {
        yaml,
        lines,
        packages,
        notes: of_cells,
    } = compiled;
    let pipeline = Pipeline::parse(&shown, &yaml)?;
    pipeline.check().map_err(|mut faults| {
        faults.iter_mut().for_each(|fault| lines.locate(fault));
        BuildError::Faults(faults)
    })?;
    let mut unsupported = pipeline.unsupported();
    unsupported
        .iter_mut()
        .for_each(|found| lines.locate_unsupported(found));
    match unsupported.is_empty() {
        true => Ok(ReadPipeline {
            text: yaml,
            notes: [of_cells, notes(&pipeline, &lines)].concat(),
            pipeline,
            packages,
        }),
        false => Err(BuildError::Unsupported(unsupported)),
    }
}

/// Collects the packages that the components install, if the bundle is to carry them.
async fn collect_wheels(
    inputs: &BuildInputs<'_>,
    manifest: &ProgramManifest,
    pipeline: &Pipeline,
    packages: ProjectPackages,
    images: &BTreeMap<String, Image>,
    context: &Context,
) -> Result<wheelhouse::Collected, BuildError> {
    match manifest.program.wheelhouse {
        Wheelhouse::Auto => {
            let collector = wheelhouse::Collector {
                tools: inputs.tools,
                store: inputs.store,
                context,
                sources: inputs.sources,
                packages,
            };
            collector.collect(pipeline, images).await
        }
        Wheelhouse::None => Ok(wheelhouse::Collected::default()),
    }
}

/// Lists the packages that are installed in each image.
async fn list_packages(
    inputs: &BuildInputs<'_>,
    images: &BTreeMap<String, Image>,
) -> Result<BTreeMap<String, (Descriptor, packages::Installed)>, BuildError> {
    let source: Arc<dyn Source> = Arc::clone(inputs.store) as Arc<dyn Source>;
    let mut listed = BTreeMap::new();
    for (name, image) in images {
        let installed = packages::installed(name, image, &source).await?;
        listed.insert(name.clone(), (image.manifest.clone(), installed));
    }
    Ok(listed)
}

/// Writes the bundle's own documents, the index last.
async fn commit(store: &dyn Store, bundle: &[u8], composed: Composed) -> Result<Descriptor, BuildError> {
    let Composed {
        config_blob,
        config_manifest,
        index,
        empty_blob,
    } = composed;
    if empty_blob {
        image::push(store, MediaType::OCI_EMPTY, b"{}".to_vec()).await?;
    }
    for (descriptor, bytes) in [(config_blob, bundle.to_vec()), config_manifest, index.clone()] {
        store
            .push(&descriptor, Box::pin(std::io::Cursor::new(bytes)))
            .await?;
    }
    Ok(index.0)
}

/// Reads a whole source file of at most `limit` bytes.
fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, BuildError> {
    let failed = |source| BuildError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(failed(std::io::Error::other(format!(
            "it is larger than {limit} bytes"
        ))));
    }
    Ok(bytes)
}

/// Tells whether a path, with links followed, leads to something in a folder.
fn is_inside(path: &Path, folder: &Path) -> std::io::Result<bool> {
    Ok(path.canonicalize()?.starts_with(folder.canonicalize()?))
}

fn notice(context: &Context, text: impl Into<String>) {
    context.events.emit(Event::Notice { text: text.into() });
}

fn step(context: &Context, name: &str) {
    context.events.emit(Event::Step {
        name: name.to_owned(),
    });
}

#[cfg(test)]
mod tests;
