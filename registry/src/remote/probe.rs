//! Finds out by trying what a registry can and cannot do.
//!
//! Everything is tried with random scratch blobs of this one examination, so that nothing that exists counts: two
//! blobs, a manifest and a referrer, no tag. They are removed at the end if the registry allows it; those that stay are
//! named. About 25 MiB are sent at most. Where pushes are denied, only reads are tried.
//!
//! Failure: an examination fails if the registry cannot be contacted at all; every other failure is a finding.

use bytes::Bytes;
use reqwest::{Body, Method, Response, Url};
use samebundle_spec::manifest::Manifest;
use samebundle_spec::{Descriptor, Digest, MediaType, Tag};
use serde::Serialize;

use super::RemoteRepository;
use super::answer::{self, header};
use super::auth::{Action, Scope};
use super::http::authority;
use super::manifest::Condition;
use super::profile::{Profile, ReferrersBy};
use super::upload::received;
use super::wire::{Call, StreamedBody};
use crate::StoreError;
use crate::store::SinkExt;

const MIB: u64 = 1 << 20;
/// Sizes of a first part that are tried, bytes, largest first.
const PARTS: [u64; 3] = [8 * MIB, 4 * MIB, MIB];
/// A part that is smaller than any minimum that is known, bytes.
const SMALL: usize = 1 << 10;
/// The assumed least size of a part if a registry refuses a small one and does not state it, bytes: the S3 minimum.
const USUAL_LEAST: u64 = 5 * MIB;

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check {
    /// What was tried.
    pub what: &'static str,
    /// Whether it works; `None` if that could not be found out.
    pub works: Option<bool>,
    /// What was seen.
    pub detail: String,
}

/// The result of an examination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// The registry's address, `host` or `host:port`: what its profile is named by.
    pub registry: String,
    /// The profile for the client.
    pub profile: Profile,
    /// All that was tried, in order.
    pub checks: Vec<Check>,
    /// Digests of what could not be removed.
    pub left: Vec<Digest>,
}

struct Probe<'a> {
    repository: &'a RemoteRepository,
    profile: Profile,
    checks: Vec<Check>,
    /// The pushed manifests and blobs: manifests before the blobs that they name.
    pushed: Vec<Descriptor>,
}

/// One of [`PARTS`] as a length.
fn limited(size: u64) -> usize {
    usize::try_from(size).unwrap_or(SMALL)
}

/// Random bytes, which no other blob has.
fn scratch(length: usize) -> Result<Bytes, StoreError> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)
        .map_err(std::io::Error::other)
        .map_err(StoreError::io("read", std::path::Path::new("randomness")))?;
    Ok(bytes.into())
}

impl RemoteRepository {
    /// Finds out what the registry of this repository can and cannot do. It needs push access to find out everything.
    ///
    /// # Errors
    /// If the registry cannot be contacted, or denies even reading.
    pub async fn examine(&self) -> Result<Examination, StoreError> {
        let mut probe = Probe {
            repository: self,
            profile: Profile::default(),
            checks: Vec::new(),
            pushed: Vec::new(),
        };
        probe.base().await?;
        probe.absent().await?;
        if probe.push().await? {
            probe.parts().await?;
            probe.ranges().await;
            probe.referrers().await;
        }
        let left = probe.clean().await;
        Ok(Examination {
            registry: authority(&self.endpoint.base),
            profile: probe.profile,
            checks: probe.checks,
            left,
        })
    }
}

