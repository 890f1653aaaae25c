//! Profiles on disk: `HOST.json` or `HOST:PORT.json`, one a registry.
//!
//! `{"version": 1, "registry": …, "measured": …, "profile": {…}}`, replaced whole. A file that cannot be understood is an
//! error that says how to make a new one, and does not count as "nothing is known".

use std::io;
use std::path::{Path, PathBuf};

use samebundle_spec::{Classify, ErrorKind, Timestamp, limits};
use serde::{Deserialize, Serialize};

use super::Profile;
use crate::{PathError, durable};

const VERSION: u32 = 1;

/// What was measured of a registry, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProfileFile {
    version: u32,
    /// The registry, `host` or `host:port`.
    pub registry: String,
    /// When it was measured.
    pub measured: Timestamp,
    /// What was found.
    pub profile: Profile,
}

/// A profile cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The file does not have the expected format.
    #[error(
        "the registry profile {path} is not valid: {why}; remove it, or make a new one with `registry doctor`"
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Classify for ProfileError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Path(error) => error.kind(),
            Self::Form { .. } => ErrorKind::Input,
        }
    }
}

/// A registry's name is `host` or `host:port` by its grammar, so that it has no separator.
fn path(folder: &Path, registry: &str) -> PathBuf {
    folder.join(format!("{registry}.json"))
}

impl ProfileFile {
    /// A profile in which nothing is known yet.
    pub fn new(registry: &str, measured: Timestamp) -> Self {
        Self {
            version: VERSION,
            registry: registry.to_owned(),
            measured,
            profile: Profile::default(),
        }
    }

    /// Reads the profile of a registry; `None` if there is none.
    ///
    /// # Errors
    /// If it exists and cannot be read, or does not have the expected format.
    pub fn read(folder: &Path, registry: &str) -> Result<Option<Self>, ProfileError> {
        let path = path(folder, registry);
        let failed = |source| PathError::of("read", &path)(source);
        let form = |why: String| ProfileError::Form {
            path: path.clone(),
            why,
        };
        let bytes = match durable::read(&path, limits::REGISTRY_PROFILE_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Err(form(error.to_string())),
            Err(error) => return Err(failed(error).into()),
        };
        let read: Self = serde_json::from_slice(&bytes).map_err(|error| form(error.to_string()))?;
        if read.version != VERSION {
            return Err(form(format!("it is of version {}", read.version)));
        }
        if read.registry != registry {
            return Err(form(format!("it is of {}", read.registry)));
        }
        Ok(Some(read))
    }

    /// Writes the profile, replacing the one before; returns where.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, ProfileError> {
        let path = path(folder, &self.registry);
        let failed = |source| PathError::of("write", &path)(source);
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        durable::make_folder(folder, 0o700).map_err(failed)?;
        durable::write(&path, &bytes, 0o600).map_err(failed)?;
        Ok(path)
    }
}
