//! Asks pip which files an install line needs, and fetches them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use samebundle_spec::pipeline::InstallLine;
use samebundle_spec::{Algorithm, Digest};

use super::lock::Wheel;
use super::target::Target;
use super::{BuildTools, WheelhouseError};
use crate::build::tools;
use crate::context::Context;

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
        let (name, inline) = word
            .split_once('=')
            .map_or((word, None), |(name, value)| (name, Some(value)));
        if FILES.contains(&name) {
            return refused(
                word,
                "it names a file of the image, which is not looked into at build",
            );
        }
        let Some((_, with_value)) = CHOOSING.iter().find(|(option, _)| *option == name) else {
            continue;
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

/// Downloads into a new folder of `scratch`, which is removed when the result is dropped.
pub(super) async fn download(
    tools: &BuildTools,
    target: &Target,
    wanted: Wanted<'_>,
    context: &Context,
) -> Result<tempfile::TempDir, WheelhouseError> {
    let io = |source| WheelhouseError::Io {
        operation: "make a folder for wheels".to_owned(),
        source,
    };
    let folder = tempfile::tempdir_in(context.home.scratch()).map_err(io)?;
    let wrapper = folder.path().join("target.py");
    std::fs::write(&wrapper, WRAPPER).map_err(io)?;
    let wheels = folder.path().join("wheels");
    let mut command = tools::command(&tools.python);
    command.arg(&wrapper).args([&target.python, &target.machine]);
    command.args([
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar=off",
    ]);
    command.args(["--only-binary=:all:", "--implementation=cp"]);
    command.arg(format!("--python-version={}", target.python_minor()));
    command.args(target.platforms().iter().map(|tag| format!("--platform={tag}")));
    command.arg("--dest").arg(&wheels).current_dir(folder.path());
    let purpose = match wanted {
        Wanted::Line(words) => {
            command.args(&tools.pip_arguments).args(words);
            format!("resolving `pip install {}`", words.join(" "))
        }
        Wanted::Locked(words, locked) => {
            let list = folder.path().join("locked.txt");
            std::fs::write(&list, requirements(locked)).map_err(io)?;
            let places = words.iter().take_while(|word| word.starts_with('-'));
            command.args(&tools.pip_arguments).args(places);
            command.args(["--no-deps", "--require-hashes", "-r"]).arg(list);
            format!("fetching {} locked packages", locked.len())
        }
    };
    let remedy = "install Python 3 with pip, or set `wheelhouse: none`";
    tools::run(command, &purpose, remedy, &context.cancel).await?;
    Ok(folder)
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

/// Moves the downloaded wheels into the cache, under their digests as names, and returns them. It blocks.
pub(super) fn keep(downloaded: &Path, cache: &Path) -> Result<Vec<Wheel>, WheelhouseError> {
    let io = |operation: &str| {
        let operation = operation.to_owned();
        move |source| WheelhouseError::Io { operation, source }
    };
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
        let wheel = Wheel { file, digest };
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
        let text = "--quiet --no-warn-script-location -i https://h/simple --user kfp==2.1 --no-deps six";
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
    fn the_cache_drops_what_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (downloaded, cache) = (folder.path().join("d"), folder.path().join("cache"));
        std::fs::create_dir_all(downloaded.join("wheels")).unwrap();
        std::fs::write(downloaded.join("wheels/a-1-py3-none-any.whl"), "zip").unwrap();
        let kept = keep(&downloaded, &cache).unwrap();
        assert_eq!(kept[0].digest, Digest::sha256(b"zip"));
        assert!(cached(&cache, &kept[0]));
        std::fs::write(place(&cache, &kept[0]), "zap").unwrap();
        assert!(!cached(&cache, &kept[0]) && !place(&cache, &kept[0]).exists());
    }
}
