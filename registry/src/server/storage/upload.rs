//! Upload sessions: bytes go to a file of their own, are hashed once as they arrive, and the file is renamed if their
//! digest is right.
//!
//! A session outlives the process: its bytes and its journal stay in the folder, and bytes that were hashed before are
//! hashed again when the next bytes arrive. Only counted bytes belong to it: what a failed write left behind them is
//! written over, and cut off at the end. Bytes are written by one blocking task a request, which gets them through a
//! bounded channel, and hashed by another thread; large blobs are also synced while they are written ([`EarlySync`]).
//! The task owns the session's lock; a request that is dropped closes the channel and the task ends with all that came
//! before in place.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use samebundle_spec::{Algorithm, Digest, Digester, limits};
use tokio::sync::mpsc;

use super::super::failures::chain;
use super::super::random::random_name;
use super::super::refusal::Refusal;
use super::super::route::Name;
use super::{CONTENT_MODE, Storage};
use crate::StoreError;
use crate::durable::{self, EarlySync};

/// Pieces that wait to be hashed.
const WAITING: usize = 4;

/// An open upload.
#[derive(Debug)]
pub(in crate::server) struct Upload {
    id: String,
    path: PathBuf,
    repository: Name,
    written: AtomicU64,
    /// Seconds after `opened` at which bytes came last.
    touched: AtomicU64,
    opened: Instant,
    /// Most bytes that it may have.
    limit: u64,
    state: Mutex<Writing>,
}

#[derive(Debug)]
struct Writing {
    file: Arc<File>,
    early: EarlySync,
    digester: Digester,
    algorithm: Algorithm,
    /// How many bytes of the file the digester has; fewer than the file has only after a restart.
    hashed: u64,
}

impl Writing {
    fn new(file: File, algorithm: Algorithm) -> Self {
        Self {
            file: Arc::new(file),
            early: EarlySync::default(),
            digester: Digester::new(algorithm),
            algorithm,
            hashed: 0,
        }
    }

    /// Hashes what an earlier process wrote.
    fn catch_up(&mut self, path: &Path, written: u64) -> Result<(), StoreError> {
        if self.hashed == written {
            return Ok(());
        }
        let mut read = || {
            let mut buffer = vec![0; limits::BATCH_BYTES];
            while self.hashed < written {
                let most = buffer
                    .len()
                    .min(usize::try_from(written - self.hashed).unwrap_or(usize::MAX));
                self.file.read_exact_at(&mut buffer[..most], self.hashed)?;
                self.digester.update(&buffer[..most]);
                self.hashed += most as u64;
            }
            Ok(())
        };
        read().map_err(StoreError::io("read", path))
    }
}

/// The journal of a session.
#[derive(serde::Deserialize)]
struct Journal {
    repository: String,
    algorithm: String,
}

