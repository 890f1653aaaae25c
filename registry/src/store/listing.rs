//! A manifest as a referrer: its subject, and its descriptor in a list of referrers.

use samebundle_spec::{Descriptor, Digest, Document, MediaType, limits};

use super::StoreError;

/// A manifest that refers to another.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// The digest of its subject.
    pub(crate) subject: Digest,
    /// Its descriptor, with the artifact type and annotations of the manifest (distribution-spec 1.1, "Listing Referrers").
    pub(crate) descriptor: Descriptor,
}

/// Parses a manifest or index.
pub(crate) fn document(descriptor: &Descriptor, bytes: &[u8]) -> Result<Document, StoreError> {
    Document::parse(bytes, &descriptor.media_type).map_err(|error| StoreError::Invalid {
        subject: format!("manifest {}", descriptor.digest),
        why: error.to_string(),
    })
}

/// Reads the listing of a manifest; `None` if it has no subject.
pub(crate) fn listing(descriptor: &Descriptor, bytes: &[u8]) -> Result<Option<Listing>, StoreError> {
    let document = document(descriptor, bytes)?;
    let Some(subject) = document.subject() else {
        return Ok(None);
    };
    let mut listed = descriptor.bare();
    listed.artifact_type = document.kind().cloned();
    listed.annotations.clone_from(document.annotations());
    Ok(Some(Listing {
        subject: subject.digest,
        descriptor: listed,
    }))
}

/// Makes a list of referrers: of the type asked for, sorted by digest, each once.
pub(crate) fn list(
    found: impl IntoIterator<Item = Descriptor>,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Vec<Descriptor>, StoreError> {
    let mut list: Vec<Descriptor> = found
        .into_iter()
        .filter(|referrer| artifact_type.is_none() || referrer.artifact_type.as_ref() == artifact_type)
        .collect();
    list.sort_by_key(|referrer| referrer.digest);
    list.dedup_by_key(|referrer| referrer.digest);
    if list.len() > limits::REFERRERS {
        return Err(StoreError::Invalid {
            subject: format!("the list of referrers of {subject}"),
            why: format!("more than {} of them", limits::REFERRERS),
        });
    }
    Ok(list)
}
