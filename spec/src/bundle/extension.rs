//! What is ours under `custom`: one extension a kind of bundle, and the table of their readers.
//!
//! A new kind is one line in [`READERS`] and one variant of [`Extension`].

use serde_json::Value;

use super::program::{self, ProgramExtension};
use super::rules::Fault;
use super::{BundleError, View};
use crate::json;

/// The key of an environment's extension.
pub const ENVIRONMENT: &str = "dev.samebundle.environment";
/// The key of an add-on's extension.
pub const ADDON: &str = "dev.samebundle.addon";

/// The extension of ours that a bundle has, which tells its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The bundle is a program.
    Program(Box<ProgramExtension>),
    /// The bundle is an environment. Nothing of it is read yet.
    Environment,
    /// The bundle is an add-on. Nothing of it is read yet.
    Addon,
}

/// Reads an extension. Places in its errors count from the extension.
type Reader = fn(&Value, &View) -> Result<Extension, BundleError>;

/// The readers by key under `custom`.
const READERS: [(&str, Reader); 3] = [
    (program::KEY, read_program),
    (ENVIRONMENT, |_, _| Ok(Extension::Environment)),
    (ADDON, |_, _| Ok(Extension::Addon)),
];

fn read_program(value: &Value, view: &View) -> Result<Extension, BundleError> {
    let mut extension: ProgramExtension = json::from_value(value)?;
    let checked = extension.check(view);
    checked.map_err(|(pointer, fault)| BundleError::Invalid { pointer, fault })?;
    extension.data.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Extension::Program(Box::new(extension)))
}

/// Reads the extension of ours that a bundle has; none if it has none of them.
pub(super) fn read(view: &View) -> Result<Option<Extension>, BundleError> {
    let mut ours = READERS
        .iter()
        .filter_map(|(key, reader)| Some((*key, reader, view.custom.get(*key)?)));
    let Some((key, reader, value)) = ours.next() else {
        return Ok(None);
    };
    if let Some((other, _, _)) = ours.next() {
        return Err(BundleError::Invalid {
            pointer: json::child("/custom", other),
            fault: Fault::TwoKinds(key.to_owned()),
        });
    }
    reader(value, view)
        .map(Some)
        .map_err(|error| error.beneath(&json::child("/custom", key)))
}
