//! Source in a git repository: fetched at a commit, judged by the policy, built here, and recorded with that commit.
//!
//! It is judged before it is built, because building executes its code.

use std::path::Path;
use std::sync::Arc;

use samebundle_registry::trust::{TrustedSource, Verified};
use samebundle_registry::{Store, durable};
use samebundle_spec::git::{CommitId, GitPlace, GitSource};
use samebundle_spec::record::{Installation, Verification};
use samebundle_spec::signing::{BundleOrigin, Expected, Refusal};
use samebundle_spec::{Descriptor, Version, limits};

use super::author::{self, SiteRegistries, inputs};
use super::bring::Project;
use super::resolve::may_be_consented;
use super::{Consent, ResolvedBundle, Site, VerbError};
use crate::build::git::{self, Fetched};
use crate::build::{BuildInputs, Built, LOCK};

/// Returns the source of an installation that was built of one.
pub(super) fn of(installation: &Installation) -> Option<GitSource> {
    let is_git = installation.source.starts_with("git+");
    is_git.then(|| installation.source.parse().ok()).flatten()
}

/// Asks which commit source is at now. It is fetched into the cache, and not built.
///
/// # Errors
/// If it cannot be fetched.
pub(super) async fn commit(site: &Site, source: &GitSource) -> Result<CommitId, VerbError> {
    let fetched = git::fetch(source, &site.reach().tools, &site.context).await?;
    Ok(fetched.commit)
}

/// Fetches source, decides whether it may be built, and builds it. `before` is what it replaces.
///
/// # Errors
/// If it cannot be fetched, is not trusted, or cannot be built.
pub(super) async fn built(
    site: &Site,
    source: &GitSource,
    consent: Consent,
    before: Option<&GitSource>,
) -> Result<(ResolvedBundle, Verified<Descriptor>), VerbError> {
    site.step(format!("fetch {source}"));
    let fetched = git::fetch(source, &site.reach().tools, &site.context).await?;
    let pinned = source.pinned(&fetched.place, fetched.commit.clone());
    if let Some(before) = before {
        note_move(site, before, &pinned);
    }
    site.step(format!("verify {pinned}"));
    let trusted = judge(site, &fetched, &pinned, consent).await?;
    let scratch = site.home().scratch();
    let scratch = tempfile::tempdir_in(&scratch).map_err(VerbError::io("make a folder in", &scratch))?;
    let folder = scratch.path().join(folder_name(&fetched.place));
    std::fs::create_dir(&folder).map_err(VerbError::io("make", &folder))?;
    for note in fetched.export(&folder).await?.notes {
        site.notice(note);
    }
    let built = build(site, &folder, &fetched).await?;
    note_version(site, &pinned, &built.version);
    let bundle = ResolvedBundle {
        source: Arc::new(site.store().await?),
        index: built.index.clone(),
        tag: None,
        place: BundleOrigin::Local,
        expected: Expected::default(),
        shown: pinned.to_string(),
        without: std::collections::BTreeSet::new(),
    };
    Ok((bundle, trusted.built(built.index)))
}

/// Builds a project of the source. Where it has no choice of packages of its own, that of the first time holds.
async fn build(site: &Site, folder: &Path, fetched: &Fetched) -> Result<Built, VerbError> {
    let below = fetched.place.path.as_ref().map(|path| folder.join(path.as_str()));
    let project = match below {
        Some(file) if file.is_file() => Project::of_file(&file, Some(folder))?,
        below => Project::of_folder(below.unwrap_or_else(|| folder.to_owned()), Some(folder))?,
    };
    let store: Arc<dyn Store> = Arc::new(site.store().await?);
    let registries = SiteRegistries(site);
    let inputs = BuildInputs {
        manifest: Some(project.manifest),
        ..inputs(site, &project.folder, &store, &[], &registries)
    };
    let (lock, kept) = (project.folder.join(LOCK), fetched.kept_lock());
    if !lock.exists() && kept.exists() {
        std::fs::copy(&kept, &lock).map_err(VerbError::io("read", &kept))?;
    }
    let built = author::built(site, &inputs).await?;
    if lock.exists() {
        let chosen = durable::read_named(&lock, limits::LOCK_BYTES).map_err(VerbError::io("read", &lock))?;
        durable::write(&kept, &chosen, 0o600).map_err(VerbError::io("write", &kept))?;
    }
    Ok(built)
}

/// The name of the folder that the source is built in: that of the repository, by which a bundle without a
/// `samebundle.yaml` is called.
fn folder_name(place: &GitPlace) -> &str {
    let url = place.url.strip_suffix("/.git").unwrap_or(&place.url);
    let name = url.rsplit('/').next().unwrap_or_default();
    match name.strip_suffix(".git").unwrap_or(name) {
        "" => "source",
        name => name,
    }
}

async fn judge(
    site: &Site,
    fetched: &Fetched,
    pinned: &GitSource,
    consent: Consent,
) -> Result<TrustedSource, VerbError> {
    let trust = site.trust()?;
    let examined = fetched.signature(trust.keys()).await?;
    match TrustedSource::judge(&trust, &fetched.place.origin(), site.now(), examined) {
        Ok(trusted) => Ok(trusted),
        Err(refusal) if consent.allow_unsigned && may_be_consented(&refusal) => {
            site.notice(format!(
                "taken without a trusted signature, as --allow-unsigned says: {refusal}"
            ));
            Ok(TrustedSource::by_consent("--allow-unsigned"))
        }
        Err(refusal) => Err(refused(pinned.to_string(), refusal)),
    }
}

/// Judges the source of an installation again, by the keys that signed it.
///
/// # Errors
/// If they are not trusted for its repository any more.
pub(super) fn still_trusted(
    site: &Site,
    installation: &Installation,
    source: &GitSource,
) -> Result<Verified<Descriptor>, VerbError> {
    let signers = match &installation.verification {
        Verification::Signature { keys, .. } => keys.as_slice(),
        Verification::Consent { .. } => &[],
    };
    let places = source.places();
    let origin = places.first().map_or(BundleOrigin::Local, GitPlace::origin);
    let trusted = TrustedSource::again(&site.trust()?, &origin, site.now(), signers);
    let trusted = trusted.map_err(|refusal| refused(installation.source.clone(), refusal))?;
    Ok(trusted.built(installation.index.clone()))
}

fn refused(text: String, refusal: Refusal) -> VerbError {
    VerbError::SourceRefused { text, refusal }
}

/// Says that the tag or branch names another commit than it did when the source was installed.
fn note_move(site: &Site, before: &GitSource, now: &GitSource) {
    let is_same = before.clone().unpinned() == now.clone().unpinned();
    if let (true, Some(old), Some(new), Some(reference)) =
        (is_same, &before.commit, &now.commit, &now.reference)
        && old != new
    {
        site.notice(format!(
            "{reference} has moved: it named commit {old} when this was installed, and names {new} now"
        ));
    }
}

/// Says that the bundle has another version than the tag says.
fn note_version(site: &Site, source: &GitSource, version: &Version) {
    let tag = source.reference.as_ref().map(|reference| reference.as_str());
    let said = tag.and_then(|tag| Version::as_written(tag.strip_prefix('v').unwrap_or(tag)).ok());
    if said.is_some_and(|said| said != *version) {
        site.notice(format!(
            "samebundle.yaml has version {version} at tag {}, and that is the version of the bundle",
            tag.unwrap_or_default()
        ));
    }
}
