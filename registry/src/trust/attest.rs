//! Attestations: documents that a build attaches to a bundle, how they are signed, and whether they are signed.
//!
//! A document (provenance, bill of materials) is a referrer without signature, the same bytes on every machine. Signing adds
//! a sigstore bundle whose statement has the document for a predicate. Both are referrers: the bundle's own digest stays.

use bytes::Bytes;
use samebundle_spec::manifest::Manifest;
use samebundle_spec::signing::{
    Attestation, KeyId, Predicate, Refusal, Rule, SignatureFault, SigningKey, attested,
};
use samebundle_spec::{Descriptor, json, limits};
use serde_json::Value;

use super::attach::{push_artifact, push_bundle};
use super::{Signer, TrustError, TrustStore, discover};
use crate::store::{Origin, SinkExt as _, Store, StoreError};

/// A verified attestation.
#[derive(Clone, Debug, PartialEq)]
pub struct Attested {
    /// The kind of the statement.
    pub kind: Predicate,
    /// Who signed it.
    pub signer: Signer,
    /// Its predicate.
    pub predicate: Value,
}

/// Attaches an unsigned document to a bundle. The same document again changes nothing.
///
/// # Errors
/// If it cannot be pushed.
pub async fn attach<S: Store + ?Sized>(
    store: &S,
    subject: &Descriptor,
    kind: Predicate,
    document: Vec<u8>,
) -> Result<Descriptor, StoreError> {
    let layer = store.push_bytes(kind.document(), Bytes::from(document)).await?;
    push_artifact(store, subject, Manifest::artifact(kind.document(), vec![layer])).await
}

/// Signs the documents that are attached to a bundle, one of each kind, and returns which there were.
///
/// This is only for a store that nobody else can write, because whoever can attach a document there gets it signed.
///
/// # Errors
/// [`TrustError::Statement`] if there are several of one kind or one is not JSON; otherwise why they cannot be read or
/// pushed.
pub async fn sign_documents<S: Store + ?Sized>(
    store: &S,
    subject: &Descriptor,
    key: &SigningKey,
) -> Result<Vec<Predicate>, TrustError> {
    let mut signed = Vec::new();
    for kind in Predicate::ALL {
        let invalid = |why: String| TrustError::Statement {
            why: format!("the {} document: {why}", kind.word()),
        };
        let documents = discover::documents(store, subject, kind).await?;
        let document = match documents.as_slice() {
            [] => continue,
            [document] => document,
            _ => {
                return Err(invalid(
                    "there are several, and one of them is not the build's".to_owned(),
                ));
            }
        };
        let predicate = json::value(document, limits::ATTESTATION_BYTES);
        let attestation = Attestation {
            name: String::new(),
            subject: subject.digest,
            kind,
            predicate: predicate.map_err(|error| invalid(error.to_string()))?,
        };
        let bundle = attestation
            .sign(key)
            .map_err(|error| invalid(error.to_string()))?;
        let bytes = bundle.to_bytes().map_err(|error| invalid(error.to_string()))?;
        push_bundle(store, subject, bytes, kind.uri(), [])
            .await
            .map_err(|source| TrustError::Attach {
                subject: subject.digest,
                source,
            })?;
        signed.push(kind);
    }
    Ok(signed)
}

/// Finds an attestation of one kind that a key of the rule signed.
///
/// # Errors
/// [`TrustError::NotAttested`] if there is none; [`TrustError::Lookup`] if it could not be found out.
pub async fn verify_attestation<S: Origin + ?Sized>(
    source: &S,
    subject: &Descriptor,
    kind: Predicate,
    rule: &Rule,
    trust: &TrustStore,
) -> Result<Attested, TrustError> {
    let found = discover::attestations(source, subject, kind).await?;
    let wanted = rule.key_ids(trust.keys());
    let mut faults = Vec::new();
    for document in &found.documents {
        match judge(document, subject, kind, trust) {
            Ok((key, attestation)) if wanted.contains(&key) => {
                return Ok(Attested {
                    kind,
                    signer: Signer::of(key, trust.keys()),
                    predicate: attestation.predicate,
                });
            }
            Ok((key, _)) => faults.push(format!("key {} is not one of the rule's", key.short())),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    if let Some(source) = found.missed {
        let subject = subject.digest;
        return Err(TrustError::Lookup { subject, source });
    }
    let none = || Refusal::Unsigned.to_string();
    Err(TrustError::NotAttested {
        subject: subject.digest,
        kind,
        why: faults.pop().unwrap_or_else(none),
    })
}

fn judge(
    document: &[u8],
    subject: &Descriptor,
    kind: Predicate,
    trust: &TrustStore,
) -> Result<(KeyId, Attestation), SignatureFault> {
    let (key, attestation) = attested(document, kind, trust.keys())?;
    if attestation.subject == subject.digest {
        Ok((key, attestation))
    } else {
        let found = attestation.subject;
        Err(SignatureFault::OtherContent { found })
    }
}

#[cfg(test)]
mod tests;
