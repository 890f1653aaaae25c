//! Asks pip which files an install line needs, and fetches them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use samebundle_spec::pipeline::InstallLine;
use samebundle_spec::{Algorithm, Digest, limits};

use tokio::process::Command;

use super::lock::{BuiltWheel, SourceFile, Wheel};
use super::target::Target;
use super::{BuildTools, WheelhouseError};
use crate::build::declared::name_of;
use crate::build::tools::{self, CONFLICT, ToolError};
use crate::context::Context;
use crate::event::Event;

const WRAPPER: &str = include_str!("target.py");

/// The options of `pip install` that influence what is chosen, and whether a value follows.
const CHOOSING: [(&str, bool); 11] = [
    ("-i", true),
    ("--index-url", true),
    ("--pypi-url", true),
    ("--extra-index-url", true),
    ("--trusted-host", true),
    ("-f", true),
    ("--find-links", true),
    ("--no-deps", false),
    ("--pre", false),
    ("--prefer-binary", false),
    ("--no-index", false),
];

/// The options whose value is a file in the image, which is not read.
const FILES: [&str; 8] = [
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-e",
    "--editable",
    "--group",
    "--config-settings",
];

/// The options that have no influence on what is chosen.
const HARMLESS: [&str; 42] = [
    "-U",
    "-I",
    "-t",
    "--break-system-packages",
    "--cache-dir",
    "--cert",
    "--client-cert",
    "--compile",
    "--default-timeout",
    "--disable-pip-version-check",
    "--exists-action",
    "--force-reinstall",
    "--ignore-installed",
    "--ignore-requires-python",
    "--isolated",
    "--log",
    "--no-binary",
    "--no-build-isolation",
    "--no-cache-dir",
    "--no-color",
    "--no-compile",
    "--no-input",
    "--no-python-version-warning",
    "--no-warn-conflicts",
    "--no-warn-script-location",
    "--only-binary",
    "--prefix",
    "--progress-bar",
    "--proxy",
    "--quiet",
    "--require-hashes",
    "--retries",
    "--root",
    "--root-user-action",
    "--target",
    "--timeout",
    "--upgrade",
    "--upgrade-strategy",
    "--use-feature",
    "--use-pep517",
    "--user",
    "--verbose",
];

/// Tells whether a word is `-q`, `-vvv` or the like.
fn is_loudness(word: &str) -> bool {
    let letters = word.strip_prefix('-').unwrap_or_default();
    !letters.is_empty() && letters.bytes().all(|letter| letter == b'q' || letter == b'v')
}

/// Returns the words of an install line that influence what is chosen: options first, then requirements.
pub(super) fn arguments(line: &InstallLine) -> Result<Vec<String>, WheelhouseError> {
    let refused = |word: &str, why: &'static str| {
        Err(WheelhouseError::Requirement {
            word: word.to_owned(),
            line: line.arguments.join(" "),
            why,
        })
    };
    let mut words = Vec::new();
    let mut options = line.options().into_iter();
    while let Some(word) = options.next() {
        let attached = ["-i", "-f"]
            .iter()
            .find_map(|name| Some((*name, word.strip_prefix(name)?)));
        let (name, inline) = match attached.filter(|(_, value)| !value.is_empty()) {
            Some((name, value)) => (name, Some(value)),
            None => word
                .split_once('=')
                .map_or((word, None), |(name, value)| (name, Some(value))),
        };
        if FILES.contains(&name) {
            return refused(
                word,
                "it names a file of the image, which is not looked into at build",
            );
        }
        let Some((_, with_value)) = CHOOSING.iter().find(|(option, _)| *option == name) else {
            // The value of an option stands alone.
            if !word.starts_with('-') || HARMLESS.contains(&name) || is_loudness(word) {
                continue;
            }
            return refused(word, "it is no option of pip that is known here");
        };
        // Each option is one word, so that options can be distinguished from requirements later.
        let value = if *with_value {
            inline.or_else(|| options.next())
        } else {
            None
        };
        let name = match name {
            "-i" => "--index-url",
            "-f" => "--find-links",
            other => other,
        };
        let has_password = |value: &str| {
            value
                .split_once("://")
                .is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')))
        };
        if value.is_some_and(has_password) {
            return Err(WheelhouseError::Requirement {
                word: name.to_owned(),
                line: name.to_owned(),
                why: "its address has a password, which would be in the bundle; put it into your .netrc or pip's keyring",
            });
        }
        words.push(value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}")));
    }
    for requirement in line.requirements() {
        if requirement.contains(['$', '`']) {
            return refused(requirement, "the shell decides at run time what it is");
        }
        if requirement.contains("://") || requirement.contains('/') || requirement.ends_with(".whl") {
            return refused(
                requirement,
                "it is a file or an address, for which no wheelhouse can stand in",
            );
        }
        words.push(requirement.to_owned());
    }
    Ok(words)
}

