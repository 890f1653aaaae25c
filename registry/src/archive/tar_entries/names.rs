//! The names of one archive, told apart as the least able file system does: case and Unicode form do not count.

use std::collections::HashMap;

use samebundle_spec::EntryPath;
use unicase::UniCase;
use unicode_normalization::UnicodeNormalization;

use super::Refusal;

/// The names seen so far, as a tree, so that a shared folder is held once.
#[derive(Debug, Default)]
pub(super) struct Names {
    nodes: HashMap<(usize, String), Node>,
}

#[derive(Debug)]
struct Node {
    id: usize,
    spelled: String,
    is_folder: bool,
    /// It has an entry of its own.
    named: bool,
}

fn fold(component: &str) -> String {
    let decomposed: String = component.nfd().collect();
    UniCase::unicode(decomposed).to_folded_case().nfd().collect()
}

impl Names {
    /// Adds a name that no other may be mistaken for.
    pub(super) fn add(&mut self, path: &EntryPath, is_folder: bool) -> Result<(), Refusal> {
        let mut parent = 0;
        let mut components = path.as_str().split('/').peekable();
        while let Some(component) = components.next() {
            let is_last = components.peek().is_none();
            let next = self.nodes.len() + 1;
            let node = self
                .nodes
                .entry((parent, fold(component)))
                .or_insert_with(|| Node {
                    id: next,
                    spelled: component.to_owned(),
                    is_folder: is_folder || !is_last,
                    named: false,
                });
            let same_kind = node.is_folder == (is_folder || !is_last);
            if node.spelled != component || !same_kind || (is_last && node.named) {
                return Err(Refusal::Collision {
                    other: node.spelled.escape_debug().collect(),
                });
            }
            node.named |= is_last;
            parent = node.id;
        }
        Ok(())
    }
}
