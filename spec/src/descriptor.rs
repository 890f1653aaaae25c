//! OCI content descriptors (image-spec 1.1, descriptor.md).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{Algorithm, Digest, Digester, MediaType, json};

/// Why a descriptor contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// `data` is not base64 with padding (RFC 4648, section 4).
    #[error("data is not base64 with padding")]
    DataEncoding,
    /// `data` is not what digest and size name.
    #[error("data has {size} bytes and digest {digest}, unlike the descriptor, which says {wanted} bytes")]
    DataContent {
        /// Size of the data, bytes.
        size: u64,
        /// Digest of the data.
        digest: Digest,
        /// Size in the descriptor, bytes.
        wanted: u64,
    },
    /// An entry of `urls` is no URI (RFC 3986).
    #[error("url {url:?} is not a URI")]
    Url {
        /// The entry, shortened.
        url: String,
    },
    /// A media type or artifact type does not have the form type/subtype.
    #[error("{media_type:?} is not of the form type/subtype")]
    MediaType {
        /// The media type.
        media_type: MediaType,
    },
    /// The platform lacks its operating system or its architecture.
    #[error("the platform does not name both an operating system and an architecture")]
    Platform,
}

/// A descriptor: media type, digest and size in bytes of a blob, a manifest or an index.
///
/// Fields serialize in the order that Go's image-spec types have, because digests of foreign documents depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type.
    pub media_type: MediaType,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// URLs from which the blob can be fetched; they are never followed, and kept in a copy.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    pub urls: Vec<String>,
    /// Free-form labels. Never used as paths or arguments.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "json::nulls_as_absent"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The bytes themselves, base64; they must agree with `digest` (checked where a manifest is read).
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::empty_as_absent"
    )]
    pub data: Option<String>,
    /// The platform that an image is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Type of the artifact that a manifest holds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::empty_as_absent"
    )]
    pub artifact_type: Option<MediaType>,
}

/// The platform that an image runs on. A name that is left out is empty, and fits no machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Platform {
    /// GOARCH, e.g. `amd64`.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub architecture: String,
    /// GOOS, e.g. `linux`.
    #[serde(default, deserialize_with = "json::null_as_default")]
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
    /// CPU variant, e.g. `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Descriptor {
    /// Makes a descriptor of a known digest and size.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// Describes `bytes` by hashing them with SHA-256.
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// The OCI empty descriptor, whose blob is `{}`.
    pub fn empty() -> Self {
        Self::of(MediaType::OCI_EMPTY, b"{}")
    }

    /// Adds an annotation.
    #[must_use]
    pub fn with_annotation(mut self, key: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(key.to_owned(), value.into());
        self
    }

    /// Returns the inline bytes, if the descriptor has them and they agree with digest and size.
    ///
    /// # Errors
    /// If `data` is not base64 or disagrees with digest or size.
    pub fn inline(&self) -> Result<Option<Vec<u8>>, DescriptorError> {
        let Some(data) = &self.data else {
            return Ok(None);
        };
        let bytes = STANDARD.decode(data).map_err(|_| DescriptorError::DataEncoding)?;
        let digest = hash(self.digest.algorithm(), &bytes);
        if bytes.len() as u64 != self.size || digest != self.digest {
            return Err(DescriptorError::DataContent {
                size: bytes.len() as u64,
                digest,
                wanted: self.size,
            });
        }
        Ok(Some(bytes))
    }

    /// Checks what the types alone cannot: inline data and URLs.
    ///
    /// # Errors
    /// If the descriptor contradicts itself.
    pub fn check(&self) -> Result<(), DescriptorError> {
        self.inline()?;
        match self.urls.iter().find(|url| !is_uri(url)) {
            Some(url) => Err(DescriptorError::Url {
                url: url.chars().take(100).collect(),
            }),
            None => Ok(()),
        }
    }

    /// Checks what image-spec demands beyond what a copy needs: the form of media types, a whole platform.
    ///
    /// # Errors
    /// If the descriptor breaks a rule of image-spec.
    pub fn conforms(&self) -> Result<(), DescriptorError> {
        let mut types = std::iter::once(&self.media_type).chain(&self.artifact_type);
        if let Some(odd) = types.find(|media_type| !media_type.is_registered()) {
            return Err(DescriptorError::MediaType {
                media_type: odd.clone(),
            });
        }
        match &self.platform {
            Some(platform) if platform.os.is_empty() || platform.architecture.is_empty() => {
                Err(DescriptorError::Platform)
            }
            _ => self.check(),
        }
    }

    /// Returns only media type, digest and size.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self::new(self.media_type.clone(), self.digest, self.size)
    }
}

fn hash(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut digester = Digester::new(algorithm);
    digester.update(bytes);
    digester.finish()
}

fn is_uri(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && !rest.is_empty()
            && rest.chars().all(|c| c.is_ascii_graphic())
    })
}
