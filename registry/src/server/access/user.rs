//! The user of a request.

/// In rules: every user of the htpasswd file.
pub(super) const EVERYBODY: &str = "*";
/// In rules: everybody, also without a name.
pub(super) const ANONYMOUS: &str = "anonymous";

/// The user of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum User {
    /// A user without a name.
    Anonymous,
    /// A name from the file of users.
    Named(String),
}

impl User {
    pub(in crate::server) fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Named(name) => Some(name),
        }
    }
}
