//! Mirrors: other endpoints that are asked before the repository itself, for reads.
//!
//! Answers of a mirror are checked like all others: a blob by its digest, a tag by the signatures of its manifest,
//! under the name that was asked for. A mirror that has nothing, or fails, is skipped; one that cannot be reached is
//! not asked again by this client. A list of referrers counts if it is not empty: referrers that a mirror leaves out
//! are missing when the bundle is verified, and never more than that.

use std::sync::atomic::{AtomicBool, Ordering};

use super::RemoteRepository;
use crate::StoreError;

/// A mirror of a repository.
#[derive(Debug)]
pub struct Mirror {
    repository: RemoteRepository,
    digests: bool,
    tags: bool,
    down: AtomicBool,
}

/// How the requested manifest is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Digest,
    Tag,
}

impl Mirror {
    /// A mirror that is asked for manifests and blobs by digest, for manifests by tag, or for both.
    pub fn new(repository: RemoteRepository, digests: bool, tags: bool) -> Self {
        Self {
            repository,
            digests,
            tags,
            down: AtomicBool::new(false),
        }
    }

    /// The repository to ask, if it is to be asked.
    pub(super) fn repository(&self, by: By) -> Option<&RemoteRepository> {
        let wanted = match by {
            By::Digest => self.digests,
            By::Tag => self.tags,
        };
        (wanted && !self.down.load(Ordering::Relaxed)).then_some(&self.repository)
    }

    /// Records a failure.
    pub(super) fn failed(&self, error: &StoreError) {
        tracing::info!(mirror = %self.repository.repository(), %error, "a mirror is passed over");
        if matches!(
            error,
            StoreError::Unavailable { .. }
                | StoreError::Unreachable { .. }
                | StoreError::Throttled { .. }
                | StoreError::Broken { .. }
        ) {
            self.down.store(true, Ordering::Relaxed);
        }
    }
}
