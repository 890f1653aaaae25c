//! Finds what in a layout is needed, and by whom.
//!
//! Roots are the tags, what other tools listed without one, and what the caller says it holds ([`Held`]). From a root
//! everything below is reached, and so are the referrers of whatever is reached: manifests with a subject, cosign's tags
//! and the fallback tags of distribution-spec 1.1. So a signature lives as long as what it signs. A tag of that form whose
//! subject is not here is a root like any other.

use std::collections::BTreeMap;

use samebundle_spec::manifest::Document;
use samebundle_spec::{Descriptor, Digest, MediaType, limits};

use super::disk::Disk;
use crate::layout::index::REF_NAME;
use crate::store::{StoreError, document};

/// A blob or manifest that something outside the layout relies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its digest.
    pub digest: Digest,
    /// Its descriptor, if the record has it; then it must be in the layout. Otherwise it is looked up, and must be a
    /// manifest or index if it exists.
    pub descriptor: Option<Descriptor>,
    /// Who relies on it, in words for a person: `installation digits`.
    pub by: String,
    /// It is needed only as long as this digest is, which was made from it.
    pub with: Option<Digest>,
}

impl Held {
    /// Its descriptor; `None` if a record names only its digest and the layout does not have it.
    pub(super) fn identify(&self, disk: &Disk) -> Result<Option<Descriptor>, StoreError> {
        match &self.descriptor {
            Some(descriptor) => Ok(Some(descriptor.bare())),
            None => identify(disk, &self.digest),
        }
    }
}

/// A root, with everybody that names it.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) descriptor: Descriptor,
    pub(super) names: Vec<String>,
}

/// The graph of a layout.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) roots: Vec<Root>,
    /// Blobs and manifests that are needed as long as their key is, such as referrers.
    attached: BTreeMap<Digest, Vec<Descriptor>>,
    /// The children of each manifest.
    below: BTreeMap<Digest, Vec<Descriptor>>,
    whole: bool,
}

impl Reach {
    /// Reads the index, what it lists, and everything below it and below what is held.
    ///
    /// # Errors
    /// If a manifest cannot be read or does not exist, because its children are not known then.
    pub(super) fn of(disk: &Disk, held: &[Held]) -> Result<Self, StoreError> {
        Self::walk(disk, held, true)
    }

    /// The same, but a manifest that does not exist counts as one without children.
    pub(super) fn as_far_as_there(disk: &Disk, held: &[Held]) -> Result<Self, StoreError> {
        Self::walk(disk, held, false)
    }

    fn walk(disk: &Disk, held: &[Held], whole: bool) -> Result<Self, StoreError> {
        let mut reach = Self {
            roots: Vec::new(),
            attached: BTreeMap::new(),
            below: BTreeMap::new(),
            whole,
        };
        for entry in disk.index()?.entries() {
            reach.enter(disk, entry)?;
        }
        for held in held {
            match (held.identify(disk)?, held.with) {
                (Some(descriptor), Some(with)) => reach.attached.entry(with).or_default().push(descriptor),
                (Some(descriptor), None) => reach.root(descriptor, held.by.clone()),
                (None, _) => {}
            }
        }
        let roots = reach.roots.iter().map(|root| root.descriptor.clone());
        let mut open: Vec<Descriptor> = roots.chain(reach.attached.values().flatten().cloned()).collect();
        while let Some(descriptor) = open.pop() {
            open.extend(reach.read(disk, &descriptor)?);
        }
        Ok(reach)
    }

    fn enter(&mut self, disk: &Disk, entry: &Descriptor) -> Result<(), StoreError> {
        let name = entry.annotations.get(REF_NAME);
        let bare = entry.bare();
        let subject = match name {
            Some(name) => subject_of(name),
            None if entry.media_type.has_children() => {
                let listing = self.unless_absent(disk.listing(entry))?.flatten();
                listing.map(|listing| listing.subject)
            }
            None => None,
        };
        match (subject, name) {
            (Some(subject), None) => self.attached.entry(subject).or_default().push(bare),
            (Some(subject), Some(_)) if disk.open(&subject).is_ok() => {
                self.attached.entry(subject).or_default().push(bare);
            }
            (_, Some(name)) => self.root(bare, format!("tag {name}")),
            (None, None) => self.root(bare, "index.json".to_owned()),
        }
        Ok(())
    }

