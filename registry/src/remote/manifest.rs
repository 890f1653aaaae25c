//! Manifests and tags.
//!
//! A manifest is read whole, at most 4 MiB, hashed, and parsed strictly as the type that header, descriptor and body
//! agree on. The digest that the registry states is only compared.

use std::io;

use bytes::Bytes;
use oci_client::errors::OciErrorCode;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use samebundle_spec::manifest::Document;
use samebundle_spec::{Descriptor, Digest, Digester, MediaType, Tag, limits};
use serde::de::IgnoredAny;

use super::RemoteRepository;
use super::answer::{RequestContext, compare, header, is_page};
use super::wire::Call;
use crate::StoreError;
use crate::store::{ByteStream, Sink, Source, read_all};

/// The media types that are requested.
pub(super) fn accept() -> String {
    [
        MediaType::OCI_INDEX,
        MediaType::OCI_MANIFEST,
        MediaType::DOCKER_LIST,
        MediaType::DOCKER_MANIFEST,
        MediaType::OCI_ARTIFACT,
    ]
    .map(|media_type| media_type.to_string())
    .join(", ")
}

/// The condition under which a manifest is put under a tag.
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

/// The result of putting a manifest.
enum Put {
    /// The registry has it; this is the subject that it says it recorded.
    Done(Option<Digest>),
    /// The registry does not have everything that the manifest names.
    Incomplete(StoreError),
}

impl Put {
    fn done(self) -> Result<Option<Digest>, StoreError> {
        match self {
            Self::Done(subject) => Ok(subject),
            Self::Incomplete(error) => Err(error),
        }
    }
}

/// A manifest that was read.
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

/// The media type of a `Content-Type`, without parameters; `None` if it is not that of a manifest or index.
fn content_type(headers: &HeaderMap) -> Option<MediaType> {
    let text = header(headers, "content-type");
    let text = text.split(';').next()?.trim().to_ascii_lowercase();
    text.parse().ok().filter(MediaType::has_children)
}

/// The media type that a manifest or index states or implies, for registries that call all of them JSON or
/// nothing.
fn own_type(body: &[u8]) -> Option<MediaType> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct TypeHints {
        media_type: Option<String>,
        config: Option<IgnoredAny>,
        manifests: Option<IgnoredAny>,
    }
    let hints: TypeHints = serde_json::from_slice(body).ok()?;
    match (hints.media_type.as_deref(), hints.config, hints.manifests) {
        (None | Some(""), Some(_), None) => Some(MediaType::OCI_MANIFEST),
        (None | Some(""), None, Some(_)) => Some(MediaType::OCI_INDEX),
        (text, ..) => text?.parse().ok().filter(MediaType::has_children),
    }
}

