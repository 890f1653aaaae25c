//! `store check`, `store gc`, `store forget` and `store usage`: the local store, and the space that a home takes.

use std::collections::BTreeMap;
use std::time::Duration;

use samebundle_registry::StoreError;
use samebundle_registry::layout::{self, Collected, Held, Layout};
use samebundle_registry::store::{Resolve, Tags};
use samebundle_spec::authoring::Runs;
use samebundle_spec::time::Timestamp;
use samebundle_spec::{Digest, Tag, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::resolve::local_tag;
use super::{LocalName, Site, VerbError};
use crate::Home;
use crate::record::RecordError;
use crate::upkeep::{self, Swept};

/// How long content that nothing needs is kept, unless a request says otherwise.
const GRACE: Duration = Duration::from_secs(limits::STORE_GRACE_SECONDS);

/// Checks the local store.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreCheckRequest {
    /// Only look at what is there and how large it is, without hashing.
    #[serde(default)]
    pub quick: bool,
}

/// What a check found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StoreCheckReport {
    /// Blobs that were looked at.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, a sentence each; empty if all is well.
    pub findings: Vec<String>,
}

/// Removes what nobody needs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreGcRequest {
    /// Only say what would be removed.
    #[serde(default)]
    pub dry_run: bool,
    /// Keep what was written or found in so many last seconds; none: a day.
    #[serde(default)]
    pub grace_seconds: Option<u64>,
    /// Which runs of each installation keep the bundle that they ran.
    #[serde(default = "all_runs")]
    pub runs: Runs,
}

fn all_runs() -> Runs {
    Runs::All
}

/// What was removed, or would be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreGcReport {
    /// Nothing was removed.
    pub dry_run: bool,
    /// Bytes of all that is gone.
    pub bytes: u64,
    /// Blobs and manifests of the store.
    pub contents: Vec<RemovedContent>,
    /// Files and folders elsewhere in the home.
    pub files: Vec<RemovedFile>,
    /// What nobody needs but is too young.
    pub young: Young,
    /// What was needed again meanwhile.
    pub restored: Vec<Digest>,
}

/// A blob or manifest that was removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RemovedContent {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: u64,
    /// Why it went.
    pub why: String,
    /// When it was last written or found.
    pub modified: String,
    /// For how long it was untouched.
    #[serde(skip)]
    pub age: Duration,
}

/// A file or folder that was removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RemovedFile {
    /// Its path.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// Why it went.
    pub why: String,
}

/// What is too young to be removed.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Young {
    /// Blobs and manifests.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes names of a bundle from the store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreForgetRequest {
    /// The bundle: all its names, or those of one version.
    pub name: LocalName,
}

/// The names that are gone.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StoreForgetReport {
    /// Tags of the store.
    pub forgotten: Vec<String>,
}

/// What space is taken, and for what.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StoreUsageReport {
    /// Every bundle of the store, the largest first.
    pub bundles: Vec<BundleUsage>,
    /// Bytes of each folder of the home.
    pub folders: BTreeMap<String, u64>,
    /// Bytes of all of them.
    pub total: u64,
    /// Bytes of the store's content.
    pub contents: u64,
    /// Bytes that a collection would free now.
    pub reclaimable: u64,
    /// Bytes that nobody needs but that are too young.
    pub young: u64,
}

/// What a bundle takes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BundleUsage {
    /// Its index.
    pub digest: Digest,
    /// Its tags, installations and runs.
    pub names: Vec<String>,
    /// Bytes that are its own.
    pub own: u64,
    /// Bytes that others need as well.
    pub shared: u64,
}

/// Checks that the local store is complete and undamaged. The report has the faults.
///
/// # Errors
/// If a record or the store's index cannot be read.
pub async fn store_check(site: &Site, request: StoreCheckRequest) -> Result<StoreCheckReport, VerbError> {
    let store = site.store().await?;
    site.resolve_interrupted(&site.drivers(&store)).await?;
    let held = upkeep::holdings(site.home(), Runs::All)?;
    let report = layout::check_held(&site.home().store(), !request.quick, held).await?;
    Ok(StoreCheckReport {
        blobs: report.blobs,
        bytes: report.bytes,
        findings: report.findings.iter().map(ToString::to_string).collect(),
    })
}

