//! Referrers of a manifest: the referrers API, or the fallback tag if a registry has no such API.
//!
//! Only 404, 405 and 501 mean "no such API"; denied, throttled and broken are errors and never "none". Each manifest that is
//! listed is read, and counts only if its subject is the requested one: a listing proves nothing. The fallback
//! tag is an index that everybody who pushes a referrer reads, extends and writes back; a condition (`If-Match`) where the
//! registry knows it, and reading it again after, twice where there is no condition, keep two writers from losing each
//! other's entry.

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use reqwest::Method;
use samebundle_spec::manifest::{Document, Index};
use samebundle_spec::{Descriptor, Digest, MediaType, Tag, limits};

use super::RemoteRepository;
use super::answer::{RequestContext, next};
use super::manifest::Condition;
use super::profile::ReferrersBy;
use super::retry::{Failure, Try};
use super::wire::Call;
use crate::StoreError;

/// Manifests that are read at one time to check their subject.
const CHECKS: usize = 4;

/// The content of the fallback tag of a subject.
enum Fallback {
    Absent,
    /// The list, and its entity tag if it came with one.
    List(Box<Index>, String),
    /// The subject itself: some registries read the tag as its digest. No list, and not to be overwritten.
    Subject,
}

/// The state of writing a list of referrers.
#[derive(Default)]
struct Writing {
    /// Our list was taken, and not seen since.
    written: bool,
    /// Our entry was seen, and is looked at once more.
    settling: bool,
    /// A list that was taken was gone when it was read.
    unseen: bool,
}

/// The descriptor of a referrer as listings show it.
pub(super) fn entry(descriptor: &Descriptor, document: &Document) -> Descriptor {
    let mut entry = descriptor.bare();
    entry.artifact_type = document.kind().cloned();
    entry.annotations.clone_from(document.annotations());
    entry
}

impl RemoteRepository {
    /// Lists the referrers of a subject, sorted by digest.
    pub(super) async fn list_referrers(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let listed = match self.ask_referrers(&subject.digest, artifact_type).await? {
            Some(listed) => listed,
            None => match self.read_fallback(&subject.digest).await? {
                Fallback::List(index, _) => index.manifests,
                Fallback::Absent | Fallback::Subject => Vec::new(),
            },
        };
        let wanted =
            |entry: &Descriptor| artifact_type.is_none_or(|kind| entry.artifact_type.as_ref() == Some(kind));
        let mut found: Vec<Descriptor> = stream::iter(listed.into_iter().filter(wanted))
            .map(|entry| self.check(subject.digest, entry))
            .buffer_unordered(CHECKS)
            .try_filter_map(|entry| async { Ok(entry) })
            .try_collect()
            .await?;
        found.sort_by_key(|entry| entry.digest);
        found.dedup_by_key(|entry| entry.digest);
        Ok(found)
    }

    /// Reads a manifest that is listed; `None` if it is gone or refers to something else.
    async fn check(&self, subject: Digest, entry: Descriptor) -> Result<Option<Descriptor>, StoreError> {
        if !entry.media_type.has_children() || entry.digest == subject {
            return Ok(None);
        }
        let Some(read) = self
            .read_manifest(&entry.digest.to_string(), Some(&entry.digest))
            .await?
        else {
            tracing::warn!(place = %self.endpoint.repository, digest = %entry.digest, "a referrer that is listed is gone");
            return Ok(None);
        };
        if read.document.subject().map(|subject| subject.digest) != Some(subject) {
            tracing::warn!(place = %self.endpoint.repository, digest = %entry.digest, "listed as a referrer, but refers to something else");
            return Ok(None);
        }
        Ok(Some(self::entry(&read.descriptor, &read.document)))
    }

