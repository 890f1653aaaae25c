//! What a registry can and cannot do, found out by trying.
//!
//! Everything is tried with scratch content of this one examination, random, so that nothing that is there counts: two blobs,
//! a manifest and a referrer, no tag. It is removed at the end where the registry lets us; what stays is named. About 25 MiB
//! are sent at most. Where pushing is denied, only what can be found out by reading is.
//!
//! Failure: an examination fails if the registry cannot be spoken to at all; every other failure is a finding.

use bytes::Bytes;
use reqwest::{Body, Method, Response, Url};
use samebundle_spec::manifest::Manifest;
use samebundle_spec::{Descriptor, Digest, MediaType, Tag};
use serde::Serialize;

use super::RemoteRepository;
use super::answer::{self, header};
use super::auth::{Right, Scope};
use super::http::authority;
use super::manifest::Condition;
use super::profile::{Profile, ReferrersBy};
use super::upload::received;
use super::wire::{Call, Once};
use crate::StoreError;
use crate::store::SinkExt;

const MIB: u64 = 1 << 20;
/// Sizes of a first part that are tried, bytes, largest first.
const PARTS: [u64; 3] = [8 * MIB, 4 * MIB, MIB];
/// A part that is smaller than any minimum that is known, bytes.
const SMALL: usize = 1 << 10;
/// What a registry is taken to want at least if it refuses a small part and does not say, bytes: the S3 minimum.
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

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// The registry's address, `host` or `host:port`: what its profile is named by.
    pub registry: String,
    /// What the client is to know.
    pub profile: Profile,
    /// All that was tried, in order.
    pub checks: Vec<Check>,
    /// Digests of what could not be removed.
    pub left: Vec<Digest>,
}

struct Probe<'a> {
    place: &'a RemoteRepository,
    profile: Profile,
    checks: Vec<Check>,
    /// What was pushed: manifests before what they name.
    pushed: Vec<Descriptor>,
}

/// One of [`PARTS`] as a length.
fn limited(size: u64) -> usize {
    usize::try_from(size).unwrap_or(SMALL)
}

/// What is random is nobody else's.
fn scratch(length: usize) -> Result<Bytes, StoreError> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)
        .map_err(std::io::Error::other)
        .map_err(StoreError::io("read", std::path::Path::new("randomness")))?;
    Ok(bytes.into())
}

