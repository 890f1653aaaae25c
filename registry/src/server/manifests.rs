//! Manifests by tag and digest: GET, HEAD, PUT, DELETE (end-3, 7, 9).

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use samebundle_spec::manifest::Document;
use samebundle_spec::{Descriptor, Digest, Digester, MediaType, Tag, limits};

use super::blobs::etag;
use super::body::read;
use super::refusal::Refusal;
use super::route::{At, Name, parameters};
use super::storage::{Expected, Kept, Storage};

fn invalid(why: impl ToString) -> Refusal {
    Refusal::ManifestInvalid { why: why.to_string() }
}

/// Blobs and manifests that must exist before the manifest that names them. Layers with `urls` are stored elsewhere
/// (non-distributable); entries of an index that are of other types are blobs for all we know, and are not looked for.
fn needed(document: &Document) -> (Vec<Digest>, Vec<Digest>) {
    match document {
        Document::Manifest(_) | Document::Artifact(_) => {
            let blobs = document.children().filter(|blob| blob.urls.is_empty());
            (blobs.map(|blob| blob.digest).collect(), Vec::new())
        }
        Document::Index(index) => {
            let entries = index.manifests.iter();
            let entries = entries.filter(|entry| entry.media_type.has_children());
            (Vec::new(), entries.map(|entry| entry.digest).collect())
        }
    }
}

fn examine(bytes: Bytes, media_type: MediaType, digest: Digest) -> Result<Kept, Refusal> {
    let document = Document::parse(&bytes, &media_type).map_err(invalid)?;
    let (blobs, manifests) = needed(&document);
    let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
    let subject = document.subject().map(|subject| {
        // The entry in the referrers list of its subject (distribution-spec, "Listing Referrers").
        let mut entry = descriptor.clone();
        entry.artifact_type = document.kind().cloned();
        entry.annotations.clone_from(document.annotations());
        (subject.digest, entry)
    });
    Ok(Kept {
        descriptor,
        bytes,
        subject,
        blobs,
        manifests,
    })
}

/// Answers GET and HEAD.
pub(super) async fn get(
    storage: &Storage,
    parts: &Parts,
    repository: Name,
    at: At,
) -> Result<Response, Refusal> {
    let head = parts.method == Method::HEAD;
    let (descriptor, body) = storage
        .run(move |storage| {
            if head {
                // A client that learns that the manifest exists does not push it.
                return Ok((storage.promise_manifest(&repository, &at)?, Vec::new()));
            }
            storage.read_manifest(&repository, &at)
        })
        .await?;
    Ok(found(&descriptor, Body::from(body)))
}

/// The answer with a manifest.
pub(super) fn found(descriptor: &Descriptor, body: Body) -> Response {
    (
        [
            (header::CONTENT_TYPE, descriptor.media_type.to_string()),
            (header::CONTENT_LENGTH, descriptor.size.to_string()),
            (header::ETAG, etag(&descriptor.digest)),
        ],
        [("docker-content-digest", descriptor.digest.to_string())],
        body,
    )
        .into_response()
}

/// Answers PUT.
pub(super) async fn put(
    storage: &Storage,
    parts: &Parts,
    body: Body,
    repository: Name,
    at: At,
) -> Result<Response, Refusal> {
    let media_type = media_type(&parts.headers)?;
    let expected = condition(&parts.headers);
    let bytes = whole(parts, body, storage.rules().manifest_bytes).await?;
    let digest = match &at {
        At::Tag(_) => Digest::sha256(&bytes),
        At::Digest(digest) => {
            let mut digester = Digester::new(digest.algorithm());
            digester.update(&bytes);
            let found = digester.finish();
            if found != *digest {
                return Err(Refusal::Digest {
                    why: format!("the manifest has digest {found}, not {digest}"),
                });
            }
            found
        }
    };
    let tags = tags(parts, &at)?;
    let kept = examine(bytes, media_type, digest)?;
    let subject = kept.subject.as_ref().map(|(subject, _)| *subject);
    let location = format!("/v2/{}/manifests/{digest}", repository.as_str());
    let subject_tags = if matches!(at, At::Digest(_)) {
        tags.clone()
    } else {
        Vec::new()
    };
    storage
        .run(move |storage| storage.put_manifest(&repository, &kept, &tags, expected.as_ref()))
        .await?;
    let mut response = (
        StatusCode::CREATED,
        [(header::LOCATION, location), (header::ETAG, etag(&digest))],
        [("docker-content-digest", digest.to_string())],
    )
        .into_response();
    for tag in subject_tags {
        if let Ok(value) = HeaderValue::from_str(tag.as_str()) {
            response.headers_mut().append("oci-tag", value);
        }
    }
    if let Some(subject) = subject
        && let Ok(value) = HeaderValue::from_str(&subject.to_string())
    {
        response.headers_mut().insert("oci-subject", value);
    }
    Ok(response)
}

/// The tags that a push sets: the one of its path, or those of its `tag` parameters next to a digest.
fn tags(parts: &Parts, at: &At) -> Result<Vec<Tag>, Refusal> {
    if let At::Tag(tag) = at {
        return Ok(vec![tag.clone()]);
    }
    let tags = parameters(&parts.uri, "tag")
        .map(|text| text.parse())
        .collect::<Result<Vec<Tag>, _>>()
        .map_err(invalid)?;
    if tags.len() > limits::TAGS_AT_ONCE {
        return Err(invalid(format!("it has more than {} tags", limits::TAGS_AT_ONCE)));
    }
    Ok(tags)
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, Refusal> {
    let text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| invalid("the request has no Content-Type"))?;
    let media_type: MediaType = text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .parse()
        .map_err(invalid)?;
    if media_type.has_children() {
        Ok(media_type)
    } else {
        Err(invalid(format!("{media_type} is no type of a manifest")))
    }
}

/// `If-Match: "<digest>"` and `If-None-Match: *`, for a client that changes a tag after reading it.
fn condition(headers: &HeaderMap) -> Option<Expected> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(tag) = text(header::IF_MATCH) {
        return Some(Expected::Digest(tag.trim_matches('"').to_owned()));
    }
    text(header::IF_NONE_MATCH)
        .filter(|value| *value == "*")
        .map(|_| Expected::Nothing)
}

async fn whole(parts: &Parts, body: Body, limit: u64) -> Result<Bytes, Refusal> {
    let declared = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit) {
        return Err(Refusal::ManifestTooLarge { limit });
    }
    read(body, limit)
        .await?
        .ok_or(Refusal::ManifestTooLarge { limit })
}

/// Answers DELETE.
pub(super) async fn delete(storage: &Storage, repository: Name, at: At) -> Result<Response, Refusal> {
    storage
        .run(move |storage| {
            let subject = match &at {
                At::Tag(_) => None,
                At::Digest(_) => {
                    let (descriptor, bytes) = storage.read_manifest(&repository, &at)?;
                    let document = Document::parse(&bytes, &descriptor.media_type).map_err(invalid)?;
                    document.subject().map(|subject| subject.digest)
                }
            };
            storage.delete_manifest(&repository, &at, subject.as_ref())
        })
        .await?;
    Ok(StatusCode::ACCEPTED.into_response())
}
