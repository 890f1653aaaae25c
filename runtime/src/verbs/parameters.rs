//! Parameters as a request gives them: values, or texts that are read by the types that the bundle declares.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use samebundle_spec::bundle::View;
use samebundle_spec::bundle::definition::{Definition, DefinitionError, takes_artifact};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::VerbError;

/// Parameters of a request. Where a name is in both, the text counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Given {
    /// Values of any JSON type.
    pub values: BTreeMap<String, Value>,
    /// Texts as on a command line: `1000` is an integer for a parameter that is one.
    pub texts: BTreeMap<String, String>,
    /// The folder in which relative paths of artifacts begin; none: such paths must be absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

impl Given {
    /// Reads the texts and returns all values.
    ///
    /// # Errors
    /// If a parameter that is given as text is unknown, or its text is no value of its type.
    pub(super) fn typed(self, view: &View) -> Result<BTreeMap<String, Value>, VerbError> {
        let mut values = self.values;
        if let Some(name) = values.keys().find(|name| !view.parameters.contains_key(*name)) {
            return Err(unknown(name, view));
        }
        for (name, text) in self.texts {
            let parameter = view.parameters.get(&name).ok_or_else(|| unknown(&name, view))?;
            let definition = definition(view, &parameter.definition);
            if text == "null" && !parameter.required && definition.as_ref().is_ok_and(may_be_unset) {
                continue;
            }
            let value = definition
                .and_then(|definition| definition.from_text(&text))
                .map_err(|source| VerbError::ParameterValue {
                    name: name.clone(),
                    source,
                })?;
            values.insert(name, value);
        }
        for (name, value) in &mut values {
            let definition = view.parameters.get(name).map(|parameter| &parameter.definition);
            let schema = definition.and_then(|definition| view.definitions.get(definition));
            if let (Some(folder), true) = (&self.folder, schema.is_some_and(takes_artifact)) {
                absolute(value, folder);
            }
        }
        Ok(values)
    }
}

/// Returns a definition of a bundle; one that is not there takes any value.
pub(super) fn definition<'v>(view: &'v View, name: &str) -> Result<Definition<'v>, DefinitionError> {
    static ANY: Value = Value::Bool(true);
    let schema = view.definitions.get(name).unwrap_or(&ANY);
    Definition::new(schema, &view.definitions)
}

/// Makes the relative paths of artifacts absolute. What is an address stays.
fn absolute(value: &mut Value, folder: &Path) {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains("://") => {
            let path: PathBuf = folder.join(&*text).components().collect();
            *text = path.to_string_lossy().into_owned();
        }
        Value::Array(items) => items.iter_mut().for_each(|item| absolute(item, folder)),
        _ => {}
    }
}

/// Tells whether `null` says that a parameter is not set: it has no default that would stand in, and `null` is no value.
fn may_be_unset(definition: &Definition<'_>) -> bool {
    let types = definition.types();
    let is_value = types.is_empty() || types.contains(&"string") || types.contains(&"null");
    definition.default_value().is_none() && !is_value
}

fn unknown(name: &str, view: &View) -> VerbError {
    VerbError::UnknownParameter {
        nearest: samebundle_spec::bundle::parameter::nearest(name, view.parameters.keys()),
        name: name.to_owned(),
    }
}
