//! `copy`, `push` and `pull`: moving bundles with everything that belongs to them.

use std::path::Path;
use std::sync::Arc;

use samebundle_registry::StoreError;
use samebundle_registry::archive;
use samebundle_registry::archive::volumes::{Cut, Volume};
use samebundle_registry::copy::{self, Copied, Options};
use samebundle_registry::layout::Layout;
use samebundle_registry::remote::RemoteRepository;
use samebundle_registry::store::{Origin, Resolve, Tags, Target};
use samebundle_registry::trust::{Verified, discover};
use samebundle_spec::signing::Expected;
use samebundle_spec::{Descriptor, Digest, Reference, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::progress::CopyMeter;
use super::resolve::{ArchiveCheck, local_tag, resolve};
use super::{Consent, LocalName, Location, ResolvedBundle, Site, VerbError};
use crate::opened::OpenedBundle;
use crate::portable;

/// Copies a bundle from any location to any location.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopyRequest {
    /// Where from.
    pub from: Location,
    /// Where to. A registry or layout without a tag takes the bundle's version as the tag.
    pub to: Location,
    /// How a file is cut; none: into one.
    #[serde(default)]
    pub volumes: Option<VolumeOptions>,
}

/// Verifies a bundle and copies it into the local store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PullRequest {
    /// Where from.
    pub from: Location,
    /// What is accepted although the policy does not.
    #[serde(default)]
    pub consent: Consent,
}

/// How an archive is cut into several files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeOptions {
    /// Largest size of a volume, bytes.
    pub size: u64,
    /// So many more volumes are written, and any so many may then be lost.
    #[serde(default)]
    pub parity: u32,
}

impl From<VolumeOptions> for Cut {
    fn from(options: VolumeOptions) -> Self {
        Self {
            size: options.size,
            parity: options.parity,
        }
    }
}

/// What was copied.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CopyReport {
    /// The bundle's index.
    pub digest: Digest,
    /// Where it is now: a reference with its tag, a path, or the local store.
    pub to: String,
    /// How many runs of its author or of an export went along.
    pub runs: usize,
    /// What moved, or the files that were written.
    #[serde(flatten)]
    pub result: CopyResult,
}

/// What moved, or the files that were written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum CopyResult {
    /// Into a location that holds blobs.
    Moved(Moved),
    /// Into an archive.
    Written(Written),
}

/// What a copy moved.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Moved {
    /// What was sent.
    pub sent: Sent,
    /// Blobs and manifests that were there.
    pub present: u64,
    /// What was taken from older versions there.
    pub reused: Bytes,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Sent {
    /// Blobs and manifests.
    pub contents: u64,
    /// Their bytes, without what was reused.
    pub bytes: u64,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Bytes {
    /// Bytes.
    pub bytes: u64,
}

/// The files of an archive.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Written {
    /// Bytes of all files.
    pub size: u64,
    /// The volumes; empty if it is one file.
    pub volumes: Vec<VolumeFile>,
}

/// One volume of an archive.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VolumeFile {
    /// Its path.
    pub file: String,
    /// Its bytes.
    pub size: u64,
}

impl From<Copied> for Moved {
    fn from(copied: Copied) -> Self {
        Self {
            sent: Sent {
                contents: copied.contents,
                bytes: copied.bytes,
            },
            present: copied.skipped,
            reused: Bytes { bytes: copied.reused },
        }
    }
}

impl Written {
    /// Lists the files of an archive that was requested as `path`.
    pub(super) fn of(path: &Path, files: &[Volume]) -> Self {
        let one = files.first().is_none_or(|file| file.path == path);
        let volumes = files.iter().filter(|_| !one).map(|file| VolumeFile {
            file: file.path.display().to_string(),
            size: file.bytes,
        });
        Self {
            size: files.iter().map(|file| file.bytes).sum(),
            volumes: volumes.collect(),
        }
    }
}

