//! Our extensions under `custom`: one for each kind of bundle, and the table of their readers.
//!
//! A new kind is one line in [`READERS`] and one variant of [`Extension`].

use serde_json::Value;

use super::program::{self, ProgramExtension};
use super::rules::BrokenRule;
use super::{BundleError, View};
use crate::json;

/// The key of an environment's extension.
pub const ENVIRONMENT: &str = "dev.samebundle.environment";
/// The key of an add-on's extension.
pub const ADDON: &str = "dev.samebundle.addon";

/// Our extension in a bundle, which tells the bundle's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The bundle is a program.
    Program(Box<ProgramExtension>),
    /// The bundle is an environment. Its content is not read yet.
    Environment,
    /// The bundle is an add-on. Its content is not read yet.
    Addon,
}

/// Reads an extension. Pointers in its errors begin at the extension.
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

/// Reads our extension in a bundle; `None` if the bundle has none.
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
            fault: BrokenRule::TwoKinds(key.to_owned()),
        });
    }
    reader(value, view)
        .map(Some)
        .map_err(|error| error.beneath(&json::child("/custom", key)))
}
