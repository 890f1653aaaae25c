//! OCI manifests, indexes and layout files (image-spec 1.1), read so that nobody else can read them differently.
//!
//! [`Document::parse`] refuses what is a manifest to one tool and an index to another (CVE-2021-41190), names that differ
//! only in case (Go reads them as one), and descriptors that contradict themselves. Fields serialize in the order of Go's
//! image-spec types, so that a document made here has the digest that Go tools would give it.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::descriptor::DescriptorError;
use crate::json::{self, JsonError};
use crate::{Classify, Descriptor, ErrorKind, MediaType, limits};

/// Why bytes are not the manifest, index or layout file that was expected.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not strict JSON, or not of the form.
    #[error("the {what} is not readable: {source}")]
    Json {
        /// What was expected: manifest, index or layout file.
        what: &'static str,
        /// Why and where.
        source: JsonError,
    },
    /// The body names another media type than the descriptor or header under which it came.
    #[error("expected {expected}, but the document says that it is {found:?}")]
    MediaType {
        /// What the descriptor or header said.
        expected: MediaType,
        /// What the body says, shortened.
        found: String,
    },
    /// A field of another kind of document is in it.
    #[error("the {what} has {key:?}: other tools would read it as another kind of document")]
    Ambiguous {
        /// Manifest or index.
        what: &'static str,
        /// The field.
        key: &'static str,
    },
    /// A field's name differs from a known one only in case.
    #[error("field {pointer} differs from {known:?} only in case: other tools would read it as that")]
    Case {
        /// Where it is (JSON pointer).
        pointer: String,
        /// The known field.
        known: &'static str,
    },
    /// More descriptors than are read.
    #[error("{count} descriptors, more than the {limit} allowed")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// A descriptor contradicts itself.
    #[error("descriptor of {media_type} {digest}: {source}")]
    Descriptor {
        /// Its media type.
        media_type: MediaType,
        /// Its digest.
        digest: Box<crate::Digest>,
        /// How.
        source: Box<DescriptorError>,
    },
    /// A document of this type is neither manifest nor index.
    #[error("{media_type} is neither a manifest nor an index")]
    Kind {
        /// The type that was asked for.
        media_type: MediaType,
    },
    /// An image layout of a version that is not read.
    #[error("image layout version {found:?} is not 1.0.0")]
    LayoutVersion {
        /// The version, shortened.
        found: String,
    },
    /// An image without layers.
    #[error("the image has no layers; an image needs at least one")]
    NoLayers,
}

impl Classify for ManifestError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

/// The `schemaVersion` of every document: 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchemaVersion;

impl Serialize for SchemaVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(2)
    }
}

impl<'de> Deserialize<'de> for SchemaVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            2 => Ok(Self),
            other => Err(D::Error::custom(format!("schemaVersion {other} is not 2"))),
        }
    }
}

/// An image or artifact manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: SchemaVersion,
    /// The manifest's own type; older documents leave it out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::empty_as_absent"
    )]
    pub media_type: Option<MediaType>,
    /// What kind of artifact this is, if it is none that runs.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::empty_as_absent"
    )]
    pub artifact_type: Option<MediaType>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, base first. cnab-to-oci writes `null` for none, others leave the field out.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub layers: Vec<Descriptor>,
    /// What this refers to, e.g. the content that it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free-form labels.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "json::nulls_as_absent"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// An index: a list of manifests and indexes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: SchemaVersion,
    /// The index's own type; older documents leave it out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::empty_as_absent"
    )]
    pub media_type: Option<MediaType>,
    /// What kind of artifact this is.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::empty_as_absent"
    )]
    pub artifact_type: Option<MediaType>,
    /// What is in it.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// What this refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free-form labels.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "json::nulls_as_absent"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// An artifact manifest, which drafts of image-spec 1.1 had and the standard has not. Registries and ORAS 1.0 still hold
/// some; it is only moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactManifest {
    /// The manifest's own type.
    pub media_type: MediaType,
    /// What kind of artifact this is.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::empty_as_absent"
    )]
    pub artifact_type: Option<MediaType>,
    /// What it is made of.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub blobs: Vec<Descriptor>,
    /// What this refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free-form labels.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "json::nulls_as_absent"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "few are held at a time; a box would be one more thing to match"
)]
pub enum Document {
    /// A manifest.
    Manifest(Manifest),
    /// An index.
    Index(Index),
    /// An artifact manifest.
    Artifact(ArtifactManifest),
}

