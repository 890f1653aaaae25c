//! What components install from the project itself (folders, lists of requirements) or from an address, and what the
//! pipeline's file imports when it is compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use samebundle_spec::{Algorithm, Digest};
use serde::Deserialize;

use super::lock::{BuiltWheel, Lock, Resolution, Wheel};
use super::target::{Libc, Target};
use super::{LOCK, WheelhouseError, pip};
use crate::build::declared::name_of;
use crate::build::imports::OF_THE_SDK;
use crate::build::tools::{self, ToolError};
use crate::build::{BuildError, BuildTools};
use crate::context::Context;
use crate::event::Event;

/// What components install from the project or an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::build) struct ProjectPackages {
    constraints: Vec<Constrained>,
    /// What the author says that files of a package have as digest, by the package's name.
    hashes: BTreeMap<String, BTreeSet<String>>,
    /// Wheels that were made of folders and addresses; they lie in the cache.
    pub(super) built: Vec<BuiltWheel>,
}

/// A wheel as the compiler's program answers it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(in crate::build) struct MadeWheel {
    file: String,
    commit: Option<String>,
}

/// What a lock knows of addresses.
#[derive(Debug, Default)]
pub(in crate::build) struct KnownAddresses {
    /// Files of wheels, by what the component names.
    pub(in crate::build) files: BTreeMap<String, String>,
    /// Commits, by what the component names.
    pub(in crate::build) commits: BTreeMap<String, String>,
}

/// The constraints of one install line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(in crate::build) struct Constrained {
    requirements: Vec<String>,
    constraints: Vec<String>,
}

impl ProjectPackages {
    /// Takes the wheels that the compiler's program has made into the cache.
    pub(in crate::build) fn keep(
        constraints: Vec<Constrained>,
        hashes: BTreeMap<String, Vec<String>>,
        built: BTreeMap<String, MadeWheel>,
        wheels: &Path,
        cache: &Path,
    ) -> io::Result<Self> {
        let cache = pip::folder(cache);
        std::fs::create_dir_all(&cache)?;
        let mut kept = Vec::new();
        for (requirement, MadeWheel { file, commit }) in built {
            let made = wheels.join(&file);
            let (digest, _) = Digest::of_reader(Algorithm::Sha256, std::fs::File::open(&made)?)?;
            let wheel = Wheel {
                file,
                digest,
                source: None,
            };
            std::fs::rename(&made, pip::place(&cache, &wheel))?;
            kept.push(BuiltWheel {
                requirement,
                commit,
                wheel,
            });
        }
        let mut by_name: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (requirement, given) in hashes {
            by_name.entry(name_of(&requirement)).or_default().extend(given);
        }
        Ok(Self {
            constraints,
            hashes: by_name,
            built: kept,
        })
    }

    /// Puts the locked wheels of addresses into a folder, so that an address is asked once. Folders of the project are
    /// made into wheels by each build, because they change.
    pub(in crate::build) fn known(project: &Path, cache: &Path, wheels: &Path) -> KnownAddresses {
        let cache = pip::folder(cache);
        let mut known = KnownAddresses::default();
        for built in Lock::read(&project.join(LOCK)).unwrap_or_default().built {
            let BuiltWheel {
                requirement,
                commit,
                wheel,
            } = built;
            let made = wheels.join(&wheel.file);
            let linked = || made.exists() || std::fs::hard_link(pip::place(&cache, &wheel), &made).is_ok();
            if requirement.contains("://") && pip::cached(&cache, &wheel) && linked() {
                known.files.insert(requirement.clone(), wheel.file);
            }
            known.commits.extend(commit.map(|commit| (requirement, commit)));
        }
        known
    }

    /// Adds to the words of an install line the constraints that hold for it.
    pub(super) fn constrain(&self, requirements: &[&str], words: &mut Vec<String>) {
        let same = |constrained: &&Constrained| constrained.requirements == requirements;
        let lines = self.constraints.iter().find(same).map(|found| &found.constraints);
        let options = lines
            .into_iter()
            .flatten()
            .map(|line| format!("{}{line}", pip::CONSTRAINT));
        words.splice(0..0, options);
    }

