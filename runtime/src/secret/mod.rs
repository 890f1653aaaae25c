//! Where the values of credentials come from.
//!
//! A request names a [`CredentialSource`] for each credential, never a value, so that nothing that is logged, recorded or
//! sent holds one. A source is read when a run begins and at no other time. The environment and the terminal are read
//! by the front ([`Answers`]); the others here: files, and the stores of others through their own commands
//! ([`SecretStore`]).

mod set;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use samebundle_spec::{Classify, ErrorKind, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use set::read_set;
pub use store::SecretStore;

/// The value of a credential.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretValue {
    /// One value.
    One(Vec<u8>),
    /// A value for each key: a secret as a whole.
    Keys(BTreeMap<String, Vec<u8>>),
}

impl Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(_) => f.write_str("a secret"),
            Self::Keys(keys) => write!(f, "{} secrets", keys.len()),
        }
    }
}

/// Where the value of a credential comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum CredentialSource {
    /// An environment variable.
    Environment(String),
    /// A file, or a folder with a file for each key.
    File(PathBuf),
    /// The terminal.
    Prompt,
    /// A store, and the place of the secret in it.
    Store {
        /// The word before the colon: `pass`, `age`, `vault`, `kubernetes`.
        store: String,
        /// The place.
        place: String,
    },
}

/// Why a credential has no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// A text names no source.
    #[error(
        "{text:?} is no source of a credential; give env:VARIABLE, file:PATH, prompt:, pass:ENTRY, age:FILE, \
         vault:PATH#FIELD or kubernetes:NAMESPACE/SECRET#KEY"
    )]
    Source {
        /// The text.
        text: String,
    },
    /// A variable is not set.
    #[error("credential {name}: the environment variable {variable} is not set")]
    Variable {
        /// The credential.
        name: String,
        /// The variable.
        variable: String,
    },
    /// A file cannot be read.
    #[error("credential {name}: {path} could not be read")]
    File {
        /// The credential.
        name: String,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A value is larger than a credential may be.
    #[error("credential {name}: {place} has more than {} bytes", limits::CREDENTIAL_BYTES)]
    TooLarge {
        /// The credential.
        name: String,
        /// Where it is.
        place: String,
    },
    /// Nobody can be asked.
    #[error("credential {name}: there is no terminal to ask on; give --credential {name}=file:PATH")]
    NoTerminal {
        /// The credential.
        name: String,
    },
    /// The command of a store does not work.
    #[error("credential {name}: `{command}` failed: {why}")]
    Command {
        /// The credential.
        name: String,
        /// The command, without anything secret.
        command: String,
        /// What it said.
        why: String,
    },
    /// A whole secret is wanted, and the source has no keys.
    #[error(
        "credential {name} is a secret with several keys; give a folder with a file for each, or a JSON object of texts"
    )]
    NoKeys {
        /// The credential.
        name: String,
    },
    /// A source of a whole secret lacks a key.
    #[error("credential {name}: {place} has no key {key}")]
    NoKey {
        /// The credential.
        name: String,
        /// The source.
        place: String,
        /// The key.
        key: String,
    },
    /// A credential set cannot be read.
    #[error("{path} is no credential set: {why}")]
    Set {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// Credentials that are required have no source.
    #[error("{} required and not given:{}\ngive them with, e.g.,{line}", count(.missing.len()), list(.missing))]
    Missing {
        /// Each with what it is for.
        missing: Vec<(String, String)>,
        /// Options to paste.
        line: String,
    },
}

fn count(number: usize) -> String {
    match number {
        1 => "a credential is".to_owned(),
        number => format!("{number} credentials are"),
    }
}

fn list(missing: &[(String, String)]) -> String {
    let line = |(name, what): &(String, String)| match what.as_str() {
        "" => format!("\n  {name}"),
        what => format!("\n  {name}: {what}"),
    };
    missing.iter().map(line).collect()
}

impl Classify for SecretError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Source { .. } => ErrorKind::Usage,
            Self::File { source, .. } => match source.kind() {
                std::io::ErrorKind::Interrupted => ErrorKind::Interrupted,
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Environment,
            },
            Self::Command { .. } => ErrorKind::Environment,
            _ => ErrorKind::Input,
        }
    }
}

impl FromStr for CredentialSource {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let wrong = || SecretError::Source {
            text: text.chars().take(120).collect(),
        };
        let (word, rest) = text.split_once(':').ok_or_else(wrong)?;
        match (word, rest) {
            ("prompt", "") => Ok(Self::Prompt),
            (_, "") => Err(wrong()),
            ("env", variable) => Ok(Self::Environment(variable.to_owned())),
            ("file", path) => Ok(Self::File(path.into())),
            (word, place) if store::find(word).is_some() => Ok(Self::Store {
                store: word.to_owned(),
                place: place.to_owned(),
            }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(variable) => write!(f, "env:{variable}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Prompt => f.write_str("prompt:"),
            Self::Store { store, place } => write!(f, "{store}:{place}"),
        }
    }
}

impl TryFrom<String> for CredentialSource {
    type Error = SecretError;

