//! Finding the signature documents of a bundle.

use bytes::Bytes;
use samebundle_spec::manifest::Document;
use samebundle_spec::{Descriptor, MediaType, limits};

use super::TrustError;
use crate::store::{Referrers, Source, SourceExt as _, StoreError};

/// The media type that referrers have and that all sigstore bundles begin with.
const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

/// The signature documents of a bundle, as far as they could be read.
#[derive(Debug, Default)]
pub struct Found {
    /// The sigstore bundles, in the order of the referrers' digests.
    pub documents: Vec<Bytes>,
    /// Why not all could be read. If the others do not suffice, this is the error, not "unsigned".
    pub missed: Option<StoreError>,
}

/// Reads every sigstore bundle that refers to `subject`.
///
/// A referrer that turns out to be about another subject, or to hold something else, is left out: anybody who may push
/// can attach such.
///
/// # Errors
/// [`TrustError::Lookup`] if the place cannot say; [`TrustError::TooMany`] over [`limits::SIGNATURES`].
pub async fn signatures<S>(source: &S, subject: &Descriptor) -> Result<Found, TrustError>
where
    S: Source + Referrers + ?Sized,
{
    let lookup = |source| TrustError::Lookup {
        subject: subject.digest,
        source,
    };
    let referrers = source.referrers(subject, None).await.map_err(lookup)?;
    // The type in the list may be missing or wrong (fallback tags), so only what surely is something else is left out.
    let candidates: Vec<_> = referrers
        .iter()
        .filter(|referrer| referrer.artifact_type.as_ref().is_none_or(may_hold_bundle))
        .collect();
    if candidates.len() > limits::SIGNATURES {
        return Err(TrustError::TooMany {
            subject: subject.digest,
            found: candidates.len(),
        });
    }
    let mut found = Found::default();
    for referrer in candidates {
        match read(source, subject, referrer).await {
            Ok(document) => found.documents.extend(document),
            Err(StoreError::Cancelled) => return Err(lookup(StoreError::Cancelled)),
            Err(error) => found.missed = Some(error),
        }
    }
    Ok(found)
}

/// Reads the bundle that a referrer holds, if it is about `subject` and holds one.
async fn read<S: Source + ?Sized>(
    source: &S,
    subject: &Descriptor,
    referrer: &Descriptor,
) -> Result<Option<Bytes>, StoreError> {
    let bytes = source.fetch_bytes(referrer, limits::MANIFEST_BYTES).await?;
    let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, &referrer.media_type) else {
        return Ok(None);
    };
    let about_subject = manifest
        .subject
        .as_ref()
        .is_some_and(|of| of.digest == subject.digest);
    match manifest.layers.as_slice() {
        [layer] if about_subject && layer.media_type.as_str().starts_with(BUNDLE_PREFIX) => {
            source.fetch_bytes(layer, limits::SIGNATURE_BYTES).await.map(Some)
        }
        _ => Ok(None),
    }
}

fn may_hold_bundle(artifact_type: &MediaType) -> bool {
    *artifact_type == MediaType::OCI_EMPTY || artifact_type.as_str().starts_with(BUNDLE_PREFIX)
}
