//! Finds what is signed about a bundle: release statements, signatures of other tools, attestations.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use samebundle_spec::manifest::{Document, Manifest};
use samebundle_spec::signing::{Predicate, PublicKey, Release, Statement, cosign, examine_with};
use samebundle_spec::{Descriptor, Digest, MediaType, Tag, limits};

use super::TrustError;
use super::attach::{KEY_ANNOTATION, PREDICATE_ANNOTATION, read_manifest};
use crate::layout::Layout;
use crate::store::{Origin, Referrers, Resolve, Source, SourceExt as _, StoreError};

/// The media type that referrers have and that all sigstore bundles begin with.
const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

/// The signature documents of a bundle, as far as they could be read.
#[derive(Debug, Default)]
pub struct FoundSignatures {
    /// The documents, in the order of the referrers' digests.
    pub documents: Vec<Bytes>,
    /// Why not all could be read. If the others do not suffice, this is the error, not "unsigned".
    pub missed: Option<StoreError>,
}

/// The kind of referrer that is looked for.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// Sigstore bundles that may be signatures.
    Signature,
    /// Sigstore bundles with this predicate.
    Attestation(Predicate),
    /// Envelopes of the Notary Project.
    Notation,
}

impl Wanted {
    /// Decides by the type in a list, which may be missing or wrong (fallback tags): only a referrer that is surely of
    /// another kind is left out.
    fn may_be(self, artifact_type: Option<&MediaType>) -> bool {
        artifact_type.is_none_or(|found| match self {
            Self::Signature | Self::Attestation(_) => {
                *found == MediaType::OCI_EMPTY || found.as_str().starts_with(BUNDLE_PREFIX)
            }
            Self::Notation => *found == MediaType::NOTATION,
        })
    }

    /// Decides by the annotations of a list or a manifest. Nobody signed those, so this only saves reads: whoever can
    /// change them can as well remove the referrer.
    fn may_say(self, predicate: Option<&String>) -> bool {
        predicate.is_none_or(|found| match self {
            Self::Signature => Predicate::ALL.iter().all(|kind| kind.uri() != found),
            Self::Attestation(kind) => kind.uri() == found,
            Self::Notation => true,
        })
    }

    fn is_layer(self, media_type: &MediaType) -> bool {
        match self {
            Self::Signature | Self::Attestation(_) => media_type.as_str().starts_with(BUNDLE_PREFIX),
            Self::Notation => *media_type == MediaType::JOSE,
        }
    }

    fn limit(self) -> u64 {
        match self {
            Self::Signature | Self::Notation => limits::SIGNATURE_BYTES,
            Self::Attestation(_) => limits::ATTESTATION_BYTES,
        }
    }
}

/// Reads every sigstore bundle that refers to `subject` and is no attestation.
///
/// A referrer that turns out to be about another subject, or to hold something else, is left out: anybody who may push
/// can attach such.
///
/// # Errors
/// [`TrustError::Lookup`] if the store cannot tell; [`TrustError::TooMany`] over [`limits::SIGNATURES`].
pub async fn signatures<S>(source: &S, subject: &Descriptor) -> Result<FoundSignatures, TrustError>
where
    S: Source + Referrers + ?Sized,
{
    find(source, subject, Wanted::Signature).await
}

/// A key that signed a release of a bundle, as it travels with the signature. Nothing says whose key it is.
#[derive(Clone, Debug)]
pub struct CarriedKey {
    /// The key.
    pub key: PublicKey,
    /// The release that it signed.
    pub release: Release,
}

/// Reads the keys that travel with the release statements of a bundle, each of which has signed its statement.
///
/// # Errors
/// As [`signatures`].
pub async fn carried_keys<S>(source: &S, subject: &Descriptor) -> Result<Vec<CarriedKey>, TrustError>
where
    S: Source + Referrers + ?Sized,
{
    let lookup = |source| TrustError::Lookup {
        subject: subject.digest,
        source,
    };
    let wanted = Wanted::Signature;
    let referrers = source.referrers(subject, None).await.map_err(lookup)?;
    let may_be = |one: &&Descriptor| wanted.may_be(one.artifact_type.as_ref());
    let candidates: Vec<_> = referrers.iter().filter(may_be).collect();
    check_count(subject, candidates.len())?;
    let mut carried: Vec<CarriedKey> = Vec::new();
    for referrer in candidates {
        carried.extend(read_carried(source, subject, referrer).await.map_err(lookup)?);
    }
    carried.sort_by_key(|one| (one.key.id(), std::cmp::Reverse(one.release.sequence)));
    carried.dedup_by_key(|one| one.key.id());
    Ok(carried)
}

