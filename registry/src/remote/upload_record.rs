//! Records of uploads that were begun: the address at which the registry lets them go on.
//!
//! Each upload has one file, `HEX.json`, named by the hash of repository and digest:
//! `{"version":1,"repository":…,"digest":…,"location":…}`. It does not have the position of the upload, which the
//! registry is asked for.
//!
//! A record is written in place and not synced: one that is lost or torn costs bytes, never correctness, because an
//! address is used only if it belongs to the registry's own origin and the registry checks the digest at the end.
//! Addresses may hold the registry's own state, so only the owner may read them. A record is held under a kernel lock
//! while its upload runs; another process that pushes the same blob then makes an upload without one. Records that
//! nobody resumed for [`limits::PARTIAL_SECONDS`] are removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use reqwest::Url;
use samebundle_spec::{Digest, Repository, limits};
use serde::{Deserialize, Serialize};

use crate::durable;

const VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    repository: String,
    digest: String,
    location: String,
}

/// The record of one upload, held as long as it runs.
#[derive(Debug)]
pub(super) struct UploadRecord {
    path: PathBuf,
    file: File,
    repository: String,
    digest: Digest,
    /// The address that was recorded last.
    pub(super) location: Option<Url>,
}

impl UploadRecord {
    /// Opens the record of an upload, made if absent. `None` if another process holds it.
    pub(super) fn open(folder: &Path, repository: &Repository, digest: &Digest) -> io::Result<Option<Self>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let repository = repository.to_string();
        let name = Digest::sha256(format!("{repository} {digest}").as_bytes());
        let path = folder.join(format!("{}.json", name.hex()));
        let file = loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Its upload may have ended, and its name with it, before it was locked here.
            if file.metadata()?.nlink() > 0 {
                break file;
            }
        };
        let mut record = Self {
            path,
            file,
            repository,
            digest: *digest,
            location: None,
        };
        record.location = record.read()?;
        sweep(folder)?;
        Ok(Some(record))
    }

    /// The recorded address; a file that is torn, of another version or about another blob counts as empty.
    fn read(&mut self) -> io::Result<Option<Url>> {
        let mut bytes = Vec::new();
        (&self.file)
            .take(limits::UPLOAD_NOTE_BYTES)
            .read_to_end(&mut bytes)?;
        let Ok(document) = serde_json::from_slice::<Document>(&bytes) else {
            return Ok(None);
        };
        let mine = document.version == VERSION
            && document.repository == self.repository
            && document.digest == self.digest.to_string();
        Ok(mine.then(|| document.location.parse().ok()).flatten())
    }

    /// Records the address for the next request.
    pub(super) fn write(&mut self, location: &Url) -> io::Result<()> {
        if self.location.as_ref() == Some(location) {
            return Ok(());
        }
        let document = Document {
            version: VERSION,
            repository: self.repository.clone(),
            digest: self.digest.to_string(),
            location: location.to_string(),
        };
        let bytes = serde_json::to_vec(&document).map_err(io::Error::other)?;
        self.file.set_len(0)?;
        io::Seek::rewind(&mut self.file)?;
        self.file.write_all(&bytes)?;
        self.location = Some(location.clone());
        Ok(())
    }

    /// Removes the record, because its upload has ended.
    pub(super) fn remove(self) {
        // If it stays, it names an upload that is gone, which the next attempt finds out.
        drop(fs::remove_file(&self.path));
    }
}

/// Removes records that nobody resumed for a long time.
fn sweep(folder: &Path) -> io::Result<()> {
    let mut idle = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Other processes remove theirs at any time.
        if let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            idle.push((path, file));
        }
    }
    for (path, _lock) in durable::older_than(folder, idle, limits::PARTIAL_SECONDS)? {
        drop(fs::remove_file(path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_again_and_belongs_to_one_upload() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("uploads");
        let repository = Repository::new("localhost:5000", "team/digits").unwrap();
        let other = Repository::new("localhost:5000", "team/other").unwrap();
        let digest = Digest::sha256(b"x");
        let url: Url = "http://localhost:5000/v2/team/digits/blobs/uploads/1?_state=s"
            .parse()
            .unwrap();
        let mut record = UploadRecord::open(&folder, &repository, &digest)
            .unwrap()
            .unwrap();
        assert_eq!(record.location, None);
        record.write(&url).unwrap();
        assert!(
            UploadRecord::open(&folder, &repository, &digest)
                .unwrap()
                .is_none(),
            "locked"
        );
        let path = record.path.clone();
        drop(record);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = UploadRecord::open(&folder, &repository, &digest)
            .unwrap()
            .unwrap();
        assert_eq!(again.location, Some(url));
        let elsewhere = UploadRecord::open(&folder, &other, &digest).unwrap().unwrap();
        assert_eq!(elsewhere.location, None);
        // Half a record counts as none.
        drop(again);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let torn = UploadRecord::open(&folder, &repository, &digest)
            .unwrap()
            .unwrap();
        assert_eq!(torn.location, None);
        torn.remove();
        assert!(!path.exists());
    }
}
