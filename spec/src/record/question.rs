//! What a suspended task asks a person, and what persons decided about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::parameter_type::ParameterType;
use crate::{Digest, Timestamp};

/// What a suspended task asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskQuestion {
    /// The question in words; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The answers that it takes, by name; they become the outputs of the task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, AnswerForm>,
    /// Since when it waits, RFC 3339 in UTC.
    pub since: Timestamp,
    /// Until when it can be answered; absent if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AnswerForm {
    /// Its type, by the name that the pipeline has for it: `STRING`.
    pub answer_type: ParameterType,
    /// What it is about, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The answer of a person who gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The answers that there are; empty: any of the type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Value>,
}

/// The decision of one person, as it was signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SignedApproval {
    /// The signed statement, a sigstore bundle.
    pub document: Value,
    /// The public key that verifies it, PEM. It says nothing about whom the key belongs to.
    pub public_key: String,
}

impl TaskQuestion {
    /// The digest by which a decision names the question: of its JSON with sorted keys.
    pub fn digest(&self) -> Digest {
        let value = serde_json::to_value(self).unwrap_or_default();
        Digest::sha256(value.to_string().as_bytes())
    }

    /// Tells whether its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now > until)
    }
}
