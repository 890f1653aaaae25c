//! Opens the location that a request names, resolves it once, and verifies its bundle.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use samebundle_registry::StoreError;
use samebundle_registry::archive;
use samebundle_registry::layout::Layout;
use samebundle_registry::layout::{SelectError, select};
use samebundle_registry::remote::RemoteRepository;
use samebundle_registry::store::{Origin, Resolve};
use samebundle_registry::trust::{self, TrustError, TrustStore, Verified};
use samebundle_spec::bundle::Bundle;
use samebundle_spec::bundle::parameter::nearest;
use samebundle_spec::record::{Installation, Verification};
use samebundle_spec::signing::{self, Expected, Refusal, SignatureFault};
use samebundle_spec::{BundleName, Descriptor, Digest, Reference, Tag, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bring::WORKING_COPY;
use super::registry::tags_of;
use super::{LocalName, Location, LocationError, Site, VerbError, source};
use crate::foreign;
use crate::home::Home;
use crate::opened::{OpenError, OpenedBundle};
use crate::record::Installations;

/// How many tags the error of a reference without one names.
const TAGS_NAMED: usize = 5;

/// What a person accepts although the policy does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Consent {
    /// A bundle that nobody trusted has signed; recorded.
    pub allow_unsigned: bool,
    /// A version older than one seen before; recorded.
    pub allow_downgrade: bool,
}

/// A location that was opened, and the digest of the bundle in it.
#[derive(Clone, Debug)]
pub struct ResolvedBundle {
    /// The store from which content is read.
    pub source: Arc<dyn Origin>,
    /// The index, resolved once.
    pub index: Descriptor,
    /// The tag by which it was found, or which it has there.
    pub tag: Option<Tag>,
    /// The location as the policy sees it.
    pub place: signing::BundleOrigin,
    /// What the tag that was asked for promises.
    pub expected: Expected,
    /// The text of the location in records.
    pub shown: String,
    /// Its referrers that a copy leaves out.
    pub without: BTreeSet<Digest>,
}

/// When an archive is checked: whole before it is used, or blob by blob while a copy reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArchiveCheck {
    /// Before any of its content is used.
    BeforeUse,
    /// While it is copied to a store that checks every blob.
    WhileCopied,
}

/// Returns the tag of a bundle in the local store.
pub(super) fn local_tag(local: &LocalName) -> Result<Tag, VerbError> {
    let text = match &local.version {
        Some(version) => format!("{}_{}", local.name, version.as_tag()),
        None => local.name.to_string(),
    };
    Ok(text.parse()?)
}

/// Opens a location and resolves what it names, once.
///
/// # Errors
/// If it cannot be opened, or the bundle is not there.
pub(super) async fn resolve(
    site: &Site,
    location: &Location,
    check: ArchiveCheck,
) -> Result<ResolvedBundle, VerbError> {
    match location {
        Location::Registry(reference) => in_registry(site, reference).await,
        Location::Archive(path, tag) => {
            let shown = format!("archive:{}", path.display());
            let (source, (index, tag)) = in_file(site, path, tag.as_ref(), check).await?;
            Ok(local(source, index, tag, &shown))
        }
        Location::Layout(dir, tag) => {
            let layout = Layout::open(dir).await?;
            let (index, tag) = select_written(site, &layout.entries().await?, tag.as_ref())?;
            let shown = format!("layout:{}", dir.display());
            Ok(local(Arc::new(layout), index, tag, &shown))
        }
        Location::Local(name) => {
            let store = site.store().await?;
            let tag = local_tag(name)?;
            let index = match store.resolve(&tag).await {
                Err(StoreError::NotFound { .. }) if is_working_copy(site, &name.name)? => {
                    return Err(VerbError::WorkingCopy {
                        name: name.name.clone(),
                    });
                }
                Err(StoreError::NotFound { .. }) if name.version.is_some() => {
                    return Err(no_version(&store, name).await?);
                }
                Err(StoreError::NotFound { .. }) => return Err(no_bundle(site, &store, name).await?),
                outcome => outcome?,
            };
            let shown = format!("store:{}", name.name);
            Ok(local(Arc::new(store), index, Some(tag), &shown))
        }
        Location::Git(source) => Err(VerbError::OnlySource {
            text: source.to_string(),
        }),
    }
}

