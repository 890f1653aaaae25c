//! High-water marks: the newest release of each name that was seen, and the last trusted time.
//!
//! Layout: `marks.json` and `marks.lock` in the folder of the trust store. Concurrency: read, compare and write happen
//! under the lock, and the file is replaced whole. Failure: marks that cannot be read or written lead to a refusal,
//! because then nobody knows whether the release is older than one that was seen.

use std::path::{Path, PathBuf};

use samebundle_spec::signing::{Decision, KeyId, Release, Scope};
use samebundle_spec::{BundleName, Classify, ErrorKind, Timestamp, Version, json, limits};
use serde::{Deserialize, Serialize};

use super::TrustError;
use super::guard::{self, GuardError};
use crate::durable;

/// Version of the format that is written, and the newest that is read.
const VERSION: u32 = 1;
/// Time is written only when it grew by this much, seconds: not every verification needs to write a file.
const TIME_STEP_SECONDS: i64 = 60;

/// Why the marks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MarksError {
    /// The file is not safe, or cannot be read or written.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The file is damaged or of a newer samebundle.
    #[error(
        "the record of releases seen, {path}, cannot be read: {why}; if you remove it, older releases are no longer refused"
    )]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl Classify for MarksError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Guard(error) => error.kind(),
            Self::Invalid { .. } => ErrorKind::NotTrusted,
        }
    }
}

/// The marks in a folder.
#[derive(Clone, Debug)]
pub struct Marks {
    path: PathBuf,
    lock: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    marks: Vec<Mark>,
}

/// The newest release of a name that was accepted in a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The scope whose rule decided.
    pub scope: Scope,
    /// The bundle's name.
    pub name: BundleName,
    /// The highest sequence.
    pub sequence: u64,
    /// Its version.
    pub release: Version,
    /// The keys that signed it.
    pub signers: Vec<KeyId>,
}

impl Marks {
    /// The marks in this folder; nothing is read yet.
    pub fn at(folder: &Path) -> Self {
        Self {
            path: folder.join("marks.json"),
            lock: folder.join("marks.lock"),
        }
    }

    /// Returns the time for the verification: the clock's, or the last trusted one if that is later.
    ///
    /// # Errors
    /// [`TrustError::ClockSetBack`] if the clock is behind by more than [`limits::CLOCK_SETBACK_SECONDS`].
    pub fn time(&self, now: Timestamp) -> Result<Timestamp, TrustError> {
        let last = self.read()?.time.unwrap_or(now);
        let setback = std::time::Duration::from_secs(limits::CLOCK_SETBACK_SECONDS);
        if now.after(setback) < last {
            return Err(TrustError::ClockSetBack { now, last });
        }
        Ok(now.max(last))
    }

    /// Returns all marks.
    ///
    /// # Errors
    /// If the file is not safe or cannot be read.
    pub fn list(&self) -> Result<Vec<Mark>, MarksError> {
        Ok(self.read()?.marks)
    }

    /// Compares a release with the marks, and raises the mark. Returns the newer sequence that a downgrade follows.
    ///
    /// A mark counts for the same name under the same scope, or signed by one of the same keys, so that a detour through
    /// another registry or a file does not hide that the release is old. A downgrade never lowers a mark.
    ///
    /// # Errors
    /// [`TrustError::RolledBack`] if a newer one was seen and `downgrade` is false.
    pub fn advance(
        &self,
        decision: &Decision,
        release: &Release,
        now: Timestamp,
        downgrade: bool,
    ) -> Result<Option<u64>, TrustError> {
        let _lock = durable::lock(&self.lock)
            .map_err(GuardError::io("lock", &self.lock))
            .map_err(MarksError::from)?;
        let mut document = self.read()?;
        let downgraded_from = document.compare(decision, release, downgrade)?;
        let raised = downgraded_from.is_none() && document.raise(decision, release);
        if document.pass(now) || raised {
            self.write(&document)?;
        }
        Ok(downgraded_from)
    }

    /// The same comparison, without raising the mark.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn compare(
        &self,
        decision: &Decision,
        release: &Release,
        downgrade: bool,
    ) -> Result<Option<u64>, TrustError> {
        self.read()?.compare(decision, release, downgrade)
    }

    fn read(&self) -> Result<Document, MarksError> {
        let invalid = |why: String| MarksError::Invalid {
            path: self.path.display().to_string(),
            why,
        };
        let Some(bytes) = guard::read(&self.path, limits::MARKS_BYTES)? else {
            return Ok(Document {
                version: VERSION,
                time: None,
                marks: Vec::new(),
            });
        };
        let document: Document =
            json::from_slice(&bytes, limits::MARKS_BYTES).map_err(|error| invalid(error.to_string()))?;
        if document.version > VERSION {
            return Err(invalid(format!(
                "it has version {}; update samebundle",
                document.version
            )));
        }
        Ok(document)
    }

    fn write(&self, document: &Document) -> Result<(), MarksError> {
        let bytes = serde_json::to_vec(document).map_err(|error| MarksError::Invalid {
            path: self.path.display().to_string(),
            why: error.to_string(),
        })?;
        match durable::write(&self.path, &bytes, 0o600) {
            // A failure to write the mark does not invalidate the verification, and the earlier mark still exists.
            Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                tracing::warn!(path = %self.path.display(), "the release is not noted: the file system is read-only");
                Ok(())
            }
            written => Ok(written.map_err(GuardError::io("write", &self.path))?),
        }
    }
}

impl Mark {
    fn order(&self) -> (u64, &Version) {
        (self.sequence, &self.release)
    }
}

impl Document {
    /// Returns the newer sequence that a downgrade follows.
    fn compare(
        &self,
        decision: &Decision,
        release: &Release,
        downgrade: bool,
    ) -> Result<Option<u64>, TrustError> {
        let newest = self
            .marks
            .iter()
            .filter(|mark| mark.name == release.name)
            .filter(|mark| {
                mark.scope == decision.scope || mark.signers.iter().any(|key| decision.signers.contains(key))
            })
            .max_by_key(|mark| mark.order());
        let newer = newest.filter(|mark| mark.order() > (release.sequence, &release.version));
        if let Some(newer) = newer.filter(|_| !downgrade) {
            return Err(TrustError::RolledBack {
                name: release.name.clone(),
                found: release.version.clone(),
                sequence: release.sequence,
                newest: newer.release.clone(),
                newest_sequence: newer.sequence,
            });
        }
        Ok(newer.map(|mark| mark.sequence))
    }

    /// Raises the mark of the decision's scope. Tells whether anything changed.
    fn raise(&mut self, decision: &Decision, release: &Release) -> bool {
        let mark = Mark {
            scope: decision.scope.clone(),
            name: release.name.clone(),
            sequence: release.sequence,
            release: release.version.clone(),
            signers: decision.signers.iter().copied().collect(),
        };
        let known = self
            .marks
            .iter_mut()
            .find(|known| known.scope == mark.scope && known.name == mark.name);
        match known {
            Some(known) if *known == mark => false,
            Some(known) => {
                *known = mark;
                true
            }
            None => {
                self.marks.push(mark);
                true
            }
        }
    }

    /// Records the time. Tells whether it is worth writing.
    fn pass(&mut self, now: Timestamp) -> bool {
        let worth = self
            .time
            .is_none_or(|last| now.as_unix() >= last.as_unix() + TIME_STEP_SECONDS);
        if worth {
            self.time = Some(now.whole_seconds());
        }
        worth
    }
}

#[cfg(test)]
mod tests;
