//! Our extension of a bundle that is a program: `custom["dev.samebundle.program"]`.
//!
//! It names what is in the bundle by component, so that every tool that copies the bundle copies all of it. It is never
//! in `requiredExtensions`: other CNAB tools carry and run the bundle without knowing it. Newer minor versions may add
//! fields beside these; what a program *requires* is closed, because a requirement that is not understood is not met.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::quantity::Quantity;
use super::rules::BrokenRule;
use super::view::View;
use crate::signing::Right;
use crate::{BundleName, Digest, json};

/// The extension's key under `custom`.
pub const KEY: &str = "dev.samebundle.program";
/// The version that is written. `samebundle.dev/v1.N` is read as well.
pub const API_VERSION: &str = "samebundle.dev/v1";

/// What is ours in a program's `bundle.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProgramExtension {
    /// Version of this form.
    pub api_version: String,
    /// The component that is the content artifact.
    pub content: String,
    /// The pipeline, if the program is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelinePart>,
    /// The component of every image that the pipeline names, by the name there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// Whether the content artifact has a wheelhouse.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wheelhouse: bool,
    /// What the program needs where it runs.
    #[serde(default, skip_serializing_if = "Requirements::is_empty")]
    pub requires: Requirements,
    /// Data by pointer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataPointer>,
    /// Data that the content artifact carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<CarriedData>,
}

/// The pipeline in the content artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PipelinePart {
    /// Name of the pipeline (`pipelineInfo.name`).
    pub name: String,
    /// Digest of the pipeline's layer.
    pub digest: Digest,
}

/// Data that stays where it is: what it is, where, and how to tell that it is the right one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataPointer {
    /// The name by which the program knows it.
    pub name: String,
    /// Where it is.
    pub uri: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size, bytes.
    pub size: u64,
}

/// Data in the content artifact: a file, as a zstd stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CarriedData {
    /// The name by which the program knows it.
    pub name: BundleName,
    /// Digest of the layer.
    pub layer: Digest,
    /// Digest of the file.
    pub digest: Digest,
    /// Size of the file, bytes.
    pub size: u64,
    /// The address that it stands for: an importer of that address takes it from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

/// What a program needs where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirements {
    /// Machine resources.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Add-ons that the environment must have, by bundle name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addons: Vec<String>,
    /// Rights beyond the default; policy must grant each to the signer.
    #[serde(default, skip_serializing_if = "Rights::is_empty")]
    pub rights: Rights,
}

/// Machine resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Shared memory of each task (`/dev/shm`), bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm: Option<Quantity>,
    /// Accelerators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
}

/// Accelerators.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gpu {
    /// How many.
    pub count: u32,
    /// Which, e.g. `nvidia.com/gpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Memory of each, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// The fields of [`Gpu`], as they are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GpuFields {
    count: u32,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    memory: Option<Quantity>,
}

/// Reads [`Gpu`], and tells who writes a number alone what is wanted.
struct GpuVisitor;

impl<'de> Visitor<'de> for GpuVisitor {
    type Value = Gpu;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map such as {count: 1}")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Gpu, A::Error> {
        let GpuFields { count, kind, memory } =
            GpuFields::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Gpu { count, kind, memory })
    }
}

impl<'de> Deserialize<'de> for Gpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GpuVisitor)
    }
}

/// Disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disk {
    /// Free space, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
    /// Storage class, e.g. `standard` or `premium`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// Rights beyond the default. All are off unless asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rights {
    /// Tasks may use the network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub network: bool,
    /// Tasks run privileged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Tasks may use the host's container engine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub docker_socket: bool,
    /// Directories of the host that tasks see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_paths: Vec<String>,
}

impl Requirements {
    /// Tells whether nothing is required.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Resources {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Rights {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the rights that are asked for; a policy's rule must grant each.
    pub fn asked(&self) -> Vec<Right> {
        [
            (self.network, Right::Network),
            (self.privileged, Right::Privileged),
            (self.docker_socket, Right::DockerSocket),
            (!self.host_paths.is_empty(), Right::HostPaths),
        ]
        .into_iter()
        .filter_map(|(asked, right)| asked.then_some(right))
        .collect()
    }
}

impl ProgramExtension {
    /// Checks the version, and that every component is among the bundle's images. An error has the pointer inside of the
    /// extension.
    pub(super) fn check(&self, view: &View) -> Result<(), (String, BrokenRule)> {
        let known = self.api_version == API_VERSION || self.api_version.starts_with("samebundle.dev/v1.");
        if !known {
            let fault = BrokenRule::ApiVersion(self.api_version.chars().take(40).collect());
            return Err(("/apiVersion".to_owned(), fault));
        }
        if !view.images.contains_key(&self.content) {
            return Err((
                "/content".to_owned(),
                BrokenRule::NoComponent(self.content.clone()),
            ));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.carried.iter().find(|data| !names.insert(&data.name)) {
            return Err((
                "/carried".to_owned(),
                BrokenRule::DataTwice(twice.name.to_string()),
            ));
        }
        match self
            .images
            .iter()
            .find(|(_, component)| !view.images.contains_key(*component))
        {
            Some((image, component)) => {
                let place = json::child("/images", image);
                Err((place, BrokenRule::NoComponent(component.clone())))
            }
            None => Ok(()),
        }
    }
}