impl RemoteRepository {
    /// Reads a manifest by digest or tag; `None` if there is none.
    pub(super) async fn read_manifest(
        &self,
        at: &str,
        digest: Option<&Digest>,
    ) -> Result<Option<Read>, StoreError> {
        let mut call = Call::new(
            &self.endpoint,
            Method::GET,
            &format!("manifests/{at}"),
            "read a manifest from",
            at,
        )
        .with("accept", &accept())
        .with("accept-encoding", "identity");
        call.context.digest = digest.copied();
        let response = self.send(&call).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(call.context.refused(response).await),
        }
        examine(response, &call.context).await.map(Some)
    }

    /// The bytes that a manifest's descriptor names.
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

    /// Pushes a manifest that may exist already, and ensures that it is listed as a referrer of its subject. Blobs that the
    /// registry lacks, because they were collected after they were pushed, are sent again from the source, once.
    pub(super) async fn push_manifest(
        &self,
        descriptor: &Descriptor,
        content: ByteStream,
        source: Option<&dyn Source>,
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
        let (at, media_type) = (descriptor.digest.to_string(), &descriptor.media_type);
        let mut put = self
            .try_manifest(&at, &bytes, media_type, &Condition::None)
            .await?;
        if let (Put::Incomplete(_), Some(source)) = (&put, source) {
            for child in document.children() {
                self.push_from(child, source).await?;
            }
            put = self
                .try_manifest(&at, &bytes, media_type, &Condition::None)
                .await?;
        }
        let subject = put.done()?;
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
        let put = self.try_manifest(at, bytes, media_type, condition).await?;
        put.done()
    }

    async fn try_manifest(
        &self,
        at: &str,
        bytes: &Bytes,
        media_type: &MediaType,
        condition: &Condition,
    ) -> Result<Put, StoreError> {
        let mut call = Call::new(
            &self.endpoint,
            Method::PUT,
            &format!("manifests/{at}"),
            "push a manifest to",
            at,
        )
        .with("content-type", media_type.as_str());
        call.context.digest = at.parse().ok();
        match condition {
            Condition::Absent => call = call.with("if-none-match", "*"),
            Condition::Is(etag) if condition.is_known() => call = call.with("if-match", etag),
            Condition::Is(_) | Condition::None => {}
        }
        call.body = bytes.clone();
        let response = self.send(&call).await?;
        // 201 by the specification; some registries say 200 or 202.
        let status = response.status();
        if !matches!(status.as_u16(), 200..=202) {
            let (code, why) = call.context.words(response).await;
            let missing = matches!(
                code,
                Some(
                    OciErrorCode::ManifestBlobUnknown
                        | OciErrorCode::BlobUnknown
                        | OciErrorCode::ManifestUnknown
                )
            );
            return match missing && status.is_client_error() {
                true => Ok(Put::Incomplete(call.context.unavailable(why))),
                false => Err(call.context.classify(status, code.as_ref(), why)),
            };
        }
        compare(
            response.headers(),
            &digest_of(bytes, call.context.digest.as_ref()),
        )?;
        Ok(Put::Done(header(response.headers(), "oci-subject").parse().ok()))
    }

    /// Points a tag at a manifest that exists.
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
            &self.endpoint,
            Method::DELETE,
            &format!("manifests/{tag}"),
            "remove a tag from",
            tag.as_str(),
        );
        let response = self.send(&call).await?;
        match response.status().as_u16() {
            200 | 202 | 204 | 404 => Ok(()),
            _ => Err(call.context.refused(response).await),
        }
    }

    /// Reads the manifest that a tag names; `None` if it is absent. A denied tag is absent if the registry is known to
    /// deny whatever does not exist, and lists its tags without this one; else the error stays: denied is not absent.
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

    /// Lists all tags, page by page. A repository that does not exist has none.
    pub(super) async fn list_tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.tags_if_any().await.map(Option::unwrap_or_default)
    }

    /// Lists all tags, page by page; none if there is no such repository.
    ///
    /// # Errors
    /// If the registry cannot be asked, or denies it.
    pub async fn tags_if_any(&self) -> Result<Option<Vec<Tag>>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<Tag>>,
        }
        let call = Call::new(
            &self.endpoint,
            Method::GET,
            "tags/list",
            "list the tags of",
            "tags",
        );
        self.pages(call, "tags", |page: Page| page.tags.unwrap_or_default())
            .await
    }
}

/// Reads an answer's body as a manifest of the type that its header states.
async fn examine(response: Response, context: &RequestContext) -> Result<Read, StoreError> {
    let headers = response.headers().clone();
    if is_page(&headers, &MediaType::OCI_MANIFEST) {
        return Err(context.broken("it is a web page"));
    }
    let body = context.read(response, limits::MANIFEST_BYTES).await?;
    let Some(media_type) = content_type(&headers).or_else(|| own_type(&body)) else {
        return Err(context.broken(match header(&headers, "content-type") {
            "" => "neither it nor a Content-Type says what it is".to_owned(),
            other => format!("it is {other}, and no manifest"),
        }));
    };
    let digest = digest_of(&body, context.digest.as_ref());
    if let Some(wanted) = context.digest
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
        &format!("manifest {} of {}", context.subject, context.place),
    )?;
    let bytes = Bytes::from(body);
    let mut descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
    descriptor.artifact_type = document.artifact_type().cloned();
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
