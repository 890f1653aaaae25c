//! What a registry can and cannot do, as data: the known quirks by host, and what was measured or noticed.
//!
//! Three sources, a later one wins field by field: the well-known ones, each with its source; the document that
//! `registry doctor` measured ([`ProfileFile`]); what the client notices while it works ([`Known`], forgotten with the
//! client). A field that nobody knows is `None`, and then the client tries what the specification allows and takes the way
//! that is left. Nothing here decides trust: the worst that a wrong profile does is a request that is refused, because reads
//! ask the registry whatever the profile says.
//!
//! Concurrency: [`Known`] is shared by all repositories of a registry; its fields change on their own.

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use samebundle_spec::limits;
use serde::{Deserialize, Serialize};

use super::part::Part;

pub use file::{ProfileError, ProfileFile};

/// How a registry lists which manifests refer to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReferrersBy {
    /// By its API (distribution-spec 1.1, end-12).
    Api,
    /// Not at all: clients keep a list under a tag.
    Tag,
}

/// What a registry can and cannot do. `None` is "not known".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Profile {
    /// Whether a blob may be sent in parts (PATCH, end-5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<bool>,
    /// Smallest part that is taken unless it is the last one, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_part: Option<u64>,
    /// Largest part that is taken, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_part: Option<u64>,
    /// How many parts a blob may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part_count: Option<u64>,
    /// Whether an upload can be asked how far it came (end-13), so that a push that was cut off goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumes: Option<bool>,
    /// Whether a range of a blob can be read (`Range`, end-2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<bool>,
    /// How referrers are listed; if by tag, `OCI-Subject` is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referrers: Option<ReferrersBy>,
    /// Whether the tag for referrers can be told from the subject itself; some registries read `sha256-HEX` as the digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_tag: Option<bool>,
    /// Whether what is not there is answered with "denied" (401, 403).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denies_absent: Option<bool>,
    /// Whether manifests and blobs can be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletes: Option<bool>,
    /// Other hosts (`host` or `host:port`) that uploads may go to when the registry sends them there. Only the user adds
    /// them; they never see credentials.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub upload_hosts: BTreeSet<String>,
}

const MIB: u64 = 1 << 20;