/// Removes content that no tag, installation, run or living writer needs.
///
/// # Errors
/// If a record cannot be read: then nothing is removed. If a manifest cannot be read: then no content is removed.
pub async fn store_gc(site: &Site, request: StoreGcRequest) -> Result<StoreGcReport, VerbError> {
    let home = site.home();
    let _one = home
        .lock("gc")
        .await
        .map_err(VerbError::io("lock", home.root()))?;
    let store = site.store_for_upkeep().await?;
    site.resolve_or_make_room(&site.drivers(&store)).await?;
    let grace = request.grace_seconds.map_or(GRACE, Duration::from_secs);
    // What no content depends on goes first: a collection of the store needs a little room on the disk.
    upkeep::holdings(home, request.runs)?;
    let now = site.context.clock.now();
    let scratch = upkeep::sweep_scratch(home, now, grace, request.dry_run);
    let mut swept = scratch.map_err(VerbError::io("sweep", &home.scratches()))?;
    swept.extend(upkeep::sweep_runs(home, now, grace, request.dry_run)?);
    let volumes = upkeep::sweep_volumes(home, request.dry_run);
    swept.extend(volumes.map_err(VerbError::io("sweep", &home.volumes()))?);
    let limits = layout::Limits {
        grace,
        dry_run: request.dry_run,
    };
    if home.is_full() && !request.dry_run {
        // Unpacked layers go without any writing.
        let dry_run = true;
        let limits = layout::Limits { dry_run, ..limits };
        let would = layout::collect(&home.store(), limits, held(home.clone(), request.runs)).await?;
        swept.extend(sweep_layers(site, &store, &would, request.dry_run).await);
    }
    let collected = layout::collect(&home.store(), limits, held(home.clone(), request.runs)).await?;
    swept.extend(sweep_layers(site, &store, &collected, request.dry_run).await);
    let contents = collected.removed.iter().map(|one| RemovedContent {
        digest: one.digest,
        bytes: one.bytes,
        why: one.why.words().to_owned(),
        modified: Timestamp::from(one.modified).to_string(),
        age: now.duration_since(one.modified).unwrap_or_default(),
    });
    Ok(StoreGcReport {
        dry_run: request.dry_run,
        bytes: collected.bytes() + swept.iter().map(|one| one.bytes).sum::<u64>(),
        contents: contents.collect(),
        files: swept
            .iter()
            .map(|one| RemovedFile {
                path: one.path.display().to_string(),
                bytes: one.bytes,
                why: one.why.to_owned(),
            })
            .collect(),
        young: Young {
            contents: collected.young.0,
            bytes: collected.young.1,
        },
        restored: collected.restored,
    })
}

/// Removes unpacked layers of what is not needed. That it fails costs only space.
async fn sweep_layers(site: &Site, store: &Layout, collected: &Collected, dry_run: bool) -> Vec<Swept> {
    let why = match upkeep::sweep_layers(site.home(), store, &collected.live, dry_run).await {
        Ok(Some(swept)) => return swept,
        Ok(None) => "a run uses them".to_owned(),
        Err(error) => error.to_string(),
    };
    site.notice(format!("unpacked layers stay: {why}"));
    Vec::new()
}

/// Reads from the records what they need. A record that cannot be read is an error, so that nothing is removed.
fn held(home: Home, runs: Runs) -> impl Fn() -> Result<Vec<Held>, StoreError> + Send + 'static {
    move || {
        upkeep::holdings(&home, runs).map_err(|error: RecordError| StoreError::Invalid {
            subject: "the record of an installation or run".to_owned(),
            why: error.to_string(),
        })
    }
}

/// Removes names of a bundle: all of them, or that of one version and the plain name if it means that version now.
///
/// # Errors
/// If there is no such name, or it cannot be removed.
pub async fn store_forget(site: &Site, request: StoreForgetRequest) -> Result<StoreForgetReport, VerbError> {
    let name = request.name;
    let store = site.store().await?;
    let mut tags = Vec::new();
    let plain = local_tag(&LocalName {
        name: name.name.clone(),
        version: None,
    })?;
    if name.version.is_some() {
        let tag = local_tag(&name)?;
        let index = store.resolve(&tag).await?;
        tags.push(tag);
        match store.resolve(&plain).await {
            Ok(current) if current.digest == index.digest => tags.push(plain),
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    } else {
        let prefix = format!("{plain}_");
        let of_a_version = |tag: &Tag| {
            let version = tag.as_str().strip_prefix(&prefix);
            version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        };
        let all = store.tags().await?.into_iter();
        tags.extend(all.filter(|tag| *tag == plain || of_a_version(tag)));
    }
    if tags.is_empty() {
        return Err(VerbError::Store(StoreError::NotFound {
            subject: format!("bundle {}", name.name),
            place: "the local store".to_owned(),
        }));
    }
    for tag in &tags {
        store.untag(tag).await?;
    }
    Ok(StoreForgetReport {
        forgotten: tags.iter().map(ToString::to_string).collect(),
    })
}

/// Measures how much space is used, and for what.
///
/// # Errors
/// If a record or the store's index cannot be read.
pub async fn store_usage(site: &Site) -> Result<StoreUsageReport, VerbError> {
    let home = site.home().clone();
    let held = upkeep::holdings(&home, Runs::All)?;
    let store = site.store_for_upkeep().await?;
    let used = layout::usage(store.root(), GRACE, held).await?;
    let measured = tokio::task::spawn_blocking(move || {
        ["store", "layers", "cache", "runs", "scratch"]
            .map(|name| (name.to_owned(), upkeep::size_of(&home.root().join(name))))
    });
    let folders: BTreeMap<String, u64> = measured
        .await
        .map_err(|error| VerbError::io("measure", site.home().root())(error.into()))?
        .into();
    let bundles = used.bundles.into_iter().map(|one| BundleUsage {
        digest: one.digest,
        names: one.names,
        own: one.own,
        shared: one.shared,
    });
    Ok(StoreUsageReport {
        bundles: bundles.collect(),
        total: folders.values().sum(),
        folders,
        contents: used.total,
        reclaimable: used.reclaimable,
        young: used.young,
    })
}