/// Copies a bundle from any location to any location, with its signatures and other referrers.
///
/// # Errors
/// If it cannot be read or written, or the destination names another digest than the bundle's.
pub async fn copy(site: &Site, request: CopyRequest) -> Result<CopyReport, VerbError> {
    let CopyRequest { from, to, volumes } = request;
    if volumes.is_some() && !matches!(to, Location::Archive(..)) {
        return Err(VerbError::Usage("only a file is cut into volumes".to_owned()));
    }
    let mut bundle = resolve(site, &from, ArchiveCheck::WhileCopied).await?;
    let runs = runs_along(site, &mut bundle, &from, &to).await?;
    let report = Box::pin(copy_resolved(site, &bundle, (&from, to), volumes)).await?;
    Ok(CopyReport { runs, ..report })
}

/// Counts the runs that a copy takes along. What came with an export of somebody stays in this home: only `history:` in
/// `samebundle.yaml` publishes runs. A copy between other places leaves nothing out.
async fn runs_along(
    site: &Site,
    bundle: &mut ResolvedBundle,
    from: &Location,
    to: &Location,
) -> Result<usize, VerbError> {
    let found = portable::travelling(bundle.source.as_ref(), &bundle.index).await?;
    if !matches!(from, Location::Local(_)) || matches!(to, Location::Local(_)) {
        return Ok(found.published_runs.saturating_add(found.private_runs));
    }
    if !found.private.is_empty() {
        site.notice(format!(
            "runs that came with an export of {} stay here: `history:` in samebundle.yaml publishes runs, and `export` carries \
             them to one person",
            bundle.shown
        ));
    }
    bundle.without = found.private;
    Ok(found.published_runs)
}

async fn copy_resolved(
    site: &Site,
    bundle: &ResolvedBundle,
    (from, to): (&Location, Location),
    volumes: Option<VolumeOptions>,
) -> Result<CopyReport, VerbError> {
    let step = |to: &str| site.step(format!("copy {} to {to}", bundle.index.digest));
    match to {
        Location::Registry(reference) => {
            let (tag, to) = destination(bundle, &reference).await?;
            let sink = site.remote(&reference.repository)?;
            never_changes(&sink, tag.as_ref(), (&to, bundle.index.digest)).await?;
            step(&to);
            match from {
                Location::Registry(from) => sink.add_sibling(&from.repository),
                from => said_if_unsigned(site, bundle, from).await?,
            }
            let copied = copy_to(site, bundle, &sink, tag).await?;
            Ok(report(&bundle.index, to, copied))
        }
        Location::Layout(dir, tag) => {
            let tag = layout_tag(bundle, &dir, tag).await?;
            step(&dir.display().to_string());
            let layout = Layout::create(&dir).await?;
            let copied = copy_to(site, bundle, &layout, Some(tag)).await?;
            Ok(report(&bundle.index, dir.display().to_string(), copied))
        }
        Location::Archive(path, None) => write_archive(site, bundle, &path, volumes).await,
        Location::Archive(path, Some(tag)) => Err(VerbError::Usage(format!(
            "an archive names its bundle by the bundle's own version: write archive:{} without :{tag}",
            path.display()
        ))),
        Location::Git(source) => Err(VerbError::Usage(format!(
            "{source} is a git repository, where no bundle goes: a registry is written without https://"
        ))),
        Location::Local(name) => {
            step(&format!("the local store as {name}"));
            if let Some(version) = &name.version {
                bundle.fits(&version.as_tag().parse()?).await?;
            }
            let copied = into_store(site, bundle, Some(&name)).await?;
            Ok(report(
                &bundle.index,
                format!("the local store as {}", name.name),
                copied,
            ))
        }
    }
}

