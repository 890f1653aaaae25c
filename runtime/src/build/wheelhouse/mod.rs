//! The wheelhouse: everything that a pipeline's components install with pip when they run, resolved once and carried in
//! the bundle.
//!
//! Each distinct install line is resolved by pip for the Python and C library of its image, into wheels only; the union
//! of all is one uncompressed tar, sorted by name. The choice is written to `samebundle.lock` in the folder of the
//! manifest and used again as long as the line and the image's target are the same, so that package indexes may change
//! without changing the bundle. Wheels are kept in `HOME/cache/wheels` under their digest: the next build asks no
//! index.

mod lock;
mod pip;
mod project;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samebundle_registry::chunk::Codec;
use samebundle_registry::{Source, Store};
use samebundle_spec::pipeline::Pipeline;
use samebundle_spec::{Classify, ErrorKind, MediaType};

use super::error::BuildError;
use super::tarball::{Entry, Tarball};
use super::tools::ToolError;
use crate::context::Context;
use crate::event::Event;
use crate::image::Image;
use crate::layer::Layer;
pub(super) use lock::Wheel;
use lock::{Lock, Resolution};
use pip::Wanted;
pub(in crate::build) use pip::needs;
pub(super) use project::{Constrained, ImportedPackages, MadeWheel, ProjectPackages};
use target::Target;

use super::BuildTools;

/// Name of the lock file.
pub(crate) const LOCK: &str = "samebundle.lock";

/// Why packages cannot be collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WheelhouseError {
    /// An image's layers could not be read.
    #[error("image {image} could not be searched for its Python: {why}")]
    Image {
        /// The image.
        image: String,
        /// Why.
        why: String,
    },
    /// A line installs something that is not known when the bundle is built.
    #[error(
        "a component runs `pip install {line}`; {word:?} cannot be packed: {why}; name released packages, or set `wheelhouse: none`"
    )]
    Requirement {
        /// The word of the line.
        word: String,
        /// The line.
        line: String,
        /// Why it cannot be resolved.
        why: &'static str,
    },
    /// The lock file cannot be used.
    #[error("{path} cannot be used: {why}; remove it to resolve the packages anew")]
    Lock {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A package has neither a wheel for the image nor a source distribution of pure Python.
    #[error(
        "{requirement} has no wheel for Python {python}, and none can be built that fits every machine: {why}; install another \
         version of it, or set `wheelhouse: none`"
    )]
    Source {
        /// The package.
        requirement: String,
        /// The image's Python.
        python: String,
        /// Why no wheel can be built.
        why: String,
    },
    /// A file is not one of those that the author has named.
    #[error(
        "{file} has the digest {found}, which is none of those that a list of requirements gives with --hash; what is \
         needed is not what the index has"
    )]
    Hash {
        /// The file.
        file: String,
        /// Its digest.
        found: String,
    },
    /// An index gave a file that is no wheel.
    #[error("pip gave {file:?}, which is not a wheel")]
    NoWheel {
        /// The file's name.
        file: String,
    },
    /// Two different files have one name.
    #[error(
        "two different wheels are called {file}: two install lines take it from different indexes; let them take the same"
    )]
    Twice {
        /// The name.
        file: String,
    },
    /// Packages would have to be fetched, and the build is offline.
    #[error(
        "{count} packages are not in the cache ({first}, …) and the build is offline; build once with a network"
    )]
    Offline {
        /// How many.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// A locked file is not available any more.
    #[error("{file} is locked, but no index gave it; remove samebundle.lock to resolve the packages anew")]
    Gone {
        /// The file.
        file: String,
    },
    /// A file could not be read or written.
    #[error("could not {operation}: {source}")]
    Io {
        /// What was tried, as an infinitive.
        operation: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// pip failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl Classify for WheelhouseError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Image { .. }
            | Self::Requirement { .. }
            | Self::Lock { .. }
            | Self::Source { .. }
            | Self::NoWheel { .. }
            | Self::Twice { .. } => ErrorKind::Input,
            Self::Hash { .. } => ErrorKind::NotTrusted,
            Self::Offline { .. } => ErrorKind::Unreachable,
            Self::Gone { .. } => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Environment,
            Self::Tool(error) => error.kind(),
        }
    }
}