/// Reads the key of one signature, if it carries one that made it.
async fn read_carried<S: Source + ?Sized>(
    source: &S,
    subject: &Descriptor,
    referrer: &Descriptor,
) -> Result<Option<CarriedKey>, StoreError> {
    let wanted = Wanted::Signature;
    let Some((manifest, layer)) = only_layer(source, subject, referrer).await? else {
        return Ok(None);
    };
    let Some(key) = carried_key(&manifest).filter(|_| wanted.is_layer(&layer.media_type)) else {
        return Ok(None);
    };
    let document = source.fetch_bytes(&layer, wanted.limit()).await?;
    let signed = examine_with(&document, &key).ok();
    let signed = signed.filter(|signed| signed.statement.subject == subject.digest);
    Ok(signed.map(|signed| CarriedKey {
        key,
        release: signed.statement.release,
    }))
}

fn carried_key(manifest: &Manifest) -> Option<PublicKey> {
    let text = manifest.annotations.get(KEY_ANNOTATION)?;
    PublicKey::from_spki(&STANDARD.decode(text).ok()?).ok()
}

/// Finds other content of a store that a key has signed as the same release: under the same name and version.
///
/// # Errors
/// [`TrustError::Lookup`] if the store cannot be read.
pub async fn signed_otherwise(
    store: &Layout,
    key: &PublicKey,
    statement: &Statement,
) -> Result<Option<Digest>, TrustError> {
    let subject = statement.subject;
    let lookup = |source| TrustError::Lookup { subject, source };
    let wanted = Wanted::Signature;
    for entry in store.entries().await.map_err(lookup)? {
        let may_be = wanted.may_be(entry.artifact_type.as_ref())
            && wanted.may_say(entry.annotations.get(PREDICATE_ANNOTATION));
        if !may_be {
            continue;
        }
        let signed = read_signed(store, key, &entry).await.map_err(lookup)?;
        let same = |found: &Release| {
            found.name == statement.release.name && found.version == statement.release.version
        };
        let other = signed.filter(|found| same(&found.release) && found.subject != subject);
        if let Some(other) = other {
            return Ok(Some(other.subject));
        }
    }
    Ok(None)
}

/// Reads the statement of a manifest, if it holds one that the key has signed.
async fn read_signed(
    store: &Layout,
    key: &PublicKey,
    entry: &Descriptor,
) -> Result<Option<Statement>, StoreError> {
    let bytes = store.fetch_bytes(entry, limits::MANIFEST_BYTES).await?;
    let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, &entry.media_type) else {
        return Ok(None);
    };
    let [layer] = manifest.layers.as_slice() else {
        return Ok(None);
    };
    if !Wanted::Signature.is_layer(&layer.media_type) {
        return Ok(None);
    }
    let document = store.fetch_bytes(layer, limits::SIGNATURE_BYTES).await?;
    Ok(examine_with(&document, key).ok().map(|signed| signed.statement))
}

/// Reads every signed attestation of one kind that refers to `subject`.
///
/// # Errors
/// As [`signatures`].
pub async fn attestations<S>(
    source: &S,
    subject: &Descriptor,
    kind: Predicate,
) -> Result<FoundSignatures, TrustError>
where
    S: Source + Referrers + ?Sized,
{
    find(source, subject, Wanted::Attestation(kind)).await
}

/// Reads every envelope of the Notary Project that refers to `subject`.
///
/// # Errors
/// As [`signatures`].
pub async fn notation<S>(source: &S, subject: &Descriptor) -> Result<FoundSignatures, TrustError>
where
    S: Source + Referrers + ?Sized,
{
    find(source, subject, Wanted::Notation).await
}

/// A layer under cosign's tag: a payload and the signature over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignLayer {
    /// What is signed.
    pub payload: Bytes,
    /// The raw signature.
    pub signature: Vec<u8>,
}

