//! Signing: pushes a signature beside a bundle, in both forms that cosign reads.
//!
//! The first is what samebundle verifies: a referrer that holds a sigstore bundle. The second, cosign's `.sig` tag, says
//! only "this digest" and is written for cosign. The referrer goes first, so that a bundle is never signed for others only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use samebundle_spec::manifest::{Document, Manifest};
use samebundle_spec::signing::{Bundle, RELEASE_TYPE, SigningKey, Statement, cosign};
use samebundle_spec::{Descriptor, MediaType, Tag, limits};

use super::TrustError;
use crate::store::{SinkExt as _, SourceExt as _, Store, StoreError};

/// What signing pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The referrer's manifest.
    pub referrer: Descriptor,
    /// The manifest under cosign's tag; none where the place does not let its tag be set (immutable tags).
    pub cosign: Option<Descriptor>,
}

/// Signs `statement`, which is about `index`, and pushes the signature. The index must be there.
///
/// Signing the same statement again changes nothing. Signatures of others under cosign's tag stay.
///
/// # Errors
/// [`TrustError::Statement`] if the statement is about something else; [`TrustError::Attach`] if it cannot be pushed.
pub async fn sign<S: Store + ?Sized>(
    store: &S,
    index: &Descriptor,
    statement: &Statement,
    key: &SigningKey,
) -> Result<Attached, TrustError> {
    let release = &statement.release;
    if statement.subject != index.digest
        || release.size != index.size
        || release.media_type != index.media_type
    {
        return Err(TrustError::Statement {
            why: format!("it is about {}, not about {}", statement.subject, index.digest),
        });
    }
    let invalid = |why: String| TrustError::Statement { why };
    let bundle = Bundle::sign(statement, key).map_err(|error| invalid(error.to_string()))?;
    let document = bundle.to_bytes().map_err(|error| invalid(error.to_string()))?;
    let payload = cosign::payload(&index.digest).map_err(|error| invalid(error.to_string()))?;
    let attach = |source| TrustError::Attach {
        subject: index.digest,
        source,
    };
    let referrer = push_referrer(store, index, statement, document)
        .await
        .map_err(attach)?;
    let cosign = match push_cosign(store, index, payload, key).await {
        Ok(descriptor) => Some(descriptor),
        // Registries with immutable tags take the first signature only; the referrer is what counts.
        Err(StoreError::Conflict { .. } | StoreError::Unsupported { .. }) => None,
        Err(error) => return Err(attach(error)),
    };
    Ok(Attached { referrer, cosign })
}

async fn push_referrer<S: Store + ?Sized>(
    store: &S,
    index: &Descriptor,
    statement: &Statement,
    document: Vec<u8>,
) -> Result<Descriptor, StoreError> {
    let layer = store
        .push_bytes(MediaType::SIGSTORE_BUNDLE, Bytes::from(document))
        .await?;
    store
        .push_bytes(MediaType::OCI_EMPTY, Bytes::from_static(b"{}"))
        .await?;
    let manifest = Manifest::artifact(MediaType::SIGSTORE_BUNDLE, vec![layer])
        .with_subject(index.bare())
        .with_annotation(
            "org.opencontainers.image.created",
            statement.release.issued.to_string(),
        )
        .with_annotation("dev.sigstore.bundle.content", "dsse-envelope")
        .with_annotation("dev.sigstore.bundle.predicateType", RELEASE_TYPE);
    store
        .push_bytes(MediaType::OCI_MANIFEST, manifest.to_bytes().into())
        .await
}

async fn push_cosign<S: Store + ?Sized>(
    store: &S,
    index: &Descriptor,
    payload: Vec<u8>,
    key: &SigningKey,
) -> Result<Descriptor, StoreError> {
    let tag = Tag::cosign(&index.digest);
    let signature = STANDARD.encode(key.sign(&payload));
    let layer = store
        .push_bytes(MediaType::COSIGN_PAYLOAD, Bytes::from(payload))
        .await?
        .with_annotation(cosign::SIGNATURE_ANNOTATION, signature);
    let mut manifest = match store.resolve(&tag).await {
        Ok(found) => read_manifest(store, &found, &tag).await?,
        Err(StoreError::NotFound { .. }) => {
            let config = store
                .push_bytes(MediaType::OCI_CONFIG, Bytes::from_static(b"{}"))
                .await?;
            Manifest::new(config, Vec::new())
        }
        Err(error) => return Err(error),
    };
    if !manifest.layers.contains(&layer) {
        manifest.layers.push(layer);
    }
    let descriptor = store
        .push_bytes(MediaType::OCI_MANIFEST, manifest.to_bytes().into())
        .await?;
    store.tag(&descriptor, &tag).await?;
    Ok(descriptor)
}

/// Reads what is under cosign's tag. Anything but a manifest is not overwritten.
async fn read_manifest<S: Store + ?Sized>(
    store: &S,
    found: &Descriptor,
    tag: &Tag,
) -> Result<Manifest, StoreError> {
    let bytes = store.fetch_bytes(found, limits::MANIFEST_BYTES).await?;
    match Document::parse(&bytes, &found.media_type) {
        Ok(Document::Manifest(manifest)) => Ok(manifest),
        Ok(Document::Index(_)) => Err(StoreError::Conflict {
            subject: format!("tag {tag}"),
            why: "it holds an index, not signatures of cosign".to_owned(),
        }),
        Err(error) => Err(StoreError::Invalid {
            subject: format!("tag {tag}"),
            why: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests;
