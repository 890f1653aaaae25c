//! The packages that a pipeline's Python file imports when it is compiled, beside the SDK.
//!
//! A module that is missing is looked for in what the project declares: `program.requirements` in `samebundle.yaml`,
//! `requirements*.txt`, `pyproject.toml`, `environment.yml`, in the project's folder and in the pipeline's. Where a
//! declared package bears the module's name only that package is fetched, otherwise all are. Versions that `uv.lock` or
//! `poetry.lock` names are kept. The choice is locked in `samebundle.lock`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use samebundle_spec::{limits, yaml};
use serde::Deserialize;
use serde_json::Value;

use super::compile::PythonSource;
use super::wheelhouse::ImportedPackages;
use super::{BuildError, BuildTools};
use crate::context::Context;

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
const OF_THE_SDK: [&str; 4] = ["kfp", "kfp-kubernetes", "kfp-pipeline-spec", "kfp-server-api"];

/// The packages of one compilation.
pub(super) struct Imports<'a> {
    packages: ImportedPackages<'a>,
    declared: Vec<String>,
    pins: Vec<String>,
    fetched: BTreeSet<String>,
    folders: Vec<PathBuf>,
}

impl<'a> Imports<'a> {
    pub(super) fn new(
        source: PythonSource<'a>,
        python: &'a Path,
        tools: &'a BuildTools,
        context: &'a Context,
    ) -> Self {
        let mut folders = vec![source.project];
        folders.extend(source.file.parent().filter(|folder| *folder != source.project));
        let mut declared: Vec<String> = source.requirements.to_vec();
        let mut pins = Vec::new();
        for folder in folders {
            declared.extend(declared_in(folder));
            pins.extend(pinned_in(folder));
        }
        declared.retain(|requirement| {
            !OF_THE_SDK.contains(&name_of(requirement).as_str()) && is_released(requirement)
        });
        let packages = ImportedPackages {
            python,
            tools,
            context,
            project: source.project,
        };
        Self {
            folders: packages.made_before(),
            packages,
            declared,
            pins,
            fetched: BTreeSet::new(),
        }
    }

    /// Folders with packages, for the end of the path.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Fetches the package of a missing module. Returns false if the project declares none that is not fetched yet.
    ///
    /// # Errors
    /// If the packages cannot be resolved or fetched.
    pub(super) async fn fetch(&mut self, module: &str) -> Result<bool, BuildError> {
        let wanted = self.wanted(module);
        if wanted.is_empty() {
            return Ok(false);
        }
        self.fetched.extend(wanted.iter().cloned());
        let mut words: Vec<String> = self
            .pins
            .iter()
            .map(|pin| format!("--constraint={pin}"))
            .collect();
        words.extend(wanted);
        let folder = self.packages.folder(&words).await?;
        let is_new = !self.folders.contains(&folder);
        self.folders.extend(is_new.then_some(folder));
        Ok(is_new)
    }

    fn wanted(&self, module: &str) -> Vec<String> {
        let names = packages_of(module);
        let left = || self.declared.iter().filter(|one| !self.fetched.contains(*one));
        let named: Vec<String> = left()
            .filter(|one| names.contains(&name_of(one)))
            .cloned()
            .collect();
        match named.is_empty() {
            true => left().cloned().collect(),
            false => named,
        }
    }

    /// Returns what the author can do about a module that is missing all the same.
    pub(super) fn remedy(&self, module: &str) -> String {
        let why = match self.declared.is_empty() {
            true => "the project declares no packages",
            false => "no package that the project declares has it",
        };
        format!(
            ": {why}; name the package of {module} in requirements.txt, or in `program: {{requirements: [...]}}` of \
             samebundle.yaml (or let SAMEBUNDLE_KFP_PYTHON name a Python that has the kfp SDK and all that is imported)"
        )
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

/// Normalizes a package's name (PEP 503).
fn normalized(name: &str) -> String {
    let mut text = String::new();
    for character in name.trim().chars() {
        match character {
            '-' | '_' | '.' if text.ends_with('-') => {}
            '-' | '_' | '.' => text.push('-'),
            other => text.extend(other.to_lowercase()),
        }
    }
    text
}

/// The name of the package in a requirement, normalized.
fn name_of(requirement: &str) -> String {
    let end = requirement.find(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
    normalized(&requirement[..end.unwrap_or(requirement.len())])
}

/// Tells a released package from a folder, a file and an address.
fn is_released(requirement: &str) -> bool {
    !requirement.contains("://") && !requirement.starts_with(['.', '/', '-']) && !requirement.contains(" @ ")
}

/// What a folder's files declare, in their order. A file that cannot be read declares nothing: it may be for another
/// tool, and what is missing then is said by the compiler.
fn declared_in(folder: &Path) -> Vec<String> {
    let mut declared = Vec::new();
    let mut lists: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("requirements") && (name.ends_with(".txt") || name.ends_with(".in"))
        })
        .collect();
    lists.sort();
    for list in lists {
        read_list(&list, &mut declared, 0);
    }
    declared.extend(of_pyproject(&folder.join("pyproject.toml")).unwrap_or_default());
    for name in ["environment.yml", "environment.yaml"] {
        declared.extend(of_environment(&folder.join(name)).unwrap_or_default());
    }
    declared
}

fn read(path: &Path) -> Option<String> {
    let bytes = super::read_file(path, limits::AUTHORING_BYTES).ok()?;
    String::from_utf8(bytes).ok()
}

/// Reads a list as pip has it, with the lists that it names.
fn read_list(path: &Path, declared: &mut Vec<String>, depth: usize) {
    let Some(text) = read(path).filter(|_| depth < 8) else {
        return;
    };
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let line = line.split(" --hash=").next().unwrap_or_default().trim();
        let named = ["--requirement=", "--requirement ", "-r "]
            .iter()
            .find_map(|option| line.strip_prefix(option));
        if let Some(name) = named.or_else(|| line.strip_prefix("-r")) {
            let inner = path.parent().unwrap_or(Path::new(".")).join(name.trim());
            read_list(&inner, declared, depth + 1);
        } else if !line.is_empty() && !line.starts_with(['#', '-']) {
            declared.push(line.to_owned());
        }
    }
}

