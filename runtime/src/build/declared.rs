//! What a project says that it needs, in the files of the usual tools: lists of pip, `pyproject.toml` (also Poetry's and
//! uv's words), `setup.py`, `setup.cfg`, `Pipfile`, conda's `environment.yml`, and the locks of uv and Poetry.
//!
//! A file that cannot be read declares nothing: it may be for another tool, and what is missing then is said by the
//! compiler. A name that the project takes from a folder, a repository or an address is never looked for in an index, where
//! it could be somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use samebundle_spec::{limits, yaml};
use serde::Deserialize;
use serde_json::Value;

/// How deep lists and local packages may name others.
const DEPTH: usize = 8;

/// The options of a list that say where packages are, and whether a value follows.
const PLACES: [(&str, bool); 8] = [
    ("-i", true),
    ("--index-url", true),
    ("--extra-index-url", true),
    ("-f", true),
    ("--find-links", true),
    ("--trusted-host", true),
    ("--no-index", false),
    ("--pre", false),
];

/// A package of an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    /// The requirement, as pip reads it.
    pub(super) requirement: String,
    /// Options of pip that say where it is, each one word.
    pub(super) places: Vec<String>,
    /// How probable it is that the pipeline's file needs it.
    pub(super) role: Role,
}

/// How near a declaration is to what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Among what the project needs.
    Main,
    /// In an extra, a group or a list for developers.
    Extra,
    /// By a name of conda, which may be another package in an index: it is taken only if a module has just this name.
    Conda,
}

/// What a project declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) packages: Vec<Package>,
    /// Versions that hold whoever asks for the package, by its normalized name.
    pub(super) pins: BTreeMap<String, String>,
    /// Normalized names that come from a folder, a repository or an address.
    pub(super) local: BTreeSet<String>,
    /// Folders from which the project's own packages are imported.
    pub(super) folders: Vec<PathBuf>,
    /// Packages whose folder has another name.
    pub(super) aliases: BTreeMap<String, PathBuf>,
    /// Indexes of single packages, by normalized name.
    indexes: BTreeMap<String, String>,
    /// Options for all packages.
    everywhere: Vec<String>,
    /// Versions of which a lock has several.
    forked: BTreeSet<String>,
}