/// Refuses to give the tag of a version to other content than it has in a registry.
///
/// # Errors
/// [`VerbError::Released`], or if the registry cannot be asked.
pub(super) async fn never_changes(
    sink: &RemoteRepository,
    tag: Option<&Tag>,
    (place, digest): (&str, Digest),
) -> Result<(), VerbError> {
    let Some(tag) = tag.filter(|tag| is_release(tag)) else {
        return Ok(());
    };
    match sink.resolve(tag).await {
        Ok(released) if released.digest != digest => Err(VerbError::Released {
            reference: place.to_owned(),
            released: released.digest,
        }),
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Tells whether a tag is a whole version, which stands for one content for good. `1` and `1.2` may move on.
fn is_release(tag: &Tag) -> bool {
    let text = tag.as_str();
    let text = text.strip_prefix('v').unwrap_or(text);
    let tag = text.parse::<Tag>();
    tag.is_ok_and(|tag| Expected::of_tag(&tag).version.is_some())
}

/// Says that what is pushed has no signature, because nobody can trust it as it is.
async fn said_if_unsigned(site: &Site, bundle: &ResolvedBundle, from: &Location) -> Result<(), VerbError> {
    let (source, index) = (bundle.source.as_ref(), &bundle.index);
    let found = discover::signatures(source, index).await?;
    let signed = !found.documents.is_empty()
        || found.missed.is_some()
        || !discover::cosign_layers(source, index).await?.is_empty()
        || !discover::notation(source, index).await?.documents.is_empty();
    if !signed {
        site.notice(format!(
            "{from} is not signed: others get it only with --allow-unsigned; `sign {from}` and a second push change that"
        ));
    }
    Ok(())
}

/// Returns the tag that a bundle gets in a registry, and the text of the destination with it. The tag is the one that
/// is named, otherwise that of the bundle's version, otherwise the one at the source. A destination that names the
/// bundle's digest and no tag gets no tag.
///
/// # Errors
/// If the destination names another digest or version, or there is no tag: without one, the bundle could not be found
/// there.
pub(super) async fn destination(
    bundle: &ResolvedBundle,
    reference: &Reference,
) -> Result<(Option<Tag>, String), VerbError> {
    let digest = bundle.index.digest;
    if let Some(named) = reference.digest.filter(|named| *named != digest) {
        return Err(VerbError::Usage(format!(
            "the destination names {named}, but the bundle is {digest}: leave the digest out, or copy the other bundle"
        )));
    }
    if reference.digest.is_some() && reference.tag.is_none() {
        return Ok((None, reference.to_string()));
    }
    let tag = match &reference.tag {
        Some(tag) => {
            bundle.fits(tag).await?;
            Some(tag.clone())
        }
        None => bundle.own_tag().await?,
    };
    let tag = tag.ok_or_else(|| no_tag(&reference.to_string()))?;
    let shown = format!("{}:{tag}", reference.repository);
    Ok((Some(tag), shown))
}

async fn layout_tag(bundle: &ResolvedBundle, dir: &Path, tag: Option<Tag>) -> Result<Tag, VerbError> {
    if let Some(tag) = tag {
        bundle.fits(&tag).await?;
        return Ok(tag);
    }
    if let Some(tag) = &bundle.tag {
        return Ok(tag.clone());
    }
    let tag = bundle.version_tag().await?;
    tag.ok_or_else(|| no_tag(&format!("layout:{}", dir.display())))
}

/// The error for a bundle that could not be found again at its destination, because it would have no tag there.
fn no_tag(destination: &str) -> VerbError {
    VerbError::Usage(format!(
        "it has neither tag nor version; give it a tag: {destination}:TAG"
    ))
}

pub(super) fn report(index: &Descriptor, to: String, copied: Copied) -> CopyReport {
    CopyReport {
        digest: index.digest,
        to,
        runs: 0,
        result: CopyResult::Moved(copied.into()),
    }
}

/// Returns the options of every copy that a verb makes.
pub(super) fn options(site: &Site, tag: Option<Tag>) -> Options {
    Options {
        tag,
        progress: Some(Arc::new(CopyMeter::new(Arc::clone(&site.context.events)))),
        cancel: site.context.cancel.clone(),
        ..Options::default()
    }
}

/// Copies a resolved bundle.
///
/// # Errors
/// The error of the copy.
pub(super) async fn copy_to<T: Target + ?Sized>(
    site: &Site,
    bundle: &ResolvedBundle,
    sink: &T,
    tag: Option<Tag>,
) -> Result<Copied, VerbError> {
    let source: &dyn Origin = bundle.source.as_ref();
    let options = Options {
        without: bundle.without.clone(),
        ..options(site, tag)
    };
    Ok(copy::copy(source, sink, &bundle.index, &options).await?)
}

async fn write_archive(
    site: &Site,
    bundle: &ResolvedBundle,
    path: &Path,
    volumes: Option<VolumeOptions>,
) -> Result<CopyReport, VerbError> {
    site.step(format!("copy {} to {}", bundle.index.digest, path.display()));
    let source: &dyn Origin = bundle.source.as_ref();
    let options = archive::Options {
        format: archive::ArchiveFormat::of(path),
        copy: Options {
            without: bundle.without.clone(),
            ..options(site, None)
        },
        since: None,
        cut: volumes.map(Cut::from),
    };
    // The tag of the bundle's version makes the bytes of the file the same wherever it is written.
    let tag = bundle.own_tag().await?;
    let written = archive::write(source, &[(bundle.index.clone(), tag)], path, &options).await?;
    Ok(CopyReport {
        digest: bundle.index.digest,
        to: path.display().to_string(),
        runs: 0,
        result: CopyResult::Written(Written::of(path, &written.files)),
    })
}

/// Copies a resolved bundle into the local store under the bundle's own name and version, or under another name.
///
/// # Errors
/// If it cannot be copied, or is no bundle.
pub(super) async fn into_store(
    site: &Site,
    bundle: &ResolvedBundle,
    name: Option<&LocalName>,
) -> Result<Copied, VerbError> {
    let store = site.store().await?;
    let copied = copy_to(site, bundle, &store, None).await?;
    let opened = OpenedBundle::open(&store, &bundle.index).await?;
    name_in_store(&store, &opened, name).await?;
    Ok(copied)
}

/// Copies a verified bundle into the local store under its own name and version, and opens it there once for all later
/// steps.
///
/// # Errors
/// If it cannot be copied, or is no bundle.
pub(super) async fn verified_into_store(
    site: &Site,
    bundle: &ResolvedBundle,
    verified: Verified<Descriptor>,
    store: &Layout,
) -> Result<(Copied, Verified<OpenedBundle>), VerbError> {
    let copied = copy_to(site, bundle, store, None).await?;
    let opened: Verified<OpenedBundle> = verified.open(store).await?;
    name_in_store(store, opened.get(), None).await?;
    Ok((copied, opened))
}

/// Tags a bundle in the local store with its name, and with its name and version.
///
/// # Errors
/// If a tag cannot be set.
pub(super) async fn name_in_store(
    store: &Layout,
    bundle: &OpenedBundle,
    name: Option<&LocalName>,
) -> Result<(), VerbError> {
    let view = bundle.bundle.view();
    let own = view.name.parse().ok();
    let Some(short) = name.map(|name| name.name.clone()).or(own) else {
        // A foreign bundle whose name is not valid here is reached through its installation.
        return Ok(());
    };
    let version = name.and_then(|name| name.version.clone());
    let version = version.unwrap_or_else(|| view.version.clone());
    for version in [None, Some(version)] {
        let name = LocalName {
            name: short.clone(),
            version,
        };
        store.tag(&bundle.index, &local_tag(&name)?).await?;
    }
    Ok(())
}

/// Verifies a bundle and copies it into the local store under its own name.
///
/// # Errors
/// If it is not trusted, cannot be copied, or has a name by which it could not be found.
pub async fn pull(site: &Site, request: PullRequest) -> Result<CopyReport, VerbError> {
    let bundle = resolve(site, &request.from, ArchiveCheck::BeforeUse).await?;
    bundle.verify(site, request.consent).await?;
    let name = OpenedBundle::open(bundle.source.as_ref(), &bundle.index).await?;
    let name = &name.bundle.view().name;
    if name.parse::<samebundle_spec::BundleName>().is_err() {
        return Err(VerbError::Usage(format!(
            "bundle {name:?} has a name that cannot be used here: give one with `copy {} NAME`",
            request.from
        )));
    }
    let copied = into_store(site, &bundle, None).await?;
    Ok(report(&bundle.index, "the local store".to_owned(), copied))
}
