//! CNAB 1.2 bundles: `bundle.json` (cnab-spec 101), kept byte for byte, and the documents around it.
//!
//! [`Bundle::parse`] keeps the bytes as they came, because digests and signatures are over them, and gives a typed
//! [`View`] of them. Whatever the view does not know stays in the bytes. Rules that the specification states as MUST are
//! errors with a JSON pointer; what a runtime must or should tell the user is a [`Notice`].
//!
//! | module | what |
//! | --- | --- |
//! | [`view`] | the fields of `bundle.json` |
//! | [`definition`] | JSON Schemas of parameters and outputs |
//! | [`parameter`] | values in, environment and files out (cnab-spec 103) |
//! | [`index`], [`layout`] | the OCI index of a bundle: written, read (cnab-spec 201, cnab-to-oci) |
//! | [`extension`] | our extension under `custom`, which tells the kind of a bundle |
//! | [`program`], [`quantity`], [`demand`] | our extension `dev.samebundle.program`, and what it demands of a machine |

pub mod definition;
pub mod demand;
pub mod extension;
pub mod index;
pub mod layout;
pub mod parameter;
pub mod program;
pub mod quantity;
mod rules;
pub mod view;

pub use extension::Extension;
pub use program::ProgramExtension;
pub use rules::{BrokenRule, Notice, OUTPUTS};
pub use view::View;

use serde_json::Value;

use crate::json::{self, JsonError};
use crate::{Classify, Digest, ErrorKind, canonical, limits};

/// Why bytes are not a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not strict JSON, or a field is missing or of a wrong type.
    #[error("bundle.json is not readable: {0}")]
    Json(#[from] JsonError),
    /// A rule of the specification is broken.
    #[error("bundle.json is not valid at {pointer:?}: {fault}")]
    Invalid {
        /// Where (JSON pointer).
        pointer: String,
        /// Which rule, and how.
        fault: BrokenRule,
    },
    /// The view that a bundle was to be made of has no canonical form.
    #[error("bundle.json cannot be written: {0}")]
    Canonical(#[from] canonical::CanonicalError),
}

impl Classify for BundleError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

/// A valid bundle: its bytes, and what they say.
#[derive(Clone, Debug)]
pub struct Bundle {
    raw: Vec<u8>,
    view: View,
    notices: Vec<Notice>,
}

impl Bundle {
    /// Reads a `bundle.json`.
    ///
    /// # Errors
    /// If it is not strict JSON or breaks a rule of cnab-spec 101.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let value = json::value(bytes, limits::BUNDLE_JSON_BYTES)?;
        let view: View = json::from_slice(bytes, limits::BUNDLE_JSON_BYTES)?;
        rules::check(&view)?;
        let notices = rules::notices(&view, &value);
        Ok(Self {
            raw: bytes.to_vec(),
            view,
            notices,
        })
    }

    /// Makes a bundle: canonical JSON (RFC 8785) of `view`, then read and checked as any other.
    ///
    /// # Errors
    /// As [`Bundle::parse`].
    pub fn compose(view: &View) -> Result<Self, BundleError> {
        Self::parse(&canonical::to_vec_of(view)?)
    }

    /// Returns the bytes, exactly as they came.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Returns the digest of the bytes.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.raw)
    }

    /// Returns what the bytes say.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Returns the notices that a user must or should see before an action.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Returns our extension, if the bundle has one.
    ///
    /// # Errors
    /// If the extension is not valid, or the bundle has two of them.
    pub fn extension(&self) -> Result<Option<Extension>, BundleError> {
        extension::read(&self.view)
    }
}

impl BundleError {
    /// Puts the pointer to an extension before the pointer that an error has inside of it.
    fn beneath(self, base: &str) -> Self {
        match self {
            Self::Json(mut error) => {
                error.place.pointer = format!("{base}{}", error.place.pointer);
                Self::Json(error)
            }
            Self::Invalid { pointer, fault } => Self::Invalid {
                pointer: format!("{base}{pointer}"),
                fault,
            },
            other @ Self::Canonical(_) => other,
        }
    }
}

/// Reads a bundle's value out of anything that holds one whole, such as a claim.
///
/// # Errors
/// As [`Bundle::parse`].
pub fn from_value(value: &Value) -> Result<Bundle, BundleError> {
    Bundle::parse(&canonical::to_vec(value)?)
}

#[cfg(test)]
mod tests;
