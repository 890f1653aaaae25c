//! What is installed, and why it was let in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Format;
use crate::{BundleName, Descriptor, Version, limits};

/// A bundle that was installed under a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Installation {
    /// Format of this document.
    pub format: Format,
    /// The name that commands use.
    pub name: BundleName,
    /// Name of the bundle.
    pub bundle: String,
    /// Version of the bundle, as its `bundle.json` says.
    pub version: String,
    /// The version by which an export named it that brought it here with its history, if it is another one. Nobody signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<Version>,
    /// The bundle's index, in the local store.
    pub index: Descriptor,
    /// Where it came from, as the user wrote it with the digest that it had.
    pub source: String,
    /// Why it was let in.
    pub verification: Verification,
    /// Parameters for all runs, non-secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    /// Where credentials come from (`env:TOKEN`, `pass:work/token`), by name; never a value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, String>,
    /// When it was installed, RFC 3339.
    pub installed: String,
    /// The index that it had before the last upgrade, to go back to; its content is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Descriptor>,
    /// What was installed under the name before, the latest first, at most
    /// [`INSTALLATION_HISTORY`](crate::limits::INSTALLATION_HISTORY); only the content of `previous` is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierBundle>,
}

/// A bundle that was installed under a name before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EarlierBundle {
    /// Version of the bundle.
    pub version: String,
    /// The version of the export that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<Version>,
    /// The bundle's index.
    pub index: Descriptor,
    /// Where it came from.
    pub source: String,
    /// Why it was let in.
    pub verification: Verification,
    /// Parameters for all runs, non-secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    /// When it was installed, RFC 3339.
    pub installed: String,
}

impl Installation {
    /// Takes over what was installed under the name before, if anything was.
    #[must_use]
    pub fn after(mut self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        if before.index.digest == self.index.digest {
            self.previous = before.previous;
            self.earlier = before.earlier;
            self.installed = before.installed;
            return self;
        }
        let replaced = EarlierBundle {
            version: before.version,
            exported: before.exported,
            index: before.index.clone(),
            source: before.source,
            verification: before.verification,
            parameters: before.parameters,
            installed: before.installed,
        };
        self.previous = Some(before.index);
        self.earlier = std::iter::once(replaced).chain(before.earlier).collect();
        self.earlier.truncate(limits::INSTALLATION_HISTORY);
        self
    }

    /// The installation as it was with an earlier bundle.
    #[must_use]
    pub fn with(&self, earlier: &EarlierBundle) -> Self {
        Self {
            version: earlier.version.clone(),
            exported: earlier.exported.clone(),
            index: earlier.index.clone(),
            source: earlier.source.clone(),
            verification: earlier.verification.clone(),
            parameters: earlier.parameters.clone(),
            ..self.clone()
        }
    }
}

impl Installation {
    /// The version by which people know it: that of the export that brought it, or the bundle's own.
    pub fn known_version(&self) -> String {
        match &self.exported {
            Some(exported) => exported.to_string(),
            None => self.version.clone(),
        }
    }
}

/// Why content was trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Verification {
    /// Signatures satisfied the policy.
    Signature {
        /// Names of the keys in the trust store.
        keys: Vec<String>,
        /// The policy's scope that matched.
        scope: String,
        /// Sequence number of the signed statement.
        sequence: u64,
    },
    /// The user accepted it without a trusted signature.
    Consent {
        /// How the consent was given.
        reason: String,
    },
}