    /// Checks that files are among those whose digests the author gave.
    ///
    /// # Errors
    /// [`WheelhouseError::Hash`] for the first one that is not.
    pub(super) fn check(&self, wheels: &[Wheel]) -> Result<(), WheelhouseError> {
        for wheel in wheels {
            let Some(requirement) = wheel.requirement() else {
                continue;
            };
            let Some(given) = self.hashes.get(&name_of(&requirement)) else {
                continue;
            };
            let source = wheel.source.as_ref().map(|source| source.digest);
            let mut own = [Some(wheel.digest), source].into_iter().flatten();
            if !own.any(|digest| given.contains(&digest.to_string())) {
                return Err(WheelhouseError::Hash {
                    file: wheel.file.clone(),
                    found: wheel.digest.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Tells whether a locked choice was made with other wheels than those that were made now.
    pub(super) fn contradicts(&self, locked: &[Wheel]) -> bool {
        let differs = |built: &BuiltWheel| {
            let mut same_file = locked.iter().filter(|wheel| wheel.file == built.wheel.file);
            same_file.any(|wheel| wheel.digest != built.wheel.digest)
        };
        self.built.iter().any(differs)
    }
}

/// Fetches what a pipeline's file imports.
#[derive(Clone, Copy)]
pub(in crate::build) struct ImportedPackages<'a> {
    /// The Python of the SDK, for which the packages are chosen.
    pub(in crate::build) python: &'a Path,
    pub(in crate::build) tools: &'a BuildTools,
    pub(in crate::build) context: &'a Context,
    /// The folder of `samebundle.yaml`.
    pub(in crate::build) project: &'a Path,
}

/// How pip says that a conflict is with a constraint.
const BY_CONSTRAINT: &str = "The user requested (constraint)";

impl ImportedPackages<'_> {
    /// Returns a folder with the packages that `words` name and all that they need; makes it unless it is there.
    pub(in crate::build) async fn folder(&self, words: &[String]) -> Result<PathBuf, BuildError> {
        let io = |operation: &str| {
            let operation = operation.to_owned();
            move |source| WheelhouseError::Io { operation, source }
        };
        let resolver = super::Resolver {
            tools: self.tools,
            context: self.context,
            project: &ProjectPackages::default(),
            provided: &OF_THE_SDK,
        };
        let path = self.project.join(LOCK);
        let mut lock = Lock::read(&path)?;
        let target = self.target().await?;
        let resolution = match resolver.resolve(&lock, &target, words).await {
            Err(WheelhouseError::Tool(ToolError::Failed { output, .. }))
                if output.contains(BY_CONSTRAINT) =>
            {
                let text = "the versions that the project's lock names do not fit together for the Python of the kfp SDK; what \
                            the pipeline imports is chosen without them";
                self.context.events.emit(Event::Notice {
                    text: text.to_owned(),
                });
                let is_pin = |word: &&String| word.starts_with(pip::CONSTRAINT);
                let others: Vec<String> = words.iter().filter(|word| !is_pin(word)).cloned().collect();
                let chosen = resolver.resolve(&lock, &target, &others).await?;
                Resolution {
                    arguments: words.to_vec(),
                    ..chosen
                }
            }
            outcome => outcome?,
        };
        let cache = self.context.home.cache();
        let place = self.place(&resolution);
        if lock.find(&resolution.target, words).is_none() {
            lock.compile.push(resolution.clone());
            lock.compile.sort();
            lock.write(&path).map_err(io("write samebundle.lock"))?;
        }
        if place.is_dir() {
            return Ok(place);
        }
        self.context.events.emit(Event::Step {
            name: format!(
                "install {} packages that the pipeline imports",
                resolution.wheels.len()
            ),
        });
        let folder = tempfile::tempdir_in(&cache).map_err(io("make a folder for packages"))?;
        let (wheels, new) = (folder.path().join("wheels"), folder.path().join("new"));
        std::fs::create_dir(&wheels).map_err(io("make a folder for packages"))?;
        let mut command = tools::pip(self.python, "install");
        command.args(["--no-index", "--no-deps", "--target"]).arg(&new);
        for wheel in &resolution.wheels {
            let named = wheels.join(&wheel.file);
            std::fs::hard_link(pip::place(&pip::folder(&cache), wheel), &named)
                .map_err(io("link a wheel"))?;
            command.arg(named);
        }
        let remedy = "install pip for the Python that SAMEBUNDLE_KFP_PYTHON names";
        let purpose = "installing what the pipeline imports";
        let step = ("install what the pipeline imports", Some(resolution.wheels.len()));
        tools::run_pip(command, step, purpose, remedy, self.context).await?;
        match std::fs::rename(&new, &place) {
            // Another process was faster; its folder is the same.
            Err(_) if place.is_dir() => {}
            outcome => outcome.map_err(io("keep a folder with packages"))?,
        }
        Ok(place)
    }

    /// Returns the folders that the lock names and that are there, of those install lines that still hold: most pipelines
    /// import what they imported before.
    pub(in crate::build) fn made_before(&self, holds: impl Fn(&[String]) -> bool) -> Vec<PathBuf> {
        let lock = Lock::read(&self.project.join(LOCK)).unwrap_or_default();
        let held = lock
            .compile
            .iter()
            .filter(|resolution| holds(&resolution.arguments));
        held.map(|resolution| self.place(resolution))
            .filter(|place| place.is_dir())
            .collect()
    }

    /// Tells whether the lock has an install line.
    pub(in crate::build) fn is_locked(&self, words: &[String]) -> bool {
        let lock = Lock::read(&self.project.join(LOCK)).unwrap_or_default();
        lock.compile
            .iter()
            .any(|resolution| resolution.arguments == words)
    }

    /// Takes install lines that do not hold any more out of the lock, unless their folder is used.
    ///
    /// # Errors
    /// If the lock cannot be read or written.
    pub(in crate::build) fn settle(
        &self,
        holds: impl Fn(&[String]) -> bool,
        used: &[PathBuf],
    ) -> Result<(), BuildError> {
        let path = self.project.join(LOCK);
        let mut lock = Lock::read(&path)?;
        let before = lock.compile.len();
        lock.compile
            .retain(|resolution| holds(&resolution.arguments) || used.contains(&self.place(resolution)));
        if lock.compile.len() == before {
            return Ok(());
        }
        let failed = |source| WheelhouseError::Io {
            operation: "write samebundle.lock".to_owned(),
            source,
        };
        Ok(lock.write(&path).map_err(failed)?)
    }

    /// The folder of a resolution in the home's cache.
    fn place(&self, resolution: &Resolution) -> PathBuf {
        let wheels = resolution.wheels.iter().map(|wheel| wheel.digest.to_string());
        let text = format!(
            "{}\n{}",
            self.python.display(),
            wheels.collect::<Vec<_>>().join("\n")
        );
        let key = Digest::sha256(text.as_bytes()).short();
        self.context.home.cache().join(format!("imports-{key}"))
    }

    /// Asks the Python which packages it takes.
    async fn target(&self) -> Result<Target, BuildError> {
        const ASK: &str = "import platform, sys; print('%d.%d.%d' % sys.version_info[:3], platform.machine(), \
                           *(platform.libc_ver()[1].split('.')[:2] or ['']))";
        let mut command = tools::command(self.python);
        command.args(["-c", ASK]);
        let remedy = "let SAMEBUNDLE_KFP_PYTHON name a Python, or unset it";
        let said = tools::run(
            command,
            "asking Python for its version",
            remedy,
            &self.context.cancel,
        )
        .await?;
        let words: Vec<&str> = said.split_whitespace().collect();
        let (python, machine) = match words.as_slice() {
            [python, machine, ..] => (*python, *machine),
            _ => ("", ""),
        };
        let glibc = words.get(3).and_then(|minor| minor.parse().ok());
        Ok(Target {
            python: python.to_owned(),
            machine: machine.to_owned(),
            libc: glibc.map_or(Libc::Musl, Libc::Gnu),
        })
    }
}