impl Manifest {
    /// Makes an OCI manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: SchemaVersion,
            media_type: Some(MediaType::OCI_MANIFEST),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Makes an artifact: a manifest with the empty configuration, and the empty layer where there is none.
    pub fn artifact(artifact_type: MediaType, layers: Vec<Descriptor>) -> Self {
        let layers = if layers.is_empty() {
            vec![Descriptor::empty()]
        } else {
            layers
        };
        Self {
            artifact_type: Some(artifact_type),
            ..Self::new(Descriptor::empty(), layers)
        }
    }

    /// Sets what this refers to.
    #[must_use]
    pub fn with_subject(mut self, subject: Descriptor) -> Self {
        self.subject = Some(subject);
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn with_annotation(mut self, key: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(key.to_owned(), value.into());
        self
    }

    /// Returns what kind of artifact this is: the artifact type, or else the type of the configuration (image-spec 1.1,
    /// "Listing Referrers").
    pub fn kind(&self) -> &MediaType {
        self.artifact_type.as_ref().unwrap_or(&self.config.media_type)
    }

    /// Serializes, compact and in Go's field order.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Describes the serialized form.
    pub fn descriptor(&self) -> Descriptor {
        let media_type = self.media_type.clone().unwrap_or(MediaType::OCI_MANIFEST);
        let mut descriptor = Descriptor::of(media_type, &self.to_bytes());
        descriptor.artifact_type.clone_from(&self.artifact_type);
        descriptor
    }
}

impl Index {
    /// Makes an OCI index.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: SchemaVersion,
            media_type: Some(MediaType::OCI_INDEX),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Adds an annotation.
    #[must_use]
    pub fn with_annotation(mut self, key: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(key.to_owned(), value.into());
        self
    }

    /// Serializes, compact and in Go's field order.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Describes the serialized form.
    pub fn descriptor(&self) -> Descriptor {
        let media_type = self.media_type.clone().unwrap_or(MediaType::OCI_INDEX);
        let mut descriptor = Descriptor::of(media_type, &self.to_bytes());
        descriptor.artifact_type.clone_from(&self.artifact_type);
        descriptor
    }
}

impl Document {
    /// Reads a manifest or an index; `expected` is the type that the descriptor or the registry's header names.
    ///
    /// # Errors
    /// If it is not strict JSON, is or could be read as another kind of document, has too many descriptors, or has one
    /// that contradicts itself.
    pub fn parse(bytes: &[u8], expected: &MediaType) -> Result<Self, ManifestError> {
        let (what, foreign): (_, &[&'static str]) = if expected.is_index() {
            ("index", &["layers", "config", "fsLayers"])
        } else if expected.is_manifest() {
            ("manifest", &["manifests", "fsLayers"])
        } else if expected.has_children() {
            (
                "artifact manifest",
                &["manifests", "layers", "config", "fsLayers"],
            )
        } else {
            return Err(ManifestError::Kind {
                media_type: expected.clone(),
            });
        };
        let readable = |source| ManifestError::Json { what, source };
        let value = json::value(bytes, limits::MANIFEST_BYTES).map_err(readable)?;
        if let Value::Object(object) = &value {
            check_names(object, "")?;
            check_media_type(object, expected)?;
            if let Some(key) = foreign
                .iter()
                .find(|key| object.get(**key).is_some_and(|value| !value.is_null()))
            {
                return Err(ManifestError::Ambiguous { what, key });
            }
        }
        let document = if expected.is_index() {
            Self::Index(json::from_slice(bytes, limits::MANIFEST_BYTES).map_err(readable)?)
        } else if expected.is_manifest() {
            Self::Manifest(json::from_slice(bytes, limits::MANIFEST_BYTES).map_err(readable)?)
        } else {
            Self::Artifact(json::from_slice(bytes, limits::MANIFEST_BYTES).map_err(readable)?)
        };
        document.check_descriptors()?;
        Ok(document)
    }

    /// Returns what the document is made of: configuration, layers, manifests or blobs. Not its subject: that refers
    /// elsewhere.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, rest) = match self {
            Self::Manifest(manifest) => (Some(&manifest.config), &manifest.layers),
            Self::Index(index) => (None, &index.manifests),
            Self::Artifact(artifact) => (None, &artifact.blobs),
        };
        config.into_iter().chain(rest)
    }

