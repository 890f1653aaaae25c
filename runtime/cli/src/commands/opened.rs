//! Opens the place that a user names, for reading, and verifies what is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use samebundle_registry::StoreError;
use samebundle_registry::store::{Layout, Origin, Resolve, archive};
use samebundle_registry::trust::{self, TrustError, Verified};
use samebundle_runtime::foreign;
use samebundle_spec::signing::{self, Expected, Fault, Refusal};
use samebundle_spec::{Classify, Descriptor, ErrorKind, Reference, Tag};

use crate::args::Consent;
use crate::error::CliError;
use crate::place::{LocalName, Place};
use crate::session::Session;

/// The annotation of a tag in an image layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A bundle in an open place.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Where content is read from.
    pub(crate) source: Arc<dyn Origin>,
    /// The index, resolved once.
    pub(crate) index: Descriptor,
    /// The tag that it was found by, or has there.
    pub(crate) tag: Option<Tag>,
    /// The place as the policy sees it.
    pub(crate) place: signing::Place,
    /// What the tag that was asked for promises.
    pub(crate) expected: Expected,
    /// How the place reads in records.
    pub(crate) shown: String,
}

/// The tag of a bundle in the local store.
pub(crate) fn local_tag(local: &LocalName) -> Result<Tag, CliError> {
    let text = match &local.version {
        Some(version) => format!("{}_{}", local.name, version.as_tag()),
        None => local.name.to_string(),
    };
    text.parse()
        .map_err(|error: samebundle_spec::reference::ReferenceError| CliError::Usage(error.to_string()))
}

/// Opens a place and resolves what it names, once.
///
/// # Errors
/// If it cannot be opened, or the bundle is not there.
pub(crate) async fn open(session: &Session, place: &Place) -> Result<Opened, CliError> {
    open_for(session, place, false).await
}

/// The same for who copies all of it to a place that checks what it gets.
///
/// # Errors
/// As [`open`].
pub(crate) async fn open_to_copy(session: &Session, place: &Place) -> Result<Opened, CliError> {
    open_for(session, place, true).await
}

async fn open_for(session: &Session, place: &Place, copied: bool) -> Result<Opened, CliError> {
    match place {
        Place::Registry(reference) => open_registry(session, reference).await,
        Place::Archive(path) => {
            let path = session.settings.current_dir.join(path);
            let shown = format!("archive:{}", path.display());
            let (source, (index, tag)) = open_file(session, &path, copied).await?;
            Ok(local(source, index, tag, shown))
        }
        Place::Layout(dir, tag) => {
            let dir = session.settings.current_dir.join(dir);
            let layout = Layout::open(&dir).await?;
            let (index, tag) = match tag {
                Some(tag) => (layout.resolve(tag).await?, Some(tag.clone())),
                None => only_root(&layout.entries().await?)?,
            };
            let shown = format!("layout:{}", dir.display());
            Ok(local(Arc::new(layout), index, tag, shown))
        }
        Place::Local(name) => open_local(session, name).await,
        Place::Stored(index) => {
            let shown = format!("store:{}", index.digest);
            let store = Arc::new(session.store().await?);
            Ok(local(store, index.clone(), None, shown))
        }
    }
}

fn local(source: Arc<dyn Origin>, index: Descriptor, tag: Option<Tag>, shown: String) -> Opened {
    let shown = format!("{shown}@{}", index.digest);
    Opened {
        source,
        index,
        tag,
        place: signing::Place::Local,
        expected: Expected::default(),
        shown,
    }
}

/// Opens a file: an archive of ours, or a CNAB thick bundle.
async fn open_file(
    session: &Session,
    path: &Path,
    copied: bool,
) -> Result<(Arc<dyn Origin>, (Descriptor, Option<Tag>)), CliError> {
    let scratch = session.home.scratch();
    let archive = if copied {
        archive::open_to_copy(path, &scratch).await
    } else {
        archive::open(path, &scratch).await
    };
    match archive {
        Ok(archive) => {
            for fault in archive.mended() {
                session.notice(format!("{fault}; the other volumes make up for it"));
            }
            let root = only_root(archive.entries())?;
            Ok((Arc::new(archive), root))
        }
        Err(ours) => match archive::thick::open(path, &scratch).await {
            Ok(thick) => {
                let (source, index) = foreign::compose(thick).await?;
                Ok((source, (index, None)))
            }
            // What is neither is most likely a damaged one of ours.
            Err(_) => Err(damaged(ours)),
        },
    }
}

