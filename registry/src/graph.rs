//! Finds everything that belongs to some roots: their children, their referrers, and cosign's signature tags.
//!
//! Nodes are named by digest and every manifest is checked before it is followed, so the graph has no cycles. Its size
//! is bounded by [`limits`]: the depth of indexes, the nodes of one graph, the referrers of one subject.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use samebundle_spec::{Descriptor, Digest, Document, Tag, limits};
use serde_json::Value;

use crate::chunk::Finder;
use crate::store::{Chunked, Origin, SourceExt, StoreError, document};

/// The key of a node. The same bytes may be both a manifest and a plain blob, so the key says which of them it is.
pub(crate) type Key = (bool, Digest);

/// One manifest or blob.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The manifest or blob.
    pub(crate) descriptor: Descriptor,
    /// 0 for a node without children, else one more than its highest child.
    pub(crate) height: usize,
    /// It has a subject.
    pub(crate) has_subject: bool,
    /// It was found as a referrer or by a cosign tag, or below such a manifest, and not below a root.
    pub(crate) from_referrer: bool,
    children: Vec<Key>,
}

/// Everything that belongs to some roots.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: BTreeMap<Key, Node>,
    /// Manifests that were small enough to keep, and their length together, bytes.
    kept: BTreeMap<Digest, Bytes>,
    kept_bytes: usize,
    /// Nodes where a manifest is expected, whose media type is not known as one of a manifest; other tools may know it.
    unknown: Vec<Descriptor>,
    /// Where the publishers of foreign layers offer them.
    foreign: BTreeMap<Digest, Vec<String>>,
    /// Layers that have a chunk index in the graph, by their digest.
    pub(crate) chunked: BTreeMap<Digest, Chunked>,
    finder: Finder,
    /// Tags by which cosign finds signatures, with what they point at.
    pub(crate) cosign: BTreeMap<Tag, Descriptor>,
}

/// Which edges a walk follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow<'a> {
    /// Only the children of a manifest.
    Children,
    /// Also the referrers of every manifest, their referrers in turn, and cosign's tags.
    Referrers,
    /// The same without these referrers.
    ReferrersWithout(&'a BTreeSet<Digest>),
}

/// How a node came into the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// As a root, an entry of an index, a referrer or a signature, where a manifest is expected.
    Document,
    /// As a part of a manifest.
    Part,
}

/// The edges that were found from one manifest.
struct Links {
    key: Key,
    bytes: Bytes,
    has_subject: bool,
    role_of_children: Role,
    children: Vec<Descriptor>,
    referrers: Vec<Descriptor>,
    cosign: Vec<(Tag, Descriptor)>,
}

pub(crate) fn key(descriptor: &Descriptor) -> Key {
    (descriptor.media_type.has_children(), descriptor.digest)
}

impl Graph {
    /// Walks `source` from `roots` on, asking for `concurrency` manifests at once.
    ///
    /// # Errors
    /// If a manifest cannot be read, is not valid or altered, or a limit is passed.
    pub(crate) async fn walk<O: Origin + ?Sized>(
        source: &O,
        roots: &[Descriptor],
        follow: Follow<'_>,
        concurrency: usize,
    ) -> Result<Self, StoreError> {
        let mut graph = Self::default();
        let mut frontier: Vec<Key> = Vec::new();
        for root in roots {
            graph.add(root, Role::Document, false, &mut frontier)?;
        }
        // One round finds the children and referrers of all manifests of the round before. Indexes nest, and signatures
        // may be signed again.
        for _ in 0..=2 * limits::GRAPH_DEPTH {
            if frontier.is_empty() {
                for unknown in std::mem::take(&mut graph.unknown) {
                    look_for_parts(source, &unknown).await?;
                }
                graph.measure()?;
                let chunked = std::mem::take(&mut graph.finder);
                let chunked = chunked.chunked().map(|chunked| (chunked.layer.digest, chunked));
                graph.chunked = chunked.collect();
                return Ok(graph);
            }
            let wanted: Vec<Descriptor> = std::mem::take(&mut frontier)
                .iter()
                .filter_map(|key| graph.nodes.get(key))
                .map(|node| node.descriptor.clone())
                .collect();
            let round: Vec<Links> = stream::iter(wanted)
                .map(|descriptor| read_links(source, descriptor, follow))
                .buffered(concurrency.max(1))
                .try_collect()
                .await?;
            for links in round {
                graph.add_links(links, &mut frontier)?;
            }
        }
        Err(too_deep(roots))
    }

