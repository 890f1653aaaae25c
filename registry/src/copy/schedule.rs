//! Decides which blobs may be sent: a blob is sent when the sink has everything that it waits for.
//!
//! Among the blobs that may be sent, manifests come first, because others wait for them, and then the largest, because
//! it takes longest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use samebundle_spec::Descriptor;

use crate::graph::{Graph, Key, Node, key};

/// The order of one copy.
#[derive(Debug)]
pub(super) struct Schedule<'a> {
    graph: &'a Graph,
    /// How many blobs each blob waits for.
    waits: BTreeMap<Key, usize>,
    /// Which blobs wait for each blob.
    waited: BTreeMap<Key, Vec<Key>>,
    ready: BTreeSet<(bool, Reverse<u64>, Key)>,
}

impl<'a> Schedule<'a> {
    /// Orders a graph: children before what contains them, and `root` after everything that does not contain it.
    pub(super) fn new(graph: &'a Graph, root: &Descriptor) -> Self {
        let mut schedule = Self {
            graph,
            waits: BTreeMap::new(),
            waited: BTreeMap::new(),
            ready: BTreeSet::new(),
        };
        let root = key(root);
        let containing = graph.containing(&root);
        for node in graph.nodes() {
            let own = key(&node.descriptor);
            let mut before: BTreeSet<Key> = graph.children(node).collect();
            if own == root {
                let others = graph.nodes().map(|other| key(&other.descriptor));
                before.extend(others.filter(|other| *other != root && !containing.contains(other)));
            }
            schedule.waits.insert(own, before.len());
            for other in &before {
                schedule.waited.entry(*other).or_default().push(own);
            }
            if before.is_empty() {
                schedule.free(own);
            }
        }
        schedule
    }

    fn free(&mut self, key: Key) {
        let size = self.graph.node(&key).map_or(0, |node| node.descriptor.size);
        self.ready.insert((!key.0, Reverse(size), key));
    }

    /// How many may be sent now.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The node to send next.
    pub(super) fn next(&mut self) -> Option<&'a Node> {
        let (.., key) = self.ready.pop_first()?;
        self.graph.node(&key)
    }

    /// Records that the sink has a blob.
    pub(super) fn done(&mut self, descriptor: &Descriptor) {
        for waiting in self.waited.remove(&key(descriptor)).unwrap_or_default() {
            let Some(left) = self.waits.get_mut(&waiting) else {
                continue;
            };
            *left -= 1;
            if *left == 0 {
                self.free(waiting);
            }
        }
    }
}
