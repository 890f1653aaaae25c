//! Manifests and tags.
//!
//! A manifest is read whole, at most 4 MiB, hashed, and read strictly as what header, descriptor and body all say it is. The
//! registry's own word on its digest is only compared.

use std::io;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use samebundle_spec::manifest::Document;
use samebundle_spec::{Descriptor, Digest, Digester, MediaType, Tag, limits};

use super::RemoteRepository;
use super::answer::{self, Asked, compare, header, next};
use super::wire::Call;
use crate::StoreError;
use crate::store::{ByteStream, read_all};

/// The types that are asked for.
pub(super) fn accept() -> String {
    [
        MediaType::OCI_INDEX,
        MediaType::OCI_MANIFEST,
        MediaType::DOCKER_LIST,
        MediaType::DOCKER_MANIFEST,
    ]
    .map(|media_type| media_type.to_string())
    .join(", ")
}

/// On what condition a manifest is put under a tag.
#[derive(Debug)]
pub(super) enum Condition {
    None,
    /// There is no such tag.
    Absent,
    /// The tag has this entity tag.
    Is(String),
}

impl Condition {
    /// Whether the registry gave an entity tag that a condition can be made of (RFC 9110 13.1.1: a strong one).
    pub(super) fn is_known(&self) -> bool {
        matches!(self, Self::Is(etag) if etag.starts_with('"'))
    }
}

/// A manifest as it was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) descriptor: Descriptor,
    pub(super) bytes: Bytes,
    pub(super) document: Document,
    pub(super) etag: String,
}

fn digest_of(bytes: &[u8], like: Option<&Digest>) -> Digest {
    let Some(like) = like else {
        return Digest::sha256(bytes);
    };
    let mut digester = Digester::new(like.algorithm());
    digester.update(bytes);
    digester.finish()
}

/// The media type of a `Content-Type`, without parameters; `None` if there is none that is one.
fn content_type(headers: &HeaderMap) -> Option<MediaType> {
    let text = header(headers, "content-type");
    text.split(';').next()?.trim().parse().ok()
}

