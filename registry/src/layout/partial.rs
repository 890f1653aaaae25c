//! Blobs that are written by position, and kept when they are not finished.
//!
//! ```text
//! ingest/ALGORITHM-HEX.partial    the blob, each byte at its position; from byte SIZE on, records of the ranges that were written
//! record                          start and end of one range, two little-endian 64-bit numbers
//! ```
//!
//! A record is written after the bytes that it describes, so that after a kill every recorded range is in the file. After
//! a power cut that may be false: syncs before the end prove nothing, and the digest of the whole blob decides. A blob
//! that turns out to be wrong is removed with its records. The records are cut off before the file is named by its digest.
//!
//! Large blobs are also synced while they are written ([`EarlySync`]).
//!
//! One thread hashes the bytes in order: as they are written if they come in order, else by reading them back.
//!
//! Concurrency: the file is held under a kernel lock; a second writer of the same blob, in this process or another, gets
//! a nameless file that is not kept.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use samebundle_spec::{Algorithm, Descriptor, Digest, Digester, limits};
use tokio::sync::oneshot;

use super::disk::{BLOB_MODE, Disk};
use super::files::ingest_folder;
use super::ingest::{Ingest, open_partial};
use crate::durable::EarlySync;
use crate::store::blocking::blocking;
use crate::store::pieces::write_pieces_at;
use crate::store::{Parts, StoreError};

/// Length of one record, bytes.
const RECORD: u64 = 16;
/// Batches that wait to be hashed.
const WAITING: usize = 2;

/// A blob that is being written.
#[derive(Clone, Debug)]
pub(super) struct Partial {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<Disk>,
    descriptor: Descriptor,
    file: Arc<File>,
    /// `None` once the blob is under its digest.
    destination: Mutex<Option<Destination>>,
    /// Whether the file has records.
    kept: bool,
    there: Mutex<Vec<Range<u64>>>,
    hashing: Mutex<Hashing>,
    early: Mutex<EarlySync>,
    stop: Arc<AtomicBool>,
}

/// Where the bytes are until they are complete.
#[derive(Debug)]
enum Destination {
    Named(PathBuf),
    Nameless(Ingest),
}

#[derive(Debug)]
struct Hashing {
    /// Everything before this byte was passed to the hashing thread.
    until: u64,
    work: Option<SyncSender<Work>>,
    digest: Option<oneshot::Receiver<io::Result<Digest>>>,
}