    fn add_links(&mut self, links: Links, frontier: &mut Vec<Key>) -> Result<(), StoreError> {
        let from_referrer = self.nodes.get(&links.key).is_some_and(|node| node.from_referrer);
        self.finder.look(&links.children);
        for child in &links.children {
            self.add(child, links.role_of_children, from_referrer, frontier)?;
            if !child.urls.is_empty() {
                self.foreign.insert(child.digest, child.urls.clone());
            }
        }
        for (tag, signature) in links.cosign {
            self.add(&signature, Role::Document, true, frontier)?;
            self.cosign.insert(tag, signature);
        }
        for referrer in &links.referrers {
            self.add(&referrer.bare(), Role::Document, true, frontier)?;
        }
        if let Some(node) = self.nodes.get_mut(&links.key) {
            node.children = links.children.iter().map(key).collect();
            node.has_subject = links.has_subject;
        }
        if self.kept_bytes + links.bytes.len() <= limits::GRAPH_MANIFEST_BYTES {
            self.kept_bytes += links.bytes.len();
            self.kept.insert(links.key.1, links.bytes);
        }
        Ok(())
    }

    fn add(
        &mut self,
        descriptor: &Descriptor,
        role: Role,
        from_referrer: bool,
        frontier: &mut Vec<Key>,
    ) -> Result<(), StoreError> {
        let key = key(descriptor);
        if let Some(node) = self.nodes.get_mut(&key) {
            if node.descriptor.size != descriptor.size {
                return Err(StoreError::Invalid {
                    subject: format!("the graph of {}", descriptor.digest),
                    why: format!(
                        "descriptors give it {} and {} bytes",
                        node.descriptor.size, descriptor.size
                    ),
                });
            }
            return Ok(());
        }
        if self.nodes.len() >= limits::GRAPH_CONTENTS {
            return Err(StoreError::Invalid {
                subject: format!("the graph of {}", descriptor.digest),
                why: format!("more than {} blobs and manifests", limits::GRAPH_CONTENTS),
            });
        }
        if key.0 {
            frontier.push(key);
        } else if role == Role::Document {
            self.unknown.push(descriptor.bare());
        }
        let node = Node {
            descriptor: descriptor.bare(),
            height: 0,
            has_subject: false,
            from_referrer,
            children: Vec::new(),
        };
        self.nodes.insert(key, node);
        Ok(())
    }

    /// Sets the height of every node.
    fn measure(&mut self) -> Result<(), StoreError> {
        for _ in 0..=limits::GRAPH_DEPTH + 1 {
            let heights: BTreeMap<Key, usize> = self
                .nodes
                .iter()
                .filter(|(key, _)| key.0)
                .map(|(key, node)| (*key, self.above(node)))
                .collect();
            let mut changed = false;
            for (key, height) in heights {
                if let Some(node) = self.nodes.get_mut(&key) {
                    changed |= node.height != height;
                    node.height = height;
                }
            }
            if !changed {
                return Ok(());
            }
        }
        let roots: Vec<Descriptor> = self.nodes.values().map(|node| node.descriptor.clone()).collect();
        Err(too_deep(&roots))
    }

    fn above(&self, node: &Node) -> usize {
        let children = node.children.iter().filter_map(|child| self.nodes.get(child));
        1 + children.map(|child| child.height).max().unwrap_or(0)
    }

    /// Turns "not found" into [`StoreError::Foreign`] where the blob is a foreign layer.
    pub(crate) fn explain(&self, digest: &Digest, error: StoreError) -> StoreError {
        match (error, self.foreign.get(digest)) {
            (StoreError::NotFound { place, .. }, Some(urls)) => StoreError::Foreign {
                digest: *digest,
                place,
                urls: urls.clone(),
            },
            (StoreError::Copy { side, source }, Some(_)) => StoreError::Copy {
                side,
                source: Box::new(self.explain(digest, *source)),
            },
            (error, _) => error,
        }
    }

    /// Every node, sorted by kind and digest.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// A manifest's bytes, checked, if they were kept.
    pub(crate) fn bytes(&self, descriptor: &Descriptor) -> Option<Bytes> {
        let kept = descriptor
            .media_type
            .has_children()
            .then(|| self.kept.get(&descriptor.digest));
        kept.flatten().cloned()
    }