fn journal(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// Finds the sessions that an earlier process left, and removes those that are too old or not valid.
pub(super) fn restore(folder: &Path, limit: u64) -> Result<HashMap<String, Arc<Upload>>, StoreError> {
    let mut files = Vec::new();
    let mut uploads = HashMap::new();
    for name in super::names(folder)? {
        let path = folder.join(&name);
        if let Some(id) = name.strip_suffix(".json") {
            if !folder.join(id).is_file() {
                clear(&folder.join(id));
            }
            continue;
        }
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        files.push((path.clone(), opened.map_err(StoreError::io("open", &path))?));
    }
    let copies = files
        .iter()
        .map(|(path, file)| Ok((path.clone(), file.try_clone()?)))
        .collect::<io::Result<Vec<_>>>()
        .map_err(StoreError::io("open", folder))?;
    let old = durable::older_than(folder, copies, limits::UPLOAD_IDLE_SECONDS)
        .map_err(StoreError::io("read", folder))?;
    let old: HashSet<PathBuf> = old.into_iter().map(|(path, _)| path).collect();
    for (path, file) in files {
        match (!old.contains(&path))
            .then(|| Upload::restored(&path, file, limit))
            .flatten()
        {
            Some(upload) => {
                uploads.insert(upload.id.clone(), Arc::new(upload));
            }
            None => clear(&path),
        }
    }
    Ok(uploads)
}

/// Removes what an earlier process left, if the system permits it.
fn clear(path: &Path) {
    if let Err(error) = remove_files(path) {
        tracing::warn!("an upload that nobody can go on with stays: {}", chain(&error));
    }
}

/// Removes the bytes of an upload and its journal, whichever exist.
fn remove_files(path: &Path) -> Result<(), StoreError> {
    for path in [path, &journal(path)] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Upload {
    /// A session of an earlier process; `None` if its journal is not valid.
    fn restored(path: &Path, file: File, limit: u64) -> Option<Self> {
        let kept = journal(path);
        if kept.metadata().ok()?.len() > limits::UPLOAD_JOURNAL_BYTES {
            return None;
        }
        let journal: Journal = serde_json::from_slice(&std::fs::read(&kept).ok()?).ok()?;
        let algorithm = [Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name() == journal.algorithm)?;
        Some(Self {
            id: path.file_name()?.to_str()?.to_owned(),
            path: path.to_owned(),
            repository: Name::parse(&journal.repository).ok()?,
            written: AtomicU64::new(file.metadata().ok()?.len()),
            touched: AtomicU64::new(0),
            opened: Instant::now(),
            limit,
            state: Mutex::new(Writing::new(file, algorithm)),
        })
    }

    pub(in crate::server) fn id(&self) -> &str {
        &self.id
    }

    /// Bytes written so far.
    pub(in crate::server) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    fn idle(&self) -> u64 {
        self.opened
            .elapsed()
            .as_secs()
            .saturating_sub(self.touched.load(Ordering::Relaxed))
    }

    fn take(&self) -> Result<MutexGuard<'_, Writing>, Refusal> {
        let busy = || Refusal::UploadBusy { id: self.id.clone() };
        self.state.try_lock().ok_or_else(busy)
    }

    /// Writes the bytes from the channel. With `length`, exactly that many bytes unless the channel closes early: one
    /// byte more and all bytes of this request are discarded.
    pub(in crate::server) fn write_from(
        &self,
        pieces: &mut mpsc::Receiver<Bytes>,
        length: Option<u64>,
    ) -> Result<(), Refusal> {
        let mut state = self.take()?;
        let start = self.written();
        state.catch_up(&self.path, start)?;
        let before = length.map(|_| state.digester.clone());
        let Writing {
            file,
            early,
            digester,
            ..
        } = &mut *state;
        let written = std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel::<Bytes>(WAITING);
            scope.spawn(move || receiver.iter().for_each(|piece| digester.update(&piece)));
            self.write_pieces(file, early, pieces, &sender, length.map(|length| start + length))
        });
        state.hashed = self.written();
        if matches!(written, Err(Refusal::Size { .. } | Refusal::BlobTooLarge { .. }))
            && let Some(digester) = before
        {
            state.digester = digester;
            state.hashed = start;
            self.written.store(start, Ordering::Release);
        }
        if written.is_err() {
            // For a session that is found after a restart, and counted by the length of its file. If the system refuses it
            // the digest will be another, and the client begins again.
            drop(state.file.set_len(self.written()));
        }
        written
    }

    /// Writes pieces, and gives each to the thread that hashes when it is written; none beyond `end`.
    fn write_pieces(
        &self,
        file: &Arc<File>,
        early: &mut EarlySync,
        pieces: &mut mpsc::Receiver<Bytes>,
        hasher: &SyncSender<Bytes>,
        end: Option<u64>,
    ) -> Result<(), Refusal> {
        while let Some(piece) = pieces.blocking_recv() {
            let before = self.written();
            let written = before + piece.len() as u64;
            if end.is_some_and(|end| written > end) {
                let why = "the body is longer than was said".to_owned();
                return Err(Refusal::Size { why });
            }
            if written > self.limit {
                return Err(Refusal::BlobTooLarge { limit: self.limit });
            }
            file.write_all_at(&piece, before)
                .map_err(StoreError::io("write", &self.path))?;
            self.written.store(written, Ordering::Release);
            self.touched
                .store(self.opened.elapsed().as_secs(), Ordering::Relaxed);
            // An error of a sync is reported at the end, where the upload can be given up.
            drop(early.written(file, piece.len() as u64));
            // If the thread is gone it panicked, which its scope passes on.
            drop(hasher.send(piece));
        }
        Ok(())
    }

    /// The digest of all bytes that were written.
    fn digest(&self, algorithm: Algorithm) -> Result<Digest, Refusal> {
        let mut state = self.take()?;
        state.catch_up(&self.path, self.written())?;
        if state.algorithm == algorithm {
            return Ok(state.digester.clone().finish());
        }
        // Only when the client named no algorithm at the start and then finishes with another one.
        let file = File::open(&self.path).map_err(StoreError::io("open", &self.path))?;
        let file = file.take(self.written());
        let hashed = Digest::of_reader(algorithm, file).map_err(StoreError::io("read", &self.path))?;
        Ok(hashed.0)
    }

    fn seal(&self) -> Result<(), Refusal> {
        let mut state = self.take()?;
        state.early.end().map_err(StoreError::io("sync", &self.path))?;
        let seal = |file: &File| {
            file.set_len(self.written())?;
            file.set_permissions(std::fs::Permissions::from_mode(CONTENT_MODE))?;
            file.sync_all()
        };
        seal(&state.file).map_err(StoreError::io("sync", &self.path))?;
        Ok(())
    }
}

