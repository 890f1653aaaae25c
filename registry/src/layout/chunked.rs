//! Finds the layers of a layout that have a chunk index in it.

use std::collections::BTreeSet;

use samebundle_spec::{Descriptor, Digest, limits};

use super::disk::Disk;
use crate::chunk::Finder;
use crate::store::{Chunked, StoreError};

/// Reads every manifest that a tag leads to, the newest tag first. Manifests that cannot be read are left out.
pub(super) fn list(disk: &Disk) -> Result<Vec<Chunked>, StoreError> {
    let mut finder = Finder::default();
    let mut seen: BTreeSet<Digest> = BTreeSet::new();
    // Entries are added at the end, and what is pushed last is taken first.
    let mut open: Vec<Descriptor> = disk.index()?.entries().iter().map(Descriptor::bare).collect();
    while let Some(descriptor) = open.pop() {
        if !descriptor.media_type.has_children()
            || seen.len() >= limits::GRAPH_CONTENTS
            || !seen.insert(descriptor.digest)
        {
            continue;
        }
        let Ok(document) = disk.document(&descriptor) else {
            continue;
        };
        let children: Vec<&Descriptor> = document.children().collect();
        open.extend(children.iter().map(|child| child.bare()));
        finder.look(children);
    }
    let there = |chunked: &Chunked| {
        [&chunked.layer, &chunked.index]
            .into_iter()
            .all(|content| matches!(disk.has(content), Ok(true)))
    };
    Ok(finder.chunked().filter(there).collect())
}
