//! The packages that a pipeline's Python file imports when it is compiled, beside the SDK.
//!
//! A module that is missing is looked for in the project's own folders, and then among what the project declares
//! ([`super::declared`]) in its folder, in the pipeline's and in those between, and in `program.requirements`. Where a
//! declared or locked package bears the module's name only that package is fetched; otherwise all that the project needs,
//! and then what its developers need. The choice is locked in `samebundle.lock`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use samebundle_spec::limits;

use super::compile::PythonSource;
use super::declared::{self, Declared, Package, Role, name_of, normalized};
use super::wheelhouse::{self, ImportedPackages};
use super::{BuildError, BuildTools};
use crate::context::Context;
use crate::event::Event;

/// Packages whose module has another name.
const MODULES: [(&str, &str); 14] = [
    ("attr", "attrs"),
    ("bs4", "beautifulsoup4"),
    ("cv2", "opencv-python"),
    ("dateutil", "python-dateutil"),
    ("dotenv", "python-dotenv"),
    ("git", "gitpython"),
    ("github", "pygithub"),
    ("google.protobuf", "protobuf"),
    ("jwt", "pyjwt"),
    ("openssl", "pyopenssl"),
    ("pil", "pillow"),
    ("skimage", "scikit-image"),
    ("sklearn", "scikit-learn"),
    ("yaml", "pyyaml"),
];

/// Packages of the SDK's environment, which a project's declaration does not replace.
pub(super) const OF_THE_SDK: [&str; 4] = ["kfp", "kfp-kubernetes", "kfp-pipeline-spec", "kfp-server-api"];

/// How deep a module is looked for in the project's folders.
const DEPTH: usize = 6;

/// The packages of one compilation.
pub(super) struct Imports<'a> {
    packages: ImportedPackages<'a>,
    declared: Declared,
    /// What shell lines of a notebook install.
    offered: Vec<Package>,
    fetched: BTreeSet<Package>,
    folders: Vec<PathBuf>,
}

impl<'a> Imports<'a> {
    pub(super) fn new(
        source: PythonSource<'a>,
        python: &'a Path,
        tools: &'a BuildTools,
        context: &'a Context,
    ) -> Self {
        let below = source.file.ancestors().skip(1);
        let between =
            below.take_while(|folder| folder.starts_with(source.project) && *folder != source.project);
        let mut folders: Vec<&Path> = between.collect();
        folders.push(source.project);
        folders.reverse();
        let mut declared = declared::read(&folders, source.requirements);
        let of_the_sdk = |requirement: &str| OF_THE_SDK.contains(&name_of(requirement).as_str());
        declared
            .packages
            .retain(|package| !of_the_sdk(&package.requirement));
        declared
            .pins
            .retain(|name, _| !OF_THE_SDK.contains(&name.as_str()));
        let packages = ImportedPackages {
            python,
            tools,
            context,
            project: source.project,
        };
        let mut folders = declared.folders.clone();
        folders.extend(packages.made_before(|words| holds(&declared, words)));
        Self {
            folders,
            packages,
            declared,
            offered: Vec::new(),
            fetched: BTreeSet::new(),
        }
    }

    /// Folders with packages, for the end of the path.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Packages of the project whose folder has another name.
    pub(super) fn aliases(&self) -> &BTreeMap<String, PathBuf> {
        &self.declared.aliases
    }

    /// Takes what shell lines of a notebook install for declared, where a module bears its name.
    pub(super) fn offer(&mut self, requirements: &[String]) {
        let of_the_sdk = |one: &String| OF_THE_SDK.contains(&name_of(one).as_str());
        let offered = requirements.iter().filter(|one| !of_the_sdk(one));
        let package = |requirement: &String| Package {
            requirement: requirement.clone(),
            places: Vec::new(),
            role: Role::Main,
        };
        self.offered = offered.map(package).collect();
    }

