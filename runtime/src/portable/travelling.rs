//! Which histories of a bundle travel: those that its author wants to be seen, and not those that came with an export.
//!
//! The manifest of a history says so itself, so that whoever copies a bundle need not read its runs.

use std::collections::BTreeSet;

use samebundle_registry::Origin;
use samebundle_registry::store::SourceExt;
use samebundle_spec::manifest::{Document, Manifest};
use samebundle_spec::{Descriptor, Digest, MediaType};

use super::PortableError;

/// Says that the author asked for the runs to travel with the bundle (`history:` in `samebundle.yaml`).
const PUBLISHED: &str = "dev.samebundle.history.published";

/// Says how many runs a history holds.
const RUNS: &str = "dev.samebundle.history.runs";

/// The histories among the referrers of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Travelling {
    /// The histories that nobody has published.
    pub private: BTreeSet<Digest>,
    /// How many runs the published ones hold.
    pub published_runs: usize,
    /// How many runs the others hold.
    pub private_runs: usize,
}

/// Looks at the histories of a bundle.
///
/// # Errors
/// If the store cannot tell.
pub async fn travelling(source: &dyn Origin, index: &Descriptor) -> Result<Travelling, PortableError> {
    let mut found = Travelling::default();
    for descriptor in source.referrers(index, Some(&MediaType::HISTORY)).await? {
        let document = source.fetch_document(&descriptor).await?;
        let Document::Manifest(manifest) = document else {
            found.private.insert(descriptor.digest);
            continue;
        };
        let runs = manifest.annotations.get(RUNS);
        let runs = runs.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        match manifest.annotations.contains_key(PUBLISHED) {
            true => found.published_runs = found.published_runs.saturating_add(runs),
            false => {
                found.private_runs = found.private_runs.saturating_add(runs);
                found.private.insert(descriptor.digest);
            }
        }
    }
    Ok(found)
}

/// Writes into the manifest of a history how many runs it holds, and whether its author publishes them.
pub(super) fn described(manifest: Manifest, runs: usize, published: bool) -> Manifest {
    let manifest = manifest.with_annotation(RUNS, runs.to_string());
    match published {
        true => manifest.with_annotation(PUBLISHED, "true"),
        false => manifest,
    }
}