enum Work {
    Bytes(Vec<Bytes>),
    Read(Range<u64>),
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Partial {
    /// Resumes a blob that was begun, or begins it. `None` if it is complete.
    pub(super) fn resume(disk: &Arc<Disk>, descriptor: &Descriptor) -> Result<Option<Self>, StoreError> {
        if disk.offered(descriptor)? {
            return Ok(None);
        }
        let Some((path, file)) = open_partial(&ingest_folder(&disk.root), &descriptor.digest)? else {
            return Self::nameless(disk, descriptor).map(Some);
        };
        // Whoever held the file before may have finished it.
        if disk.offered(descriptor)? {
            drop(fs::remove_file(&path));
            return Ok(None);
        }
        let there = records(&file, descriptor.size).map_err(StoreError::io("read", &path))?;
        Ok(Some(Self::new(
            disk,
            descriptor,
            file,
            Destination::Named(path),
            there,
        )))
    }

    /// Begins a blob that is not kept if it is not finished.
    pub(super) fn nameless(disk: &Arc<Disk>, descriptor: &Descriptor) -> Result<Self, StoreError> {
        let ingest = Ingest::begin(&ingest_folder(&disk.root), BLOB_MODE)?;
        let file = ingest.handle()?;
        Ok(Self::new(
            disk,
            descriptor,
            file,
            Destination::Nameless(ingest),
            Vec::new(),
        ))
    }

    fn new(
        disk: &Arc<Disk>,
        descriptor: &Descriptor,
        file: File,
        destination: Destination,
        there: Vec<Range<u64>>,
    ) -> Self {
        let (file, stop) = (Arc::new(file), Arc::new(AtomicBool::new(false)));
        let (work, works) = sync_channel(WAITING);
        let hash = {
            let (file, stop) = (Arc::clone(&file), Arc::clone(&stop));
            let algorithm = descriptor.digest.algorithm();
            let (tell, told) = oneshot::channel();
            // It is a thread of its own, because it lives as long as the blob, and must not keep others from the pool.
            std::thread::spawn(move || drop(tell.send(hash(&file, algorithm, &works, &stop))));
            told
        };
        let partial = Self {
            inner: Arc::new(Inner {
                disk: Arc::clone(disk),
                descriptor: descriptor.clone(),
                file,
                kept: matches!(destination, Destination::Named(_)),
                destination: Mutex::new(Some(destination)),
                there: Mutex::new(there),
                hashing: Mutex::new(Hashing {
                    until: 0,
                    work: Some(work),
                    digest: Some(hash),
                }),
                early: Mutex::default(),
                stop,
            }),
        };
        partial.inner.feed(0, Vec::new());
        partial
    }
}

/// Reads the records of a file; records that make no sense are ignored.
fn records(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let length = file.metadata()?.len();
    let count = length.saturating_sub(size) / RECORD;
    let count =
        usize::try_from(count).map_or(limits::PARTIAL_RANGES, |count| count.min(limits::PARTIAL_RANGES));
    let mut bytes = vec![0; count * 16];
    file.read_exact_at(&mut bytes, size)?;
    let ranges = bytes.chunks_exact(16).filter_map(|record| {
        let start = u64::from_le_bytes(record[..8].try_into().ok()?);
        let end = u64::from_le_bytes(record[8..].try_into().ok()?);
        (start < end && end <= size).then_some(start..end)
    });
    Ok(ranges.collect())
}

/// Merges ranges that touch, in order.
fn merged(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

impl Inner {
    fn put(&self, at: u64, pieces: Vec<Bytes>) -> Result<(), StoreError> {
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let end = at.checked_add(length).filter(|end| *end <= self.descriptor.size);
        let Some(end) = end else {
            return Err(self.mismatch(format!(
                "content is longer than the {} bytes of its descriptor",
                self.descriptor.size
            )));
        };
        write_pieces_at(&self.file, &pieces, at)
            .map_err(|error| StoreError::read(self.descriptor.digest, error))?;
        self.record(at..end)
            .map_err(|error| StoreError::read(self.descriptor.digest, error))?;
        held(&self.early)
            .written(&self.file, length)
            .map_err(|error| StoreError::read(self.descriptor.digest, error))?;
        self.feed(at, pieces);
        Ok(())
    }

    /// Records that a range was written: the range that it continues grows, or a new one begins.
    fn record(&self, range: Range<u64>) -> io::Result<()> {
        let mut there = held(&self.there);
        let slot = match there.iter().position(|known| known.end == range.start) {
            Some(slot) => {
                there[slot].end = range.end;
                slot
            }
            None => {
                there.push(range);
                there.len() - 1
            }
        };
        if !self.kept || slot >= limits::PARTIAL_RANGES {
            return Ok(());
        }
        let mut record = [0; 16];
        record[..8].copy_from_slice(&there[slot].start.to_le_bytes());
        record[8..].copy_from_slice(&there[slot].end.to_le_bytes());
        self.file
            .write_all_at(&record, self.descriptor.size + slot as u64 * RECORD)
    }

    /// Passes the bytes that are next in order to the hashing thread. Waits while that thread is behind.
    fn feed(&self, at: u64, pieces: Vec<Bytes>) {
        let mut hashing = held(&self.hashing);
        let Some(work) = hashing.work.clone() else { return };
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        // If the thread has ended, it has an error, which `finish` reports.
        if at == hashing.until && length > 0 {
            drop(work.send(Work::Bytes(pieces)));
            hashing.until += length;
        }
        let until = hashing.until;
        let known = merged(&held(&self.there));
        if let Some(range) = known
            .iter()
            .find(|range| range.start <= until && range.end > until)
        {
            drop(work.send(Work::Read(until..range.end)));
            hashing.until = range.end;
        }
    }

    fn mismatch(&self, why: String) -> StoreError {
        StoreError::Mismatch {
            digest: self.descriptor.digest,
            why,
        }
    }

    /// Removes what was written.
    fn discard(&self) {
        if let Some(Destination::Named(path)) = held(&self.destination).take() {
            // If the file stays, the next attempt finds it wrong again and tries again.
            drop(fs::remove_file(path));
        }
    }

    fn commit(&self) -> Result<(), StoreError> {
        held(&self.early)
            .end()
            .map_err(|error| StoreError::read(self.descriptor.digest, error))?;
        match held(&self.destination).take() {
            Some(Destination::Named(path)) => {
                self.file
                    .set_len(self.descriptor.size)
                    .map_err(StoreError::io("shorten", &path))?;
                self.disk.commit_file(&self.file, &path, &self.descriptor.digest)
            }
            Some(Destination::Nameless(ingest)) => self.disk.commit(ingest, &self.descriptor.digest),
            None => Ok(()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The hashing thread may live a moment longer, and the next attempt must find the file unlocked.
        drop(self.file.unlock());
    }
}

/// Hashes what it is given until nothing more can come.
fn hash(file: &File, algorithm: Algorithm, works: &Receiver<Work>, stop: &AtomicBool) -> io::Result<Digest> {
    let mut digester = Digester::new(algorithm);
    let mut buffer = Vec::new();
    for work in works {
        match work {
            Work::Bytes(pieces) => pieces.iter().for_each(|piece| digester.update(piece)),
            Work::Read(range) => {
                let mut at = range.start;
                buffer.resize(limits::BATCH_BYTES, 0);
                while at < range.end {
                    if stop.load(Ordering::Relaxed) {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                    let want =
                        usize::try_from(range.end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
                    file.read_exact_at(&mut buffer[..want], at)?;
                    digester.update(&buffer[..want]);
                    at += want as u64;
                }
            }
        }
    }
    Ok(digester.finish())
}

#[async_trait]
impl Parts for Partial {
    fn missing(&self) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = 0;
        for range in merged(&held(&self.inner.there)) {
            if range.start > at {
                missing.push(at..range.start);
            }
            at = range.end;
        }
        if at < self.inner.descriptor.size {
            missing.push(at..self.inner.descriptor.size);
        }
        missing
    }

    async fn write(&self, at: u64, pieces: Vec<Bytes>) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.put(at, pieces)).await
    }

    async fn finish(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let short: u64 = self.missing().iter().map(|range| range.end - range.start).sum();
        if short > 0 {
            return Err(inner.mismatch(format!(
                "content ends {short} bytes short of the {} of its descriptor",
                inner.descriptor.size
            )));
        }
        let digest = {
            let mut hashing = held(&inner.hashing);
            hashing.work = None;
            hashing.digest.take()
        };
        let found = match digest {
            Some(digest) => digest
                .await
                .map_err(io::Error::other)
                .and_then(|digest| digest)
                .map_err(|error| StoreError::read(inner.descriptor.digest, error))?,
            None => return Ok(()),
        };
        blocking(move || {
            if found == inner.descriptor.digest {
                return inner.commit();
            }
            inner.discard();
            Err(inner.mismatch(format!(
                "content has digest {found}, not {}",
                inner.descriptor.digest
            )))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
