//! The OCI index of a bundle, read: which entry is the configuration, which the invocation image, and which each component.
//!
//! Reads what cnab-to-oci writes in every fallback (OCI index or Docker manifest list; a configuration of its own type, of
//! an OCI image, or of a Docker image with `bundle.json` as a layer as well) and our strict form.

use std::collections::BTreeMap;

use super::Bundle;
use super::index::{COMPONENT, TYPE};
use super::view::Image;
use crate::manifest::Manifest;
use crate::{Classify, Descriptor, Digest, ErrorKind, Index, MediaType, limits};

/// Why an index is not that of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// No entry says what it is.
    #[error("the index is not a bundle: no entry has the annotation {TYPE}")]
    NotABundle,
    /// An entry without the annotation, or with another word.
    #[error("entry {digest} of the index has {found:?} as {TYPE}; expected config, invocation or component")]
    Kind {
        /// The entry.
        digest: Digest,
        /// What it has.
        found: Option<String>,
    },
    /// Not one configuration and one invocation image.
    #[error("the index has {count} entries of type {kind}; expected 1")]
    Count {
        /// Type of the entries.
        kind: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A component without a name.
    #[error("component {digest} of the index has no annotation {COMPONENT}")]
    Unnamed {
        /// The entry.
        digest: Digest,
    },
    /// Two components with one name.
    #[error("component {name:?} stands twice in the index")]
    Twice {
        /// The name.
        name: String,
    },
    /// The configuration manifest's configuration is no `bundle.json`.
    #[error("the bundle's configuration is {found}; expected {}", MediaType::CNAB_CONFIG)]
    Config {
        /// Its media type.
        found: MediaType,
    },
    /// A configuration blob that is too large.
    #[error(
        "bundle.json has {size} bytes, more than the {} allowed",
        limits::BUNDLE_JSON_BYTES
    )]
    TooLarge {
        /// Its size, bytes.
        size: u64,
    },
    /// `bundle.json` names another digest than the index.
    #[error("bundle.json says that {what} is {said}, but the index has {found}")]
    Disagree {
        /// The invocation image or the component.
        what: String,
        /// The digest in `bundle.json`.
        said: String,
        /// The digest in the index.
        found: Digest,
    },
    /// A component in only one of both.
    #[error("component {name:?} is in {where_is} but not in {where_not}")]
    OneSided {
        /// The component.
        name: String,
        /// Where it is.
        where_is: &'static str,
        /// Where it is not.
        where_not: &'static str,
    },
}

impl Classify for LayoutError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

/// The parts of a bundle's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The manifest whose configuration is `bundle.json`.
    pub config_manifest: Descriptor,
    /// The invocation image: a manifest or an index.
    pub invocation: Descriptor,
    /// Components by name.
    pub components: BTreeMap<String, Descriptor>,
}

impl Layout {
    /// Sorts out the entries of an index.
    ///
    /// # Errors
    /// If it is not the index of a bundle.
    pub fn read(index: &Index) -> Result<Self, LayoutError> {
        if index
            .manifests
            .iter()
            .all(|entry| !entry.annotations.contains_key(TYPE))
        {
            return Err(LayoutError::NotABundle);
        }
        let (mut configs, mut invocations, mut components) = (Vec::new(), Vec::new(), BTreeMap::new());
        for entry in &index.manifests {
            match entry.annotations.get(TYPE).map(String::as_str) {
                Some("config") => configs.push(entry.clone()),
                Some("invocation") => invocations.push(entry.clone()),
                Some("component") => {
                    let digest = entry.digest;
                    let name = entry
                        .annotations
                        .get(COMPONENT)
                        .ok_or(LayoutError::Unnamed { digest })?;
                    if components.insert(name.clone(), entry.clone()).is_some() {
                        return Err(LayoutError::Twice { name: name.clone() });
                    }
                }
                found => {
                    return Err(LayoutError::Kind {
                        digest: entry.digest,
                        found: found.map(str::to_owned),
                    });
                }
            }
        }
        Ok(Self {
            config_manifest: single(configs, "config")?,
            invocation: single(invocations, "invocation")?,
            components,
        })
    }

    /// Returns the descriptor of `bundle.json` in the configuration manifest.
    ///
    /// # Errors
    /// If the manifest's configuration is of no type that `bundle.json` is stored under, or too large.
    pub fn config_blob(manifest: &Manifest) -> Result<&Descriptor, LayoutError> {
        let types = [
            MediaType::CNAB_CONFIG,
            MediaType::CNAB_CONFIG_SPEC,
            MediaType::OCI_CONFIG,
            MediaType::DOCKER_CONFIG,
        ];
        let config = &manifest.config;
        if !types.contains(&config.media_type) {
            return Err(LayoutError::Config {
                found: config.media_type.clone(),
            });
        }
        if config.size > limits::BUNDLE_JSON_BYTES {
            return Err(LayoutError::TooLarge { size: config.size });
        }
        Ok(config)
    }

    /// Checks that `bundle.json` and the index agree: the same components, and the same digests
    /// wherever `bundle.json` has one (cnab-spec 101: a runtime must validate it before any action).
    ///
    /// # Errors
    /// If they disagree.
    pub fn check(&self, bundle: &Bundle) -> Result<(), LayoutError> {
        let view = bundle.view();
        if let Some(image) = view.invocation_image() {
            agree("the invocation image", image, &self.invocation)?;
        }
        let (in_index, in_bundle) = ("the index", "bundle.json");
        for (name, descriptor) in &self.components {
            let image = view.images.get(name).ok_or_else(|| LayoutError::OneSided {
                name: name.clone(),
                where_is: in_index,
                where_not: in_bundle,
            })?;
            agree(&format!("component {name:?}"), image, descriptor)?;
        }
        match view
            .images
            .keys()
            .find(|name| !self.components.contains_key(*name))
        {
            Some(name) => Err(LayoutError::OneSided {
                name: name.clone(),
                where_is: in_bundle,
                where_not: in_index,
            }),
            None => Ok(()),
        }
    }

    /// Returns the relocation map: every image reference of the bundle, and where it is in `repository`
    /// (cnab-spec 103, `/cnab/app/relocation-mapping.json`).
    pub fn relocation(&self, bundle: &Bundle, repository: &str) -> BTreeMap<String, String> {
        let view = bundle.view();
        let place = |descriptor: &Descriptor| format!("{repository}@{}", descriptor.digest);
        let invocation = view
            .invocation_image()
            .map(|image| (image.image.clone(), place(&self.invocation)));
        let components = self.components.iter().filter_map(|(name, descriptor)| {
            let image = view.images.get(name)?;
            Some((image.image.clone(), place(descriptor)))
        });
        invocation.into_iter().chain(components).collect()
    }
}

fn single(mut entries: Vec<Descriptor>, kind: &'static str) -> Result<Descriptor, LayoutError> {
    let count = entries.len();
    match entries.pop() {
        Some(entry) if count == 1 => Ok(entry),
        _ => Err(LayoutError::Count { kind, count }),
    }
}

fn agree(what: &str, image: &Image, descriptor: &Descriptor) -> Result<(), LayoutError> {
    match &image.content_digest {
        Some(said) if *said != descriptor.digest.to_string() => Err(LayoutError::Disagree {
            what: what.to_owned(),
            said: said.chars().take(100).collect(),
            found: descriptor.digest,
        }),
        _ => Ok(()),
    }
}