impl Probe<'_> {
    fn found(&mut self, what: &'static str, works: impl Into<Option<bool>>, detail: impl Into<String>) {
        self.checks.push(Check {
            what,
            works: works.into(),
            detail: detail.into(),
        });
    }

    fn call(&self, method: Method, rest: &str, action: Action) -> Call {
        let mut call = Call::new(&self.repository.endpoint, method, rest, "examine", "a probe");
        call.scope = Scope::new(&self.repository.endpoint.repository, action);
        call
    }

    async fn send(&self, call: &Call) -> Result<Response, StoreError> {
        self.repository.send(call).await
    }

    /// Is there a registry at all?
    async fn base(&mut self) -> Result<(), StoreError> {
        let mut call = self.call(Method::GET, "", Action::Pull);
        call.url.set_path("/v2/");
        let response = self.send(&call).await?;
        if !response.status().is_success() {
            return Err(call.context.refused(response).await);
        }
        if answer::is_page(response.headers(), &MediaType::OCI_INDEX) {
            return Err(call.context.broken("it is a web page"));
        }
        let limit = header(response.headers(), "ratelimit-limit").to_owned();
        let detail = match limit.is_empty() {
            true => "it answers".to_owned(),
            false => format!("it answers; rate limit {limit}"),
        };
        self.found("registry", true, detail);
        Ok(())
    }

    /// How does the registry answer requests for absent blobs and manifests?
    async fn absent(&mut self) -> Result<(), StoreError> {
        let nowhere = Digest::sha256(&scratch(32)?);
        let mut seen = Vec::new();
        for rest in [format!("blobs/{nowhere}"), format!("manifests/{nowhere}")] {
            let call = self
                .call(Method::HEAD, &rest, Action::Push)
                .with("accept", &super::manifest::accept());
            seen.push(self.send(&call).await?.status().as_u16());
        }
        let detail = format!("blob {}, manifest {}", seen[0], seen[1]);
        let denied = seen.iter().any(|status| matches!(status, 401 | 403));
        let absent = seen.iter().all(|status| *status == 404);
        self.profile.denies_absent = (denied || absent).then_some(denied);
        self.found(
            "says what is absent",
            (denied || absent).then_some(absent),
            detail,
        );
        Ok(())
    }

    /// May we push? Without that, nothing is known about denied answers either.
    async fn push(&mut self) -> Result<bool, StoreError> {
        let bytes = scratch(SMALL)?;
        let descriptor = Descriptor::of(MediaType::OCI_LAYER, &bytes);
        let supply = super::blob::Supply::Bytes(bytes);
        match self.repository.upload(&descriptor, supply).await {
            Ok(()) => {
                self.pushed.push(descriptor);
                self.found("push", true, "a blob in one piece");
                Ok(true)
            }
            Err(error @ (StoreError::Denied { .. } | StoreError::Unsupported { .. })) => {
                self.profile.denies_absent = self.profile.denies_absent.filter(|denies| !denies);
                self.found("push", false, error.to_string());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Parts: small ones, large ones, the position of an upload, and the last one with the digest.
    async fn parts(&mut self) -> Result<(), StoreError> {
        let (least, detail) = match self.small_parts().await {
            Ok(found) => found,
            Err(error) => (None, error.to_string()),
        };
        self.profile.least_part = least;
        self.found("small parts", least.is_none(), detail);
        for most in PARTS {
            match self.large_part(most, least.unwrap_or(0)).await {
                Ok(true) => {
                    self.profile.parts = Some(true);
                    self.profile.most_part = (most < PARTS[0]).then_some(most);
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => self.found("parts", None, error.to_string()),
            }
        }
        self.profile.parts = Some(false);
        Ok(())
    }

    /// Two parts of 1 KiB; the least size of a part if they are refused.
    async fn small_parts(&mut self) -> Result<(Option<u64>, String), StoreError> {
        let bytes = scratch(2 * SMALL)?;
        let descriptor = Descriptor::of(MediaType::OCI_LAYER, &bytes);
        let (mut url, context) = self.repository.open_upload(&descriptor).await?;
        for (at, piece) in [(0, bytes.slice(..SMALL)), (SMALL, bytes.slice(SMALL..))] {
            let response = self.part(&url, at as u64, piece).await?;
            let status = response.status();
            if !status.is_success() {
                self.give_up(&url).await;
                let least = USUAL_LEAST.max(context);
                return Ok((Some(least), format!("1 KiB refused with {status}")));
            }
            url = self.next(&url, &response)?;
        }
        let status = self.finish(&url, None, &descriptor).await?;
        let detail = format!("1 KiB and 1 KiB, {status} at the end");
        Ok(((context > 0).then_some(context), detail))
    }

    /// One part of `size` bytes and a last one with the digest. `false` if the part is refused.
    async fn large_part(&mut self, size: u64, least: u64) -> Result<bool, StoreError> {
        if size < least {
            return Ok(false);
        }
        let bytes = scratch(limited(size) + SMALL)?;
        let descriptor = Descriptor::of(MediaType::OCI_LAYER, &bytes);
        let (url, _) = self.repository.open_upload(&descriptor).await?;
        let elsewhere = url.origin() != self.repository.endpoint.base.origin();
        let response = self.part(&url, 0, bytes.slice(..limited(size))).await?;
        let (status, mib) = (response.status(), size / MIB);
        if !status.is_success() {
            self.give_up(&url).await;
            self.found("parts", false, format!("{mib} MiB: {status}"));
            return Ok(false);
        }
        let mut detail = format!("{mib} MiB: {status}");
        if elsewhere {
            detail.push_str(&format!("; uploads go to {}", authority(&url)));
        }
        self.found("parts", true, detail);
        let mut url = self.next(&url, &response)?;
        let mut call = self.call(Method::GET, "", Action::Push);
        call.url = url.clone();
        let context = self.send(&call).await?;
        let resumes = context.status().is_success() && received(&context) == size;
        self.profile.resumes = Some(resumes);
        let status = context.status();
        self.found(
            "resume",
            resumes,
            format!("{status}, {} bytes", received(&context)),
        );
        if context.status().is_success() {
            url = self.next(&url, &context)?;
        }
        let last = bytes.slice(limited(size)..);
        let status = self.finish(&url, Some((size, last)), &descriptor).await?;
        self.found("last part with the digest", status == 201, status.to_string());
        Ok(status == 201)
    }

    fn next(&self, from: &Url, response: &Response) -> Result<Url, StoreError> {
        let mut call = self.call(Method::PATCH, "", Action::Push);
        call.url = from.clone();
        match header(response.headers(), "location") {
            "" => Ok(from.clone()),
            _ => self.repository.sent_on(&call, response),
        }
    }

    async fn part(&self, url: &Url, at: u64, bytes: Bytes) -> Result<Response, StoreError> {
        let range = format!("{at}-{}", at + bytes.len() as u64 - 1);
        let mut call = self
            .call(Method::PATCH, "", Action::Push)
            .with("content-type", "application/octet-stream")
            .with("content-range", &range);
        call.url = url.clone();
        self.once(&call, bytes).await
    }

    /// Sends a body once, and a second time with a new token; no other failure is handled, because it is what is to be
    /// found out.
    async fn once(&self, call: &Call, bytes: Bytes) -> Result<Response, StoreError> {
        let (wire, endpoint) = (&self.repository.client.wire, &self.repository.endpoint);
        for first in [true, false] {
            let once = StreamedBody {
                body: Body::from(bytes.clone()),
                length: bytes.len() as u64,
            };
            let sent = wire.send_once(endpoint, call, once).await;
            let response = sent.map_err(|broken| call.context.given_up(broken.failure, broken.why, 1))?;
            let denied = response.status() == reqwest::StatusCode::UNAUTHORIZED;
            if !(first && denied && wire.renew(endpoint, call, &response).await?) {
                return Ok(response);
            }
        }
        Err(call.context.unavailable("its tokens end at once"))
    }

    async fn finish(
        &mut self,
        url: &Url,
        last: Option<(u64, Bytes)>,
        descriptor: &Descriptor,
    ) -> Result<u16, StoreError> {
        let mut call = self
            .call(Method::PUT, "", Action::Push)
            .with("content-type", "application/octet-stream");
        call.url = url.clone();
        call.url
            .query_pairs_mut()
            .append_pair("digest", &descriptor.digest.to_string());
        let mut bytes = Bytes::new();
        if let Some((at, last)) = last {
            let end = at + last.len() as u64 - 1;
            call = call.with("content-range", &format!("{at}-{end}"));
            bytes = last;
        }
        let status = self.once(&call, bytes).await?.status();
        if status.is_success() {
            self.pushed.push(descriptor.clone());
        }
        Ok(status.as_u16())
    }

    async fn give_up(&self, url: &Url) {
        let mut call = self.call(Method::DELETE, "", Action::Push);
        call.url = url.clone();
        // The registry ends it some time if this fails.
        let _ = self.repository.attempt(&call).await;
    }

    /// Is a range of a blob a range?
    async fn ranges(&mut self) {
        let Some(blob) = self.pushed.first().cloned() else {
            return;
        };
        let call = self
            .call(Method::GET, &format!("blobs/{}", blob.digest), Action::Pull)
            .with("accept-encoding", "identity")
            .with("range", "bytes=1-10");
        let response = match self.send(&call).await {
            Ok(response) => response,
            Err(error) => return self.found("ranges", None, error.to_string()),
        };
        let status = response.status();
        let from = authority(response.url());
        let range = header(response.headers(), "content-range").to_owned();
        let body = call.context.read(response, 2 * SMALL as u64).await;
        let length = body.map_or(0, |body| body.len());
        let works = status == 206 && length == 10 && range.starts_with("bytes 1-10/");
        self.profile.ranges = Some(works);
        let elsewhere = match from == authority(&self.repository.endpoint.base) {
            true => String::new(),
            false => format!(", from {from}"),
        };
        self.found("ranges", works, format!("{status}, {length} bytes{elsewhere}"));
    }

    /// Are the referrers of a manifest listed, and if not, can they be listed under a tag?
    async fn referrers(&mut self) {
        if let Err(error) = self.try_referrers().await {
            self.found("referrers", None, error.to_string());
        }
    }

    async fn try_referrers(&mut self) -> Result<(), StoreError> {
        let repository = self.repository;
        let Some(blob) = self.pushed.first().cloned() else {
            return Ok(());
        };
        let config = repository.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await?;
        let subject = self
            .manifest(Manifest::new(config.clone(), vec![blob.clone()]))
            .await?
            .0;
        let referrer =
            Manifest::artifact(MediaType::SIGSTORE_BUNDLE, vec![blob]).with_subject(subject.bare());
        let (referrer, claimed) = self.manifest(referrer).await?;
        let claimed = claimed == Some(subject.digest);
        let claims = match claimed {
            true => "claimed at the push",
            false => "not claimed at the push",
        };
        match repository.ask_referrers(&subject.digest, None).await {
            Ok(Some(listed)) if listed.iter().any(|entry| entry.digest == referrer.digest) => {
                self.profile.referrers = Some(ReferrersBy::Api);
                self.found("referrers", true, format!("listed; {claims}"));
            }
            Ok(Some(_)) => self.found(
                "referrers",
                None,
                format!("a list without what was pushed; {claims}"),
            ),
            Ok(None) => {
                self.profile.referrers = Some(ReferrersBy::Tag);
                self.found("referrers", false, format!("no such list; {claims}"));
                self.fallback_tag(&subject).await;
            }
            Err(error) => self.found("referrers", None, format!("{error}; {claims}")),
        }
        Ok(())
    }

    /// Is the tag that would hold the list a tag like any other?
    async fn fallback_tag(&mut self, subject: &Descriptor) {
        let tag = Tag::referrers(&subject.digest);
        let (works, detail) = match self.repository.read_manifest(tag.as_str(), None).await {
            Ok(Some(read)) if read.descriptor.digest == subject.digest => (
                Some(false),
                "it is the subject itself, so that no signature can be kept",
            ),
            Ok(None) | Err(StoreError::Denied { .. }) => (Some(true), "free"),
            Ok(Some(_)) => (None, "it holds something already"),
            Err(_) => (None, "it cannot be read"),
        };
        self.profile.fallback_tag = works;
        self.found("tag for referrers", works, detail);
    }

    async fn manifest(&mut self, manifest: Manifest) -> Result<(Descriptor, Option<Digest>), StoreError> {
        let bytes = Bytes::from(manifest.to_bytes());
        let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &bytes);
        let at = descriptor.digest.to_string();
        let put = self
            .repository
            .put_manifest(&at, &bytes, &MediaType::OCI_MANIFEST, &Condition::None);
        let claimed = put.await?;
        self.pushed.insert(0, descriptor.clone());
        Ok((descriptor, claimed))
    }

    /// Removes everything that was pushed; returns what stays.
    async fn clean(&mut self) -> Vec<Digest> {
        let mut left = Vec::new();
        let mut last = String::new();
        for descriptor in std::mem::take(&mut self.pushed) {
            let kind = if descriptor.media_type.has_children() {
                "manifests"
            } else {
                "blobs"
            };
            let call = self.call(
                Method::DELETE,
                &format!("{kind}/{}", descriptor.digest),
                Action::Delete,
            );
            match self.send(&call).await {
                // Some remove a blob with its last manifest.
                Ok(response) if matches!(response.status().as_u16(), 200 | 202 | 204 | 404) => {}
                Ok(response) => {
                    last = format!("{kind}: {}", response.status());
                    left.push(descriptor.digest);
                }
                Err(error) => {
                    last = error.to_string();
                    left.push(descriptor.digest);
                }
            }
        }
        if self
            .checks
            .iter()
            .any(|check| check.what == "push" && check.works == Some(true))
        {
            self.profile.deletes = Some(left.is_empty());
            let detail = match left.len() {
                0 => "all scratch content was removed".to_owned(),
                count => format!("{count} scratch contents stay; {last}"),
            };
            self.found("delete", left.is_empty(), detail);
        }
        left
    }
}
