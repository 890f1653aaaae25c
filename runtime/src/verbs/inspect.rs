//! `inspect`: the graph below a bundle's index.

use std::collections::BTreeSet;

use samebundle_registry::StoreError;
use samebundle_registry::store::SourceExt;
use samebundle_spec::{Descriptor, Digest, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::resolve::resolve_installed;
use super::{Location, Site, VerbError};
use crate::portable;

/// Asks for the graph of a bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InspectRequest {
    /// The bundle.
    pub bundle: Location,
}

/// The graph of a bundle.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InspectReport {
    /// The index.
    pub digest: Digest,
    /// Every manifest and blob, each below the manifest that names it. A manifest that is named again is listed again, its
    /// children are not.
    pub nodes: Vec<GraphNode>,
    /// What refers to the index.
    pub referrers: Vec<Descriptor>,
    /// How many runs it brings with it.
    pub runs: usize,
}

/// One place in the graph.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GraphNode {
    /// 0 for the index.
    pub depth: usize,
    /// What is named there.
    pub descriptor: Descriptor,
}

/// Reads the graph below a bundle's index. Only the digests of the content are checked, no signatures.
///
/// # Errors
/// If it cannot be read, is not valid, or has more than [`limits::GRAPH_CONTENTS`] nodes.
pub async fn inspect(site: &Site, request: InspectRequest) -> Result<InspectReport, VerbError> {
    let bundle = resolve_installed(site, &request.bundle).await?;
    let mut nodes = Vec::new();
    // A manifest that is named many times is followed once: otherwise a file of a kilobyte would unfold into millions
    // of nodes.
    let mut followed = BTreeSet::new();
    let mut todo = vec![(0, bundle.index.clone())];
    while let Some((depth, descriptor)) = todo.pop() {
        let follow = depth < limits::GRAPH_DEPTH
            && descriptor.media_type.has_children()
            && followed.insert(descriptor.digest);
        if follow {
            let document = bundle.source.fetch_document(&descriptor).await?;
            let children: Vec<Descriptor> = document.children().cloned().collect();
            if nodes.len() + todo.len() + children.len() > limits::GRAPH_CONTENTS {
                return Err(too_many(&bundle.index));
            }
            todo.extend(children.into_iter().rev().map(|child| (depth + 1, child)));
        }
        nodes.push(GraphNode { depth, descriptor });
    }
    let referrers = bundle.source.referrers(&bundle.index, None).await?;
    let history = portable::history_of(&*bundle.source, &bundle.index).await?;
    Ok(InspectReport {
        digest: bundle.index.digest,
        nodes,
        referrers,
        runs: history.runs(),
    })
}

fn too_many(index: &Descriptor) -> VerbError {
    VerbError::Store(StoreError::Invalid {
        subject: format!("the graph of {}", index.digest),
        why: format!("more than {} contents", limits::GRAPH_CONTENTS),
    })
}