/// What was collected.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// The layer; none if nothing is installed.
    pub(super) layer: Option<Layer>,
    /// The wheels in it, sorted by name.
    pub(super) wheels: Vec<Wheel>,
}

/// The context of collecting.
pub(super) struct Collector<'a> {
    pub(super) tools: &'a BuildTools,
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) context: &'a Context,
    /// The folder of `samebundle.yaml`.
    pub(super) sources: &'a Path,
    /// What components install from the project.
    pub(super) packages: ProjectPackages,
}

/// Chooses and fetches the packages of install lines.
#[derive(Clone, Copy)]
struct Resolver<'a> {
    tools: &'a BuildTools,
    context: &'a Context,
    project: &'a ProjectPackages,
    /// See [`pip::Download::provided`].
    provided: &'static [&'static str],
}

impl Collector<'_> {
    /// Collects what a pipeline installs into one layer in the store; there is no layer if nothing is installed.
    pub(super) async fn collect(
        &self,
        pipeline: &Pipeline,
        images: &BTreeMap<String, Image>,
    ) -> Result<Collected, BuildError> {
        let asked = self.asked(pipeline, images).await?;
        if asked.is_empty() {
            return Ok(Collected::default());
        }
        let path = self.sources.join(LOCK);
        let lock = Lock::read(&path)?;
        let mut renewed = Lock::default();
        renewed.compile.clone_from(&lock.compile);
        renewed.built.clone_from(&self.packages.built);
        let resolver = self.resolver();
        for (target, words) in &asked {
            renewed
                .resolutions
                .push(resolver.resolve(&lock, target, words).await?);
        }
        for resolution in &renewed.resolutions {
            self.packages.check(&resolution.wheels)?;
        }
        renewed.resolutions.sort();
        if let Err(error) = renewed.write(&path) {
            let text = format!(
                "{} could not be written ({error}): the next build may find newer packages",
                path.display()
            );
            self.context.events.emit(Event::Notice { text });
        }
        self.layer(&renewed).await
    }

    /// Returns the lines that have to be resolved, each once.
    async fn asked(
        &self,
        pipeline: &Pipeline,
        images: &BTreeMap<String, Image>,
    ) -> Result<BTreeSet<(Target, Vec<String>)>, BuildError> {
        let source: Arc<dyn Source> = Arc::clone(self.store) as Arc<dyn Source>;
        let mut asked = BTreeSet::new();
        for (name, lines) in pipeline.installs() {
            let Some(image) = images.get(name) else { continue };
            let target = target::detect(name, image, &source).await?;
            for line in &lines {
                let mut words = pip::arguments(line)?;
                if words.iter().all(|word| word.starts_with('-')) {
                    // A list of requirements may be empty.
                    continue;
                }
                self.packages.constrain(&line.requirements(), &mut words);
                asked.insert((target.clone(), words));
            }
        }
        Ok(asked)
    }

    async fn layer(&self, lock: &Lock) -> Result<Collected, BuildError> {
        let mut files: BTreeMap<&str, &Wheel> = BTreeMap::new();
        for wheel in lock.resolutions.iter().flat_map(|resolution| &resolution.wheels) {
            if files
                .insert(&wheel.file, wheel)
                .is_some_and(|before| before.digest != wheel.digest)
            {
                return Err(WheelhouseError::Twice {
                    file: wheel.file.clone(),
                }
                .into());
            }
        }
        let mut tarball = Tarball::default();
        let wheels = files.values().map(|wheel| (*wheel).clone()).collect();
        for (file, wheel) in files {
            let path = file.parse().map_err(|_| WheelhouseError::NoWheel {
                file: file.to_owned(),
            })?;
            let source = pip::place(&self.cache(), wheel);
            tarball.add(
                path,
                Entry::File {
                    source,
                    executable: false,
                },
            );
        }
        if tarball.is_empty() {
            return Ok(Collected::default());
        }
        let written = tarball
            .write_in(
                &self.context.home.scratch(),
                MediaType::WHEELHOUSE_ZSTD,
                Codec::Zstd,
            )
            .await?;
        let layer = written.push(&**self.store).await?;
        Ok(Collected {
            layer: Some(layer),
            wheels,
        })
    }

    fn resolver(&self) -> Resolver<'_> {
        Resolver {
            tools: self.tools,
            context: self.context,
            project: &self.packages,
            provided: &[],
        }
    }

    fn cache(&self) -> PathBuf {
        self.resolver().cache()
    }
}