    /// Finds a missing module in the project, or fetches its package. Returns false if there is nothing more to try.
    ///
    /// # Errors
    /// If the packages cannot be resolved or fetched.
    pub(super) async fn fetch(&mut self, module: &str) -> Result<bool, BuildError> {
        let names = packages_of(module);
        let mut declared = self.declared.packages.iter();
        let is_declared = declared.any(|one| names.contains(&name_of(&one.requirement)));
        // A folder may have the name of a package by chance: `docker/`, with some scripts.
        if let [folder] = self.in_project(module).as_slice()
            && !is_declared
            && !self.folders.contains(folder)
        {
            let shown = folder.strip_prefix(self.packages.project).unwrap_or(folder);
            let text = format!(
                "the module {module} is taken from the folder {} of the project",
                shown.display()
            );
            self.packages.context.events.emit(Event::Notice { text });
            self.folders.push(folder.clone());
            return Ok(true);
        }
        let wanted = self.wanted(module);
        self.fetched.extend(wanted.iter().cloned());
        let mut by_place: BTreeMap<&[String], Vec<&str>> = BTreeMap::new();
        for package in &wanted {
            by_place
                .entry(&package.places)
                .or_default()
                .push(&package.requirement);
        }
        let mut is_new = false;
        for (places, requirements) in by_place {
            let pins = self
                .declared
                .pins
                .values()
                .map(|pin| format!("--constraint={pin}"));
            let options = places.iter().cloned().chain(pins);
            let words: Vec<String> = options
                .chain(requirements.into_iter().map(str::to_owned))
                .collect();
            let made = if self.packages.is_locked(&without_needs(&words)) {
                self.apart(&words).await?
            } else {
                match self.packages.folder(&words).await {
                    Ok(folder) => vec![folder],
                    Err(error) if names_the_sdk(&error) => self.apart(&words).await?,
                    Err(error) => return Err(error),
                }
            };
            is_new |= self.take(made);
        }
        Ok(is_new)
    }

    /// Takes folders with packages, and tells whether one of them is new.
    fn take(&mut self, folders: Vec<PathBuf>) -> bool {
        let before = self.folders.len();
        for folder in folders {
            if !self.folders.contains(&folder) {
                self.folders.push(folder);
            }
        }
        self.folders.len() > before
    }

    /// Takes out of the lock what the project does not declare any more.
    ///
    /// # Errors
    /// If the lock cannot be read or written.
    pub(super) fn settle(&self) -> Result<(), BuildError> {
        self.packages
            .settle(|words| holds(&self.declared, words), &self.folders)
    }