    fn try_from(text: String) -> Result<Self, SecretError> {
        text.parse()
    }
}

impl From<CredentialSource> for String {
    fn from(source: CredentialSource) -> Self {
        source.to_string()
    }
}

impl CredentialSource {
    /// The same source, with a file below this folder.
    #[must_use]
    pub fn below(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            Self::Store { store, place } if store == "age" => Self::Store {
                place: folder.join(place).display().to_string(),
                store,
            },
            other => other,
        }
    }
}

/// What the front of a site knows: the environment, and a person.
pub trait Answers: Debug + Send + Sync {
    /// Returns an environment variable, if it is set.
    fn variable(&self, name: &str) -> Option<Vec<u8>>;

    /// Asks a person for a credential without showing the answer; none if nobody can be asked.
    ///
    /// # Errors
    /// If the answer cannot be read.
    fn ask(&self, name: &str, what: &str) -> std::io::Result<Option<Vec<u8>>>;

    /// Tells whether a person can be asked.
    fn can_ask(&self) -> bool;
}

/// Knows nothing, for sites of programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAnswers;

impl Answers for NoAnswers {
    fn variable(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn ask(&self, _: &str, _: &str) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn can_ask(&self) -> bool {
        false
    }
}

/// Reads the value of a credential. `whole` says that it is a secret with all its keys.
///
/// # Errors
/// If the source has no value, or cannot be read.
pub async fn read(
    name: &str,
    what: &str,
    source: &CredentialSource,
    whole: bool,
    answers: &dyn Answers,
) -> Result<SecretValue, SecretError> {
    let value = match source {
        CredentialSource::Environment(variable) => answers
            .variable(variable)
            .map(SecretValue::One)
            .ok_or_else(|| SecretError::Variable {
                name: name.to_owned(),
                variable: variable.clone(),
            })?,
        CredentialSource::File(path) => from_file(name, path)?,
        CredentialSource::Prompt => {
            let asked = answers.ask(name, what).map_err(|source| SecretError::File {
                name: name.to_owned(),
                path: "the terminal".to_owned(),
                source,
            })?;
            let none = || SecretError::NoTerminal {
                name: name.to_owned(),
            };
            SecretValue::One(asked.ok_or_else(none)?)
        }
        CredentialSource::Store { store, place } => {
            let found = store::find(store).ok_or_else(|| SecretError::Source {
                text: source.to_string(),
            })?;
            found.read(name, place).await?
        }
    };
    if whole { keys_of(name, value) } else { Ok(value) }
}

/// Reads a value as a secret with several keys: a folder, or a JSON object of texts.
fn keys_of(name: &str, value: SecretValue) -> Result<SecretValue, SecretError> {
    let SecretValue::One(bytes) = value else {
        return Ok(value);
    };
    let none = || SecretError::NoKeys {
        name: name.to_owned(),
    };
    // The parser's own words may show a part of the text.
    let Ok(Value::Object(entries)) = serde_json::from_slice(&bytes) else {
        return Err(none());
    };
    let entries = entries.into_iter().map(|(key, value)| match value {
        Value::String(text) => Ok((key, text.into_bytes())),
        Value::Number(_) | Value::Bool(_) => Ok((key, value.to_string().into_bytes())),
        _ => Err(none()),
    });
    Ok(SecretValue::Keys(entries.collect::<Result<_, _>>()?))
}

/// Reads a file as it is, or each file of a folder.
fn from_file(name: &str, path: &Path) -> Result<SecretValue, SecretError> {
    let failed = |source| SecretError::File {
        name: name.to_owned(),
        path: path.display().to_string(),
        source,
    };
    if !path.is_dir() {
        return one_file(name, path).map(SecretValue::One);
    }
    let mut keys = BTreeMap::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(key) = entry.file_name().into_string() else {
            continue;
        };
        let path = entry.path();
        // What Kubernetes mounts has links to hidden folders.
        if path.is_file() && !key.starts_with("..") {
            keys.insert(key, one_file(name, &path)?);
        }
    }
    Ok(SecretValue::Keys(keys))
}

fn one_file(name: &str, path: &Path) -> Result<Vec<u8>, SecretError> {
    use std::io::Read;
    let failed = |source| SecretError::File {
        name: name.to_owned(),
        path: path.display().to_string(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut limited = file.take(limits::CREDENTIAL_BYTES + 1);
    limited.read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > limits::CREDENTIAL_BYTES {
        true => Err(SecretError::TooLarge {
            name: name.to_owned(),
            place: path.display().to_string(),
        }),
        false => Ok(bytes),
    }
}