/// Makes the error of a version that the local store does not have, with those that it has.
async fn no_version(store: &Layout, local: &LocalName) -> Result<VerbError, VerbError> {
    let tags = store.tags().await?;
    let begin = format!("{}_", local.name);
    let there = tags.iter().filter_map(|tag| tag.as_str().strip_prefix(&begin));
    Ok(VerbError::NoVersion {
        text: local.to_string(),
        name: local.name.clone(),
        there: there.map(str::to_owned).collect(),
    })
}

/// Makes the error of a name that the local store does not have, with the nearest one that it or a list of installations has.
async fn no_bundle(site: &Site, store: &Layout, local: &LocalName) -> Result<VerbError, VerbError> {
    let tags = store.tags().await?;
    let names = tags.iter().map(Tag::as_str).filter(|tag| !tag.contains('_'));
    let names: Vec<String> = names.map(str::to_owned).collect();
    Ok(VerbError::NoBundle {
        installed: Installations::new(site.home())
            .find(&local.name)?
            .map(|one| one.bundle),
        near: nearest(local.name.as_str(), &names),
        name: local.name.clone(),
    })
}

/// Reads an installation. A version that stands behind its name has to be the one that is installed.
///
/// # Errors
/// If there is none of that name, or it has another version.
pub(super) fn installation(site: &Site, local: &LocalName) -> Result<Installation, VerbError> {
    let installation = Installations::new(site.home()).get(&local.name)?;
    match &local.version {
        Some(version) if !is_at(&installation, Some(version)) => Err(VerbError::OtherVersion {
            name: local.name.clone(),
            bundle: installation.bundle.clone(),
            installed: installation.known_version(),
            wanted: version.clone(),
        }),
        _ => Ok(installation),
    }
}

/// Chooses an entry by its tag, or by another way to write the same version if nothing has just that tag.
fn select_written(
    site: &Site,
    entries: &[Descriptor],
    tag: Option<&Tag>,
) -> Result<(Descriptor, Option<Tag>), VerbError> {
    let missing = match (select(entries, tag), tag) {
        (Err(missing @ SelectError::NoSuchTag { .. }), Some(_)) => missing,
        (selected, _) => return Ok(selected?),
    };
    for other in tag.into_iter().flat_map(Tag::other_spellings) {
        if let Ok(selected) = select(entries, Some(&other)) {
            note_spelling(site, tag, &other);
            return Ok(selected);
        }
    }
    Err(missing.into())
}

fn note_spelling(site: &Site, tag: Option<&Tag>, other: &Tag) {
    if let Some(tag) = tag {
        site.notice(format!(
            "there is no tag {tag}: {other} is taken, the same version"
        ));
    }
}

fn is_working_copy(site: &Site, name: &BundleName) -> Result<bool, VerbError> {
    let installation = Installations::new(site.home()).find(name)?;
    Ok(installation.is_some_and(|one| one.source.starts_with(WORKING_COPY)))
}

/// The same, but a name means the bundle of an installation, if there is one of that name. Another version than the installed
/// one is that of the same bundle in the local store.
///
/// # Errors
/// As [`resolve`].
pub(super) async fn resolve_installed(site: &Site, location: &Location) -> Result<ResolvedBundle, VerbError> {
    let Location::Local(local) = location else {
        return resolve(site, location, ArchiveCheck::BeforeUse).await;
    };
    let installed = Installations::new(site.home()).find(&local.name)?;
    let meant = match installed {
        Some(one) if is_at(&one, local.version.as_ref()) => return pinned(site, &one).await,
        Some(one) => one.bundle.parse().ok(),
        None => None,
    };
    let meant = LocalName {
        name: meant.unwrap_or_else(|| local.name.clone()),
        version: local.version.clone(),
    };
    resolve(site, &Location::Local(meant), ArchiveCheck::BeforeUse).await
}

