//! Measures how much space the blobs of a layout take, and for whom.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use samebundle_spec::Digest;

use super::collect::{Limits, blobs, collect};
use super::disk::Disk;
use super::reach::{Held, Reach};
use crate::store::StoreError;
use crate::store::blocking::blocking;

/// A root and the space that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Its digest.
    pub digest: Digest,
    /// Who names it: tags, and records that hold it.
    pub names: Vec<String>,
    /// Bytes that would be free without it.
    pub own: u64,
    /// Bytes that others need as well.
    pub shared: u64,
}

/// The space that a layout takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Every root, the largest first.
    pub bundles: Vec<Bundle>,
    /// The size of all blobs, bytes.
    pub total: u64,
    /// Bytes that a collection would free now.
    pub reclaimable: u64,
    /// Bytes that nobody needs but that are too young to be collected.
    pub young: u64,
}

/// Measures a layout. `grace` is that of a collection.
///
/// # Errors
/// As [`collect`].
pub async fn usage(root: &Path, grace: Duration, held: Vec<Held>) -> Result<Usage, StoreError> {
    let limits = Limits { grace, dry_run: true };
    let again = held.clone();
    let free = collect(root, limits, move || Ok(again.clone())).await?;
    let root = root.to_owned();
    let mut usage = blocking(move || measure(&Disk::at(&root), &held)).await?;
    usage.reclaimable = free.bytes();
    usage.young = free.young.1;
    Ok(usage)
}

fn measure(disk: &Disk, held: &[Held]) -> Result<Usage, StoreError> {
    let mut sizes: BTreeMap<Digest, u64> = BTreeMap::new();
    for (digest, path) in blobs(&disk.root)? {
        let size = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
        sizes.insert(digest, size);
    }
    let reach = Reach::of(disk, held)?;
    let closures: Vec<_> = reach
        .roots
        .iter()
        .map(|root| reach.closure([&root.descriptor]))
        .collect();
    let mut users: BTreeMap<Digest, u32> = BTreeMap::new();
    for digest in closures.iter().flat_map(|closure| closure.keys()) {
        *users.entry(*digest).or_default() += 1;
    }
    let size = |digest: &Digest| sizes.get(digest).copied().unwrap_or(0);
    let bundle = |(root, closure): (&super::reach::Root, &BTreeMap<Digest, _>)| {
        let (own, shared): (Vec<&Digest>, Vec<&Digest>) =
            closure.keys().partition(|digest| users.get(*digest) == Some(&1));
        Bundle {
            digest: root.descriptor.digest,
            names: root.names.clone(),
            own: own.into_iter().map(size).sum(),
            shared: shared.into_iter().map(size).sum(),
        }
    };
    let mut bundles: Vec<Bundle> = reach.roots.iter().zip(&closures).map(bundle).collect();
    bundles.sort_by(|a, b| (b.own + b.shared, &a.names).cmp(&(a.own + a.shared, &b.names)));
    Ok(Usage {
        bundles,
        total: sizes.values().sum(),
        ..Usage::default()
    })
}