/// What to fetch.
pub(super) enum Wanted<'a> {
    /// All files that pip chooses for these words of an install line.
    Line(&'a [String]),
    /// Exactly these files, from the indexes that the words name.
    Locked(&'a [String], &'a [Wheel]),
}

/// How a constraint is written among the words of an install line: one word for each line of a file of constraints.
pub(super) const CONSTRAINT: &str = "--constraint=";

/// How many packages without a wheel one install line may need.
const SOURCES: usize = 50;

/// How deep the packages that a built package needs are looked at.
const NEEDS: usize = 3;

/// How many requirements of one conflict are looked at.
const CONFLICTS: usize = 4;

/// The time that built wheels bear (1980, the first that a zip can hold), so that equal sources give equal wheels.
const BUILT_AT: &str = "315532800";

const REMEDY: &str = "install Python 3 with pip, or set `wheelhouse: none`";

/// Returns the folder of wheels in a home's cache.
pub(super) fn folder(cache: &Path) -> PathBuf {
    cache.join("wheels")
}

/// One use of pip.
#[derive(Clone, Copy)]
pub(super) struct Download<'a> {
    pub(super) tools: &'a BuildTools,
    pub(super) context: &'a Context,
    pub(super) target: &'a Target,
    /// Wheels of the project, which no index has; they lie in the cache.
    pub(super) built: &'a [BuiltWheel],
    /// Packages that are there in any case, so that no wheel of them is built, by name.
    pub(super) provided: &'static [&'static str],
}

/// What pip has downloaded, and the source distributions of wheels that were built. The files are removed when this is
/// dropped.
pub(super) struct Downloaded {
    folder: tempfile::TempDir,
    sources: BTreeMap<String, SourceFile>,
}