    /// One manifest or blob.
    pub(crate) fn node(&self, key: &Key) -> Option<&Node> {
        self.nodes.get(key)
    }

    /// The children of a node that are in the graph.
    pub(crate) fn children<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = Key> + 'a {
        let known = node
            .children
            .iter()
            .filter(|child| self.nodes.contains_key(child));
        known.copied()
    }

    /// The nodes that contain `root`, at any depth.
    pub(crate) fn containing(&self, root: &Key) -> BTreeSet<Key> {
        let mut by_height: Vec<&Node> = self.nodes.values().filter(|node| node.height > 0).collect();
        by_height.sort_by_key(|node| node.height);
        let mut containing: BTreeSet<Key> = BTreeSet::new();
        for node in by_height {
            if node
                .children
                .iter()
                .any(|child| child == root || containing.contains(child))
            {
                containing.insert(key(&node.descriptor));
            }
        }
        containing
    }
}

fn too_deep(roots: &[Descriptor]) -> StoreError {
    let root = roots.first().map(|root| root.digest.to_string());
    StoreError::Invalid {
        subject: format!("the graph of {}", root.unwrap_or_default()),
        why: format!("nested deeper than {} levels", limits::GRAPH_DEPTH),
    }
}

/// Reads one manifest and finds its edges.
async fn read_links<O: Origin + ?Sized>(
    source: &O,
    descriptor: Descriptor,
    follow: Follow<'_>,
) -> Result<Links, StoreError> {
    let bytes = source.fetch_bytes(&descriptor, limits::MANIFEST_BYTES).await?;
    let document = document(&descriptor, &bytes)?;
    let (mut referrers, cosign) = match follow {
        Follow::Children => (Vec::new(), Vec::new()),
        Follow::Referrers | Follow::ReferrersWithout(_) => (
            source.referrers(&descriptor, None).await?,
            cosign_tags(source, &descriptor.digest).await?,
        ),
    };
    if let Follow::ReferrersWithout(without) = follow {
        referrers.retain(|referrer| !without.contains(&referrer.digest));
    }
    Ok(Links {
        key: key(&descriptor),
        has_subject: document.subject().is_some(),
        role_of_children: match document {
            Document::Index(_) => Role::Document,
            Document::Manifest(_) | Document::Artifact(_) => Role::Part,
        },
        children: document.children().cloned().collect(),
        bytes,
        referrers,
        cosign,
    })
}

/// Refuses a document that names other blobs in a way that is not known, because a copy would lose them. An index may
/// also list layers and configurations, as BuildKit's caches do.
async fn look_for_parts<O: Origin + ?Sized>(source: &O, unknown: &Descriptor) -> Result<(), StoreError> {
    let refused = || StoreError::UnknownParts {
        digest: unknown.digest,
        media_type: unknown.media_type.clone(),
    };
    let text = unknown.media_type.as_str().to_ascii_lowercase();
    if text.contains("manifest") {
        return Err(refused());
    }
    if text.contains(".layer.") || text.contains(".rootfs.") || unknown.size > limits::MANIFEST_BYTES {
        return Ok(());
    }
    let bytes = source.fetch_bytes(unknown, limits::MANIFEST_BYTES).await?;
    match serde_json::from_slice(&bytes) {
        Ok(value) if names_blobs(&value) => Err(refused()),
        _ => Ok(()),
    }
}

/// Tells whether a document holds a descriptor, or what a manifest of schema 1 has instead.
fn names_blobs(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            let digest = fields.get("digest").and_then(Value::as_str);
            let is_descriptor = digest.is_some_and(|digest| digest.parse::<Digest>().is_ok())
                && fields.get("size").is_some_and(Value::is_u64);
            is_descriptor || fields.contains_key("blobSum") || fields.values().any(names_blobs)
        }
        Value::Array(items) => items.iter().any(names_blobs),
        _ => false,
    }
}

async fn cosign_tags<O: Origin + ?Sized>(
    source: &O,
    digest: &Digest,
) -> Result<Vec<(Tag, Descriptor)>, StoreError> {
    let mut found = Vec::new();
    for tag in Tag::cosign_all(digest) {
        match source.resolve(&tag).await {
            Ok(descriptor) => found.push((tag, descriptor)),
            Err(StoreError::NotFound { .. }) => {}
            // An answer that is throttled or broken never counts as "unsigned".
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
