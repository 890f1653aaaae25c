//! `samebundle.yaml`, the file that an author writes (`spec/100-bundle.md`).
//!
//! The file is read strictly: an unknown key is an error with the nearest known one, line and column, because a misspelt limit or
//! right would otherwise silently not hold. Paths in it are relative to its folder; the builder opens them.

mod data;
mod image;
mod runs;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

#[cfg(any(test, feature = "schema"))]
pub(crate) use data::DataEntry;
pub use data::{Data, DataError, DataFile};
#[cfg(any(test, feature = "schema"))]
pub(crate) use image::ImageEntry;
pub use image::{FileCopy, ImageBuild, ImageError, ImageOrigin, ImageSource};
pub use runs::{RunFiles, RunFilesError, RunMetadata, RunMetadataError, Runs, RunsError};

use crate::bundle::definition::{Definition, DefinitionError};
use crate::bundle::program::Requirements;
use crate::bundle::view::Maintainer;
use crate::json::null_as_default;
use crate::yaml::{self, YamlError};
use crate::{BundleName, Classify, EntryPath, ErrorKind, Version, limits};

/// The version of the file that is read.
pub const API_VERSION: &str = "samebundle.dev/v1";

/// Why a `samebundle.yaml` was refused. The caller puts the file's name before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthoringError {
    /// Not strict YAML, or a key or value that does not belong there.
    #[error("{0}")]
    Yaml(#[from] YamlError),
    /// A version of the file that is not read.
    #[error("apiVersion {found:?} is not read by this version of samebundle; expected {API_VERSION}")]
    ApiVersion {
        /// The version that the file has.
        found: String,
    },
    /// Two entries of `data` with one name.
    #[error("data {name:?} stands twice; names of data must differ")]
    DataTwice {
        /// The name.
        name: String,
    },
}

impl Classify for AuthoringError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

/// What an author wrote.
#[derive(Clone, Debug, PartialEq)]
pub enum Authored {
    /// A program: a bundle that runs.
    Program(Box<ProgramManifest>),
    /// An environment: what programs run in.
    Environment(Box<OtherManifest>),
    /// An add-on: what adds parts to an environment.
    Addon(Box<OtherManifest>),
}

/// What the file is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub enum Kind {
    /// A bundle that runs.
    Program,
    /// What programs run in.
    Environment,
    /// What adds parts to an environment.
    Addon,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProgramManifest {
    /// Version of the file.
    pub api_version: String,
    /// Always [`Kind::Program`].
    pub kind: Kind,
    /// The bundle's name.
    #[serde(deserialize_with = "name_as_written")]
    pub name: BundleName,
    /// The bundle's version.
    #[serde(deserialize_with = "version_as_written")]
    pub version: Version,
    /// What it is, for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Words to find it by.
    #[serde(default, deserialize_with = "null_as_default")]
    pub keywords: Vec<String>,
    /// SPDX expression or the name of a licence.
    #[serde(default)]
    pub license: Option<String>,
    /// Who is responsible.
    #[serde(default, deserialize_with = "null_as_default")]
    pub maintainers: Vec<Maintainer>,
    /// What runs.
    pub program: Program,
    /// Where images come from, by the name that the pipeline uses. One that is not listed is pulled by that name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub images: BTreeMap<String, ImageSource>,
    /// JSON Schema keywords on top of the pipeline's own input definitions, by parameter.
    #[serde(default, deserialize_with = "null_as_default")]
    pub parameters: BTreeMap<String, Constraints>,
    /// What the program needs where it runs.
    #[serde(default, deserialize_with = "null_as_default")]
    pub requires: Requirements,
    /// Data, by pointer or carried along.
    #[serde(default, deserialize_with = "null_as_default")]
    pub data: Vec<Data>,
    /// What of past runs travels along.
    #[serde(default, deserialize_with = "null_as_default")]
    pub history: History,
    /// What was read otherwise than it is written, for people.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// What a program runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Program {
    /// The pipeline: KFP v2 IR (`.yaml`, `.yml`, `.json`), or a `.py` that is compiled at build.
    pub pipeline: EntryPath,
    /// Which pipeline, by the name of its function or its own, where a `.py` has several.
    #[serde(default)]
    pub function: Option<String>,
    /// Packages that a `.py` imports when it is compiled, beside those that the project declares in files of its own.
    #[serde(default, deserialize_with = "null_as_default")]
    pub requirements: Vec<String>,
    /// Whether packages that components install at run time travel along.
    #[serde(default)]
    pub wheelhouse: Wheelhouse,
}