impl Download<'_> {
    /// Downloads into a new folder of `scratch`. A package that has no wheel is built from its source distribution.
    pub(super) async fn fetch(&self, wanted: Wanted<'_>) -> Result<Downloaded, WheelhouseError> {
        let folder =
            tempfile::tempdir_in(self.context.home.scratch()).map_err(io("make a folder for wheels"))?;
        let local = folder.path().join("local");
        self.lay_out(&local).map_err(io("lay out the project's wheels"))?;
        std::fs::write(folder.path().join("target.py"), WRAPPER).map_err(io("write a program for pip"))?;
        let mut downloaded = Downloaded {
            folder,
            sources: BTreeMap::new(),
        };
        match wanted {
            Wanted::Line(words) => self.line(words, &local, &mut downloaded).await?,
            Wanted::Locked(words, locked) => self.locked(words, locked, &local, &mut downloaded).await?,
        }
        Ok(downloaded)
    }

    /// Links the project's own wheels into a folder under their names.
    fn lay_out(&self, local: &Path) -> io::Result<()> {
        std::fs::create_dir(local)?;
        let cache = folder(&self.context.home.cache());
        for built in self.built {
            std::fs::hard_link(place(&cache, &built.wheel), local.join(&built.wheel.file))?;
        }
        Ok(())
    }

    async fn line(
        &self,
        words: &[String],
        local: &Path,
        downloaded: &mut Downloaded,
    ) -> Result<(), WheelhouseError> {
        let purpose = format!("resolving `pip install {}`", words.join(" "));
        let (constraints, words): (Vec<&String>, Vec<&String>) =
            words.iter().partition(|word| word.starts_with(CONSTRAINT));
        let mut built = BTreeSet::new();
        loop {
            let mut command = self.command(downloaded.folder.path(), local);
            if !constraints.is_empty() {
                let list = downloaded.folder.path().join("constraints.txt");
                let lines: String = constraints
                    .iter()
                    .map(|word| format!("{}\n", &word[CONSTRAINT.len()..]))
                    .collect();
                std::fs::write(&list, lines).map_err(io("write the constraints"))?;
                command.arg("--constraint").arg(list);
            }
            command.args(&self.tools.pip_arguments);
            command.args(words.iter().map(|word| self.own_wheel(word, local)));
            let step = ("fetch packages", None);
            let Err(error) = tools::run_pip(command, step, &purpose, REMEDY, self.context).await else {
                return Ok(());
            };
            let places = words.iter().take_while(|word| word.starts_with('-'));
            let options: Vec<&str> = places.map(|word| word.as_str()).collect();
            let output = match &error {
                ToolError::Failed { output, .. } => output.as_str(),
                _ => "",
            };
            let is_provided = |one: &str| self.provided.contains(&name_of(one).as_str());
            let found = without_wheel(output).filter(|one| !is_provided(one));
            let mut requirement = found.filter(|one| built.insert(one.clone()));
            for one in conflicting(output) {
                if requirement.is_none()
                    && !is_provided(&one)
                    && built.insert(one.clone())
                    && !self.has_wheel(&one, &options, local).await?
                {
                    requirement = Some(one);
                }
            }
            let Some(requirement) = requirement.filter(|_| built.len() < SOURCES) else {
                return Err(error.into());
            };
            match self.build(&requirement, &options, local, downloaded, NEEDS).await {
                // There is nothing to build either, so the first answer is the true one.
                Err(WheelhouseError::Tool(ToolError::Failed { .. })) => return Err(error.into()),
                outcome => outcome?,
            }
        }
    }

    /// A requirement for a wheel of the project becomes its file: an index may have another package of that name.
    fn own_wheel(&self, word: &str, local: &Path) -> OsString {
        let found = self.built.iter().find(|built| {
            let own = built.wheel.requirement();
            let plain = |text: &str| text.split('[').next().map(name_of);
            own.is_some_and(|own| {
                plain(own.split("==").next().unwrap_or_default())
                    == plain(word.split("==").next().unwrap_or_default())
                    && own.split("==").nth(1) == word.split("==").nth(1)
            })
        });
        let Some(built) = found else { return word.into() };
        let mut path = local.join(&built.wheel.file).into_os_string();
        if let Some((_, rest)) = word.split_once('[')
            && let Some((extras, _)) = rest.split_once(']')
        {
            path.push(format!("[{extras}]"));
        }
        path
    }

    async fn locked(
        &self,
        words: &[String],
        locked: &[Wheel],
        local: &Path,
        downloaded: &mut Downloaded,
    ) -> Result<(), WheelhouseError> {
        let is_place = |word: &&String| word.starts_with('-') && !word.starts_with(CONSTRAINT);
        let places: Vec<&str> = words.iter().filter(is_place).map(String::as_str).collect();
        for requirement in locked
            .iter()
            .filter(|wheel| wheel.source.is_some())
            .filter_map(Wheel::requirement)
        {
            self.build(&requirement, &places, local, downloaded, 0).await?;
        }
        let list = downloaded.folder.path().join("locked.txt");
        std::fs::write(&list, requirements(locked)).map_err(io("write the list of packages"))?;
        let mut command = self.command(downloaded.folder.path(), local);
        command.args(&self.tools.pip_arguments).args(places);
        command.args(["--no-deps", "--require-hashes", "-r"]).arg(list);
        let purpose = format!("fetching {} locked packages", locked.len());
        let step = ("fetch locked packages", Some(locked.len()));
        tools::run_pip(command, step, &purpose, REMEDY, self.context).await?;
        Ok(())
    }

    /// `pip download` for the image's Python and C library.
    fn command(&self, scratch: &Path, local: &Path) -> Command {
        let target = self.target;
        let mut command = tools::command(&self.tools.python);
        command
            .arg(scratch.join("target.py"))
            .args([&target.python, &target.machine]);
        command.args([
            "download",
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar=off",
        ]);
        command.args(["--only-binary=:all:", "--implementation=cp"]);
        command.arg(format!("--python-version={}", target.python_minor()));
        command.args(target.platforms().iter().map(|tag| format!("--platform={tag}")));
        command.arg("--find-links").arg(local);
        command
            .arg("--dest")
            .arg(scratch.join("wheels"))
            .current_dir(scratch);
        command
    }

    /// Tells whether pip finds a wheel for a requirement.
    async fn has_wheel(
        &self,
        requirement: &str,
        options: &[&str],
        local: &Path,
    ) -> Result<bool, WheelhouseError> {
        let scratch =
            tempfile::tempdir_in(self.context.home.scratch()).map_err(io("make a folder for wheels"))?;
        std::fs::write(scratch.path().join("target.py"), WRAPPER).map_err(io("write a program for pip"))?;
        let mut command = self.command(scratch.path(), local);
        command.args(&self.tools.pip_arguments).args(options);
        command.args(["--no-deps", requirement]);
        let purpose = format!("looking for a wheel of {requirement}");
        match tools::run(command, &purpose, REMEDY, &self.context.cancel).await {
            Ok(_) => Ok(true),
            Err(ToolError::Failed { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Builds the wheel of a package that has only a source distribution, and puts it where pip finds it.
    async fn build(
        &self,
        requirement: &str,
        options: &[&str],
        local: &Path,
        downloaded: &mut Downloaded,
        needs: usize,
    ) -> Result<(), WheelhouseError> {
        let end = requirement.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        let name = &requirement[..end.unwrap_or(requirement.len())];
        self.context.events.emit(Event::Step {
            name: format!("look for a source distribution of {requirement}, which has no wheel"),
        });
        let scratch =
            tempfile::tempdir_in(downloaded.folder.path()).map_err(io("make a folder for sources"))?;
        let (sources, wheels) = (scratch.path().join("sources"), scratch.path().join("wheels"));
        let pip = |verb: &str| {
            let mut command = tools::pip(&self.tools.python, verb);
            command.arg("--no-deps");
            command
                .args(&self.tools.pip_arguments)
                .env("SOURCE_DATE_EPOCH", BUILT_AT);
            command
        };
        let mut command = pip("download");
        command
            .args(options)
            .args(["--no-binary", name, "--dest"])
            .arg(&sources)
            .arg(requirement);
        let purpose = format!("fetching the source distribution of {requirement}");
        let step = format!("fetch the source of {requirement}");
        tools::run_pip(command, (&step, Some(1)), &purpose, REMEDY, self.context).await?;
        let refused = |why: String| WheelhouseError::Source {
            requirement: requirement.to_owned(),
            python: self.target.python_minor(),
            why,
        };
        let source = only_file(&sources).map_err(io("find a source distribution"))?;
        let mut command = pip("wheel");
        command.arg("--wheel-dir").arg(&wheels).arg(&source);
        let purpose = format!("building a wheel of {requirement}");
        let step = format!("build a wheel of {requirement}");
        let outcome = tools::run_pip(command, (&step, None), &purpose, REMEDY, self.context).await;
        match outcome {
            Err(ToolError::Failed { output, .. }) => {
                return Err(refused(format!("its build fails:\n{output}")));
            }
            outcome => outcome?,
        };
        let wheel = only_file(&wheels).map_err(io("find a wheel"))?;
        let file = wheel
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !file.ends_with("-none-any.whl") {
            return Err(refused("it is not pure Python".to_owned()));
        }
        let digest = hash(&source).map_err(io("read a source distribution"))?;
        let wanted = needs_of_wheel(&wheel).map_err(io("read a wheel"))?;
        std::fs::rename(&wheel, local.join(&file)).map_err(io("keep a wheel"))?;
        let file_of_source = source
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        downloaded.sources.insert(
            file,
            SourceFile {
                file: file_of_source,
                digest,
            },
        );
        // What has no wheel is often needed by what has none, and pip would find that out one by one.
        for one in wanted.iter().filter(|_| needs > 0) {
            if !self.provided.contains(&name_of(one).as_str()) && !self.has_wheel(one, options, local).await?
            {
                Box::pin(self.build(one, options, local, downloaded, needs - 1)).await?;
            }
        }
        Ok(())
    }
}

fn io(operation: &str) -> impl FnOnce(io::Error) -> WheelhouseError {
    let operation = operation.to_owned();
    move |source| WheelhouseError::Io { operation, source }
}

fn only_file(folder: &Path) -> io::Result<PathBuf> {
    let entry = std::fs::read_dir(folder)?.next();
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    Ok(entry.ok_or_else(missing)??.path())
}

/// Reads what a wheel needs, without its extras.
fn needs_of_wheel(wheel: &Path) -> io::Result<Vec<String>> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).map_err(io::Error::other)?;
    let name = {
        let mut names = archive.file_names().filter_map(Result::ok);
        names
            .find(|name| name.ends_with(".dist-info/METADATA"))
            .map(std::borrow::Cow::into_owned)
    };
    let Some(name) = name else { return Ok(Vec::new()) };
    let mut text = String::new();
    let entry = archive.by_name(&name).map_err(io::Error::other)?;
    entry.take(limits::AUTHORING_BYTES).read_to_string(&mut text)?;
    Ok(needs(&text))
}

/// The requirements in the metadata of a package, without those of its extras.
pub(in crate::build) fn needs(metadata: &str) -> Vec<String> {
    let head = metadata.split("\n\n").next().unwrap_or_default();
    let lines = head
        .lines()
        .filter_map(|line| line.strip_prefix("Requires-Dist:"));
    let own = lines.filter(|line| {
        !line
            .split(';')
            .nth(1)
            .is_some_and(|marker| marker.contains("extra"))
    });
    own.map(|line| line.trim().to_owned()).collect()
}

/// Finds in pip's answer the package for which it found no wheel.
fn without_wheel(output: &str) -> Option<String> {
    const SAID: &str = "No matching distribution found for ";
    let line = output.lines().rev().find_map(|line| line.split_once(SAID))?.1;
    let requirement = line.split(" (from ").next().unwrap_or(line).trim();
    (!requirement.is_empty() && !requirement.starts_with('-')).then(|| requirement.to_owned())
}

/// Finds in pip's answer the requirements that it could not bring together, in its order. One of them may have no wheel in
/// any version that fits, which pip does not tell from a conflict.
fn conflicting(output: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (_, caused) = output.split_once(CONFLICT).unwrap_or_default();
    for requirement in caused
        .lines()
        .filter_map(|line| line.split_once(" depends on "))
        .map(|(_, wanted)| wanted)
    {
        let plain = requirement
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .replace(" and ", ",");
        if !plain.is_empty() && !found.contains(&plain) {
            found.push(plain);
        }
    }
    found.truncate(CONFLICTS);
    found
}

fn requirements(wheels: &[Wheel]) -> String {
    let line = |wheel: &Wheel| {
        Some(format!(
            "{} --hash=sha256:{}\n",
            wheel.requirement()?,
            wheel.digest.hex()
        ))
    };
    wheels.iter().filter_map(line).collect()
}

impl Downloaded {
    /// Moves the downloaded wheels into the cache, under their digests as names, and returns them. It blocks.
    pub(super) fn keep(self, cache: &Path) -> Result<Vec<Wheel>, WheelhouseError> {
        keep(self.folder.path(), cache, &self.sources)
    }
}

fn keep(
    downloaded: &Path,
    cache: &Path,
    sources: &BTreeMap<String, SourceFile>,
) -> Result<Vec<Wheel>, WheelhouseError> {
    std::fs::create_dir_all(cache).map_err(io("make the cache of wheels"))?;
    let mut kept = Vec::new();
    let entries = match std::fs::read_dir(downloaded.join("wheels")) {
        Ok(entries) => entries
            .collect::<Result<Vec<_>, _>>()
            .map_err(io("list the wheels"))?,
        // Markers may leave nothing to install.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io("list the wheels")(error)),
    };
    for entry in entries {
        let file = entry.file_name().to_string_lossy().into_owned();
        let digest = hash(&entry.path()).map_err(io("read a wheel"))?;
        let source = sources.get(&file).cloned();
        let wheel = Wheel { file, digest, source };
        if wheel.requirement().is_none() {
            return Err(WheelhouseError::NoWheel { file: wheel.file });
        }
        // Scratch is on the file system of the home: one rename moves a file completely or not at all.
        std::fs::rename(entry.path(), place(cache, &wheel)).map_err(io("keep a wheel"))?;
        kept.push(wheel);
    }
    kept.sort();
    Ok(kept)
}

/// Returns the path of a wheel in the cache.
pub(super) fn place(cache: &Path, wheel: &Wheel) -> PathBuf {
    cache.join(wheel.digest.hex())
}

/// Tells whether the cache has a complete wheel. A damaged one is removed. It blocks.
pub(super) fn cached(cache: &Path, wheel: &Wheel) -> bool {
    let path = place(cache, wheel);
    let whole = hash(&path).is_ok_and(|digest| digest == wheel.digest);
    if !whole {
        let _ = std::fs::remove_file(&path);
    }
    whole
}

fn hash(path: &Path) -> io::Result<Digest> {
    Ok(Digest::of_reader(Algorithm::Sha256, File::open(path)?)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> InstallLine {
        InstallLine {
            arguments: text.split(' ').map(str::to_owned).collect(),
        }
    }

    #[test]
    fn only_what_bears_on_the_choice_is_kept() {
        let text = "--quiet -vv --no-warn-script-location --timeout 5 -ihttps://h/simple --user kfp==2.1 --no-deps six";
        let words = arguments(&line(text)).unwrap();
        assert_eq!(
            words,
            ["--index-url=https://h/simple", "--no-deps", "kfp==2.1", "six"]
        );
    }

    #[test]
    fn what_cannot_be_known_at_build_is_refused() {
        for text in [
            "-r requirements.txt",
            "-rrequirements.txt six",
            "--no-such-option six",
            "git+https://h/x",
            "./local",
            "$PACKAGE",
            "a @ https://h/a.whl",
            "x.whl",
        ] {
            let error = arguments(&line(text)).unwrap_err();
            assert!(
                matches!(error, WheelhouseError::Requirement { .. }),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn an_option_and_its_file_in_one_word_are_refused() {
        let line = InstallLine {
            arguments: ["six", "-r requirements.txt"].map(str::to_owned).to_vec(),
        };
        assert!(matches!(
            arguments(&line),
            Err(WheelhouseError::Requirement { .. })
        ));
    }

    #[test]
    fn extras_are_not_needed() {
        let metadata = "Name: a\nRequires-Dist: b (>=1)\nRequires-Dist: c; extra == 'x'\nRequires-Dist: d; python_version > '3'\n\nRequires-Dist: e\n";
        assert_eq!(needs(metadata), ["b (>=1)", "d; python_version > '3'"]);
    }

    #[test]
    fn pip_says_what_it_could_not_bring_together() {
        let said = "ERROR: ResolutionImpossible\nThe conflict is caused by:\n    a 2 depends on b<=2.13 and >=2.6\n    a 1 depends on b<=2.13 and >=2.6\n    c 1 depends on d; python_version < \"4\"\n\nTo fix this";
        assert_eq!(conflicting(said), ["b<=2.13,>=2.6", "d"]);
        assert!(conflicting("No matching distribution found for x").is_empty());
    }

    #[test]
    fn pip_says_which_package_has_no_wheel() {
        let said = "ERROR: Could not find a version that satisfies the requirement docopt==0.6.2 (from versions: none)\n\
                    ERROR: No matching distribution found for docopt==0.6.2 (from x)\n";
        assert_eq!(without_wheel(said).unwrap(), "docopt==0.6.2");
        assert_eq!(without_wheel("ERROR: something else"), None);
    }

    #[test]
    fn the_cache_drops_what_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (downloaded, cache) = (folder.path().join("d"), folder.path().join("cache"));
        std::fs::create_dir_all(downloaded.join("wheels")).unwrap();
        std::fs::write(downloaded.join("wheels/a-1-py3-none-any.whl"), "zip").unwrap();
        let kept = keep(&downloaded, &cache, &BTreeMap::new()).unwrap();
        assert_eq!(kept[0].digest, Digest::sha256(b"zip"));
        assert!(cached(&cache, &kept[0]));
        std::fs::write(place(&cache, &kept[0]), "zap").unwrap();
        assert!(!cached(&cache, &kept[0]) && !place(&cache, &kept[0]).exists());
    }
}
