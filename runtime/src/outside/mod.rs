//! What a run takes from outside of its bundle: the content behind the addresses of importers and of the artifacts that
//! are inputs of a pipeline.
//!
//! A person's word and a bundle's word differ (decision 52). What the person who runs names, a file of this machine, a
//! private bucket, a server of the local network, is read with that person's rights. An address that the bundle or one of
//! its tasks chose is asked for without any credential, and only if the bundle was granted the network; it is never a file
//! of this machine.

mod address;
mod local;
pub(crate) mod modelcar;
pub(crate) mod object;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_registry::StoreError;
use samebundle_spec::{Classify, Digest, ErrorKind};

pub(crate) use address::path_in_container;
pub use address::{Address, AddressError, Given, Place, Service, secrets_of, shown, shown_value};
pub(crate) use local::copy;
pub(crate) use object::{Object, ObjectSettings};

/// Whose word an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// The person who runs: a parameter of the run or of the installation.
    Person,
    /// The bundle, or one of its tasks.
    Bundle,
}

/// Why there is no content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutsideError {
    /// It cannot be had from here and now; its address stays true.
    #[error("{0}")]
    Away(String),
    /// This machine cannot keep it, or it is not what it should be.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for OutsideError {
    fn from(error: StoreError) -> Self {
        of_kind(error.kind(), &error)
    }
}

/// Tells what cannot be had from here from what is wrong.
pub(crate) fn of_kind(kind: ErrorKind, error: &dyn std::error::Error) -> OutsideError {
    match kind {
        ErrorKind::Unreachable | ErrorKind::NotFound | ErrorKind::Denied => OutsideError::Away(whole(error)),
        _ => OutsideError::Failed(whole(error)),
    }
}

/// An error with its causes, as one text.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Fetches content from other machines.
#[async_trait]
pub trait Outside: Debug + Send + Sync {
    /// Fetches what is at an address to a path, a file or a folder that is not there yet.
    ///
    /// # Errors
    /// [`OutsideError::Away`] if it cannot be reached, is not there or wants credentials that are not given.
    async fn fetch(&self, address: &Address, by: ChosenBy, to: &Path) -> Result<(), OutsideError>;
}

/// What a run may take from outside.
#[derive(Clone, Debug)]
pub struct Access {
    /// What fetches it.
    pub reach: Arc<dyn Outside>,
    /// What the person gave.
    pub given: Given,
    /// The digests that the bundle states for what is at some addresses.
    pub stated: BTreeMap<String, Digest>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            reach: Arc::new(Nothing),
            given: Given::default(),
            stated: BTreeMap::new(),
        }
    }
}

/// Reaches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

#[async_trait]
impl Outside for Nothing {
    async fn fetch(&self, _: &Address, _: ChosenBy, _: &Path) -> Result<(), OutsideError> {
        Err(OutsideError::Away("nothing is fetched here".to_owned()))
    }
}