/// Whether packages that components install at run time travel along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Wheelhouse {
    /// They are resolved once, at build.
    #[default]
    Auto,
    /// They do not; tasks need the network.
    None,
}

/// What of past runs travels along.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// Which runs go along.
    #[serde(default)]
    pub runs: Runs,
    /// Which of their files.
    #[serde(default)]
    pub outputs: RunFiles,
}

/// An environment or an add-on, as far as it is read now: what every bundle has, and the rest unchanged.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OtherManifest {
    /// Version of the file.
    pub api_version: String,
    /// [`Kind::Environment`] or [`Kind::Addon`].
    pub kind: Kind,
    /// The bundle's name.
    #[serde(deserialize_with = "name_as_written")]
    pub name: BundleName,
    /// The bundle's version.
    #[serde(deserialize_with = "version_as_written")]
    pub version: Version,
    /// What it is, for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// JSON Schema keywords (draft-07) that a parameter must fit beside its type.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Constraints(Map<String, Value>);

impl Constraints {
    /// Returns the keywords.
    pub fn keywords(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// The keywords that a parameter may have.
const KNOWN: [&str; 24] = [
    "title",
    "description",
    "default",
    "examples",
    "enum",
    "const",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "properties",
    "required",
    "additionalProperties",
    "writeOnly",
    "readOnly",
];

impl TryFrom<Map<String, Value>> for Constraints {
    type Error = DefinitionError;

    fn try_from(keywords: Map<String, Value>) -> Result<Self, DefinitionError> {
        if let Some(word) = keywords.keys().find(|word| !KNOWN.contains(&word.as_str())) {
            let known: Vec<String> = KNOWN.iter().map(|word| (*word).to_owned()).collect();
            let hint = crate::bundle::parameter::nearest(word, &known)
                .map_or_else(String::new, |nearest| format!("; did you mean {nearest:?}?"));
            let why = format!("{word:?} is no keyword that a parameter may have{hint}");
            return Err(DefinitionError::Schema(why));
        }
        let schema = Value::Object(keywords);
        Definition::new(&schema, &BTreeMap::new())?;
        match schema {
            Value::Object(keywords) => Ok(Self(keywords)),
            _ => Ok(Self::default()),
        }
    }
}

/// What every kind of file begins with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: String,
    kind: Kind,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    version: Option<String>,
}

impl Header {
    /// Says what of the name and the version is read otherwise than it is written.
    fn notes(&self, name: &BundleName, version: &Version) -> Vec<String> {
        let said = |written: &Option<String>, read: String, what: &str, why: &str| {
            let written = written.as_ref().filter(|written| **written != read)?;
            Some(format!(
                "{what} {written:?} of samebundle.yaml is read as {read}: {why}"
            ))
        };
        [
            said(
                &self.name,
                name.to_string(),
                "name",
                "names have no upper-case letters",
            ),
            said(
                &self.version,
                version.to_string(),
                "version",
                "versions have three numbers",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn name_as_written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BundleName, D::Error> {
    BundleName::as_written(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn version_as_written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
    Version::as_written(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Reads a `samebundle.yaml`.
///
/// # Errors
/// If it is not strict YAML, of another version, or has a key or value that does not belong there.
pub fn parse(bytes: &[u8]) -> Result<Authored, AuthoringError> {
    let header: Header = yaml::from_slice(bytes, limits::AUTHORING_BYTES)?;
    if header.api_version != API_VERSION {
        return Err(AuthoringError::ApiVersion {
            found: header.api_version.chars().take(60).collect(),
        });
    }
    match header.kind {
        Kind::Program => {
            let mut manifest: ProgramManifest = yaml::from_slice(bytes, limits::AUTHORING_BYTES)?;
            manifest.notes = header.notes(&manifest.name, &manifest.version);
            let mut names = BTreeSet::new();
            match manifest.data.iter().find(|data| !names.insert(data.name())) {
                Some(twice) => Err(AuthoringError::DataTwice {
                    name: twice.name().to_owned(),
                }),
                None => Ok(Authored::Program(Box::new(manifest))),
            }
        }
        Kind::Environment => Ok(Authored::Environment(yaml::from_slice(
            bytes,
            limits::AUTHORING_BYTES,
        )?)),
        Kind::Addon => Ok(Authored::Addon(yaml::from_slice(bytes, limits::AUTHORING_BYTES)?)),
    }
}

#[cfg(test)]
mod tests;