/// Normalizes a package's name (PEP 503).
pub(super) fn normalized(name: &str) -> String {
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
pub(super) fn name_of(requirement: &str) -> String {
    let end = requirement.find(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
    normalized(&requirement[..end.unwrap_or(requirement.len())])
}

/// Reads what these folders declare, the first one first, and besides `further` requirements.
pub(super) fn read(folders: &[&Path], further: &[String]) -> Declared {
    let mut declared = Declared::default();
    for requirement in further {
        declared.add(requirement, Path::new("."), &[], Role::Main, 0);
    }
    for folder in folders {
        declared.folder(folder, 0);
    }
    for name in &declared.forked {
        declared.pins.remove(name);
    }
    let local = &declared.local;
    declared
        .packages
        .retain(|package| !local.contains(&name_of(&package.requirement)));
    let mut packages = std::mem::take(&mut declared.packages);
    for package in &mut packages {
        let name = name_of(&package.requirement);
        if package.places.is_empty() || declared.indexes.contains_key(&name) {
            package.places = declared.places_of(&name);
        }
    }
    declared.packages = packages;
    declared
}

fn text_of(path: &Path) -> Option<String> {
    let bytes = super::read_file(path, limits::AUTHORING_BYTES).ok()?;
    String::from_utf8(bytes).ok()
}

impl Declared {
    /// A package of which a lock or a list names the version.
    pub(super) fn pinned(&self, name: &str) -> Option<Package> {
        let requirement = self.pins.get(name).filter(|_| !self.local.contains(name))?;
        Some(Package {
            requirement: requirement.clone(),
            places: self.places_of(name),
            role: Role::Main,
        })
    }

    /// The options for a package that no list names: its own index, or that of all.
    fn places_of(&self, name: &str) -> Vec<String> {
        match self.indexes.get(name) {
            Some(index) => vec![format!("--index-url={index}")],
            None => self.everywhere.clone(),
        }
    }

    fn folder(&mut self, folder: &Path, depth: usize) {
        for (list, role) in lists(folder) {
            self.list(&list, role, depth);
        }
        self.pyproject(folder, depth);
        self.setup(folder, depth);
        self.pipfile(folder, depth);
        for name in ["environment.yml", "environment.yaml"] {
            self.conda(&folder.join(name), depth);
        }
        self.lock(folder);
    }

    /// Adds a requirement: a package of an index, or what is elsewhere.
    fn add(&mut self, requirement: &str, base: &Path, places: &[String], role: Role, depth: usize) {
        let requirement = requirement.trim();
        if let Some((name, address)) = requirement.split_once(" @ ") {
            self.local.insert(name_of(name));
            if let Some(path) = address.trim().strip_prefix("file:") {
                let path = path.trim_start_matches("//");
                self.local_folder(&base.join(path), depth);
            }
        } else if requirement.starts_with(['.', '/']) {
            self.local_folder(
                &base.join(requirement.split('[').next().unwrap_or_default()),
                depth,
            );
        } else if !requirement.is_empty() && !requirement.contains("://") && !requirement.starts_with('-') {
            self.pin(requirement);
            self.packages.push(Package {
                requirement: requirement.to_owned(),
                places: places.to_vec(),
                role,
            });
        }
    }

    fn pin(&mut self, requirement: &str) {
        let plain = requirement.split(';').next().unwrap_or_default();
        if let Some((name, version)) = plain.split_once("==")
            && !version.contains(['*', ',', '<', '>', '!', '='])
        {
            let name = name_of(name);
            let pin = format!("{name}=={}", version.trim());
            self.pins.entry(name).or_insert(pin);
        }
    }

    /// Takes a folder with a package of the project's authors, and what that declares.
    fn local_folder(&mut self, folder: &Path, depth: usize) {
        if depth >= DEPTH || !folder.is_dir() {
            return;
        }
        let source = folder.join("src");
        let found = if source.is_dir() {
            source
        } else {
            folder.to_owned()
        };
        if !self.folders.contains(&found) {
            self.folders.push(found);
            self.folder(folder, depth + 1);
        }
    }

    /// Reads a list as pip has it, with the lists that it names.
    fn list(&mut self, path: &Path, role: Role, depth: usize) {
        let mut places = Vec::new();
        let mut found = Vec::new();
        read_list(path, false, depth, &mut places, &mut found);
        for (line, base, is_constraint) in found {
            if is_constraint {
                self.pin(&line);
            } else {
                self.add(&line, &base, &places, role, depth);
            }
        }
    }

    fn pyproject(&mut self, folder: &Path, depth: usize) {
        let parsed =
            text_of(&folder.join("pyproject.toml")).and_then(|text| toml::from_str::<PyProject>(&text).ok());
        let Some(file) = parsed else { return };
        self.local.extend(file.project.name.as_deref().map(normalized));
        for requirement in file.project.dependencies {
            self.add(&requirement, folder, &[], Role::Main, depth);
        }
        let groups = file.groups.into_values().flatten();
        let groups = groups.filter_map(|entry| entry.as_str().map(str::to_owned));
        for requirement in file.project.optional.into_values().flatten().chain(groups) {
            self.add(&requirement, folder, &[], Role::Extra, depth);
        }
        let at = |path: &str| {
            path.split('.')
                .try_fold(None, |found: Option<&toml::Value>, key| {
                    let next = match found {
                        None => file.tool.get(key),
                        Some(value) => value.get(key),
                    };
                    next.map(Some)
                })
        };
        let table = |path: &str| at(path).flatten().and_then(toml::Value::as_table);
        // Sources go first, because they say which names are no index's.
        self.uv(folder, &at("uv").flatten().cloned(), depth);
        if let Some(name) = at("poetry.name").flatten().and_then(toml::Value::as_str) {
            self.local.insert(normalized(name));
        }
        for (key, role) in [
            ("poetry.dependencies", Role::Main),
            ("poetry.dev-dependencies", Role::Extra),
        ] {
            self.versions(folder, table(key), role, depth);
        }
        for group in table("poetry.group")
            .into_iter()
            .flat_map(|groups| groups.values())
        {
            let table = group.get("dependencies").and_then(toml::Value::as_table);
            self.versions(folder, table, Role::Extra, depth);
        }
        for (package, place) in table("setuptools.package-dir").into_iter().flatten() {
            let Some(place) = place.as_str().map(|place| folder.join(place)) else {
                continue;
            };
            match package.as_str() {
                "" => self.folders.push(place),
                package => drop(self.aliases.insert(package.to_owned(), place)),
            }
        }
        let found = at("setuptools.packages.find.where")
            .flatten()
            .and_then(toml::Value::as_array);
        let found = found.into_iter().flatten().filter_map(toml::Value::as_str);
        self.folders.extend(found.map(|place| folder.join(place)));
        let named = at("poetry.packages").flatten().and_then(toml::Value::as_array);
        let named = named
            .into_iter()
            .flatten()
            .filter_map(|one| one.get("from")?.as_str());
        self.folders.extend(named.map(|place| folder.join(place)));
    }

    /// Reads where uv takes packages from.
    fn uv(&mut self, folder: &Path, uv: &Option<toml::Value>, depth: usize) {
        let Some(uv) = uv else { return };
        let text = |value: Option<&toml::Value>| value.and_then(toml::Value::as_str).map(str::to_owned);
        let mut indexes = BTreeMap::new();
        let listed = uv.get("index").and_then(toml::Value::as_array);
        for index in listed.into_iter().flatten() {
            let Some(url) = text(index.get("url")) else {
                continue;
            };
            if index.get("default").and_then(toml::Value::as_bool) == Some(true) {
                self.everywhere = vec![format!("--index-url={url}")];
            }
            indexes.extend(text(index.get("name")).map(|name| (name, url)));
        }
        if let Some(url) = text(uv.get("index-url")) {
            self.everywhere = vec![format!("--index-url={url}")];
        }
        let sources = uv.get("sources").and_then(toml::Value::as_table);
        for (name, source) in sources.into_iter().flatten() {
            // A list has a source for each platform.
            let source = source.as_array().and_then(|all| all.first()).unwrap_or(source);
            if let Some(url) = text(source.get("index")).and_then(|index| indexes.get(&index).cloned()) {
                self.indexes.insert(normalized(name), url);
            } else {
                self.local.insert(normalized(name));
            }
            if let Some(path) = text(source.get("path")) {
                self.local_folder(&folder.join(path), depth);
            }
        }
        for requirement in uv
            .get("dev-dependencies")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
        {
            self.add(
                requirement.as_str().unwrap_or_default(),
                folder,
                &[],
                Role::Extra,
                depth,
            );
        }
    }

    /// Reads a table of packages with versions, as Poetry and Pipenv have it.
    fn versions(&mut self, folder: &Path, table: Option<&toml::Table>, role: Role, depth: usize) {
        for (name, wanted) in table.into_iter().flatten().filter(|(name, _)| *name != "python") {
            let wanted = wanted.as_array().and_then(|all| all.first()).unwrap_or(wanted);
            let text = |key: &str| wanted.get(key).and_then(toml::Value::as_str);
            if let Some(path) = text("path") {
                self.local.insert(normalized(name));
                self.local_folder(&folder.join(path), depth);
            } else if ["git", "url", "file"].iter().any(|key| text(key).is_some()) {
                self.local.insert(normalized(name));
            } else {
                let version = wanted.as_str().or_else(|| text("version")).unwrap_or("*");
                self.add(&format!("{name}{}", specifier(version)), folder, &[], role, depth);
            }
        }
    }

    fn setup(&mut self, folder: &Path, depth: usize) {
        // Both are read without executing them; what is computed there is not seen.
        if let Some(text) = text_of(&folder.join("setup.py"))
            && let Some((_, rest)) = text.split_once("install_requires")
            && let Some((list, _)) = rest
                .split_once('[')
                .and_then(|(_, rest)| rest.split_once("],").or_else(|| rest.split_once(']')))
        {
            for quoted in list
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'))
                .flat_map(quoted)
            {
                self.add(&quoted, folder, &[], Role::Main, depth);
            }
        }
        let Some(text) = text_of(&folder.join("setup.cfg")) else {
            return;
        };
        let mut inside = false;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("install_requires") {
                inside = true;
                self.add(
                    rest.trim_start_matches([' ', '=']),
                    folder,
                    &[],
                    Role::Main,
                    depth,
                );
            } else if inside && line.starts_with(char::is_whitespace) {
                self.add(line, folder, &[], Role::Main, depth);
            } else {
                inside = false;
            }
        }
    }

    fn pipfile(&mut self, folder: &Path, depth: usize) {
        let parsed =
            text_of(&folder.join("Pipfile")).and_then(|text| toml::from_str::<toml::Table>(&text).ok());
        let Some(file) = parsed else { return };
        for (key, role) in [("packages", Role::Main), ("dev-packages", Role::Extra)] {
            self.versions(folder, file.get(key).and_then(toml::Value::as_table), role, depth);
        }
    }

    /// Reads the part of conda's file that pip installs, and conda's own packages by name.
    fn conda(&mut self, path: &Path, depth: usize) {
        let text = text_of(path).unwrap_or_default();
        let Ok(file) = yaml::from_slice::<Value>(text.as_bytes(), limits::AUTHORING_BYTES) else {
            return;
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        for entry in file
            .get("dependencies")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let Some(text) = entry.as_str() {
                let name = text.split(['=', '<', '>', ' ']).next().unwrap_or_default();
                if !["python", "pip"].contains(&name) && !name.contains(':') {
                    self.add(name, folder, &[], Role::Conda, depth);
                }
            }
            let of_pip = entry.get("pip").and_then(Value::as_array).into_iter().flatten();
            for word in of_pip.filter_map(Value::as_str) {
                match word.strip_prefix("-r") {
                    Some(list) => self.list(&folder.join(list.trim()), Role::Main, depth),
                    None => self.add(word, folder, &[], Role::Main, depth),
                }
            }
        }
    }

    /// Reads versions and sources that a lock of uv or Poetry names.
    fn lock(&mut self, folder: &Path) {
        let text = ["uv.lock", "poetry.lock"]
            .iter()
            .find_map(|name| text_of(&folder.join(name)));
        let locked = text.and_then(|text| toml::from_str::<Locked>(&text).ok());
        let mut seen = BTreeMap::new();
        for package in locked.into_iter().flat_map(|locked| locked.package) {
            let name = normalized(&package.name);
            let text = |key: &str| package.source.get(key).and_then(toml::Value::as_str);
            let elsewhere = ["editable", "virtual", "directory", "path", "git"]
                .iter()
                .any(|key| text(key).is_some())
                || text("type").is_some_and(|kind| kind != "legacy");
            if elsewhere {
                self.local.insert(name);
                continue;
            }
            let index = text("registry")
                .or_else(|| text("url"))
                .filter(|_| text("type").is_none_or(|kind| kind == "legacy"));
            if let Some(index) = index.filter(|index| !is_default(index)) {
                self.indexes
                    .entry(name.clone())
                    .or_insert_with(|| index.to_owned());
            }
            let Some(version) = package.version else { continue };
            if seen
                .insert(name.clone(), version.clone())
                .is_some_and(|before| before != version)
            {
                // A lock has several versions for several platforms; which one is meant here is pip's to say.
                self.forked.insert(name);
            } else {
                self.pins.insert(name.clone(), format!("{name}=={version}"));
            }
        }
    }
}

/// Tells the index that pip asks by itself.
fn is_default(index: &str) -> bool {
    index
        .split("://")
        .nth(1)
        .is_some_and(|rest| rest.starts_with("pypi.org/"))
}

/// The lists of a folder: what the project needs before what its developers need.
fn lists(folder: &Path) -> Vec<(PathBuf, Role)> {
    let named = |folder: &Path, start: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_list = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(start) && (name.ends_with(".txt") || name.ends_with(".in"))
        };
        paths.filter(is_list).collect()
    };
    let mut found = named(folder, "requirements");
    found.extend(named(&folder.join("requirements"), ""));
    let mut found: Vec<_> = found
        .into_iter()
        .map(|path| {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .to_lowercase();
            let is_main = ["requirements", "base", "main", "prod", "pipeline", "pipelines"];
            let role = if is_main.contains(&name.as_str()) {
                Role::Main
            } else {
                Role::Extra
            };
            (role, path)
        })
        .collect();
    found.sort();
    found.into_iter().map(|(role, path)| (path, role)).collect()
}

