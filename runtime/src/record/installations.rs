//! Installations: one document each, replaced whole.

use std::path::PathBuf;

use samebundle_registry::durable;
use samebundle_spec::bundle::parameter::nearest;
use samebundle_spec::record::{self, Installation};
use samebundle_spec::{BundleName, limits};

use super::RecordError;
use crate::home::{Home, HomeLock};

/// The installations of a home.
#[derive(Debug)]
pub struct Installations<'a> {
    home: &'a Home,
}

impl<'a> Installations<'a> {
    /// Opens them.
    pub fn new(home: &'a Home) -> Self {
        Self { home }
    }

    fn path(&self, name: &BundleName) -> PathBuf {
        self.home.installations().join(format!("{name}.json"))
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`RecordError::NoInstallation`] if there is none of that name; otherwise why it cannot be read.
    pub fn get(&self, name: &BundleName) -> Result<Installation, RecordError> {
        match self.find(name)? {
            Some(installation) => Ok(installation),
            None => Err(self.none_as(name)),
        }
    }

    fn none_as(&self, name: &BundleName) -> RecordError {
        let name = name.to_string();
        let names = self.list().unwrap_or_default().into_iter();
        let names: Vec<String> = names.map(|one| one.name.to_string()).collect();
        RecordError::NoInstallation {
            near: nearest(&name, &names),
            name,
        }
    }

    /// Reads one if it is there.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn find(&self, name: &BundleName) -> Result<Option<Installation>, RecordError> {
        let path = self.path(name);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RecordError::io("read", &path)(error)),
        };
        let installation = record::parse(&bytes, limits::BUNDLE_JSON_BYTES);
        installation.map(Some).map_err(RecordError::unreadable(&path))
    }

    /// Lists all, by name.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn list(&self) -> Result<Vec<Installation>, RecordError> {
        let folder = self.home.installations();
        let entries = std::fs::read_dir(&folder).map_err(RecordError::io("list", &folder))?;
        let mut all = Vec::new();
        for entry in entries {
            let name = entry.map_err(RecordError::io("list", &folder))?.file_name();
            let name = name
                .to_str()
                .and_then(|name| name.strip_suffix(".json")?.parse().ok());
            if let Some(name) = name {
                all.extend(self.find(&name)?);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Writes one, durably. The caller holds the installation's lock.
    ///
    /// # Errors
    /// If there is one of a newer format, or the file cannot be written.
    pub fn put(&self, installation: &Installation) -> Result<(), RecordError> {
        let path = self.path(&installation.name);
        if let Some(old) = self.find(&installation.name)? {
            let writable = old.format.check_writable();
            writable.map_err(|source| RecordError::Format {
                path: path.display().to_string(),
                source,
            })?;
        }
        let bytes = serde_json::to_vec_pretty(installation).map_err(|error| RecordError::Damaged {
            path: path.display().to_string(),
            why: error.to_string(),
        })?;
        durable::write(&path, &bytes, 0o600).map_err(RecordError::io("write", &path))
    }

    /// Removes one, durably.
    ///
    /// # Errors
    /// [`RecordError::NoInstallation`] if there is none; otherwise why it cannot be removed.
    pub fn remove(&self, name: &BundleName) -> Result<(), RecordError> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Ok(()) => {
                durable::sync_folder(&self.home.installations()).map_err(RecordError::io("sync", &path))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(self.none_as(name)),
            Err(error) => Err(RecordError::io("remove", &path)(error)),
        }
    }

    /// Takes the lock of one installation and waits for it.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub async fn lock(&self, name: &BundleName) -> Result<HomeLock, RecordError> {
        let lock = self.home.lock(&format!("installation-{name}")).await;
        lock.map_err(RecordError::io("lock", &self.path(name)))
    }
}