impl RemoteRepository {
    /// Reads a manifest by digest or tag; `None` if there is none.
    pub(super) async fn read_manifest(
        &self,
        at: &str,
        digest: Option<&Digest>,
    ) -> Result<Option<Read>, StoreError> {
        let mut call = Call::new(
            &self.place,
            Method::GET,
            &format!("manifests/{at}"),
            "send a manifest",
            at,
        )
        .with("accept", &accept())
        .with("accept-encoding", "identity");
        call.asked.digest = digest.copied();
        let response = self.client.wire.send(&self.place, &call).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(call.asked.refused(response).await),
        }
        examine(response, &call.asked).await.map(Some)
    }

    /// The content of a manifest descriptor.
    pub(super) async fn fetch_manifest(
        &self,
        descriptor: &Descriptor,
        from: u64,
    ) -> Result<ByteStream, StoreError> {
        if descriptor.size > limits::MANIFEST_BYTES {
            return Err(StoreError::TooLarge {
                digest: descriptor.digest,
                size: descriptor.size,
                limit: limits::MANIFEST_BYTES,
            });
        }
        let digest = descriptor.digest;
        let read = self
            .read_manifest(&digest.to_string(), Some(&digest))
            .await?
            .ok_or_else(|| self.not_there(descriptor))?;
        if read.descriptor.media_type != descriptor.media_type {
            return Err(StoreError::Mismatch {
                digest,
                why: format!(
                    "the registry sends it as {}, the descriptor says {}",
                    read.descriptor.media_type, descriptor.media_type
                ),
            });
        }
        let from = usize::try_from(from).map_or(read.bytes.len(), |from| from.min(read.bytes.len()));
        Ok(Box::pin(io::Cursor::new(read.bytes.slice(from..))))
    }

    /// Pushes a manifest that may be there already, and sees to it that it is found as a referrer of its subject.
    pub(super) async fn push_manifest(
        &self,
        descriptor: &Descriptor,
        content: ByteStream,
    ) -> Result<(), StoreError> {
        if self.has_already(descriptor).await? {
            return self.settle_referrer(descriptor).await;
        }
        let bytes = read_all(content, descriptor, limits::MANIFEST_BYTES).await?;
        let document = parse(
            &bytes,
            &descriptor.media_type,
            &format!("manifest {}", descriptor.digest),
        )?;
        let subject = self
            .put_manifest(
                &descriptor.digest.to_string(),
                &bytes,
                &descriptor.media_type,
                &Condition::None,
            )
            .await?;
        *self.last.lock().await = Some((descriptor.digest, bytes));
        let Some(wanted) = document.subject().map(|subject| subject.digest) else {
            return Ok(());
        };
        if subject == Some(wanted) && self.lists(&wanted, &descriptor.digest).await? {
            return Ok(());
        }
        self.add_to_fallback(&wanted, super::referrers::entry(descriptor, &document))
            .await
    }

    /// Puts a manifest under a digest or tag; returns the subject that the registry says it recorded.
    pub(super) async fn put_manifest(
        &self,
        at: &str,
        bytes: &Bytes,
        media_type: &MediaType,
        condition: &Condition,
    ) -> Result<Option<Digest>, StoreError> {
        let mut call = Call::new(
            &self.place,
            Method::PUT,
            &format!("manifests/{at}"),
            "take a manifest",
            at,
        )
        .with("content-type", media_type.as_str());
        call.asked.digest = at.parse().ok();
        match condition {
            Condition::Absent => call = call.with("if-none-match", "*"),
            Condition::Is(etag) if condition.is_known() => call = call.with("if-match", etag),
            Condition::Is(_) | Condition::None => {}
        }
        call.body = bytes.clone();
        let response = self.client.wire.send(&self.place, &call).await?;
        // 201 by the specification; some registries say 200 or 202.
        if !matches!(response.status().as_u16(), 200..=202) {
            return Err(call.asked.refused(response).await);
        }
        compare(response.headers(), &digest_of(bytes, call.asked.digest.as_ref()))?;
        Ok(header(response.headers(), "oci-subject").parse().ok())
    }

    /// Points a tag at a manifest that is there.
    pub(super) async fn put_tag(&self, descriptor: &Descriptor, tag: &Tag) -> Result<(), StoreError> {
        if !descriptor.media_type.has_children() {
            return Err(StoreError::Invalid {
                subject: format!("tag {tag}"),
                why: format!("a registry tags manifests only, not {}", descriptor.media_type),
            });
        }
        let last = self.last.lock().await.clone();
        let bytes = match last {
            Some((digest, bytes)) if digest == descriptor.digest => bytes,
            _ => {
                let content = self.fetch_manifest(descriptor, 0).await?;
                read_all(content, descriptor, limits::MANIFEST_BYTES).await?
            }
        };
        self.put_manifest(tag.as_str(), &bytes, &descriptor.media_type, &Condition::None)
            .await?;
        Ok(())
    }

    /// Removes a tag.
    pub(super) async fn delete_tag(&self, tag: &Tag) -> Result<(), StoreError> {
        let call = Call::new(
            &self.place,
            Method::DELETE,
            &format!("manifests/{tag}"),
            "remove a tag",
            tag.as_str(),
        );
        let response = self.client.wire.send(&self.place, &call).await?;
        match response.status().as_u16() {
            200 | 202 | 204 | 404 => Ok(()),
            _ => Err(call.asked.refused(response).await),
        }
    }

    /// Reads what a tag names; `None` if it is absent. A denied tag is absent if the registry is known to deny what is not
    /// there, and lists its tags without this one; else the error stays: denied is not absent.
    pub(super) async fn read_tag(&self, tag: &Tag) -> Result<Option<Read>, StoreError> {
        let denied = match self.read_manifest(tag.as_str(), None).await {
            Err(error @ StoreError::Denied { .. }) if self.known.denies_absent() => error,
            read => return read,
        };
        match self.list_tags().await {
            Ok(tags) if !tags.contains(tag) => Ok(None),
            _ => Err(denied),
        }
    }

    /// Lists all tags, page by page. A repository that is not there has none.
    pub(super) async fn list_tags(&self) -> Result<Vec<Tag>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<Tag>>,
        }
        let mut call = Call::new(&self.place, Method::GET, "tags/list", "list tags", "tags");
        let mut tags: Vec<Tag> = Vec::new();
        loop {
            let response = self.client.wire.send(&self.place, &call).await?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND if tags.is_empty() => return Ok(tags),
                _ => return Err(call.asked.refused(response).await),
            }
            let following = next(response.headers())
                .map(|address| self.place.own(&call.url, address, &call.asked))
                .transpose()?;
            let body = answer::read(response, limits::LISTING_BYTES)
                .await
                .map_err(|why| call.asked.unavailable(why))?;
            let page: Page =
                serde_json::from_slice(&body).map_err(|error| call.asked.broken(error.to_string()))?;
            let page = page.tags.unwrap_or_default();
            let empty = page.is_empty();
            tags.extend(page);
            if tags.len() > limits::TAGS {
                return Err(call.asked.invalid(format!("more than {} tags", limits::TAGS)));
            }
            match following {
                Some(url) if !empty && url != call.url => call.url = url,
                _ => break,
            }
        }
        tags.sort_unstable();
        tags.dedup();
        Ok(tags)
    }
}

/// Reads an answer's body as the manifest that its header says it is.
async fn examine(response: Response, asked: &Asked) -> Result<Read, StoreError> {
    let headers = response.headers().clone();
    let Some(media_type) = content_type(&headers) else {
        return Err(asked.broken("it has no Content-Type"));
    };
    if !media_type.has_children() {
        return Err(asked.broken(format!("it is {media_type}, and no manifest")));
    }
    let body = answer::read(response, limits::MANIFEST_BYTES)
        .await
        .map_err(|why| asked.unavailable(why))?;
    let digest = digest_of(&body, asked.digest.as_ref());
    if let Some(wanted) = asked.digest
        && wanted != digest
    {
        return Err(StoreError::Mismatch {
            digest: wanted,
            why: format!("the registry sent bytes of digest {digest}"),
        });
    }
    compare(&headers, &digest)?;
    let document = parse(
        &body,
        &media_type,
        &format!("manifest {} of {}", asked.subject, asked.place),
    )?;
    let bytes = Bytes::from(body);
    let mut descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
    descriptor.artifact_type = match &document {
        Document::Manifest(manifest) => manifest.artifact_type.clone(),
        Document::Index(index) => index.artifact_type.clone(),
    };
    Ok(Read {
        descriptor,
        bytes,
        document,
        etag: header(&headers, "etag").to_owned(),
    })
}

fn parse(bytes: &[u8], media_type: &MediaType, subject: &str) -> Result<Document, StoreError> {
    Document::parse(bytes, media_type).map_err(|error| StoreError::Invalid {
        subject: subject.to_owned(),
        why: error.to_string(),
    })
}
