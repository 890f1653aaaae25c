//! Signing: attaches a signature to a bundle, in both forms that cosign reads and, for P-256, in that of notation.
//!
//! The first is the one that samebundle verifies: a referrer that holds a sigstore bundle. The others, notation's
//! referrer and cosign's `.sig` tag, state only the digest and are written for those tools. The first is pushed first,
//! so that a bundle is never signed for others only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use samebundle_spec::manifest::{Document, Manifest};
use samebundle_spec::signing::{Bundle, RELEASE_TYPE, SigningKey, Statement, cosign, notation};
use samebundle_spec::{Descriptor, MediaType, Tag, limits};

use super::TrustError;
use crate::store::{SinkExt as _, Source, SourceExt as _, Store, StoreError};

/// The annotation of a sigstore bundle's manifest with the predicate type of its statement.
pub(super) const PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";

const CREATED_ANNOTATION: &str = "org.opencontainers.image.created";

/// The annotation of a signature's manifest with the public key that made it, SubjectPublicKeyInfo in base64. It makes nobody
/// trusted: it spares a person who decides to trust the key to have it sent.
pub(super) const KEY_ANNOTATION: &str = "dev.samebundle.signature.key";

/// The manifests that signing pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The referrer's manifest.
    pub referrer: Descriptor,
    /// The manifest of notation's signature; `None` if the key is not P-256.
    pub notation: Option<Descriptor>,
    /// The manifest under cosign's tag; `None` if the store does not let its tag be set (immutable tags).
    pub cosign: Option<Descriptor>,
}

/// Signs `statement`, which is about `index`, and pushes the signature. The store must have the index.
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
    let created = release.issued.to_string();
    let more = [
        (CREATED_ANNOTATION, created),
        (KEY_ANNOTATION, STANDARD.encode(key.public().to_spki())),
    ];
    let referrer = push_bundle(store, index, document, RELEASE_TYPE, more)
        .await
        .map_err(attach)?;
    let jws = notation::sign(index, release.issued, release.expires, key);
    let notation = match jws.map_err(|error| invalid(error.to_string()))? {
        Some(signature) => Some(push_notation(store, index, signature).await.map_err(attach)?),
        None => None,
    };
    let cosign = match push_cosign(store, index, payload, key).await {
        Ok(descriptor) => Some(descriptor),
        // Registries with immutable tags take the first signature only; the referrer is what counts.
        Err(StoreError::Conflict { .. } | StoreError::Unsupported { .. }) => None,
        Err(error) => return Err(attach(error)),
    };
    Ok(Attached {
        referrer,
        notation,
        cosign,
    })
}

/// Pushes a sigstore bundle as a referrer, as cosign 3 does.
pub(super) async fn push_bundle<S: Store + ?Sized>(
    store: &S,
    subject: &Descriptor,
    document: Vec<u8>,
    predicate_type: &str,
    annotations: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<Descriptor, StoreError> {
    let layer = store
        .push_bytes(MediaType::SIGSTORE_BUNDLE, Bytes::from(document))
        .await?;
    let mut manifest = Manifest::artifact(MediaType::SIGSTORE_BUNDLE, vec![layer])
        .with_annotation("dev.sigstore.bundle.content", "dsse-envelope")
        .with_annotation(PREDICATE_ANNOTATION, predicate_type);
    for (name, value) in annotations {
        manifest = manifest.with_annotation(name, value);
    }
    push_artifact(store, subject, manifest).await
}

/// Pushes a manifest that refers to `subject`, after its empty configuration.
pub(super) async fn push_artifact<S: Store + ?Sized>(
    store: &S,
    subject: &Descriptor,
    manifest: Manifest,
) -> Result<Descriptor, StoreError> {
    store
        .push_bytes(MediaType::OCI_EMPTY, Bytes::from_static(b"{}"))
        .await?;
    let bytes = manifest.with_subject(subject.bare()).to_bytes();
    store.push_bytes(MediaType::OCI_MANIFEST, bytes.into()).await
}

async fn push_notation<S: Store + ?Sized>(
    store: &S,
    index: &Descriptor,
    signature: notation::Signature,
) -> Result<Descriptor, StoreError> {
    let layer = store
        .push_bytes(MediaType::JOSE, Bytes::from(signature.document))
        .await?;
    let manifest = Manifest::artifact(MediaType::NOTATION, vec![layer])
        .with_annotation(notation::THUMBPRINT_ANNOTATION, signature.thumbprints);
    push_artifact(store, index, manifest).await
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

/// Reads the manifest under cosign's tag. Anything but a manifest is not overwritten.
pub(super) async fn read_manifest<S: Source + ?Sized>(
    store: &S,
    found: &Descriptor,
    tag: &Tag,
) -> Result<Manifest, StoreError> {
    let bytes = store.fetch_bytes(found, limits::MANIFEST_BYTES).await?;
    match Document::parse(&bytes, &found.media_type) {
        Ok(Document::Manifest(manifest)) => Ok(manifest),
        Ok(_) => Err(StoreError::Conflict {
            subject: format!("tag {tag}"),
            why: "it holds no image manifest, as signatures of cosign have".to_owned(),
        }),
        Err(error) => Err(StoreError::Invalid {
            subject: format!("tag {tag}"),
            why: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests;
