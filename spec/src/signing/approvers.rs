//! Who decides about tasks that ask a person, by a policy.

use super::{KeyId, KeyRing};

/// Who may decide, and how many of them must approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvers {
    /// The keys.
    pub keys: KeyRing,
    /// How many different keys must approve with the same answers.
    pub threshold: usize,
}

impl Default for Approvers {
    fn default() -> Self {
        Self {
            keys: KeyRing::new(),
            threshold: 1,
        }
    }
}

impl Approvers {
    /// Tells whether a key may decide.
    pub fn may(&self, key: KeyId) -> bool {
        self.keys.values().any(|one| one.id() == key)
    }
}