impl Resolver<'_> {
    /// Returns the wheels of one line, from the lock and the cache if they have them.
    async fn resolve(
        &self,
        lock: &Lock,
        target: &Target,
        words: &[String],
    ) -> Result<Resolution, WheelhouseError> {
        let best = target.platforms().first().cloned().unwrap_or_default();
        let asked = format!("{} {best}", target.python_minor());
        let wheels = match lock.find(&asked, words) {
            Some(locked) if !self.project.contradicts(&locked.wheels) => {
                self.fetch_locked(target, words, &locked.wheels).await?;
                locked.wheels.clone()
            }
            _ => self.fetch_new(target, words).await?,
        };
        Ok(Resolution {
            target: asked,
            arguments: words.to_vec(),
            wheels,
        })
    }

    async fn fetch_new(&self, target: &Target, words: &[String]) -> Result<Vec<Wheel>, WheelhouseError> {
        if self.context.offline {
            let first = words.last().cloned().unwrap_or_default();
            return Err(WheelhouseError::Offline {
                count: words.len(),
                first,
            });
        }
        self.step(format!(
            "resolve `pip install` {} for Python {}",
            shown(words),
            target.python_minor()
        ));
        let downloaded = self.download(target, Wanted::Line(words)).await?;
        self.keep(downloaded).await
    }

    async fn fetch_locked(
        &self,
        target: &Target,
        words: &[String],
        locked: &[Wheel],
    ) -> Result<(), WheelhouseError> {
        let (cache, wheels) = (self.cache(), locked.to_vec());
        let missing = move || {
            wheels
                .into_iter()
                .filter(|wheel| !pip::cached(&cache, wheel))
                .collect::<Vec<_>>()
        };
        let missing = blocking(move || Ok(missing())).await?;
        let Some(first) = missing.first().map(|wheel| wheel.file.clone()) else {
            return Ok(());
        };
        if self.context.offline {
            return Err(WheelhouseError::Offline {
                count: missing.len(),
                first,
            });
        }
        self.step(match missing.len() {
            1 => "fetch 1 locked package".to_owned(),
            many => format!("fetch {many} locked packages"),
        });
        let downloaded = self.download(target, Wanted::Locked(words, &missing)).await?;
        let kept = self.keep(downloaded).await?;
        let given = |wheel: &Wheel| kept.iter().any(|kept| kept.digest == wheel.digest);
        match missing.into_iter().find(|wheel| !given(wheel)) {
            Some(Wheel { file, .. }) => Err(WheelhouseError::Gone { file }),
            None => Ok(()),
        }
    }

    async fn download(
        &self,
        target: &Target,
        wanted: Wanted<'_>,
    ) -> Result<pip::Downloaded, WheelhouseError> {
        let download = pip::Download {
            tools: self.tools,
            context: self.context,
            target,
            built: &self.project.built,
            provided: self.provided,
        };
        download.fetch(wanted).await
    }

    async fn keep(&self, downloaded: pip::Downloaded) -> Result<Vec<Wheel>, WheelhouseError> {
        let cache = self.cache();
        blocking(move || downloaded.keep(&cache)).await
    }

    fn cache(&self) -> PathBuf {
        pip::folder(&self.context.home.cache())
    }

    fn step(&self, name: String) {
        self.context.events.emit(Event::Step { name });
    }
}

/// The words of an install line as a person reads them: of constraints, which may be hundreds, only that there are some.
fn shown(words: &[String]) -> String {
    let (constraints, words): (Vec<&String>, Vec<&String>) =
        words.iter().partition(|word| word.starts_with(pip::CONSTRAINT));
    let text = words
        .into_iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ");
    match constraints.len() {
        0 => text,
        count => format!("{text} ({count} pinned versions)"),
    }
}

/// Runs work on files on a thread for blocking work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WheelhouseError> + Send + 'static,
) -> Result<T, WheelhouseError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| {
        let source = std::io::Error::other(error);
        Err(WheelhouseError::Io {
            operation: "finish a task".to_owned(),
            source,
        })
    })
}
