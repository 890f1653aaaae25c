//! Cuts an archive into volumes while it is written.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use samebundle_spec::volume::{HEAD_BYTES, VolumeHead, VolumeSet};
use samebundle_spec::{Algorithm, Digest, Digester, limits};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::{Cut, Volume, beside, named, parity};
use crate::durable::{self, folder_of};
use crate::store::StoreError;

/// A volume that is being written. Its head is written when the whole set is known.
#[derive(Debug)]
struct Growing {
    file: BufWriter<NamedTempFile>,
    digester: Digester,
    bytes: u64,
}

/// A volume whose content is complete.
#[derive(Debug)]
struct Grown {
    file: NamedTempFile,
    digest: Digest,
    bytes: u64,
}

impl Growing {
    fn new(folder: &Path) -> io::Result<Self> {
        let file = durable::temporary_in(folder, 0o666)?;
        let mut file = BufWriter::with_capacity(limits::STREAM_BUFFER, file);
        file.seek(SeekFrom::Start(HEAD_BYTES))?;
        Ok(Self {
            file,
            digester: Digester::new(Algorithm::Sha256),
            bytes: 0,
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.digester.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(self) -> io::Result<Grown> {
        Ok(Grown {
            file: self.file.into_inner().map_err(io::IntoInnerError::into_error)?,
            digest: self.digester.finish(),
            bytes: self.bytes,
        })
    }
}

/// Writes an archive as volumes; nothing has its name before [`Pieces::finish`].
#[derive(Debug)]
pub(in crate::archive) struct Pieces {
    path: PathBuf,
    content_bytes: u64,
    parity: u32,
    grown: Vec<Grown>,
    growing: Option<Growing>,
}

impl Pieces {
    /// Begins the volumes of the archive `path`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the archive or volumes of that name exist, because a mixture could not be told apart.
    pub(in crate::archive) fn new(path: &Path, cut: Cut) -> Result<Self, StoreError> {
        let invalid = |why: String| StoreError::Invalid {
            subject: format!("the size of the volumes of {}", path.display()),
            why,
        };
        let content_bytes = VolumeSet::content_of(cut.size).map_err(|error| invalid(error.to_string()))?;
        let folder = folder_of(path);
        let there = beside(path).map_err(StoreError::io("list", folder))?;
        let there = path
            .exists()
            .then(|| path.to_owned())
            .or(there.into_iter().next());
        if let Some(there) = there {
            return Err(StoreError::Conflict {
                subject: there.display().to_string(),
                why: "volumes are not written beside it; remove it, or give another name".to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            content_bytes,
            parity: cut.parity,
            grown: Vec::new(),
            growing: None,
        })
    }

    /// The set, of whose volumes the first `pieces` are the archive.
    fn set(&self, pieces: usize) -> VolumeSet {
        VolumeSet {
            archive_bytes: self.grown.iter().take(pieces).map(|volume| volume.bytes).sum(),
            content_bytes: self.content_bytes,
            parity: self.parity,
            volumes: self.grown.iter().map(|volume| volume.digest).collect(),
        }
    }

    /// Adds the parity, writes the heads, and gives every file its name, the first piece last.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if there would be too many volumes; otherwise why they cannot be written.
    pub(in crate::archive) fn finish(
        mut self,
        cancel: &CancellationToken,
    ) -> Result<Vec<Volume>, StoreError> {
        if let Some(last) = self.growing.take() {
            self.grown.push(last.finish().map_err(self.failed())?);
        }
        let pieces = self.grown.len();
        if self.parity > 0 {
            self.add_parity(cancel)?;
        }
        let set = self.set(pieces);
        let mut written = Vec::with_capacity(self.grown.len());
        for (number, volume) in self.grown.iter_mut().enumerate() {
            let head = VolumeHead {
                number: number as u32,
                set: set.clone(),
            };
            let head = head.to_bytes().map_err(|error| StoreError::Invalid {
                subject: format!("the volumes of {}", self.path.display()),
                why: error.to_string(),
            })?;
            let path = named(&self.path, &set.ending(number));
            seal(volume.file.as_file_mut(), &head).map_err(StoreError::io("write", &path))?;
            written.push(Volume {
                path,
                bytes: HEAD_BYTES + volume.bytes,
            });
        }
        // Whoever sees the first piece sees the others.
        for (volume, written) in self.grown.into_iter().zip(&written).rev() {
            let persisted = volume.file.persist_noclobber(&written.path);
            persisted.map_err(|error| StoreError::io("rename a file to", &written.path)(error.error))?;
        }
        let folder = folder_of(&self.path);
        durable::sync_folder(folder).map_err(StoreError::io("sync the folder", folder))?;
        Ok(written)
    }

    fn failed(&self) -> impl Fn(io::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |source| StoreError::io("write the volumes of", &path)(source)
    }

    fn add_parity(&mut self, cancel: &CancellationToken) -> Result<(), StoreError> {
        let (pieces, parity) = (self.grown.len(), self.parity as usize);
        let mut set = self.set(pieces);
        // The checksums of the parity are not known yet; only its number matters here.
        set.volumes.resize(pieces + parity, Digest::sha256(b""));
        let invalid = |why: String| StoreError::Invalid {
            subject: format!("the volumes of {}", self.path.display()),
            why,
        };
        set.check().map_err(|error| invalid(error.to_string()))?;
        if !parity::supports(pieces, parity) {
            return Err(invalid(format!(
                "there is no code for {pieces} and {parity} volumes"
            )));
        }
        let folder = folder_of(&self.path);
        let growing: io::Result<Vec<Growing>> = (0..parity).map(|_| Growing::new(folder)).collect();
        let mut growing = growing.map_err(self.failed())?;
        let files: Vec<&File> = self.grown.iter().map(|volume| volume.file.as_file()).collect();
        parity::encode(&set, &files, |number, bytes| {
            if cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            growing[number].write_all(bytes)
        })
        .map_err(|error| match cancel.is_cancelled() {
            true => StoreError::Cancelled,
            false => self.failed()(error),
        })?;
        for volume in growing {
            self.grown.push(volume.finish().map_err(self.failed())?);
        }
        Ok(())
    }
}

/// Writes the head in front, and makes all of it durable.
fn seal(file: &mut File, head: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(head)?;
    durable::sync(file)
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if self
            .growing
            .as_ref()
            .is_some_and(|volume| volume.bytes == self.content_bytes)
            && let Some(full) = self.growing.take()
        {
            self.grown.push(full.finish()?);
        }
        if self.growing.is_none() && self.grown.len() >= limits::VOLUMES {
            return Err(io::Error::other(format!(
                "it needs more than {} volumes; make them larger",
                limits::VOLUMES
            )));
        }
        let growing = match &mut self.growing {
            Some(growing) => growing,
            None => self.growing.insert(Growing::new(folder_of(&self.path))?),
        };
        let room = (self.content_bytes - growing.bytes).min(bytes.len() as u64) as usize;
        growing.write_all(&bytes[..room])?;
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.growing {
            Some(growing) => growing.file.flush(),
            None => Ok(()),
        }
    }
}