    /// Asks the API; `None` if the registry has none.
    pub(super) async fn ask_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Option<Vec<Descriptor>>, StoreError> {
        let query = artifact_type.map_or_else(String::new, |kind| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            format!("?{}", query.append_pair("artifactType", kind.as_str()).finish())
        });
        let mut call = Call::new(
            &self.endpoint,
            Method::GET,
            &format!("referrers/{subject}{query}"),
            "list referrers in",
            &format!("referrers of {subject}"),
        )
        .with("accept", MediaType::OCI_INDEX.as_str());
        let mut listed = Vec::new();
        let mut first = true;
        loop {
            let response = self.send(&call).await?;
            match response.status().as_u16() {
                200 => {}
                404 | 405 | 501 if first => return Ok(None),
                _ => return Err(call.context.refused(response).await),
            }
            first = false;
            let following = next(response.headers())
                .map(|address| self.endpoint.own(&call.url, address, &call.context))
                .transpose()?;
            let body = call.context.read(response, limits::MANIFEST_BYTES).await?;
            let page = match Document::parse(&body, &MediaType::OCI_INDEX) {
                Ok(Document::Index(index)) => index.manifests,
                Ok(_) => return Err(call.context.broken("it is no index")),
                Err(error) => return Err(call.context.broken(error.to_string())),
            };
            let empty = page.is_empty();
            listed.extend(page);
            if listed.len() > limits::REFERRERS {
                return Err(call
                    .context
                    .invalid(format!("more than {} referrers", limits::REFERRERS)));
            }
            match following {
                Some(url) if !empty && url != call.url => call.url = url,
                _ => return Ok(Some(listed)),
            }
        }
    }

    /// Tells whether a referrer that was just pushed, and that the registry says it recorded, is really listed by its API.
    /// This is done once for each registry: some send the header and have no list.
    pub(super) async fn lists(&self, subject: &Digest, referrer: &Digest) -> Result<bool, StoreError> {
        match self.known.referrers() {
            Some(ReferrersBy::Api) => return Ok(true),
            Some(ReferrersBy::Tag) => return Ok(false),
            None => {}
        }
        let context = self.context("list referrers in", format!("referrers of {subject}"));
        let mut attempts = self.client.wire.retry.attempts(&context);
        loop {
            let tried = match self.ask_referrers(subject, None).await? {
                None => {
                    tracing::info!(
                        place = context.place,
                        "the registry claims to list referrers and does not"
                    );
                    Try::Done(ReferrersBy::Tag)
                }
                Some(listed) if listed.iter().any(|entry| entry.digest == *referrer) => {
                    Try::Done(ReferrersBy::Api)
                }
                Some(_) => {
                    let why = "it says that it recorded a referrer, and does not list it";
                    Try::Again(Failure::Odd, why.to_owned())
                }
            };
            if let Some(by) = attempts.after(tried).await? {
                self.known.lists_referrers(by);
                return Ok(by == ReferrersBy::Api);
            }
        }
    }

    fn context(&self, operation: &'static str, subject: String) -> RequestContext {
        RequestContext {
            place: self.endpoint.name.clone(),
            operation,
            subject,
            digest: None,
        }
    }

    /// Reads the fallback tag.
    async fn read_fallback(&self, subject: &Digest) -> Result<Fallback, StoreError> {
        let tag = Tag::referrers(subject);
        let Some(read) = self.read_tag(&tag).await? else {
            return Ok(Fallback::Absent);
        };
        let invalid = |why: String| StoreError::Invalid {
            subject: format!("{tag} of {}", self.endpoint.repository),
            why,
        };
        match read.document {
            _ if read.descriptor.digest == *subject => Ok(Fallback::Subject),
            Document::Index(index) if index.manifests.len() > limits::REFERRERS => Err(invalid(format!(
                "it lists more than {} referrers",
                limits::REFERRERS
            ))),
            Document::Index(index) => Ok(Fallback::List(Box::new(index), read.etag)),
            _ => Err(invalid("the fallback tag of referrers holds no index".to_owned())),
        }
    }

    /// Lists a referrer under the fallback tag of its subject.
    pub(super) async fn add_to_fallback(
        &self,
        subject: &Digest,
        entry: Descriptor,
    ) -> Result<(), StoreError> {
        // There is one writer in this process; the condition and the second read guard against writers in others.
        let _writer = self.client.fallback.lock().await;
        let tag = Tag::referrers(subject);
        let context = self.context("list a referrer in", tag.to_string());
        let mut writing = Writing::default();
        let mut attempts = self.client.wire.retry.attempts(&context);
        loop {
            let tried = self.write_fallback(subject, &tag, &entry, &mut writing).await?;
            match attempts.after(tried).await {
                Ok(None) => {}
                Ok(Some(())) => return Ok(()),
                // It was listed when it was last looked at.
                Err(_) if writing.settling => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// One attempt to list a referrer under the fallback tag.
    async fn write_fallback(
        &self,
        subject: &Digest,
        tag: &Tag,
        entry: &Descriptor,
        writing: &mut Writing,
    ) -> Result<Try<()>, StoreError> {
        let (mut index, condition) = match self.read_fallback(subject).await? {
            Fallback::Absent => {
                writing.unseen |= writing.written;
                (Box::new(Index::new(Vec::new())), Condition::Absent)
            }
            Fallback::List(index, etag) => (index, Condition::Is(etag)),
            Fallback::Subject => {
                return Err(StoreError::Conflict {
                    subject: format!("{tag} of {}", self.endpoint.repository),
                    why: "the registry has no referrers API and resolves this tag to the subject itself, so that it cannot \
                          hold signatures; export to a file, or push to another registry"
                        .to_owned(),
                });
            }
        };
        if index.manifests.iter().any(|listed| listed.digest == entry.digest) {
            if !writing.written || writing.settling || condition.is_known() {
                return Ok(Try::Done(()));
            }
            // Without conditions a writer that read before us may write after us, so the list is read once more.
            writing.settling = true;
            let why = "letting other writers of the list of referrers end";
            return Ok(Try::Again(Failure::Contended, why.to_owned()));
        }
        // The last writer wins, and it was not us.
        writing.settling = false;
        let mut lost = std::mem::take(&mut writing.written);
        if !lost {
            index.manifests.push(entry.clone());
            let bytes = Bytes::from(index.to_bytes());
            let put = self.put_manifest(tag.as_str(), &bytes, &MediaType::OCI_INDEX, &condition);
            match put.await {
                Ok(_) => writing.written = true,
                Err(StoreError::Conflict { .. }) => lost = true,
                Err(error) => return Err(error),
            }
        }
        if !lost {
            return Ok(Try::Next);
        }
        let why = match writing.unseen {
            true => {
                "the registry takes the list of referrers under this tag and does not give it back, so that it cannot hold \
                 signatures; export to a file, or push to another registry"
            }
            false => "others keep changing the list of referrers; try again",
        };
        Ok(Try::Again(Failure::Contended, why.to_owned()))
    }

    /// Ensures that a manifest that existed before is listed, because its push may have ended before the listing.
    pub(super) async fn settle_referrer(&self, descriptor: &Descriptor) -> Result<(), StoreError> {
        let digest = descriptor.digest;
        let Some(read) = self.read_manifest(&digest.to_string(), Some(&digest)).await? else {
            return Ok(());
        };
        let Some(subject) = read.document.subject().map(|subject| subject.digest) else {
            return Ok(());
        };
        if self.ask_referrers(&subject, None).await?.is_some() {
            return Ok(());
        }
        self.add_to_fallback(&subject, entry(&read.descriptor, &read.document))
            .await
    }
}