/// The same, but what the local store has under a name comes first, because that is what is signed and pushed.
///
/// # Errors
/// As [`resolve`].
pub(super) async fn resolve_stored(site: &Site, location: &Location) -> Result<ResolvedBundle, VerbError> {
    match resolve(site, location, ArchiveCheck::BeforeUse).await {
        Err(VerbError::NoBundle { .. } | VerbError::NoVersion { .. }) => {
            resolve_installed(site, location).await
        }
        resolved => resolved,
    }
}

/// Tells whether an installation has a version, by that of its bundle or of the export that brought it.
fn is_at(installation: &Installation, version: Option<&Version>) -> bool {
    version.is_none_or(|version| {
        version.to_string() == installation.version || Some(version) == installation.exported.as_ref()
    })
}

/// Returns the bundle that an installation has pinned in the local store.
async fn pinned(site: &Site, installation: &Installation) -> Result<ResolvedBundle, VerbError> {
    let store = Arc::new(site.store().await?);
    Ok(local(store, installation.index.clone(), None, "store:"))
}

fn local(source: Arc<dyn Origin>, index: Descriptor, tag: Option<Tag>, shown: &str) -> ResolvedBundle {
    let shown = format!("{shown}@{}", index.digest);
    ResolvedBundle {
        source,
        index,
        tag,
        place: signing::BundleOrigin::Local,
        expected: Expected::default(),
        shown,
        without: BTreeSet::new(),
    }
}

/// Opens a file: an archive of ours, or a CNAB thick bundle.
async fn in_file(
    site: &Site,
    path: &Path,
    tag: Option<&Tag>,
    check: ArchiveCheck,
) -> Result<(Arc<dyn Origin>, (Descriptor, Option<Tag>)), VerbError> {
    let scratch = site.home().scratch();
    let copied = matches!(check, ArchiveCheck::WhileCopied);
    let opened = match archive::open_any(path, &scratch, copied).await {
        Err(StoreError::NotFound { .. }) if !path.exists() => {
            let path = path.to_owned();
            return Err(LocationError::NoFile { path }.into());
        }
        opened => opened.map_err(damaged)?,
    };
    match opened {
        archive::OpenedArchive::Layout(archive) => {
            for fault in archive.mended() {
                site.notice(format!("{fault}; the other volumes make up for it"));
            }
            let root = select_written(site, archive.entries(), tag)?;
            Ok((Arc::new(archive), root))
        }
        archive::OpenedArchive::Thick(thick) => {
            let (source, index) = foreign::compose(thick).await?;
            Ok((source, (index, None)))
        }
    }
}

async fn in_registry(site: &Site, reference: &Reference) -> Result<ResolvedBundle, VerbError> {
    let remote = site.remote(&reference.repository)?;
    let mut tag = reference.tag.clone();
    let (index, expected) = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => (remote.resolve_digest(digest).await?, Expected::default()),
        (None, Some(asked)) => {
            let (index, found) = resolve_written(site, &remote, asked).await?;
            let promised = [asked, &found].map(Expected::of_tag);
            let [asked, of_found] = promised;
            tag = Some(found);
            (index, if asked.version.is_some() { asked } else { of_found })
        }
        (None, None) => return Err(no_tag(&remote, reference).await),
    };
    Ok(ResolvedBundle {
        source: Arc::new(remote),
        shown: reference.pinned(index.digest).to_string(),
        place: signing::BundleOrigin::Registry(reference.repository.clone()),
        index,
        tag,
        expected,
        without: BTreeSet::new(),
    })
}

/// Makes the error of a reference without a tag, with the tags that there are if the registry tells them.
async fn no_tag(remote: &RemoteRepository, reference: &Reference) -> VerbError {
    let tags = tags_of(remote).await.ok().flatten().unwrap_or_default();
    let last = tags.iter().rev().take(TAGS_NAMED).map(Tag::as_str);
    let last = last.collect::<Vec<_>>().join(", ");
    let known = match last.as_str() {
        "" => String::new(),
        last => format!(", such as {last}"),
    };
    VerbError::Usage(format!(
        "{reference} needs a tag or a digest{known}; `registry tags {}` lists the tags",
        reference.repository
    ))
}