/// Reads the lines of a list and of those that it names: each with its folder, and whether it is a constraint.
fn read_list(
    path: &Path,
    is_constraint: bool,
    depth: usize,
    places: &mut Vec<String>,
    found: &mut Vec<(String, PathBuf, bool)>,
) {
    let Some(text) = text_of(path).filter(|_| depth < DEPTH) else {
        return;
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let line = line.split(" --hash=").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (option, value) = match line.strip_prefix("--") {
            Some(long) => {
                let end = long.find(['=', ' ']).unwrap_or(long.len());
                (&line[..end + 2], long[end..].trim_start_matches(['=', ' ']))
            }
            None if line.starts_with('-') => line.split_at(line.len().min(2)),
            None => ("", line),
        };
        let value = value.trim();
        match option {
            "" => found.push((line.to_owned(), folder.to_owned(), is_constraint)),
            "-r" | "--requirement" => read_list(&folder.join(value), is_constraint, depth + 1, places, found),
            "-c" | "--constraint" => read_list(&folder.join(value), true, depth + 1, places, found),
            "-e" | "--editable" => found.push((value.to_owned(), folder.to_owned(), false)),
            _ => {
                if let Some((_, with_value)) = PLACES.iter().find(|(name, _)| *name == option) {
                    let name = match option {
                        "-i" => "--index-url",
                        "-f" => "--find-links",
                        other => other,
                    };
                    places.push(if *with_value {
                        format!("{name}={}", without_password(value))
                    } else {
                        name.to_owned()
                    });
                }
            }
        }
    }
}