/// The parts of `pyproject.toml` that name packages.
#[derive(Deserialize)]
struct PyProject {
    #[serde(default)]
    project: ProjectTable,
    #[serde(default, rename = "dependency-groups")]
    groups: BTreeMap<String, Vec<toml::Value>>,
    #[serde(default)]
    tool: BTreeMap<String, toml::Value>,
}

#[derive(Default, Deserialize)]
struct ProjectTable {
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default, rename = "optional-dependencies")]
    optional: BTreeMap<String, Vec<String>>,
}

fn of_pyproject(path: &Path) -> Option<Vec<String>> {
    let file: PyProject = toml::from_str(&read(path)?).ok()?;
    let mut declared = file.project.dependencies;
    declared.extend(file.project.optional.into_values().flatten());
    let groups = file.groups.into_values().flatten();
    declared.extend(groups.filter_map(|entry| entry.as_str().map(str::to_owned)));
    // Poetry has its own words for versions; poetry.lock says which one it is.
    let poetry = file.tool.get("poetry");
    let mut tables: Vec<&toml::Value> = poetry
        .and_then(|poetry| poetry.get("dependencies"))
        .into_iter()
        .collect();
    let grouped = poetry.and_then(|poetry| poetry.get("group")?.as_table());
    tables.extend(
        grouped
            .into_iter()
            .flatten()
            .filter_map(|(_, group)| group.get("dependencies")),
    );
    for table in tables.into_iter().filter_map(toml::Value::as_table) {
        declared.extend(table.keys().filter(|name| *name != "python").cloned());
    }
    Some(declared)
}

/// The part of conda's `environment.yml` that pip installs; conda's own packages by name.
fn of_environment(path: &Path) -> Option<Vec<String>> {
    let file: Value = yaml::from_slice(read(path)?.as_bytes(), limits::AUTHORING_BYTES).ok()?;
    let mut declared = Vec::new();
    for entry in file.get("dependencies")?.as_array()? {
        if let Some(text) = entry.as_str() {
            let name = text.split(['=', '<', '>', ' ']).next().unwrap_or_default();
            if !["python", "pip"].contains(&name) && !name.contains(':') {
                declared.push(name.to_owned());
            }
        }
        let of_pip = entry.get("pip").and_then(Value::as_array).into_iter().flatten();
        declared.extend(of_pip.filter_map(|word| word.as_str().map(str::to_owned)));
    }
    Some(declared)
}

/// Versions that a lock of the project names, as `name==version`.
fn pinned_in(folder: &Path) -> Vec<String> {
    #[derive(Deserialize)]
    struct Locked {
        #[serde(default)]
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: Option<String>,
    }
    let lock = ["uv.lock", "poetry.lock"]
        .iter()
        .find_map(|name| read(&folder.join(name)));
    let locked = lock.and_then(|text| toml::from_str::<Locked>(&text).ok());
    let packages = locked.into_iter().flat_map(|locked| locked.package);
    let pin = |package: Package| Some(format!("{}=={}", package.name, package.version?));
    packages.filter_map(pin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        declared_in(folder.path())
    }

    #[test]
    fn every_usual_declaration_is_read() {
        let list = "# ours\nsix==1.16 --hash=sha256:00\n\n-r more.txt\n--index-url x\nb[c]>=1; python_version<'4' # why\n";
        assert_eq!(
            declared(&[("requirements-dev.txt", list), ("more.txt", "a\\\n >1\n")]),
            ["six==1.16", "a  >1", "b[c]>=1; python_version<'4'"]
        );
        let project = "[project]\nname='x'\ndependencies=['a>1']\n[project.optional-dependencies]\nt=['b']\n\
                       [dependency-groups]\ndev=['c', {include-group='t'}]\n[tool.poetry.dependencies]\npython='^3'\nd='^1'\n\
                       [tool.poetry.group.dev.dependencies]\ne={version='1'}\n";
        assert_eq!(
            declared(&[("pyproject.toml", project)]),
            ["a>1", "b", "c", "d", "e"]
        );
        let conda = "name: x\ndependencies:\n- python=3.11\n- numpy=1.2\n- pip\n- pip:\n  - f==1\n";
        assert_eq!(declared(&[("environment.yml", conda)]), ["numpy", "f==1"]);
        assert!(declared(&[("pyproject.toml", "not toml")]).is_empty());
    }

    #[test]
    fn versions_of_a_lock_are_pins() {
        let folder = tempfile::tempdir().unwrap();
        let lock =
            "version = 1\n[[package]]\nname = \"six\"\nversion = \"1.16.0\"\n[[package]]\nname = \"own\"\n";
        std::fs::write(folder.path().join("uv.lock"), lock).unwrap();
        assert_eq!(pinned_in(folder.path()), ["six==1.16.0"]);
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
