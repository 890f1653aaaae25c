//! The `index.json` of an OCI image layout (image-spec 1.1, image-layout.md), in a directory or in an archive.
//!
//! An entry is a tag (annotation `org.opencontainers.image.ref.name`), a referrer that has no tag, or something that
//! another tool listed. The entries of referrers are derived: they could be found again by reading every manifest.

use std::collections::{BTreeMap, BTreeSet};

use samebundle_spec::manifest::{ImageLayout, SchemaVersion};
use samebundle_spec::{Descriptor, Digest, MediaType, Tag, json, limits};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// The annotation that names an entry.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The content of the file `oci-layout`.
pub(crate) const LAYOUT_FILE: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The annotation of an archive's `index.json` that holds the digest of its own bytes without this annotation. No other
/// digest covers that file, so without it a changed name would not be noticed.
const SEAL: &str = "dev.samebundle.index";
/// The annotation of a delta archive's `index.json`: the digest of the root that the other side holds.
const DELTA: &str = "dev.samebundle.delta";
/// The fields of the file.
const FIELDS: [&str; 6] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "manifests",
    "subject",
    "annotations",
];

/// A parsed `index.json`. Equal entries are held once.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayoutIndex {
    schema_version: SchemaVersion,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<MediaType>,
    // Go writes null for a list that is empty.
    #[serde(default, deserialize_with = "json::null_as_default")]
    manifests: Vec<Descriptor>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "json::null_as_default"
    )]
    annotations: BTreeMap<String, String>,
}

/// Checks the text of the file `oci-layout`.
pub(crate) fn check_layout_file(bytes: &[u8], subject: &str) -> Result<(), StoreError> {
    match ImageLayout::parse(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(invalid(subject, error.to_string())),
    }
}

fn invalid(subject: &str, why: String) -> StoreError {
    StoreError::Invalid {
        subject: subject.to_owned(),
        why,
    }
}

