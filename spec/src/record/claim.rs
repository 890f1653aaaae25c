//! CNAB claims and results (cnab-spec 400).
//!
//! A claim is written before an action and never changed; results are written after it. A claim holds the resolved
//! parameters and never a credential. What other tools add (`schemaVersion`, more keys of an output) is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{OutputRecord, Run, RunId, RunStatus};
use crate::json::{self, JsonError, null_as_default};
use crate::{Digest, limits};

/// Version of the claim's and the result's schema (cnab-spec 400).
const SCHEMA_VERSION: &str = "1.0.0";

/// The value of `CNAB_CLAIMS_VERSION` in an invocation image.
pub const CLAIMS_VERSION: &str = "CNAB-Claims-1.0.0";

/// What was asked of a bundle, immutable. Fields serialize in cnab-go's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Version of the claim's schema, written by cnab-go; not in the specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// The claim's id, a ULID.
    pub id: String,
    /// Name of the installation.
    pub installation: String,
    /// Revision of the installation, a ULID; new with every action that modifies.
    pub revision: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The action.
    pub action: String,
    /// The bundle, as JSON.
    pub bundle: Value,
    /// Where the bundle came from, by digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_reference: Option<String>,
    /// All resolved parameters.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub parameters: BTreeMap<String, Value>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
}

/// What came of a claim. Fields serialize in cnab-go's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimResult {
    /// Version of the result's schema, written by cnab-go; not in the specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// The result's id, a ULID.
    pub id: String,
    /// The claim.
    pub claim_id: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The last message of the invocation image or the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The status.
    pub status: ClaimStatus,
    /// Outputs by name.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub outputs: BTreeMap<String, ClaimOutput>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
}

/// The status of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimStatus {
    /// Stopped before it was through.
    Canceled,
    /// The action failed.
    Failed,
    /// Not begun.
    Pending,
    /// Going on.
    Running,
    /// The action did what it should.
    Succeeded,
    /// Nobody knows.
    Unknown,
}

impl From<RunStatus> for ClaimStatus {
    fn from(status: RunStatus) -> Self {
        match status {
            // A run that waits has not ended.
            RunStatus::Running | RunStatus::Suspended => Self::Running,
            RunStatus::Succeeded | RunStatus::Skipped => Self::Succeeded,
            RunStatus::Failed => Self::Failed,
            RunStatus::Cancelled => Self::Canceled,
            RunStatus::Interrupted => Self::Unknown,
        }
    }
}

/// An output of an action. Its value is kept elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimOutput {
    /// Digest of the value, as text: the specification's own example holds words that are no digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<String>,
    /// Anything else, such as `generatedByBundle`.
    #[serde(flatten)]
    pub metadata: Map<String, Value>,
}

impl Claim {
    /// The claim of a run of `bundle`, a `bundle.json`. Parameters are stored resolved; secrets are not (a deviation that we
    /// choose: cnab-spec wants all of them, `spec/500-records.md` R4 wants secrets by name).
    pub fn of(run: &Run, bundle: Value) -> Self {
        let shown = run
            .parameters
            .iter()
            .filter_map(|(name, parameter)| Some((name.clone(), parameter.value.clone()?)));
        Self {
            schema_version: Some(SCHEMA_VERSION.to_owned()),
            id: run.id.to_string(),
            installation: run.installation.to_string(),
            revision: run.id.to_string(),
            created: run.started.to_string(),
            action: run.action.clone(),
            bundle,
            bundle_reference: Some(run.bundle_digest.to_string()),
            parameters: shown.collect(),
            custom: None,
        }
    }

    /// Reads a claim.
    ///
    /// # Errors
    /// If it is not strict JSON or lacks a required field.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::from_slice_wide(bytes, limits::RUN_BYTES)
    }

    /// Serializes, compact.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and maps with string keys serialize")
    }
}

impl ClaimResult {
    /// The result of a run that ended, with this id.
    pub fn of(run: &Run, id: &RunId) -> Self {
        let digest = |output: &OutputRecord| match output {
            OutputRecord::Value(value) => Some(Digest::sha256(value.to_string().as_bytes())),
            OutputRecord::Artifacts(artifacts) => artifacts.first().and_then(|artifact| artifact.digest),
        };
        let outputs = run.outputs.iter().map(|(name, output)| {
            let output = ClaimOutput {
                content_digest: digest(output).map(|digest| digest.to_string()),
                metadata: Map::new(),
            };
            (name.clone(), output)
        });
        Self {
            schema_version: Some(SCHEMA_VERSION.to_owned()),
            id: id.to_string(),
            claim_id: run.id.to_string(),
            created: run.finished.unwrap_or(run.started).to_string(),
            message: run.message.clone(),
            status: run.status.into(),
            outputs: outputs.collect(),
            custom: None,
        }
    }

    /// Reads a result.
    ///
    /// # Errors
    /// If it is not strict JSON, lacks a required field, or has another status.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::from_slice_wide(bytes, limits::RUN_BYTES)
    }

    /// Serializes, compact.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and maps with string keys serialize")
    }
}

#[cfg(test)]
mod tests;
