//! Parameters and credentials: values in, environment and files of the invocation image out (cnab-spec 103).
//!
//! The functions are pure: the given values and the bundle decide everything. An optional parameter without value and default
//! is the empty string, and an empty file where it goes to one, whatever its type. A string is written verbatim, any other
//! value as JSON text. Parameters are remembered by an installation, credentials never.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::definition::{Definition, DefinitionError};
use super::rules::rooted;
use super::view::{Destination, View, applies};
use crate::{Classify, ErrorKind};

/// Why parameters or credentials do not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// A value for a parameter that the bundle does not have.
    #[error("the bundle has no parameter {name:?}{}", hint(.nearest.as_deref()))]
    Unknown {
        /// The name that was given.
        name: String,
        /// The nearest name that there is.
        nearest: Option<String>,
    },
    /// A required parameter without value or default.
    #[error("parameter {name:?} is required for {action} and has no default; give it a value")]
    Missing {
        /// The parameter.
        name: String,
        /// The action.
        action: String,
    },
    /// A value, given or default, that does not fit its definition.
    #[error("parameter {name:?}: {source}")]
    Value {
        /// The parameter.
        name: String,
        /// Why.
        source: DefinitionError,
    },
    /// A credential that the bundle does not have.
    #[error("the bundle has no credential {name:?}{}", hint(.nearest.as_deref()))]
    UnknownCredential {
        /// The name that was given.
        name: String,
        /// The nearest name that there is.
        nearest: Option<String>,
    },
    /// A required credential that is not given.
    #[error("credential {name:?} is required for {action}; give it with --credential {name}=SOURCE")]
    MissingCredential {
        /// The credential.
        name: String,
        /// The action.
        action: String,
    },
    /// A parameter and a credential have the same destination.
    #[error("a parameter and a credential both go to {place:?}; a parameter must not override a credential")]
    Conflict {
        /// Environment variable or path.
        place: String,
    },
    /// A credential for an environment variable that is no text.
    #[error("credential {name:?} goes to an environment variable, but is not UTF-8 text without NUL")]
    CredentialText {
        /// The credential.
        name: String,
    },
}

impl Classify for ParameterError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// What goes into the invocation image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injection {
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Files by absolute path. They must not exist in the image and must be readable by its user.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Injection {
    /// Joins the environment and files of parameters with those of credentials.
    ///
    /// # Errors
    /// If both set one variable or file: a parameter must not override a credential.
    pub fn with_credentials(mut self, credentials: Self) -> Result<Self, ParameterError> {
        let variable = credentials
            .environment
            .keys()
            .find(|name| self.environment.contains_key(*name));
        let file = credentials
            .files
            .keys()
            .find(|path| self.files.contains_key(*path));
        if let Some(place) = variable.or(file) {
            return Err(ParameterError::Conflict { place: place.clone() });
        }
        self.environment.extend(credentials.environment);
        self.files.extend(credentials.files);
        Ok(self)
    }

    fn add(&mut self, destination: &Destination, text: &[u8]) -> bool {
        if let Some(name) = &destination.env {
            let Ok(text) = std::str::from_utf8(text) else {
                return false;
            };
            if text.contains('\0') {
                return false;
            }
            self.environment.insert(name.clone(), text.to_owned());
        }
        if let Some(path) = destination.path.as_deref().and_then(rooted) {
            self.files.insert(path, text.to_vec());
        }
        true
    }
}

/// Parameters after resolution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// Values, given or default, by parameter. Optional ones without either are not in it.
    pub values: BTreeMap<String, Value>,
    /// What goes into the invocation image.
    pub injection: Injection,
    /// Parameters whose values must not be shown (`writeOnly`).
    pub secrets: BTreeSet<String>,
    /// Parameters whose given value was ignored because they are fixed since install (`readOnly`); tell the user.
    pub ignored: Vec<String>,
}

/// Resolves parameters for `action`. `before` are the values of the installation, if there is one: they hold until given
/// anew, and those that are `readOnly` hold for good.
///
/// # Errors
/// If a value is unknown, missing, or does not fit.
pub fn resolve(
    view: &View,
    action: &str,
    given: &BTreeMap<String, Value>,
    before: Option<&BTreeMap<String, Value>>,
) -> Result<Resolved, ParameterError> {
    if let Some(name) = given.keys().find(|name| !view.parameters.contains_key(*name)) {
        return Err(ParameterError::Unknown {
            name: name.clone(),
            nearest: nearest(name, view.parameters.keys()),
        });
    }
    let mut resolved = Resolved::default();
    for (name, parameter) in &view.parameters {
        let schema = view
            .definitions
            .get(&parameter.definition)
            .unwrap_or(&Value::Bool(true));
        let fault = |source| ParameterError::Value {
            name: name.clone(),
            source,
        };
        let definition = Definition::new(schema, &view.definitions).map_err(fault)?;
        if definition.is_secret() {
            resolved.secrets.insert(name.clone());
        }
        let old = before.and_then(|values| values.get(name));
        let mut value = given.get(name).or(old).or(definition.default_value());
        if definition.is_fixed() && old.is_some() && value != old {
            resolved.ignored.push(name.clone());
            value = old;
        }
        if let Some(value) = value {
            definition.check(value).map_err(fault)?;
            resolved.values.insert(name.clone(), value.clone());
        }
        if !applies(&parameter.apply_to, action) {
            continue;
        }
        if value.is_none() && parameter.required {
            return Err(ParameterError::Missing {
                name: name.clone(),
                action: action.to_owned(),
            });
        }
        let text = value.map_or_else(String::new, text);
        if !resolved.injection.add(&parameter.destination, text.as_bytes()) {
            let why = "it holds a NUL and goes to an environment variable".to_owned();
            return Err(fault(DefinitionError::Value(why)));
        }
    }
    Ok(resolved)
}

/// Places credentials for `action`. A stateless action requires none, but gets those that are given.
///
/// # Errors
/// If one is unknown, missing, or cannot be an environment variable.
pub fn place_credentials(
    view: &View,
    action: &str,
    given: &BTreeMap<String, Vec<u8>>,
) -> Result<Injection, ParameterError> {
    if let Some(name) = given.keys().find(|name| !view.credentials.contains_key(*name)) {
        return Err(ParameterError::UnknownCredential {
            name: name.clone(),
            nearest: nearest(name, view.credentials.keys()),
        });
    }
    let stateless = view.action(action).is_some_and(|action| action.stateless);
    let mut injection = Injection::default();
    for (name, credential) in &view.credentials {
        if !applies(&credential.apply_to, action) {
            continue;
        }
        match given.get(name) {
            Some(secret) if injection.add(&credential.destination, secret) => {}
            Some(_) => return Err(ParameterError::CredentialText { name: name.clone() }),
            None if credential.required && !stateless => {
                return Err(ParameterError::MissingCredential {
                    name: name.clone(),
                    action: action.to_owned(),
                });
            }
            None => {}
        }
    }
    Ok(injection)
}

/// Returns a value as an environment variable or a file holds it: a string verbatim, any other value as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns the name that is most like `name`, if one is like it at all.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a String>) -> Option<String> {
    names
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.clone())
}

#[cfg(test)]
mod tests;