/// Resolves a tag, or another way to write the same version if just that tag is absent. A shorter tag may name any version
/// that begins so: it counts only if the bundle's own is the one that was asked for.
async fn resolve_written(
    site: &Site,
    remote: &RemoteRepository,
    tag: &Tag,
) -> Result<(Descriptor, Tag), VerbError> {
    let missing = match remote.resolve(tag).await {
        Err(missing @ StoreError::NotFound { .. }) => missing,
        resolved => return Ok((resolved?, tag.clone())),
    };
    let wanted = Version::as_written(tag.as_str()).ok();
    for other in tag.other_spellings() {
        let index = match remote.resolve(&other).await {
            Err(StoreError::NotFound { .. }) => continue,
            resolved => resolved?,
        };
        let own = match OpenedBundle::open(remote, &index).await {
            Err(OpenError::Store(error)) => return Err(error.into()),
            opened => opened.ok().map(|opened| opened.bundle.view().version.clone()),
        };
        if own == wanted {
            note_spelling(site, Some(tag), &other);
            return Ok((index, other));
        }
    }
    Err(missing.into())
}

/// Makes the error of an archive. Nobody signed an archive that breaks the rules, so a damaged one is not trusted.
pub(super) fn damaged(error: StoreError) -> VerbError {
    if error.is_damage() {
        VerbError::Damaged(error)
    } else {
        VerbError::Store(error)
    }
}

impl ResolvedBundle {
    /// Verifies the bundle by the site's own policy, or accepts it by consent.
    ///
    /// # Errors
    /// If the policy refuses it, or the location cannot be asked.
    pub(super) async fn verify(
        &self,
        site: &Site,
        consent: Consent,
    ) -> Result<Verified<Descriptor>, VerbError> {
        let trust = site.trust()?;
        self.verify_by(site, consent, &trust, BTreeSet::new()).await
    }