impl RemoteRepository {
    /// Finds out what the registry of this repository can and cannot do. Needs the right to push there to find out all.
    ///
    /// # Errors
    /// If the registry cannot be spoken to, or denies even reading.
    pub async fn examine(&self) -> Result<Examination, StoreError> {
        let mut probe = Probe {
            place: self,
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
            registry: authority(&self.place.base),
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

    fn call(&self, method: Method, rest: &str, right: Right) -> Call {
        let mut call = Call::new(&self.place.place, method, rest, "examine", "a probe");
        call.scope = Scope::new(&self.place.place.repository, right);
        call
    }

    async fn send(&self, call: &Call) -> Result<Response, StoreError> {
        self.place.client.wire.send(&self.place.place, call).await
    }

    /// Is there a registry at all?
    async fn base(&mut self) -> Result<(), StoreError> {
        let mut call = self.call(Method::GET, "", Right::Pull);
        call.url.set_path("/v2/");
        let response = self.send(&call).await?;
        if !response.status().is_success() {
            return Err(call.asked.refused(response).await);
        }
        if answer::is_page(response.headers(), &MediaType::OCI_INDEX) {
            return Err(call.asked.broken("it is a web page"));
        }
        let limit = header(response.headers(), "ratelimit-limit").to_owned();
        let detail = match limit.is_empty() {
            true => "it answers".to_owned(),
            false => format!("it answers; rate limit {limit}"),
        };
        self.found("registry", true, detail);
        Ok(())
    }

    /// How is what is not there answered?
    async fn absent(&mut self) -> Result<(), StoreError> {
        let nowhere = Digest::sha256(&scratch(32)?);
        let mut seen = Vec::new();
        for rest in [format!("blobs/{nowhere}"), format!("manifests/{nowhere}")] {
            let call = self
                .call(Method::HEAD, &rest, Right::Push)
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

    /// May we push? Without that nothing is known of denied things either.
    async fn push(&mut self) -> Result<bool, StoreError> {
        let bytes = scratch(SMALL)?;
        let descriptor = Descriptor::of(MediaType::OCI_LAYER, &bytes);
        let supply = super::blob::Supply::Bytes(bytes);
        match self.place.upload(&descriptor, supply).await {
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

    /// Parts: small ones, large ones, asked how far, the last one with the digest.
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
        let (mut url, asked) = self.place.open_upload(&descriptor).await?;
        for (at, piece) in [(0, bytes.slice(..SMALL)), (SMALL, bytes.slice(SMALL..))] {
            let response = self.part(&url, at as u64, piece).await?;
            let status = response.status();
            if !status.is_success() {
                self.give_up(&url).await;
                let least = USUAL_LEAST.max(asked);
                return Ok((Some(least), format!("1 KiB refused with {status}")));
            }
            url = self.next(&url, &response)?;
        }
        let status = self.finish(&url, None, &descriptor).await?;
        let detail = format!("1 KiB and 1 KiB, {status} at the end");
        Ok(((asked > 0).then_some(asked), detail))
    }

    /// One part of `size` bytes and a last one with the digest. `false` if the part is refused.
    async fn large_part(&mut self, size: u64, least: u64) -> Result<bool, StoreError> {
        if size < least {
            return Ok(false);
        }
        let bytes = scratch(limited(size) + SMALL)?;
        let descriptor = Descriptor::of(MediaType::OCI_LAYER, &bytes);
        let (url, _) = self.place.open_upload(&descriptor).await?;
        let elsewhere = url.origin() != self.place.place.base.origin();
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
        let mut call = self.call(Method::GET, "", Right::Push);
        call.url = url.clone();
        let asked = self.send(&call).await?;
        let resumes = asked.status().is_success() && received(&asked) == size;
        self.profile.resumes = Some(resumes);
        let status = asked.status();
        self.found("resume", resumes, format!("{status}, {} bytes", received(&asked)));
        if asked.status().is_success() {
            url = self.next(&url, &asked)?;
        }
        let last = bytes.slice(limited(size)..);
        let status = self.finish(&url, Some((size, last)), &descriptor).await?;
        self.found("last part with the digest", status == 201, status.to_string());
        Ok(status == 201)
    }

    fn next(&self, from: &Url, response: &Response) -> Result<Url, StoreError> {
        let mut call = self.call(Method::PATCH, "", Right::Push);
        call.url = from.clone();
        match header(response.headers(), "location") {
            "" => Ok(from.clone()),
            _ => self.place.sent_on(&call, response),
        }
    }

    async fn part(&self, url: &Url, at: u64, bytes: Bytes) -> Result<Response, StoreError> {
        let range = format!("{at}-{}", at + bytes.len() as u64 - 1);
        let mut call = self
            .call(Method::PATCH, "", Right::Push)
            .with("content-type", "application/octet-stream")
            .with("content-range", &range);
        call.url = url.clone();
        self.once(&call, bytes).await
    }

    /// Sends a body once, a second time with a new token; nothing else is made good, because it is what is to be found out.
    async fn once(&self, call: &Call, bytes: Bytes) -> Result<Response, StoreError> {
        let (wire, place) = (&self.place.client.wire, &self.place.place);
        for first in [true, false] {
            let once = Once {
                body: Body::from(bytes.clone()),
                length: bytes.len() as u64,
            };
            let sent = wire.send_once(place, call, once).await;
            let response = sent.map_err(|broken| call.asked.given_up(broken.failure, broken.why, 1))?;
            let denied = response.status() == reqwest::StatusCode::UNAUTHORIZED;
            if !(first && denied && wire.renew(place, call, &response).await?) {
                return Ok(response);
            }
        }
        Err(call.asked.unavailable("its tokens end at once"))
    }

    async fn finish(
        &mut self,
        url: &Url,
        last: Option<(u64, Bytes)>,
        descriptor: &Descriptor,
    ) -> Result<u16, StoreError> {
        let mut call = self
            .call(Method::PUT, "", Right::Push)
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
        let mut call = self.call(Method::DELETE, "", Right::Push);
        call.url = url.clone();
        // It ends by itself if this does not end it.
        let _ = self.place.client.wire.attempt(&self.place.place, &call).await;
    }

    /// Is a range of a blob a range?
    async fn ranges(&mut self) {
        let Some(blob) = self.pushed.first().cloned() else {
            return;
        };
        let call = self
            .call(Method::GET, &format!("blobs/{}", blob.digest), Right::Pull)
            .with("accept-encoding", "identity")
            .with("range", "bytes=1-10");
        let response = match self.send(&call).await {
            Ok(response) => response,
            Err(error) => return self.found("ranges", None, error.to_string()),
        };
        let status = response.status();
        let from = authority(response.url());
        let range = header(response.headers(), "content-range").to_owned();
        let body = call.asked.read(response, 2 * SMALL as u64).await;
        let length = body.map_or(0, |body| body.len());
        let works = status == 206 && length == 10 && range.starts_with("bytes 1-10/");
        self.profile.ranges = Some(works);
        let elsewhere = match from == authority(&self.place.place.base) {
            true => String::new(),
            false => format!(", from {from}"),
        };
        self.found("ranges", works, format!("{status}, {length} bytes{elsewhere}"));
    }

    /// Is what refers to a manifest listed, and if not, can it be listed under a tag?
    async fn referrers(&mut self) {
        if let Err(error) = self.try_referrers().await {
            self.found("referrers", None, error.to_string());
        }
    }

    async fn try_referrers(&mut self) -> Result<(), StoreError> {
        let place = self.place;
        let Some(blob) = self.pushed.first().cloned() else {
            return Ok(());
        };
        let config = place.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await?;
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
        match place.ask_referrers(&subject.digest, None).await {
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
        let (works, detail) = match self.place.read_manifest(tag.as_str(), None).await {
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
            .place
            .put_manifest(&at, &bytes, &MediaType::OCI_MANIFEST, &Condition::None);
        let claimed = put.await?;
        self.pushed.insert(0, descriptor.clone());
        Ok((descriptor, claimed))
    }

    /// Removes what was pushed; names what stays.
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
                Right::Delete,
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
