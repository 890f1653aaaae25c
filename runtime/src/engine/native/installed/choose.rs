//! Asks an image's own Python which wheels its pip would install, and where it keeps packages.
//!
//! The answer is data of the image: paths and names are read as strictly as those of a layer, and the wheels must be
//! in the wheelhouse. It decides only what tasks of this image, this wheelhouse and these lines see.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use samebundle_spec::limits;
use samebundle_spec::pipeline::InstallLine;
use serde::Deserialize;

/// The program that runs in the image.
pub(super) const PROGRAM: &str = include_str!("choose.py");
/// Name of the file that it writes.
pub(super) const ANSWER: &str = "answer.json";

/// Options that do not change what is installed where no index is asked.
const FREE: [&str; 13] = [
    "-q",
    "--quiet",
    "--no-warn-script-location",
    "--disable-pip-version-check",
    "--no-cache-dir",
    "--no-input",
    "--no-deps",
    "--no-compile",
    "--break-system-packages",
    "--no-build-isolation",
    "--no-color",
    "--prefer-binary",
    "--user",
];
/// The same, with a value in the next word or after `=`.
const FREE_WITH_VALUE: [&str; 10] = [
    "-i",
    "--index-url",
    "--extra-index-url",
    "--trusted-host",
    "--progress-bar",
    "--root-user-action",
    "--retries",
    "--timeout",
    "--cache-dir",
    "--default-timeout",
];

/// Folders of Python in an image, from its root.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Places {
    pub(super) purelib: PathBuf,
    pub(super) platlib: PathBuf,
    pub(super) scripts: PathBuf,
    pub(super) data: PathBuf,
    pub(super) include: PathBuf,
}

/// The mode, user and group of a folder.
pub(super) type Owner = (u32, u32, u32);

/// What is to be unpacked.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// Names of files in the wheelhouse.
    pub(super) wheels: Vec<String>,
    pub(super) places: Places,
    /// The path of Python's program in the image.
    pub(super) python: String,
    /// Folders that the image has, from its root.
    pub(super) folders: BTreeMap<PathBuf, Owner>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    unfit: Option<String>,
    #[serde(default)]
    wheels: Vec<String>,
    places: Option<Places>,
    #[serde(default)]
    python: String,
    #[serde(default)]
    folders: BTreeMap<PathBuf, Owner>,
}

/// Returns the argument of the program: each line's requirements, and whether dependencies are left out. None if a line
/// has an option that changes more than that.
pub(super) fn question(lines: &[InstallLine]) -> Option<String> {
    let mut asked = Vec::new();
    for line in lines {
        let mut options = line.options().into_iter();
        while let Some(option) = options.next() {
            let (name, value) = option
                .split_once('=')
                .map_or((option, None), |(name, value)| (name, Some(value)));
            match () {
                () if FREE.contains(&option) => {}
                () if FREE_WITH_VALUE.contains(&name) && value.is_some() => {}
                () if FREE_WITH_VALUE.contains(&option) => _ = options.next(),
                () => return None,
            }
        }
        asked.push((line.requirements(), line.no_deps()));
    }
    serde_json::to_string(&asked).ok()
}

/// Reads what the program wrote.
///
/// # Errors
/// `InvalidData` with the reason if the lines do not fit, or the answer is not one.
pub(super) fn read(answer: &[u8], wheelhouse: &Path) -> io::Result<Choice> {
    let refused = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| refused(error.to_string()))?;
    if let Some(why) = answer.unfit {
        return Err(refused(why.chars().take(limits::LAYER_PATH_BYTES).collect()));
    }
    let wheel = |name: &&String| name.contains('/') || !wheelhouse.join(name).is_file();
    if let Some(name) = answer.wheels.iter().find(wheel) {
        return Err(refused(format!("the wheelhouse has no {name:?}")));
    }
    let inside =
        |path: PathBuf| from_root(&path).ok_or_else(|| refused(format!("{path:?} is no plain path")));
    let places = answer
        .places
        .ok_or_else(|| refused("it names no folders".to_owned()))?;
    let python = Path::new(&answer.python);
    // The first line of a script ends at a space or a line end.
    if from_root(python).is_none() || answer.python.contains(char::is_whitespace) || answer.python.len() > 100
    {
        return Err(refused(format!(
            "{python:?} cannot stand in the first line of a script"
        )));
    }
    let mut folders = BTreeMap::new();
    for (path, owner) in answer.folders {
        folders.insert(inside(path)?, owner);
    }
    Ok(Choice {
        wheels: answer.wheels,
        places: Places {
            purelib: inside(places.purelib)?,
            platlib: inside(places.platlib)?,
            scripts: inside(places.scripts)?,
            data: inside(places.data)?,
            include: inside(places.include)?,
        },
        python: answer.python,
        folders,
    })
}

/// Makes an absolute path without `..` relative to the root.
fn from_root(path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix("/").ok()?;
    let plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let short = below.as_os_str().len() <= limits::LAYER_PATH_BYTES;
    (plain && short && below.components().count() > 0).then(|| below.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(all: &[&[&str]]) -> Vec<InstallLine> {
        let line = |words: &&[&str]| InstallLine {
            arguments: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        all.iter().map(line).collect()
    }

    #[test]
    fn lines_become_a_question_unless_an_option_changes_more() {
        let asked = lines(&[
            &["--quiet", "-i", "https://h", "--no-deps", "a==1"],
            &["b", "--trusted-host=h"],
        ]);
        assert_eq!(question(&asked).unwrap(), r#"[[["a==1"],true],[["b"],false]]"#);
        for other in [
            "--pre",
            "--target=/x",
            "-U",
            "-r",
            "-rfile",
            "--no-binary=:all:",
            "--force-reinstall",
        ] {
            assert_eq!(question(&lines(&[&["a", other]])), None, "{other}");
        }
    }

    #[test]
    fn an_answer_names_only_wheels_that_are_there_and_plain_folders() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("a.whl"), "").unwrap();
        let answer = |wheel: &str, place: &str, python: &str| {
            let text = format!(
                r#"{{"wheels":["{wheel}"],"places":{{"purelib":"{place}","platlib":"/l","scripts":"/b","data":"/d","include":"/i"}},"python":"{python}","folders":{{"/l":[493,0,0]}}}}"#
            );
            read(text.as_bytes(), home.path())
        };
        let choice = answer("a.whl", "/usr/lib", "/usr/bin/python3").unwrap();
        assert_eq!(choice.places.purelib, Path::new("usr/lib"));
        for (wheel, place, python) in [
            ("b.whl", "/l", "/p"),
            ("../a.whl", "/l", "/p"),
            ("a.whl", "/l/../../x", "/p"),
            ("a.whl", "relative", "/p"),
            ("a.whl", "/", "/p"),
            ("a.whl", "/l", "/p x"),
            ("a.whl", "/l", "python"),
        ] {
            assert!(answer(wheel, place, python).is_err(), "{wheel} {place} {python}");
        }
        let error = read(br#"{"unfit": "no wheel fits a"}"#, home.path()).unwrap_err();
        assert_eq!(error.to_string(), "no wheel fits a");
    }
}
