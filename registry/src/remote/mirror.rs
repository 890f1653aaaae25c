//! Mirrors: places that are asked before the repository itself, for reads.
//!
//! What a mirror gives is believed as little as anything: content by its digest, a tag by the signatures of what it names,
//! under the name that was asked for. A mirror that has nothing, or fails, is passed over; one that cannot be reached is not
//! asked again by this client. A list of referrers counts if it has any: what a mirror leaves out of it is missing when it is
//! verified, and never more than that.

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

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Digest,
    Tag,
}

impl Mirror {
    /// A mirror that is asked for what digests name, what tags name, or both.
    pub fn new(repository: RemoteRepository, digests: bool, tags: bool) -> Self {
        Self {
            repository,
            digests,
            tags,
            down: AtomicBool::new(false),
        }
    }

    /// The place to ask, if it is to be asked.
    pub(super) fn place(&self, by: By) -> Option<&RemoteRepository> {
        let wanted = match by {
            By::Digest => self.digests,
            By::Tag => self.tags,
        };
        (wanted && !self.down.load(Ordering::Relaxed)).then_some(&self.repository)
    }

    /// Takes note of a failure.
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