/// Reads the layers under cosign's `.sig` tag; a tag that does not exist has none.
///
/// # Errors
/// As [`signatures`]; also if one of the layers cannot be read, because the missing one may be the one that counts.
pub async fn cosign_layers<S>(source: &S, subject: &Descriptor) -> Result<Vec<CosignLayer>, TrustError>
where
    S: Source + Resolve + ?Sized,
{
    let lookup = |source| TrustError::Lookup {
        subject: subject.digest,
        source,
    };
    let tag = Tag::cosign(&subject.digest);
    let manifest = match source.resolve(&tag).await {
        Ok(found) => read_manifest(source, &found, &tag).await.map_err(lookup)?,
        Err(StoreError::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(lookup(error)),
    };
    let signed: Vec<(&Descriptor, Vec<u8>)> = manifest
        .layers
        .iter()
        .filter(|layer| layer.media_type == MediaType::COSIGN_PAYLOAD)
        .filter_map(|layer| {
            let signature = layer.annotations.get(cosign::SIGNATURE_ANNOTATION)?;
            Some((layer, STANDARD.decode(signature).ok()?))
        })
        .collect();
    check_count(subject, signed.len())?;
    let mut layers = Vec::new();
    for (layer, signature) in signed {
        let payload = source.fetch_bytes(layer, limits::SIGNATURE_BYTES).await;
        layers.push(CosignLayer {
            payload: payload.map_err(lookup)?,
            signature,
        });
    }
    Ok(layers)
}

/// The unsigned documents of one kind that are attached to a bundle, as a build attaches them.
///
/// # Errors
/// As [`signatures`]; nothing that is listed may fail to be read.
pub async fn documents<S>(source: &S, subject: &Descriptor, kind: Predicate) -> Result<Vec<Bytes>, TrustError>
where
    S: Origin + ?Sized,
{
    let lookup = |source| TrustError::Lookup {
        subject: subject.digest,
        source,
    };
    let wanted = kind.document();
    let referrers = source.referrers(subject, Some(&wanted)).await.map_err(lookup)?;
    let of_kind: Vec<_> = referrers
        .iter()
        .filter(|referrer| referrer.artifact_type.as_ref() == Some(&wanted))
        .collect();
    check_count(subject, of_kind.len())?;
    let mut documents = Vec::new();
    for referrer in of_kind {
        let layer = only_layer(source, subject, referrer).await.map_err(lookup)?;
        if let Some((_, layer)) = layer.filter(|(_, layer)| layer.media_type == wanted) {
            let bytes = source.fetch_bytes(&layer, limits::ATTESTATION_BYTES).await;
            documents.push(bytes.map_err(lookup)?);
        }
    }
    Ok(documents)
}

fn check_count(subject: &Descriptor, found: usize) -> Result<(), TrustError> {
    if found > limits::SIGNATURES {
        return Err(TrustError::TooMany {
            subject: subject.digest,
            found,
        });
    }
    Ok(())
}

async fn find<S>(source: &S, subject: &Descriptor, wanted: Wanted) -> Result<FoundSignatures, TrustError>
where
    S: Source + Referrers + ?Sized,
{
    let lookup = |source| TrustError::Lookup {
        subject: subject.digest,
        source,
    };
    let referrers = source.referrers(subject, None).await.map_err(lookup)?;
    let candidates: Vec<_> = referrers
        .iter()
        .filter(|referrer| wanted.may_be(referrer.artifact_type.as_ref()))
        .filter(|referrer| wanted.may_say(referrer.annotations.get(PREDICATE_ANNOTATION)))
        .collect();
    check_count(subject, candidates.len())?;
    let mut found = FoundSignatures::default();
    for referrer in candidates {
        match read(source, subject, referrer, wanted).await {
            Ok(document) => found.documents.extend(document),
            Err(StoreError::Cancelled) => return Err(lookup(StoreError::Cancelled)),
            Err(error) => found.missed = Some(error),
        }
    }
    Ok(found)
}

/// Reads the document that a referrer holds, if it is about `subject` and holds one that is wanted.
async fn read<S: Source + ?Sized>(
    source: &S,
    subject: &Descriptor,
    referrer: &Descriptor,
    wanted: Wanted,
) -> Result<Option<Bytes>, StoreError> {
    match only_layer(source, subject, referrer).await? {
        Some((manifest, layer))
            if wanted.is_layer(&layer.media_type)
                && wanted.may_say(manifest.annotations.get(PREDICATE_ANNOTATION)) =>
        {
            source.fetch_bytes(&layer, wanted.limit()).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// The only layer of a referrer's manifest, if it is a manifest about `subject` with one.
async fn only_layer<S: Source + ?Sized>(
    source: &S,
    subject: &Descriptor,
    referrer: &Descriptor,
) -> Result<Option<(Manifest, Descriptor)>, StoreError> {
    let bytes = source.fetch_bytes(referrer, limits::MANIFEST_BYTES).await?;
    let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, &referrer.media_type) else {
        return Ok(None);
    };
    let about_subject = manifest
        .subject
        .as_ref()
        .is_some_and(|of| of.digest == subject.digest);
    match manifest.layers.as_slice() {
        [layer] if about_subject => {
            let layer = layer.clone();
            Ok(Some((manifest, layer)))
        }
        _ => Ok(None),
    }
}