/// An address without the name and password in it, which would be in the lock; pip finds both in .netrc and its keyring.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{}", &rest[end..])
}

/// The texts in quotes of a line of Python.
fn quoted(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find(['"', '\'']) {
        let quote = &rest[start..=start];
        let Some((text, after)) = rest[start + 1..].split_once(quote) else {
            break;
        };
        found.push(text.to_owned());
        rest = after;
    }
    found
}

/// Translates a version of Poetry or Pipenv to one of pip.
fn specifier(version: &str) -> String {
    let mut parts = Vec::new();
    for part in version
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty() && *part != "*")
    {
        let numbers =
            |text: &str| -> Vec<u64> { text.split('.').map_while(|number| number.parse().ok()).collect() };
        let below = |mut numbers: Vec<u64>, place: usize| {
            numbers.truncate(place + 1);
            if let Some(last) = numbers.last_mut() {
                *last += 1;
            }
            numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
        };
        if let Some(least) = part.strip_prefix('^') {
            let numbers = numbers(least);
            let place = numbers
                .iter()
                .position(|number| *number > 0)
                .unwrap_or(numbers.len().saturating_sub(1));
            parts.push(format!(">={least},<{}", below(numbers, place)));
        } else if let Some(least) = part.strip_prefix('~').filter(|rest| !rest.starts_with('=')) {
            let numbers = numbers(least);
            let place = numbers.len().saturating_sub(1).min(1);
            parts.push(format!(">={least},<{}", below(numbers, place)));
        } else if part.starts_with(|c: char| c.is_ascii_digit()) {
            parts.push(format!("=={part}"));
        } else {
            parts.push(part.to_owned());
        }
    }
    parts.join(",")
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
    name: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default, rename = "optional-dependencies")]
    optional: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Locked {
    #[serde(default)]
    package: Vec<LockedPackage>,
}

#[derive(Deserialize)]
struct LockedPackage {
    name: String,
    version: Option<String>,
    #[serde(default)]
    source: toml::Table,
}

#[cfg(test)]
mod tests;
