//! `samebundle.lock`: what the install lines of a pipeline were resolved to, so that the next build, here or elsewhere,
//! takes the same packages. The file is in the folder of `samebundle.yaml` and belongs under version control.

use std::io;
use std::path::Path;

use samebundle_registry::durable;
use samebundle_spec::{Digest, json, limits};
use serde::{Deserialize, Serialize};

use super::WheelhouseError;

/// The only version of the form so far.
const VERSION: &str = "1.0";

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Lock {
    format_version: String,
    /// The resolutions, sorted by what was asked for.
    pub(super) resolutions: Vec<Resolution>,
    /// What the pipeline's file imports when it is compiled. It does not travel along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) compile: Vec<Resolution>,
    /// Wheels that were made of folders of the project and of addresses that components install.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) built: Vec<BuiltWheel>,
}

/// A wheel that was made of a folder of the project, or of what an address gave.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::build) struct BuiltWheel {
    /// What the component names.
    pub(in crate::build) requirement: String,
    /// The commit, of an address of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::build) commit: Option<String>,
    /// The wheel.
    pub(in crate::build) wheel: Wheel,
}

/// What one install line was resolved to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Resolution {
    /// Python's version and the best platform tag, e.g. `3.11 manylinux_2_28_x86_64`.
    pub(super) target: String,
    /// Those words of the line that influence what is chosen.
    pub(super) arguments: Vec<String>,
    /// The files, sorted by name.
    pub(super) wheels: Vec<Wheel>,
}

/// One file of a package index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::build) struct Wheel {
    /// Its name (PEP 427), e.g. `six-1.17.0-py2.py3-none-any.whl`.
    pub(in crate::build) file: String,
    /// Its digest.
    pub(in crate::build) digest: Digest,
    /// The source distribution that it was built from, where the index has no wheel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::build) source: Option<SourceFile>,
}

/// A source distribution of a package index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::build) struct SourceFile {
    /// Its name.
    pub(in crate::build) file: String,
    /// Its digest.
    pub(in crate::build) digest: Digest,
}

impl Default for Lock {
    fn default() -> Self {
        Self {
            format_version: VERSION.to_owned(),
            resolutions: Vec::new(),
            compile: Vec::new(),
            built: Vec::new(),
        }
    }
}

impl Lock {
    /// Reads the file; a missing file locks nothing.
    pub(super) fn read(path: &Path) -> Result<Self, WheelhouseError> {
        let refused = |why: String| WheelhouseError::Lock {
            path: path.to_owned(),
            why,
        };
        let bytes = match durable::read_named(path, limits::LOCK_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(refused(error.to_string())),
        };
        let lock: Self =
            json::from_slice(&bytes, limits::LOCK_BYTES).map_err(|error| refused(error.to_string()))?;
        if lock.format_version != VERSION {
            return Err(refused(format!(
                "its version is {:?}, not {VERSION}",
                lock.format_version
            )));
        }
        let resolutions = lock.resolutions.iter().chain(&lock.compile);
        let resolved = resolutions.flat_map(|resolution| &resolution.wheels);
        let mut wheels = resolved.chain(lock.built.iter().map(|built| &built.wheel));
        match wheels.find(|wheel| wheel.requirement().is_none()) {
            Some(wheel) => Err(refused(format!("{:?} is not the name of a wheel", wheel.file))),
            None => Ok(lock),
        }
    }

    /// Writes the file unless it has this content already.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        text.push('\n');
        if std::fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes()) {
            return Ok(());
        }
        durable::write(path, text.as_bytes(), 0o644)
    }

    pub(super) fn find(&self, target: &str, arguments: &[String]) -> Option<&Resolution> {
        let same = |found: &&Resolution| found.target == target && found.arguments == arguments;
        self.resolutions.iter().chain(&self.compile).find(same)
    }
}

impl Wheel {
    /// Returns `name==version`, if the file's name is that of a wheel and nothing else.
    pub(super) fn requirement(&self) -> Option<String> {
        let parts: Vec<_> = self.file.strip_suffix(".whl")?.split('-').collect();
        let safe = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._+!".contains(&b))
        };
        let parts_fit =
            matches!(parts.len(), 5 | 6) && parts.iter().all(|part| !part.is_empty() && safe(part));
        (parts_fit && self.file.len() <= limits::COMPONENT_BYTES && !self.file.starts_with('.'))
            .then(|| format!("{}=={}", parts[0], parts[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(file: &str) -> Wheel {
        Wheel {
            file: file.to_owned(),
            digest: Digest::sha256(file.as_bytes()),
            source: None,
        }
    }

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samebundle.lock");
        assert_eq!(Lock::read(&path).unwrap(), Lock::default());
        let mut lock = Lock::default();
        lock.resolutions.push(Resolution {
            target: "3.11 x".into(),
            arguments: vec!["six".into()],
            wheels: vec![wheel("six-1.17.0-py2.py3-none-any.whl")],
        });
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), lock);
        assert!(lock.find("3.11 x", &["six".to_owned()]).is_some());
        assert!(lock.find("3.12 x", &["six".to_owned()]).is_none());
    }

    #[test]
    fn a_lock_that_says_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samebundle.lock");
        let outside = r#"{"formatVersion":"1.0","resolutions":[{"target":"t","arguments":[],"wheels":[
            {"file":"../../x-1-py3-none-any.whl",
             "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}]}"#;
        for text in ["", "{}", r#"{"formatVersion":"2.0","resolutions":[]}"#, outside] {
            std::fs::write(&path, text).unwrap();
            assert!(
                matches!(Lock::read(&path), Err(WheelhouseError::Lock { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn names_of_wheels_are_told_from_others() {
        assert_eq!(
            wheel("numpy-2.1.0-cp311-cp311-manylinux_2_17_x86_64.whl")
                .requirement()
                .unwrap(),
            "numpy==2.1.0"
        );
        assert_eq!(
            wheel("a-1-2build-py3-none-any.whl").requirement().unwrap(),
            "a==1"
        );
        for file in [
            "x.tar.gz",
            "a-1.whl",
            "../a-1-py3-none-any.whl",
            "a-1-py3-none-any/x.whl",
            "a--py3-none-any.whl",
        ] {
            assert_eq!(wheel(file).requirement(), None, "{file}");
        }
    }
}