    /// The same before an installation, which may still fail: the release is not recorded as seen, which
    /// [`still_verified`] does afterwards.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(super) async fn verify_to_install(
        &self,
        site: &Site,
        consent: Consent,
    ) -> Result<Verified<Descriptor>, VerbError> {
        let request = trust::Request {
            record: false,
            ..self.question(site, consent)
        };
        self.decide(site, consent.allow_unsigned, request, &site.trust()?)
            .await
    }

    fn question(&self, site: &Site, consent: Consent) -> trust::Request {
        trust::Request {
            expected: self.expected.clone(),
            allow_downgrade: consent.allow_downgrade,
            ..trust::Request::new(self.index.clone(), self.place.clone(), site.now())
        }
    }

    /// The location in the record of an installation: with the tag, by which an upgrade asks again.
    pub(super) fn recorded(&self) -> String {
        match (&self.place, &self.tag) {
            (signing::BundleOrigin::Registry(repository), Some(tag)) => {
                format!("{repository}:{tag}@{}", self.index.digest)
            }
            _ => self.shown.clone(),
        }
    }

    /// The same by another policy, with attestations that are demanded in addition.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(super) async fn verify_by(
        &self,
        site: &Site,
        consent: Consent,
        trust: &TrustStore,
        attested: BTreeSet<signing::Predicate>,
    ) -> Result<Verified<Descriptor>, VerbError> {
        // Consent replaces a signature, but not an attestation that was demanded.
        let may_consent = consent.allow_unsigned && attested.is_empty();
        let request = trust::Request {
            attested,
            ..self.question(site, consent)
        };
        self.decide(site, may_consent, request, trust).await
    }

    async fn decide(
        &self,
        site: &Site,
        may_consent: bool,
        request: trust::Request,
        trust: &TrustStore,
    ) -> Result<Verified<Descriptor>, VerbError> {
        match trust::verify(self.source.as_ref(), request, trust, &site.marks()).await {
            Ok(verified) => Ok(verified),
            Err(error) if may_consent && is_unsigned(&error) => {
                site.notice(format!(
                    "taken without a trusted signature, as --allow-unsigned says: {error}"
                ));
                Ok(Verified::by_consent(self.index.clone(), "--allow-unsigned"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the tag of the bundle's version; if it has none, the tag by which it was found.
    ///
    /// # Errors
    /// If the location cannot be read.
    pub(super) async fn own_tag(&self) -> Result<Option<Tag>, VerbError> {
        Ok(self.version_tag().await?.or_else(|| self.tag.clone()))
    }

    /// Checks that a tag may name the bundle: a tag that is a version has to be the bundle's own, or the beginning of it,
    /// as `1.2` is of `1.2.3`. The tag that the bundle has at the source is kept, and one that is no version is free.
    ///
    /// # Errors
    /// If it is another version, or the location cannot be read.
    pub(super) async fn fits(&self, tag: &Tag) -> Result<(), VerbError> {
        let text = tag.as_str();
        let same = |at_source: &str| at_source == text || at_source.ends_with(&format!("_{text}"));
        let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        let named = Expected::of_tag(tag).version;
        if (named.is_none() && !plain) || self.tag.as_ref().is_some_and(|tag| same(tag.as_str())) {
            return Ok(());
        }
        match self.version_tag().await? {
            Some(own) if own != *tag && !(plain && own.as_str().starts_with(&format!("{text}."))) => {
                Err(VerbError::Usage(format!(
                    "the bundle has version {own}, and the tag {tag} would say another: leave the tag out, or give one that is no version, such as latest"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Returns the tag that follows from the bundle's version, wherever the bundle is; none for what is no bundle.
    ///
    /// # Errors
    /// If the location cannot be read.
    pub(super) async fn version_tag(&self) -> Result<Option<Tag>, VerbError> {
        match OpenedBundle::open(self.source.as_ref(), &self.index).await {
            Ok(bundle) => Ok(bundle.bundle.view().version.as_tag().parse().ok()),
            Err(OpenError::Store(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }
}

/// Tells whether consent can replace what is missing: it covers a bundle that nobody trusted has signed, and never one
/// that differs from what was signed.
fn is_unsigned(error: &TrustError) -> bool {
    matches!(error, TrustError::Refused { refusal, .. } if may_be_consented(refusal))
}

/// Tells the same of a refusal.
pub(super) fn may_be_consented(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::NoRule { .. } | Refusal::Unsigned | Refusal::TooFew { .. } => true,
        Refusal::Signature { fault, .. } => matches!(
            fault,
            SignatureFault::UnknownKey { .. }
                | SignatureFault::OtherMaterial { .. }
                | SignatureFault::OtherPredicate { .. }
                | SignatureFault::NoRule { .. }
                | SignatureFault::KeyNotInRule { .. }
                | SignatureFault::FormatNotAccepted { .. }
        ),
    }
}

/// Verifies an installation's bundle again before it is used: a key may have been removed since. A bundle that was
/// accepted by consent stays accepted. A release that is older than the newest is no rollback here: it was accepted
/// when it was installed.
///
/// # Errors
/// If it is not trusted any more.
pub(super) async fn still_verified(
    site: &Site,
    store: &Layout,
    installation: &Installation,
) -> Result<Verified<Descriptor>, VerbError> {
    if let Verification::Consent { reason } = &installation.verification {
        return Ok(Verified::by_consent(installation.index.clone(), reason.clone()));
    }
    if let Some(source) = source::of(installation) {
        return source::still_trusted(site, installation, &source);
    }
    let place = match installation.source.parse::<Reference>() {
        Ok(reference) => signing::BundleOrigin::Registry(reference.repository),
        Err(_) => signing::BundleOrigin::Local,
    };
    let request = trust::Request {
        allow_downgrade: true,
        ..trust::Request::new(installation.index.clone(), place, site.now())
    };
    Ok(trust::verify(store, request, &site.trust()?, &site.marks()).await?)
}

/// Verifies an installation's bundle again and opens it in the local store.
///
/// # Errors
/// As [`still_verified`], or if the bundle cannot be read.
pub(super) async fn open_installed(
    site: &Site,
    store: &Layout,
    installation: &Installation,
) -> Result<Verified<OpenedBundle>, VerbError> {
    let verified = still_verified(site, store, installation).await?;
    Ok(verified.open(store).await?)
}

/// Reads the bundle of an installation from the local store, which has its parameters.
///
/// # Errors
/// If it cannot be read.
pub async fn installed_bundle(home: &Home, installation: &Installation) -> Result<Bundle, VerbError> {
    let store = Layout::open(&home.store()).await?;
    Ok(OpenedBundle::open(&store, &installation.index).await?.bundle)
}