    /// Fetches packages and, apart from them, what they need beside the SDK: the one with which a pipeline is compiled is
    /// there, whatever version they ask for.
    async fn apart(&self, words: &[String]) -> Result<Vec<PathBuf>, BuildError> {
        let mut options: Vec<String> = words
            .iter()
            .filter(|word| word.starts_with('-'))
            .cloned()
            .collect();
        let folder = self.packages.folder(&without_needs(words)).await?;
        let mut needs = BTreeSet::new();
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if let Ok(metadata) = super::read_file(&entry.path().join("METADATA"), limits::AUTHORING_BYTES) {
                needs.extend(wheelhouse::needs(&String::from_utf8_lossy(&metadata)));
            }
        }
        needs.retain(|need| !OF_THE_SDK.contains(&name_of(need).as_str()));
        if needs.is_empty() {
            return Ok(vec![folder]);
        }
        options.extend(needs);
        Ok(vec![folder, self.packages.folder(&options).await?])
    }

    fn wanted(&self, module: &str) -> Vec<Package> {
        let names = packages_of(module);
        if module.split('.').next() == Some("kfp")
            || names.iter().any(|name| self.declared.local.contains(name))
        {
            return Vec::new();
        }
        let left = |chosen: &dyn Fn(&Package) -> bool| -> Vec<Package> {
            let left = self
                .declared
                .packages
                .iter()
                .filter(|one| !self.fetched.contains(*one));
            left.filter(|one| chosen(one)).cloned().collect()
        };
        let mut named = left(&|one| names.contains(&name_of(&one.requirement)));
        if !named.is_empty() {
            // Of two lists that name a package without conditions, the first one counts.
            let mut seen = BTreeSet::new();
            named.retain(|one| one.requirement.contains(';') || seen.insert(name_of(&one.requirement)));
            return named;
        }
        let locked = names.iter().filter_map(|name| self.declared.pinned(name));
        let locked: Vec<Package> = locked.filter(|one| !self.fetched.contains(one)).collect();
        if !locked.is_empty() {
            return locked;
        }
        let offered = self.offered.iter();
        let offered: Vec<Package> = offered
            .filter(|one| names.contains(&name_of(&one.requirement)) && !self.fetched.contains(*one))
            .cloned()
            .collect();
        if !offered.is_empty() {
            return offered;
        }
        let main = left(&|one| one.role == Role::Main);
        match main.is_empty() {
            true => left(&|one| one.role == Role::Extra),
            false => main,
        }
    }

    /// The folders of the project from which a module could be imported.
    fn in_project(&self, module: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        if !module.contains('.') && module != "kfp" {
            find(self.packages.project, module, 0, &mut found);
        }
        found
    }

    /// Returns what the author can do about a module that is missing all the same.
    pub(super) fn remedy(&self, module: &str) -> String {
        let elsewhere =
            "let SAMEBUNDLE_KFP_PYTHON name a Python that has the kfp SDK and all that is imported";
        if module.split('.').next() == Some("kfp") {
            return match self.packages.tools.kfp_python {
                Some(_) => {
                    ": the Python that SAMEBUNDLE_KFP_PYTHON names has no such part of the kfp SDK".to_owned()
                }
                None => ": the kfp SDK has no such part; is it of version 1, or of a package of its own?"
                    .to_owned(),
            };
        }
        let folders = self.in_project(module);
        if folders.len() > 1 {
            let shown = |folder: &PathBuf| {
                let below = folder.strip_prefix(self.packages.project).unwrap_or(folder);
                Path::new(".").join(below).display().to_string()
            };
            let all: Vec<String> = folders.iter().map(shown).collect();
            return format!(
                ": the project has it in {}; say which one is meant with PYTHONPATH",
                all.join(" and ")
            );
        }
        if packages_of(module)
            .iter()
            .any(|name| self.declared.local.contains(name))
        {
            return format!(
                ": the project takes it from a folder, a repository or an address, where it is not found; put the \
                 folder into the project or on PYTHONPATH, or {elsewhere}"
            );
        }
        let why = match self.declared.packages.is_empty() {
            true => "the project declares no packages",
            false => "no package that the project declares has it",
        };
        format!(
            ": {why}; name the package of {module} in requirements.txt, or in `program: {{requirements: [...]}}` of \
             samebundle.yaml (or {elsewhere})"
        )
    }
}

/// The words of an install line, for its packages without what they need.
fn without_needs(words: &[String]) -> Vec<String> {
    let end = words
        .iter()
        .position(|word| !word.starts_with('-'))
        .unwrap_or(words.len());
    let (options, requirements) = words.split_at(end);
    [options, &["--no-deps".to_owned()], requirements].concat()
}

/// Tells whether a project still declares the packages of an install line, at the same places and with the same pins.
fn holds(declared: &Declared, words: &[String]) -> bool {
    let pins: BTreeSet<String> = declared
        .pins
        .values()
        .map(|pin| format!("--constraint={pin}"))
        .collect();
    let (options, requirements): (Vec<&String>, Vec<&String>) =
        words.iter().partition(|word| word.starts_with('-'));
    let (of_pins, places): (Vec<&String>, Vec<&String>) = options
        .into_iter()
        .filter(|word| *word != "--no-deps")
        .partition(|word| word.starts_with("--constraint="));
    of_pins.into_iter().eq(pins.iter())
        && requirements.iter().all(|word| {
            let is_same =
                |one: &&Package| one.requirement == **word && one.places.iter().eq(places.iter().copied());
            declared.packages.iter().any(|one| is_same(&one))
                || declared.pins.values().any(|pin| pin == *word)
        })
}

