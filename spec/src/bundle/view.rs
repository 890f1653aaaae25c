//! The fields of `bundle.json` (cnab-spec 101, schema `bundle.schema.json`).
//!
//! Go writes `null` for an empty list or map, so `null` reads as empty everywhere. Fields that are not here stay in the
//! bundle's bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::null_as_default;
use crate::{Digest, Version};

/// What a `bundle.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Version of the specification, e.g. `v1.2.0`.
    pub schema_version: String,
    /// Name, free text of graphic characters. Not a path, a tag or a label.
    pub name: String,
    /// The bundle's version.
    pub version: Version,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words to find it by.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub keywords: Vec<String>,
    /// SPDX expression or the name of a licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Who is responsible.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub maintainers: Vec<Maintainer>,
    /// Images that carry the run tool; the first that fits is run.
    #[serde(default, deserialize_with = "null_as_default")]
    pub invocation_images: Vec<Image>,
    /// Images that the bundle uses, by component name.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub images: BTreeMap<String, Image>,
    /// Parameters by name.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub parameters: BTreeMap<String, Parameter>,
    /// Credentials by name.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub credentials: BTreeMap<String, Credential>,
    /// Outputs by name.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub outputs: BTreeMap<String, Output>,
    /// JSON Schemas (draft-07) by name.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub definitions: BTreeMap<String, Value>,
    /// Actions beside install, upgrade and uninstall, by name.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub actions: BTreeMap<String, Action>,
    /// Extensions by dotted name.
    #[serde(
        default,
        skip_serializing_if = "Map::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub custom: Map<String, Value>,
    /// Extensions that the bundle cannot do without.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub required_extensions: Vec<String>,
}

/// A maintainer of the bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Maintainer {
    /// Name.
    pub name: String,
    /// Mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Where to read more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// An image: an invocation image or a component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Where it is, as authored; may lack a tag. Content is found by digest, not by this.
    pub image: String,
    /// `oci` (the default) or `docker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_type: Option<String>,
    /// Digest of its manifest, as text: the examples of the specification have words there that are no digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<String>,
    /// Size of its manifest, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Media type of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Labels to choose by.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub labels: BTreeMap<String, String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A value that a user may set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Parameter {
    /// The definition that it must fit.
    pub definition: String,
    /// Where it goes in the invocation image.
    pub destination: Destination,
    /// Actions that it applies to; empty is all.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub apply_to: Vec<String>,
    /// Whether it must have a value, given or default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Where a value goes in the invocation image; at least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Destination {
    /// Environment variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// File; a relative path counts from the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A secret that a user must or may bring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// Where it goes.
    #[serde(flatten)]
    pub destination: Destination,
    /// Actions that it applies to; empty is all.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub apply_to: Vec<String>,
    /// Whether it must be there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A value that an action produces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// The definition that it must fit.
    pub definition: String,
    /// The file that it is read from, beneath `/cnab/app/outputs`.
    pub path: String,
    /// Actions that it applies to; empty is all.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub apply_to: Vec<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// An action beside install, upgrade and uninstall.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Action {
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it may change what the bundle manages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub modifies: bool,
    /// Whether it only informs: no credentials needed, nothing recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stateless: bool,
}

/// Actions that every bundle has.
pub const BUILT_IN_ACTIONS: [&str; 3] = ["install", "upgrade", "uninstall"];

impl View {
    /// Returns the first invocation image of type `oci` or `docker` (cnab-spec 101: the first match must be taken).
    pub fn invocation_image(&self) -> Option<&Image> {
        self.invocation_images
            .iter()
            .find(|image| matches!(image.image_type(), "oci" | "docker"))
    }

    /// Returns what an action is, built in or declared.
    pub fn action(&self, name: &str) -> Option<Action> {
        if BUILT_IN_ACTIONS.contains(&name) {
            return Some(Action {
                modifies: true,
                ..Action::default()
            });
        }
        self.actions.get(name).cloned()
    }
}

impl Image {
    /// Returns the type; `oci` where none is given.
    pub fn image_type(&self) -> &str {
        match self.image_type.as_deref() {
            None | Some("") => "oci",
            Some(kind) => kind,
        }
    }

    /// Returns the digest, if the field has a valid one.
    pub fn digest(&self) -> Option<Digest> {
        self.content_digest.as_deref()?.parse().ok()
    }
}

/// Tells whether a list of actions (empty is all) covers `action`.
pub fn applies(apply_to: &[String], action: &str) -> bool {
    apply_to.is_empty() || apply_to.iter().any(|name| name == action)
}
