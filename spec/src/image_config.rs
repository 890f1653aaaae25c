//! Image configurations (image-spec 1.1, config.md), those of OCI and Docker, which agree in all fields that are read here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::{self, JsonError};
use crate::{Classify, Digest, ErrorKind, limits};

/// Why bytes are not an image configuration.
#[derive(Debug, thiserror::Error)]
pub enum ImageConfigError {
    /// The bytes are not strict JSON, or not an image configuration.
    #[error("the image configuration is not readable: {0}")]
    Json(#[from] JsonError),
    /// An environment variable without a name or a `=`.
    #[error("the image configuration's environment entry {entry:?} is not NAME=VALUE")]
    Env {
        /// The entry, shortened.
        entry: String,
    },
}

impl Classify for ImageConfigError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

/// An image's configuration. Fields serialize in Go's order; `null` reads as empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// GOARCH.
    pub architecture: String,
    /// GOOS.
    pub os: String,
    /// OS version, Windows only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// OS features, Windows only.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    pub os_features: Vec<String>,
    /// CPU variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// How a container of the image starts.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub config: ContainerConfig,
    /// The layers by the digest of their uncompressed tar.
    pub rootfs: RootFs,
    /// How the layers came to be.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    pub history: Vec<History>,
}

/// How a container of an image starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`; empty is root.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    pub user: String,
    /// Ports that it listens on, e.g. `8080/tcp`.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    pub exposed_ports: BTreeMap<String, Value>,
    /// Environment, `NAME=VALUE`.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    pub env: Vec<String>,
    /// Command that always runs.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    pub entrypoint: Vec<String>,
    /// Default arguments, or the command where there is no entrypoint.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    pub cmd: Vec<String>,
    /// Paths that hold data of an instance.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    pub volumes: BTreeMap<String, Value>,
    /// Working directory; empty is `/`.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    pub working_dir: String,
    /// Labels.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "json::nulls_as_absent"
    )]
    pub labels: BTreeMap<String, String>,
    /// Signal that stops it, e.g. `SIGTERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: RootFsKind,
    /// Digests of the uncompressed tars, base first.
    #[serde(deserialize_with = "json::null_as_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: RootFsKind::Layers,
            diff_ids: Vec::new(),
        }
    }
}

/// What a root file system is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootFsKind {
    /// A stack of layers. No other kind exists.
    Layers,
}

/// How one layer came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the step changed no file and so made no layer.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "json::null_as_default"
    )]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Reads an image configuration.
    ///
    /// # Errors
    /// If it is not strict JSON, lacks a required field, or has a field of a wrong type.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageConfigError> {
        let config: Self = json::from_slice(bytes, limits::IMAGE_CONFIG_BYTES)?;
        let named = |entry: &String| entry.split_once('=').is_some_and(|(name, _)| !name.is_empty());
        match config.config.env.iter().find(|entry| !named(entry)) {
            Some(entry) => Err(ImageConfigError::Env {
                entry: entry.chars().take(100).collect(),
            }),
            None => Ok(config),
        }
    }

    /// Serializes, compact and in Go's field order.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and maps with string keys serialize")
    }

    /// Returns what a container runs: entrypoint, then arguments.
    pub fn command(&self) -> Vec<String> {
        [self.config.entrypoint.as_slice(), self.config.cmd.as_slice()].concat()
    }
}