/// The profiles of public registries, by host, or by a suffix of it after a dot. Each names its source.
fn documented() -> [(&'static str, Profile); 8] {
    let without_parts = || Profile {
        parts: Some(false),
        ..Profile::default()
    };
    // Parts of 5 to 10 MiB, at most 4,200 (Amazon ECR service quotas); `OCI-Subject` without a list (sigstore-js issue 1183)
    // is handled by reading the list, because newer regions have the API.
    let ecr = || Profile {
        least_part: Some(5 * MIB),
        most_part: Some(10 * MIB),
        part_count: Some(4_200),
        ..Profile::default()
    };
    // 416 to a PATCH of more than 4 MiB (rust-oci-client issue 35); 404 to the referrers API.
    let ghcr = Profile {
        most_part: Some(4 * MIB),
        referrers: Some(ReferrersBy::Tag),
        ..Profile::default()
    };
    // No referrers API (docker/roadmap issue 724).
    let docker_hub = Profile {
        referrers: Some(ReferrersBy::Tag),
        ..Profile::default()
    };
    // 403 for what does not exist (cosign issue 2973).
    let artifactory = Profile {
        denies_absent: Some(true),
        ..Profile::default()
    };
    [
        ("ghcr.io", ghcr),
        (".amazonaws.com", ecr()),
        ("public.ecr.aws", ecr()),
        // No chunked uploads (KitOps, pkg/lib/repo/remote/upload-format.go).
        (".pkg.dev", without_parts()),
        ("gcr.io", without_parts()),
        (".gcr.io", without_parts()),
        ("registry-1.docker.io", docker_hub),
        (".jfrog.io", artifactory),
    ]
}

impl Profile {
    /// The profile of a registry that is known by its address (`host` or `host:port`).
    pub fn known(address: &str) -> Self {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let fits = |known: &str| match known.starts_with('.') {
            true => host.ends_with(known),
            false => host == known,
        };
        let found = documented().into_iter().find(|(known, _)| fits(known));
        found.map(|(_, profile)| profile).unwrap_or_default()
    }

    /// Takes over the known fields of `other`.
    #[must_use]
    pub fn overlaid(self, other: Self) -> Self {
        Self {
            parts: other.parts.or(self.parts),
            least_part: other.least_part.or(self.least_part),
            most_part: other.most_part.or(self.most_part),
            part_count: other.part_count.or(self.part_count),
            resumes: other.resumes.or(self.resumes),
            ranges: other.ranges.or(self.ranges),
            referrers: other.referrers.or(self.referrers),
            fallback_tag: other.fallback_tag.or(self.fallback_tag),
            denies_absent: other.denies_absent.or(self.denies_absent),
            deletes: other.deletes.or(self.deletes),
            upload_hosts: self.upload_hosts.into_iter().chain(other.upload_hosts).collect(),
        }
    }
}

/// The knowledge about one registry while a client lives.
#[derive(Debug)]
pub(super) struct Known {
    profile: Profile,
    no_parts: AtomicBool,
    no_ranges: AtomicBool,
    /// The size that parts have reached, bytes; 0 after a break.
    grown_part: AtomicU64,
    /// Largest part, bytes; `u64::MAX` if none is known.
    most_part: AtomicU64,
    referrers: Mutex<Option<ReferrersBy>>,
}

impl Known {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            no_parts: AtomicBool::new(profile.parts == Some(false)),
            no_ranges: AtomicBool::new(profile.ranges == Some(false)),
            grown_part: AtomicU64::new(0),
            most_part: AtomicU64::new(profile.most_part.unwrap_or(u64::MAX)),
            referrers: Mutex::new(profile.referrers),
            profile,
        }
    }

    pub(super) fn denies_absent(&self) -> bool {
        self.profile.denies_absent == Some(true)
    }

    pub(super) fn takes_uploads(&self, host: &str) -> bool {
        self.profile.upload_hosts.contains(host)
    }

    pub(super) fn serves_ranges(&self) -> bool {
        !self.no_ranges.load(Ordering::Relaxed)
    }

    pub(super) fn serves_no_ranges(&self) {
        self.no_ranges.store(true, Ordering::Relaxed);
    }

    pub(super) fn takes_no_parts(&self) {
        self.no_parts.store(true, Ordering::Relaxed);
    }

    /// Records the size of the next part of an upload, with which other blobs begin.
    pub(super) fn parts_grew_to(&self, size: u64) {
        self.grown_part.store(size, Ordering::Relaxed);
    }

    pub(super) fn takes_parts_up_to(&self, most: u64) {
        self.most_part.fetch_min(most, Ordering::Relaxed);
    }

    /// How referrers are listed, as far as that is known.
    pub(super) fn referrers(&self) -> Option<ReferrersBy> {
        *self.referrers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lists_referrers(&self, by: ReferrersBy) {
        *self.referrers.lock().unwrap_or_else(PoisonError::into_inner) = Some(by);
    }

    /// The parts in which a blob of `size` bytes is sent, with the least size that the upload itself asks for; `None` if it
    /// must be sent whole.
    pub(super) fn part(&self, size: u64, asked: u64) -> Option<Part> {
        let most = self
            .most_part
            .load(Ordering::Relaxed)
            .min(limits::UPLOAD_PART_MOST_BYTES);
        let least = asked.max(self.profile.least_part.unwrap_or(0));
        let by_count = self
            .profile
            .part_count
            .map_or(0, |count| size.div_ceil(count.max(1)));
        let refused = self.no_parts.load(Ordering::Relaxed) || least.max(by_count) > most || size < least;
        let grown = self.grown_part.load(Ordering::Relaxed);
        (!refused).then(|| Part::within(least, limits::UPLOAD_PART_BYTES.max(by_count), most).after(grown))
    }
}