impl Storage {
    /// Opens an upload whose bytes will be hashed with `algorithm`; one that is `kept` outlives this process.
    pub(in crate::server) fn open_upload(
        &self,
        repository: &Name,
        algorithm: Algorithm,
        kept: bool,
    ) -> Result<Arc<Upload>, Refusal> {
        self.expire();
        let id = random_name()?;
        let path = self.0.root.join("uploads").join(&id);
        let mut uploads = self.0.uploads.lock();
        if uploads.len() >= limits::UPLOADS {
            return Err(Refusal::TooManyUploads);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        if kept {
            let journal = journal(&path);
            let text = serde_json::json!({"repository": repository.as_str(), "algorithm": algorithm.name()});
            std::fs::write(&journal, text.to_string())
                .inspect_err(|_| self.remove_upload(&path))
                .map_err(StoreError::io("write", &journal))?;
        }
        let upload = Arc::new(Upload {
            id: id.clone(),
            path,
            repository: repository.clone(),
            written: AtomicU64::new(0),
            touched: AtomicU64::new(0),
            opened: Instant::now(),
            limit: self.rules().blob_bytes,
            state: Mutex::new(Writing::new(file, algorithm)),
        });
        uploads.insert(id, Arc::clone(&upload));
        Ok(upload)
    }

    fn expire(&self) {
        let stale: Vec<_> = self
            .0
            .uploads
            .lock()
            .values()
            .filter(|upload| upload.idle() > limits::UPLOAD_IDLE_SECONDS)
            .cloned()
            .collect();
        for upload in stale {
            self.discard(&upload);
        }
    }

    /// Finds an open upload of this repository. Another repository's does not exist.
    pub(in crate::server) fn upload(&self, repository: &Name, id: &str) -> Result<Arc<Upload>, Refusal> {
        self.0
            .uploads
            .lock()
            .get(id)
            .filter(|upload| upload.repository == *repository)
            .cloned()
            .ok_or_else(|| Refusal::UploadUnknown {
                id: id.chars().take(64).collect(),
            })
    }

    /// Ends an upload and removes its bytes.
    pub(in crate::server) fn discard(&self, upload: &Upload) {
        self.0.uploads.lock().remove(&upload.id);
        self.remove_upload(&upload.path);
    }

    fn remove_upload(&self, path: &Path) {
        if let Err(error) = remove_files(path) {
            self.0.failures.log("ending an upload", &error);
        }
    }

    /// Ends an upload: its bytes become the blob `digest` of its repository, or nothing.
    pub(in crate::server) fn commit(&self, upload: &Upload, digest: &Digest) -> Result<(), Refusal> {
        let found = upload.digest(digest.algorithm())?;
        if found != *digest {
            self.discard(upload);
            return Err(Refusal::Digest {
                why: format!("the bytes that came have digest {found}, not {digest}"),
            });
        }
        let _open = self.open_gate();
        let content = self.content(digest);
        if !content.is_file() {
            // After a sync that failed another one may report success, so the upload is lost.
            upload.seal().inspect_err(|_| self.discard(upload))?;
            std::fs::rename(&upload.path, &content).map_err(StoreError::io("rename", &upload.path))?;
        }
        self.link_blob(&upload.repository, digest)?;
        self.discard(upload);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_write_left_is_no_part_of_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let name = Name::parse("team/one").unwrap();
        let write = |upload: &Upload, bytes: &'static [u8]| {
            let (sender, mut pieces) = mpsc::channel(1);
            sender.try_send(Bytes::from_static(bytes)).unwrap();
            drop(sender);
            upload.write_from(&mut pieces, None).unwrap();
            // As of a disk that became full in the middle of the next piece.
            std::fs::write(
                &upload.path,
                [&std::fs::read(&upload.path).unwrap(), &b"left"[..]].concat(),
            )
            .unwrap();
        };
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let upload = storage.open_upload(&name, Algorithm::Sha256, true).unwrap();
            write(&upload, b"some ");
            write(&upload, b"bytes");
            let (digest, _) = Digest::of_reader(algorithm, &b"some bytes"[..]).unwrap();
            storage.commit(&upload, &digest).unwrap();
            assert_eq!(std::fs::read(storage.content(&digest)).unwrap(), b"some bytes");
        }
    }

    #[test]
    fn an_upload_whose_sync_failed_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let name = Name::parse("team/one").unwrap();
        let upload = storage.open_upload(&name, Algorithm::Sha256, true).unwrap();
        // A pipe cannot be synced.
        let (_reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        *upload.state.lock() = Writing::new(file, Algorithm::Sha256);
        let digest = Digest::sha256(b"");
        storage.commit(&upload, &digest).unwrap_err();
        assert!(!storage.has_blob(&name, &digest));
        let gone = storage.upload(&name, upload.id());
        assert!(matches!(gone, Err(Refusal::UploadUnknown { .. })), "{gone:?}");
    }
}