/// Tells whether packages do not fit together because of the version of the SDK that they ask for.
fn names_the_sdk(error: &BuildError) -> bool {
    let text = error.to_string();
    let said = [" depends on ", "No matching distribution found for "];
    let asked = text
        .lines()
        .filter_map(|line| said.iter().find_map(|words| line.split_once(words)));
    asked
        .map(|(_, wanted)| name_of(wanted))
        .any(|name| OF_THE_SDK.contains(&name.as_str()))
}

/// Looks for folders that hold a module. Folders of environments, of tools and of built things are passed over.
fn find(folder: &Path, module: &str, depth: usize, found: &mut Vec<PathBuf>) {
    let has_python = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .any(|path| path.extension().is_some_and(|end| end == "py"))
    };
    if folder.join(module).with_extension("py").is_file() || has_python(&folder.join(module)) {
        found.push(folder.to_owned());
    }
    let mut below: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < DEPTH)
        .map(|entry| entry.path())
        .collect();
    below.sort();
    for inner in below {
        let name = inner.file_name().unwrap_or_default().to_string_lossy();
        let passed = name.starts_with('.')
            || [
                "node_modules",
                "site-packages",
                "__pycache__",
                "build",
                "dist",
                "target",
            ]
            .contains(&&*name)
            || inner.join("pyvenv.cfg").exists()
            || inner.file_name().is_some_and(|name| name == module);
        if !passed {
            find(&inner, module, depth + 1, found);
        }
    }
}

/// Names of packages that may hold a module, normalized.
fn packages_of(module: &str) -> BTreeSet<String> {
    let lower = module.to_lowercase();
    let mut names = BTreeSet::new();
    let parts: Vec<&str> = lower.split('.').collect();
    for count in 1..=parts.len() {
        let dotted = parts[..count].join(".");
        if let Some((_, package)) = MODULES.iter().find(|(module, _)| *module == dotted) {
            names.insert((*package).to_owned());
        }
        let plain = normalized(&dotted);
        names.extend([format!("python-{plain}"), format!("py{plain}"), plain]);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_the_project_are_found() {
        let project = tempfile::tempdir().unwrap();
        for path in [
            "lib/src/ours/x.py",
            "a/b/one.py",
            "c/two.py",
            "d/two.py",
            ".venv/ours/x.py",
            "v/pyvenv.cfg",
            "v/one.py",
        ] {
            let path = project.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        for (module, wanted) in [
            ("ours", vec!["lib/src"]),
            ("one", vec!["a/b"]),
            ("two", vec!["c", "d"]),
            ("three", vec![]),
        ] {
            let mut found = Vec::new();
            find(project.path(), module, 0, &mut found);
            let wanted: Vec<_> = wanted.into_iter().map(|path| project.path().join(path)).collect();
            assert_eq!(found, wanted, "{module}");
        }
    }

    #[test]
    fn modules_find_their_packages() {
        for (module, requirement) in [
            ("dotenv", "python-dotenv==1.0"),
            ("yaml", "PyYAML"),
            ("google.cloud.aiplatform", "google-cloud-aiplatform>=1"),
            (
                "google_cloud_pipeline_components",
                "google-cloud-pipeline-components",
            ),
            ("sklearn.svm", "scikit_learn[x]>=1"),
        ] {
            assert!(packages_of(module).contains(&name_of(requirement)), "{module}");
        }
        assert!(!packages_of("numpy").contains(&name_of("pandas")));
    }
}
