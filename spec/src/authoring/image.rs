//! Where an image of a program comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::json::null_as_default;
use crate::{EntryPath, Reference};

/// Why the source of an image is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Both or neither of the two ways.
    #[error("an image needs either \"from\" (where it is) or \"build\" (how it is made), not both")]
    OneOf,
    /// The text names no origin of an image.
    #[error(
        "{text:?} is not where an image can come from (layout:DIR, archive:FILE or registry/repository:tag): {why}"
    )]
    Origin {
        /// The text, shortened.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The path in the image is not valid.
    #[error("{path:?} is not an absolute path without '..'")]
    Path {
        /// The path, shortened.
        path: String,
    },
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ImageEntry")]
pub enum ImageSource {
    /// The image exists already.
    From(ImageOrigin),
    /// The image is made from a base and files.
    Build(ImageBuild),
}

/// The fields of both ways.
#[derive(Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageEntry {
    from: Option<ImageOrigin>,
    build: Option<ImageBuild>,
}

impl TryFrom<ImageEntry> for ImageSource {
    type Error = ImageError;

    fn try_from(entry: ImageEntry) -> Result<Self, ImageError> {
        match (entry.from, entry.build) {
            (Some(origin), None) => Ok(Self::From(origin)),
            (None, Some(build)) => Ok(Self::Build(build)),
            _ => Err(ImageError::OneOf),
        }
    }
}

/// Where an image is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageOrigin {
    /// An OCI image layout, a folder relative to the file's.
    Layout(String),
    /// An OCI or Docker archive, a file relative to the file's folder.
    Archive(String),
    /// A registry, as Docker reads references.
    Registry(Reference),
}

impl FromStr for ImageOrigin {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let error = |why: &str| ImageError::Origin {
            text: text.chars().take(100).collect(),
            why: why.to_owned(),
        };
        let path = |path: &str| {
            if path.is_empty() || path.contains(char::is_control) {
                Err(error("the path is empty or holds a control character"))
            } else {
                Ok(path.to_owned())
            }
        };
        if let Some(folder) = text.strip_prefix("layout:") {
            return path(folder).map(Self::Layout);
        }
        if let Some(file) = text.strip_prefix("archive:") {
            return path(file).map(Self::Archive);
        }
        Reference::parse_docker(text)
            .map(Self::Registry)
            .map_err(|fault| error(&fault.to_string()))
    }
}

impl fmt::Display for ImageOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(folder) => write!(f, "layout:{folder}"),
            Self::Archive(file) => write!(f, "archive:{file}"),
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

crate::serde_as_text!(ImageOrigin);

/// An image made without a daemon: a base, one layer of files, and how it starts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageBuild {
    /// The image to start from; `scratch` is nothing.
    #[serde(deserialize_with = "base")]
    #[cfg_attr(any(test, feature = "schema"), schemars(with = "String"))]
    pub base: Option<ImageOrigin>,
    /// Files and folders that are copied in.
    #[serde(default, deserialize_with = "null_as_default")]
    pub files: Vec<FileCopy>,
    /// What a container runs; as in the base where it is empty.
    #[serde(default, deserialize_with = "null_as_default")]
    pub command: Vec<String>,
    /// Environment, added to the base's.
    #[serde(default, deserialize_with = "null_as_default")]
    pub env: BTreeMap<String, String>,
    /// Working directory; as in the base where it is not given.
    #[serde(default, deserialize_with = "optional_path")]
    pub workdir: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`; as in the base where it is not given.
    #[serde(default)]
    pub user: Option<String>,
}

/// A file or folder that is copied into an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FileCopy {
    /// Where it is, relative to the file's folder.
    pub from: EntryPath,
    /// Where it goes, an absolute path.
    #[serde(deserialize_with = "absolute_path")]
    pub to: String,
}

fn base<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ImageOrigin>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "scratch" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(D::Error::custom)
}

fn absolute_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    let inner = path.strip_prefix('/').map(|rest| rest.trim_end_matches('/'));
    match inner {
        Some(rest) if rest.is_empty() || rest.parse::<EntryPath>().is_ok() => Ok(path),
        _ => Err(D::Error::custom(ImageError::Path {
            path: path.chars().take(100).collect(),
        })),
    }
}

fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    absolute_path(deserializer).map(Some)
}