    fn root(&mut self, descriptor: Descriptor, name: String) {
        match self
            .roots
            .iter_mut()
            .find(|root| root.descriptor.digest == descriptor.digest)
        {
            Some(root) => root.names.push(name),
            None => self.roots.push(Root {
                descriptor,
                names: vec![name],
            }),
        }
    }

    /// Reads the children of a manifest, unless it was read already; returns the manifests that have to be read next.
    fn read(&mut self, disk: &Disk, descriptor: &Descriptor) -> Result<Vec<Descriptor>, StoreError> {
        let digest = descriptor.digest;
        if !descriptor.media_type.has_children() || self.below.contains_key(&digest) {
            return Ok(Vec::new());
        }
        if self.below.len() >= limits::GRAPH_CONTENTS {
            return Err(StoreError::Invalid {
                subject: disk.root.display().to_string(),
                why: format!("more than {} manifests", limits::GRAPH_CONTENTS),
            });
        }
        // The children of a manifest that cannot be read are not known, so a collection must stop.
        let document = self.unless_absent(disk.document(descriptor))?;
        let children = document.iter().flat_map(|document| document.children());
        let below: Vec<Descriptor> = children.map(Descriptor::bare).collect();
        self.below.insert(digest, below.clone());
        Ok(below)
    }

    fn unless_absent<T>(&self, read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(StoreError::NotFound { .. }) if !self.whole => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells whether a manifest is in the layout only because it refers to another.
    pub(super) fn refers(&self, digest: &Digest) -> bool {
        let mut attached = self.attached.values().flatten();
        attached.any(|descriptor| descriptor.digest == *digest)
    }

    /// Everything that these roots need, themselves included.
    pub(super) fn closure<'a>(
        &'a self,
        roots: impl IntoIterator<Item = &'a Descriptor>,
    ) -> BTreeMap<Digest, &'a Descriptor> {
        let mut reached = BTreeMap::new();
        let mut open: Vec<&Descriptor> = roots.into_iter().collect();
        while let Some(descriptor) = open.pop() {
            if reached.insert(descriptor.digest, descriptor).is_none() {
                for next in [&self.below, &self.attached] {
                    open.extend(next.get(&descriptor.digest).into_iter().flatten());
                }
            }
        }
        reached
    }

    /// Everything that any root needs.
    pub(super) fn live(&self) -> BTreeMap<Digest, &Descriptor> {
        self.closure(self.roots.iter().map(|root| &root.descriptor))
    }
}

/// The subject's digest in a tag that lists referrers or names a signature: `sha256-HEX`, `sha256-HEX.sig`.
fn subject_of(tag: &str) -> Option<Digest> {
    let (name, suffix) = tag.split_once('.').unwrap_or((tag, ""));
    ["", "sig", "att", "sbom"]
        .contains(&suffix)
        .then(|| name.replacen('-', ":", 1).parse().ok())
        .flatten()
}

/// Finds the descriptor of a digest whose record does not have it.
pub(super) fn identify(disk: &Disk, digest: &Digest) -> Result<Option<Descriptor>, StoreError> {
    let (_, size) = match disk.open(digest) {
        Ok(found) => found,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let guesses = [
        MediaType::OCI_INDEX,
        MediaType::OCI_MANIFEST,
        MediaType::DOCKER_LIST,
        MediaType::DOCKER_MANIFEST,
    ];
    let mut bytes = None;
    for media_type in guesses {
        let descriptor = Descriptor::new(media_type, *digest, size);
        let bytes = match &bytes {
            Some(bytes) => bytes,
            None => bytes.insert(disk.manifest(&descriptor)?),
        };
        if document(&descriptor, bytes).is_ok() {
            return Ok(Some(descriptor));
        }
    }
    Err(StoreError::Invalid {
        subject: digest.to_string(),
        why: "a record names it as a bundle, and it is no manifest or index".to_owned(),
    })
}

impl Disk {
    /// Reads a manifest as a document.
    pub(super) fn document(&self, descriptor: &Descriptor) -> Result<Document, StoreError> {
        document(descriptor, &self.manifest(descriptor)?)
    }
}
