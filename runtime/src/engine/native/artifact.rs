//! What tasks pass on: parameters and artifacts.

use std::collections::BTreeMap;

use samebundle_spec::Digest;
use samebundle_spec::pipeline::ArtifactType;
use samebundle_spec::record::{ArtifactRecord, OutputRecord};
use serde_json::{Map, Value, json};

use super::facts::ROOT;
use super::resolve::artifact_folder;
use crate::driver::{Content, Input};
use crate::outside::{path_in_container, shown};

/// An artifact.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Artifact {
    /// Name of the output.
    pub(super) name: String,
    pub(super) artifact_type: ArtifactType,
    /// Path in containers, or the address of an artifact that is stored elsewhere.
    pub(super) uri: String,
    pub(super) metadata: Map<String, Value>,
    /// Its digest; none if nothing was written.
    pub(super) digest: Option<Digest>,
    /// Whether it is a folder.
    pub(super) folder: bool,
    /// Bytes in all.
    pub(super) size: u64,
    /// Path below the run's folder.
    pub(super) path: Option<String>,
    /// Where it came from, if no task of the run wrote it.
    pub(super) origin: Option<Origin>,
}

/// Where an artifact came from that no task of the run wrote.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Origin {
    /// Its address, without credentials.
    pub(super) address: String,
    /// Why its content is not here; none if it is.
    pub(super) away: Option<String>,
}

impl Artifact {
    /// Makes an artifact that has an address and no content yet.
    pub(super) fn new(name: &str, artifact_type: &ArtifactType, uri: String) -> Self {
        Self {
            name: name.to_owned(),
            artifact_type: artifact_type.clone(),
            uri,
            metadata: Map::new(),
            digest: None,
            folder: false,
            size: 0,
            path: None,
            origin: None,
        }
    }

    /// Returns it as KFP's `RuntimeArtifact`.
    pub(super) fn to_runtime(&self) -> Value {
        let mut kind = Map::new();
        let ArtifactType {
            schema_title,
            schema_version,
            instance_schema,
        } = &self.artifact_type;
        for (key, text) in [
            ("instanceSchema", instance_schema),
            ("schemaTitle", schema_title),
            ("schemaVersion", schema_version),
        ] {
            if !text.is_empty() {
                kind.insert(key.to_owned(), Value::from(text.as_str()));
            }
        }
        json!({ "metadata": self.metadata, "name": self.name, "type": kind, "uri": self.uri })
    }

    /// Returns the input of a task that reads the artifact, and its path below the run's folder; none if nothing was
    /// written, or if it is stored elsewhere.
    pub(super) fn to_input(&self) -> Option<(Input, &str)> {
        let (digest, path) = (self.digest?, self.path.as_deref()?);
        let target = match path_in_container(&self.uri) {
            Some(target) => target,
            None => format!("{ROOT}/{}", path.strip_prefix("outputs/")?),
        };
        let size = self.size;
        let content = Content::Artifact { digest, size };
        Some((Input { target, content }, path))
    }

    /// Tells whether its address is the place of its path in containers, or the one that was planned if it has none.
    fn is_in_place(&self) -> bool {
        let Some(below) = self.uri.strip_prefix(ROOT).and_then(|uri| uri.strip_prefix('/')) else {
            return false;
        };
        match &self.path {
            Some(path) => path.strip_prefix("outputs/") == Some(below),
            None => below.ends_with(&format!("/{}/{}", artifact_folder(&self.name), self.name)),
        }
    }

    /// Returns the path at which a task finds it, or would.
    pub(super) fn path_in_container(&self) -> String {
        path_in_container(&self.uri).unwrap_or_else(|| self.uri.clone())
    }

    fn to_record(&self) -> ArtifactRecord {
        ArtifactRecord {
            artifact_type: self.artifact_type.schema_title.clone(),
            digest: self.digest,
            folder: self.folder,
            size: self.size,
            path: self.path.clone(),
            uri: match &self.origin {
                Some(origin) => Some(origin.address.clone()),
                None => (!self.is_in_place()).then(|| shown(&self.uri)),
            },
            metadata: self.metadata.clone().into_iter().collect(),
        }
    }
}

/// Parameters and artifacts by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Values {
    pub(super) parameters: BTreeMap<String, Value>,
    pub(super) artifacts: BTreeMap<String, Vec<Artifact>>,
    /// The names of the volumes that the task claims, in the order of its executor.
    pub(super) claims: Vec<String>,
}

/// What a task produced.
pub(super) type Produced = Values;

impl Values {
    /// Returns the parameter or artifacts of one name.
    pub(super) fn only(&self, name: &str) -> Self {
        let parameter = self.parameters.get_key_value(name);
        let artifacts = self.artifacts.get_key_value(name);
        Self {
            parameters: parameter
                .map(|(name, value)| (name.clone(), value.clone()))
                .into_iter()
                .collect(),
            artifacts: artifacts
                .map(|(name, list)| (name.clone(), list.clone()))
                .into_iter()
                .collect(),
            ..Self::default()
        }
    }

    pub(super) fn to_records(&self) -> BTreeMap<String, OutputRecord> {
        let parameters = self
            .parameters
            .iter()
            .map(|(name, value)| (name.clone(), OutputRecord::Value(value.clone())));
        let artifacts = self.artifacts.iter().map(|(name, artifacts)| {
            let records = artifacts.iter().map(Artifact::to_record).collect();
            (name.clone(), OutputRecord::Artifacts(records))
        });
        parameters.chain(artifacts).collect()
    }
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TaskEnd {
    Done(Produced),
    Failed {
        /// Why, unless a task in it or the driver failed.
        message: Option<String>,
    },
    Cancelled,
    Skipped,
    /// It waits for a person, or a task in it does.
    Suspended,
}
