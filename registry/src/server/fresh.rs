//! Files that may change while the server runs: certificates, users, rules.
//!
//! The value is used until one of the files has another time, size or inode; they are looked at when the value is requested,
//! at most once a second. Failure: a changed file that cannot be read or is not valid is logged once, and the value that was
//! read before stays in force; it is tried again when it changes once more.

use std::fmt::Debug;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::failures::chain;
use crate::{StoreError, durable};

const LOOKED_AT: Duration = Duration::from_secs(1);

/// Time, size and inode.
type Stamp = Option<(i64, i64, u64, u64)>;

/// A value that is read from files, and again when they change.
#[derive(Debug)]
pub(super) struct Fresh<T> {
    /// The name of the value in the log.
    what: &'static str,
    paths: Vec<PathBuf>,
    read: fn(&[PathBuf]) -> Result<T, StoreError>,
    now: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    value: Arc<T>,
    stamps: Vec<Stamp>,
    looked: Instant,
}

fn stamp(path: &Path) -> Stamp {
    let metadata = path.metadata().ok()?;
    Some((
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.size(),
        metadata.ino(),
    ))
}

impl<T: Debug> Fresh<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// If one is no regular file, which could not be read again, or cannot be read.
    pub(super) fn open(
        what: &'static str,
        paths: Vec<PathBuf>,
        read: fn(&[PathBuf]) -> Result<T, StoreError>,
    ) -> Result<Self, StoreError> {
        for path in &paths {
            durable::check_regular(path).map_err(StoreError::io("read", path))?;
        }
        let stamps = paths.iter().map(|path| stamp(path)).collect();
        let value = Arc::new(read(&paths)?);
        Ok(Self {
            what,
            paths,
            read,
            now: Mutex::new(State {
                value,
                stamps,
                looked: Instant::now(),
            }),
        })
    }

    /// The value of the files as they are now, or were a second ago.
    pub(super) fn get(&self) -> Arc<T> {
        let mut now = self.now.lock();
        if now.looked.elapsed() < LOOKED_AT {
            return Arc::clone(&now.value);
        }
        now.looked = Instant::now();
        let stamps: Vec<Stamp> = self.paths.iter().map(|path| stamp(path)).collect();
        if stamps != now.stamps {
            now.stamps = stamps;
            match (self.read)(&self.paths) {
                Ok(value) => {
                    tracing::info!("{} were read again", self.what);
                    now.value = Arc::new(value);
                }
                Err(error) => {
                    let why = chain(&error);
                    tracing::error!(
                        "{} were not read again, and what was read before stays in force: {why}",
                        self.what
                    );
                }
            }
        }
        Arc::clone(&now.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one").unwrap();
        let read = |paths: &[PathBuf]| {
            let text = std::fs::read_to_string(&paths[0]).map_err(StoreError::io("read", &paths[0]))?;
            match text.as_str() {
                "broken" => Err(StoreError::Cancelled),
                _ => Ok(text),
            }
        };
        let fresh = Fresh::open("the words", vec![file.path().to_owned()], read).unwrap();
        for (written, expected) in [("two", "two"), ("broken", "two"), ("three", "three")] {
            std::fs::write(file.path(), written).unwrap();
            fresh.now.lock().looked = Instant::now().checked_sub(LOOKED_AT).unwrap();
            assert_eq!(*fresh.get(), expected);
        }
    }
}