    /// Returns what the document refers to.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Manifest(manifest) => manifest.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
            Self::Artifact(artifact) => artifact.subject.as_ref(),
        }
    }

    /// Returns the artifact type that the document itself names.
    pub fn artifact_type(&self) -> Option<&MediaType> {
        match self {
            Self::Manifest(manifest) => manifest.artifact_type.as_ref(),
            Self::Index(index) => index.artifact_type.as_ref(),
            Self::Artifact(artifact) => artifact.artifact_type.as_ref(),
        }
    }

    /// Returns the artifact type, or for a manifest [`Manifest::kind`].
    pub fn kind(&self) -> Option<&MediaType> {
        match self {
            Self::Manifest(manifest) => Some(manifest.kind()),
            Self::Index(_) | Self::Artifact(_) => self.artifact_type(),
        }
    }

    /// Returns the annotations.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Manifest(manifest) => &manifest.annotations,
            Self::Index(index) => &index.annotations,
            Self::Artifact(artifact) => &artifact.annotations,
        }
    }

    fn check_descriptors(&self) -> Result<(), ManifestError> {
        let count = self.children().count();
        if count > limits::DESCRIPTORS {
            return Err(ManifestError::TooMany {
                count,
                limit: limits::DESCRIPTORS,
            });
        }
        self.each_descriptor(Descriptor::check)
    }

    /// Checks what image-spec demands of a document that one runs, beyond what carrying it needs.
    ///
    /// # Errors
    /// If a descriptor is not as image-spec has it, or a manifest has no layers.
    pub fn conforms(&self) -> Result<(), ManifestError> {
        if matches!(self, Self::Manifest(manifest) if manifest.layers.is_empty()) {
            return Err(ManifestError::NoLayers);
        }
        self.each_descriptor(Descriptor::conforms)
    }

    fn each_descriptor(
        &self,
        check: impl Fn(&Descriptor) -> Result<(), DescriptorError>,
    ) -> Result<(), ManifestError> {
        for descriptor in self.children().chain(self.subject()) {
            check(descriptor).map_err(|source| ManifestError::Descriptor {
                media_type: descriptor.media_type.clone(),
                digest: Box::new(descriptor.digest),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }
}

/// The `oci-layout` file (image-spec 1.1, image-layout.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageLayout {
    /// Version of the layout; only `1.0.0` is read.
    pub image_layout_version: String,
}

impl Default for ImageLayout {
    fn default() -> Self {
        Self {
            image_layout_version: "1.0.0".to_owned(),
        }
    }
}

impl ImageLayout {
    /// Reads an `oci-layout` file.
    ///
    /// # Errors
    /// If it is not strict JSON or names another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let what = "layout file";
        let layout: Self = json::from_slice(bytes, limits::LAYOUT_INDEX_BYTES)
            .map_err(|source| ManifestError::Json { what, source })?;
        if layout != Self::default() {
            return Err(ManifestError::LayoutVersion {
                found: layout.image_layout_version.chars().take(40).collect(),
            });
        }
        Ok(layout)
    }
}

/// Every field that image-spec gives a meaning to in a manifest, an index or a descriptor.
const FIELDS: [&str; 21] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "fsLayers",
    "manifests",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "blobs",
    "history",
];

fn check_names(object: &Map<String, Value>, pointer: &str) -> Result<(), ManifestError> {
    for (key, value) in object {
        let here = json::child(pointer, key);
        if let Some(known) = FIELDS
            .iter()
            .find(|known| **known != key && known.eq_ignore_ascii_case(key))
        {
            return Err(ManifestError::Case { pointer: here, known });
        }
        match value {
            // Names of annotations are free.
            Value::Object(inner) if key != "annotations" => check_names(inner, &here)?,
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Value::Object(inner) = item {
                        check_names(inner, &json::child(&here, &index.to_string()))?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_media_type(object: &Map<String, Value>, expected: &MediaType) -> Result<(), ManifestError> {
    match object.get("mediaType") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(found)) if found.is_empty() || expected.names_the_same(found) => Ok(()),
        Some(found) => Err(ManifestError::MediaType {
            expected: expected.clone(),
            found: found
                .as_str()
                .map_or_else(|| found.to_string(), str::to_owned)
                .chars()
                .take(100)
                .collect(),
        }),
    }
}

fn to_bytes<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("strings, integers and maps with string keys serialize")
}

#[cfg(test)]
mod tests;