/// The one bundle of an archive or layout that was named without a tag, and its tag: an index that is tagged, and not with a
/// tag that belongs to a signature; without any index, what is tagged, or what is there alone.
fn only_root(entries: &[Descriptor]) -> Result<(Descriptor, Option<Tag>), CliError> {
    let tag = |entry: &Descriptor| entry.annotations.get(REF_NAME).cloned();
    let is_beside = |entry: &Descriptor| tag(entry).is_some_and(|tag| tag.starts_with("sha256-"));
    let is_bundle = |entry: &&Descriptor| entry.media_type.is_index() && !is_beside(entry);
    let mut bundles: Vec<&Descriptor> = entries.iter().filter(is_bundle).collect();
    if bundles.is_empty() {
        // An image by itself, which can be copied like a bundle; signatures have no tag of their own.
        let named = |entry: &&Descriptor| tag(entry).is_some() && !is_beside(entry);
        bundles = entries.iter().filter(named).collect();
    }
    if let ([], [alone]) = (bundles.as_slice(), entries)
        && !is_beside(alone)
    {
        bundles = vec![alone];
    }
    if bundles.len() > 1 {
        bundles.retain(|entry| tag(entry).is_some());
    }
    match bundles.as_slice() {
        [bundle] => {
            let tag = tag(bundle).and_then(|tag| tag.parse().ok());
            Ok((bundle.bare(), tag))
        }
        [] => Err(CliError::Usage("there is no bundle in it".to_owned())),
        many => Err(CliError::Usage(format!(
            "it holds several bundles, name one: {}",
            tags(many)
        ))),
    }
}

fn tags(bundles: &[&Descriptor]) -> String {
    let names = bundles.iter().filter_map(|entry| entry.annotations.get(REF_NAME));
    names.cloned().collect::<Vec<_>>().join(", ")
}

async fn open_registry(session: &Session, reference: &Reference) -> Result<Opened, CliError> {
    let remote = session.remote(&reference.repository)?;
    let (index, expected) = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => (remote.resolve_digest(digest).await?, Expected::default()),
        (None, Some(tag)) => (remote.resolve(tag).await?, Expected::of_tag(tag)),
        (None, None) => return Err(CliError::Usage(format!("{reference} needs a tag or a digest"))),
    };
    Ok(Opened {
        source: Arc::new(remote),
        shown: reference.pinned(index.digest).to_string(),
        place: signing::Place::Registry(reference.repository.clone()),
        index,
        tag: reference.tag.clone(),
        expected,
    })
}

async fn open_local(session: &Session, name: &LocalName) -> Result<Opened, CliError> {
    let store = session.store().await?;
    let tag = local_tag(name)?;
    let index = store.resolve(&tag).await?;
    let shown = format!("store:{}", name.name);
    Ok(local(Arc::new(store), index, Some(tag), shown))
}

/// A file that breaks the rules of an archive is not what anybody signed.
pub(crate) fn damaged(error: StoreError) -> CliError {
    match error.kind() {
        ErrorKind::Input | ErrorKind::NotTrusted => CliError::Damaged(error),
        _ => CliError::Store(error),
    }
}

/// Verifies what was opened, or takes the user's consent.
///
/// # Errors
/// If the policy refuses it, or the place cannot be asked.
pub(crate) async fn verify(
    session: &Session,
    opened: &Opened,
    consent: &Consent,
) -> Result<Verified<Descriptor>, CliError> {
    let trust = session.trust()?;
    verify_with(session, opened, consent, &trust, BTreeSet::new()).await
}

/// The same with another policy, and attestations that are asked for beside it.
///
/// # Errors
/// As [`verify`].
pub(crate) async fn verify_with(
    session: &Session,
    opened: &Opened,
    consent: &Consent,
    trust: &trust::TrustStore,
    attested: BTreeSet<signing::Predicate>,
) -> Result<Verified<Descriptor>, CliError> {
    // Consent takes the place of a signature, not of what was asked for by name.
    let may_consent = consent.allow_unsigned && attested.is_empty();
    let request = trust::Request {
        expected: opened.expected.clone(),
        allow_downgrade: consent.allow_downgrade,
        attested,
        ..trust::Request::new(opened.index.clone(), opened.place.clone(), session.now())
    };
    match trust::verify(opened.source.as_ref(), request, trust, &session.marks()).await {
        Ok(verified) => Ok(verified),
        Err(error) if may_consent && is_unsigned(&error) => {
            session.notice(format!(
                "taken without a trusted signature, as --allow-unsigned says: {error}"
            ));
            Ok(Verified::by_consent(opened.index.clone(), "--allow-unsigned"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Consent covers "nobody trusted signed it", never "what is there is not what was signed".
fn is_unsigned(error: &TrustError) -> bool {
    let TrustError::Refused { refusal, .. } = error else {
        return false;
    };
    match refusal {
        Refusal::NoRule { .. } | Refusal::Unsigned | Refusal::TooFew { .. } => true,
        Refusal::Signature { fault, .. } => matches!(
            fault,
            Fault::UnknownKey { .. }
                | Fault::OtherMaterial { .. }
                | Fault::OtherPredicate { .. }
                | Fault::NoRule { .. }
                | Fault::KeyNotInRule { .. }
        ),
    }
}