impl LayoutIndex {
    /// An index that lists nothing.
    pub(crate) fn empty() -> Self {
        Self {
            schema_version: SchemaVersion,
            media_type: Some(MediaType::OCI_INDEX),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Parses the file and drops duplicate entries. `subject` names it in errors.
    pub(crate) fn parse(bytes: &[u8], subject: &str) -> Result<Self, StoreError> {
        let mut index: Self = json::from_slice(bytes, limits::LAYOUT_INDEX_BYTES)
            .map_err(|error| invalid(subject, error.to_string()))?;
        for entry in &index.manifests {
            entry
                .check()
                .map_err(|error| invalid(subject, format!("the entry {}: {error}", entry.digest)))?;
        }
        // Many tags may name one digest, so entries are compared as text, which is sorted.
        let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
        index
            .manifests
            .retain(|entry| seen.insert(serde_json::to_vec(entry).unwrap_or_default()));
        Ok(index)
    }

    /// Serializes the file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Descriptors hold only text and integers: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Serializes the file with its seal, for an archive.
    pub(crate) fn sealed(&self) -> Vec<u8> {
        let mut sealed = self.clone();
        sealed.annotations.remove(SEAL);
        let seal = Digest::sha256(&sealed.to_bytes()).to_string();
        sealed.annotations.insert(SEAL.to_owned(), seal);
        sealed.to_bytes()
    }

    /// Tells whether it has a seal.
    pub(crate) fn is_sealed(&self) -> bool {
        self.annotations.contains_key(SEAL)
    }

    /// Checks the seal, if there is one. Other tools write neither a seal nor anything that looks like a damaged one.
    pub(crate) fn check_seal(&self, bytes: &[u8], subject: &str) -> Result<(), StoreError> {
        let value = json::value(bytes, limits::LAYOUT_INDEX_BYTES)
            .map_err(|error| invalid(subject, error.to_string()))?;
        let fields = value.as_object().into_iter().flat_map(|object| object.keys());
        if let Some(field) = fields.into_iter().find(|field| !FIELDS.contains(&field.as_str())) {
            return Err(invalid(
                subject,
                format!("the field {field:?} does not belong in it"),
            ));
        }
        // Annotations of other tools have other values; a seal whose name is damaged still has a digest as its value.
        let is_unknown = |(key, value): &(&String, &String)| {
            ![SEAL, DELTA].contains(&key.as_str()) && value.parse::<Digest>().is_ok()
        };
        if let Some((key, _)) = self.annotations.iter().find(is_unknown) {
            let why = format!("the annotation {key:?} does not belong in it");
            return Err(invalid(subject, why));
        }
        let is_ours = self.is_sealed() || self.annotations.contains_key(DELTA);
        if is_ours && self.sealed() != bytes {
            let why = "it was altered: it is not what its seal says".to_owned();
            return Err(invalid(subject, why));
        }
        Ok(())
    }

    /// Marks this as the index of a delta archive for a side that holds `root`.
    pub(crate) fn set_delta(&mut self, root: &Digest) {
        self.annotations.insert(DELTA.to_owned(), root.to_string());
    }

    /// The root that the other side must hold, if this is the index of a delta archive.
    pub(crate) fn delta(&self, subject: &str) -> Result<Option<Digest>, StoreError> {
        let root = self.annotations.get(DELTA).map(|root| root.parse());
        let wrong = |error: samebundle_spec::digest::DigestError| {
            invalid(subject, format!("the annotation {DELTA:?}: {error}"))
        };
        root.transpose().map_err(wrong)
    }

    /// Every entry, as it stands.
    pub(crate) fn entries(&self) -> &[Descriptor] {
        &self.manifests
    }

    /// All tags, sorted. Names that are no tags (full references, as other tools write) are left out.
    pub(crate) fn tags(&self) -> Vec<Tag> {
        let mut tags: Vec<Tag> = self.manifests.iter().filter_map(name_of).collect();
        tags.sort();
        tags.dedup();
        tags
    }

    /// The descriptor that a tag points at, without the annotation that makes it a tag.
    pub(crate) fn resolve(&self, tag: &Tag, place: &str) -> Result<Descriptor, StoreError> {
        let mut found: Option<&Descriptor> = None;
        for entry in self.named(tag) {
            if found.is_some_and(|other| other.digest != entry.digest) {
                return Err(StoreError::Invalid {
                    subject: format!("index.json of {place}"),
                    why: format!("the tag {tag} names two manifests; remove it and tag one of them again"),
                });
            }
            found = Some(entry);
        }
        found.map(without_name).ok_or_else(|| StoreError::NotFound {
            subject: format!("tag {tag}"),
            place: place.to_owned(),
        })
    }

    fn named<'a>(&'a self, tag: &'a Tag) -> impl Iterator<Item = &'a Descriptor> {
        self.manifests.iter().filter(move |entry| {
            entry
                .annotations
                .get(REF_NAME)
                .is_some_and(|name| name == tag.as_str())
        })
    }

    /// The index under the fallback tag of distribution-spec 1.1 that lists the referrers of `subject`, if it exists.
    pub(crate) fn fallback(&self, subject: &Digest) -> Option<Descriptor> {
        let tag = Tag::referrers(subject);
        self.named(&tag).next().map(without_name)
    }

    /// Points a tag at `descriptor`. Returns the entries that lost the tag.
    pub(crate) fn set_tag(&mut self, descriptor: &Descriptor, tag: &Tag) -> Vec<Descriptor> {
        let lost = self.remove_tag(tag);
        let mut entry = without_name(descriptor);
        entry.data = None;
        // An entry without a tag adds nothing to the tagged one.
        self.manifests
            .retain(|other| other.digest != entry.digest || other.annotations.contains_key(REF_NAME));
        self.manifests.push(entry.with_annotation(REF_NAME, tag.as_str()));
        lost.into_iter()
            .filter(|old| old.digest != descriptor.digest)
            .collect()
    }

    /// Removes a tag. Returns the descriptor that it pointed at.
    pub(crate) fn remove_tag(&mut self, tag: &Tag) -> Vec<Descriptor> {
        let mut lost = Vec::new();
        self.manifests.retain(|entry| {
            let named = entry
                .annotations
                .get(REF_NAME)
                .is_some_and(|name| name == tag.as_str());
            if named {
                lost.push(without_name(entry));
            }
            !named
        });
        lost
    }

    /// Removes the entries, tagged or not, of digests for which `is_dead` is true. Returns whether there were any.
    pub(crate) fn remove(&mut self, is_dead: impl Fn(&Digest) -> bool) -> bool {
        let before = self.manifests.len();
        self.manifests.retain(|entry| !is_dead(&entry.digest));
        self.manifests.len() < before
    }

    /// Lists a manifest without a tag unless it is listed already. Returns whether that changed anything.
    pub(crate) fn list(&mut self, descriptor: &Descriptor) -> bool {
        let there = self
            .manifests
            .iter()
            .any(|entry| entry.digest == descriptor.digest);
        if !there {
            self.manifests.push(descriptor.clone());
        }
        !there
    }
}

fn name_of(entry: &Descriptor) -> Option<Tag> {
    entry.annotations.get(REF_NAME).and_then(|name| name.parse().ok())
}

fn without_name(entry: &Descriptor) -> Descriptor {
    let mut entry = entry.clone();
    entry.annotations.remove(REF_NAME);
    entry
}
