//! A repository of a remote registry as a [`Store`](crate::Store) (distribution-spec 1.1).
//!
//! ```text
//! RemoteRepository (Source, Sink, Resolve, Tags, Referrers)
//!   blob            blobs: existence, mounts, pushes of small ones
//!   upload, part, upload_record   pushes large blobs in parts, and resumes after a break or a kill
//!   range           pulls a blob or a range of it, and resumes after a break
//!   manifest        manifests and tags, hashed and read strictly
//!   referrers       the API, or the fallback tag
//!   web, download   services that are no registries, and files of web servers, by the same rules
//!   mirror, registries  endpoints that are asked first, and registries.conf, which names them
//!     wire          one request: authentication, redirects, retries
//!       auth, credentials   credentials, and which hosts receive them
//!       profile, probe      what this registry can and cannot do, and how that is found out
//!       retry       which failures are transient, and how long to wait
//!       http, network, tls  the clients, proxies and certificates, and which addresses they may contact
//!       answer      bodies within limits; errors: absent, denied, throttled and broken are different
//! ```
//!
//! Invariants: bytes are trusted only by their digest; credentials go only to the origin that they belong to; plain
//! http is used for this machine and for hosts that are listed; no answer is read without a limit; every request that
//! is repeated may be repeated. The media type of a manifest or index decides that a digest is at `/manifests/`, any
//! other that it is at `/blobs/`. Concurrency: clones share connections and tokens; requests are independent. Failure:
//! after all retries the error has the operation, the registry and the registry's own message, shortened and without
//! markup.
//!
//! The crate `oci-client` gives the forms of error answers; its own requests are not used, for reasons that `tests/peer.rs`
//! shows: it sends passwords to any host that a challenge names, drops `Retry-After`, follows an upload's `Location`
//! anywhere and reads answers without a limit.

mod answer;
mod auth;
mod blob;
pub mod credentials;
pub mod download;
mod http;
mod listing;
mod manifest;
mod mirror;
pub mod network;
mod part;
mod probe;
pub mod profile;
mod range;
mod referrers;
pub mod registries;
mod retry;
#[cfg(test)]
mod tests;
mod tls;
mod upload;
mod upload_record;
pub mod web;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use reqwest::Response;
use samebundle_spec::{Classify, Descriptor, Digest, ErrorKind, MediaType, Repository, Tag, limits};
use tokio_util::io::StreamReader;

use crate::store::pieces::pieces_of;
use crate::store::{ByteStream, Pace, Pieces, Referrers, Resolve, Sink, Source, StoreError, Tags};
use blob::Supply;
use credentials::Credentials;
use http::RequestError;
use mirror::By;
use network::Proxies;
use profile::{Known, Profile, ProfileError, ProfileFile};
use wire::{Call, Endpoint, Wire};

pub use auth::TokenHosts;
pub use mirror::Mirror;
pub use probe::{Check, Examination};
pub use retry::{RetryPolicy, Waits};

/// How to contact registries.
#[derive(Clone, Debug, Default)]
pub struct RemoteConfig {
    /// The credentials.
    pub credentials: Credentials,
    /// Registries (`host` or `host:port`) that may be contacted by plain http. This machine may, unless it is among the
    /// secure.
    pub insecure: BTreeSet<String>,
    /// Registries (`host` or `host:port`) of this machine that speak TLS.
    pub secure: BTreeSet<String>,
    /// Registries and hosts of token services that belong to them, in addition to the well-known ones.
    pub token_hosts: TokenHosts,
    /// How often a request is retried, and how long the waits are.
    pub retry: RetryPolicy,
    /// The `User-Agent` of this client.
    pub user_agent: String,
    /// The proxies.
    pub proxies: Proxies,
    /// Folders with certificates of registries, the first that has a registry's counts ([`network`]).
    pub certificates: Vec<PathBuf>,
    /// True if no socket may be opened: then there is no client.
    pub offline: bool,
    /// A folder for records of uploads that were begun, so that a later process can resume them. Without it none does.
    pub uploads: Option<PathBuf>,
    /// A folder with profiles of registries ([`profile`]). Without it only the well-known quirks are known.
    pub profiles: Option<PathBuf>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The caller wants to stay offline.
    #[error("no registry is contacted, because offline was asked for; use the store, an archive or a layout")]
    Offline,
    /// A proxy cannot be used.
    #[error("{why}")]
    Proxy {
        /// Which one, and the reason.
        why: String,
    },
    /// A registry's address is not valid, or its certificates cannot be read.
    #[error("{repository} cannot be contacted: {why}")]
    Address {
        /// The repository.
        repository: Repository,
        /// The reason.
        why: String,
    },
    /// A service that is no registry may not be contacted as things are set up.
    #[error("{place} cannot be contacted: {why}")]
    Service {
        /// The service.
        place: String,
        /// The reason.
        why: String,
    },
    /// The measured profile of a registry cannot be read.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl Classify for ClientError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Offline => ErrorKind::Unreachable,
            Self::Proxy { .. } => ErrorKind::Environment,
            Self::Address { .. } => ErrorKind::Input,
            Self::Service { .. } => ErrorKind::Unreachable,
            Self::Profile(error) => error.kind(),
        }
    }
}

/// Connections, tokens and credentials, shared by the repositories of any number of registries.
#[derive(Debug)]
pub struct RemoteClient {
    wire: Wire,
    /// Held while a fallback tag is read, extended and written.
    fallback: tokio::sync::Mutex<()>,
    uploads: Option<PathBuf>,
    profiles: Option<PathBuf>,
    /// The profile of each registry, by its address.
    registries: Mutex<BTreeMap<String, Arc<Known>>>,
}

impl RemoteClient {
    /// Sets up a client. Opens no connection yet. The TLS provider of the process becomes ring's unless there is one.
    ///
    /// # Errors
    /// [`ClientError::Offline`] if offline was asked for; [`ClientError::Proxy`] if a proxy's address is none.
    pub fn new(config: RemoteConfig) -> Result<Self, ClientError> {
        if config.offline {
            return Err(ClientError::Offline);
        }
        let user_agent = if config.user_agent.is_empty() {
            concat!("samebundle/", env!("CARGO_PKG_VERSION"))
        } else {
            &config.user_agent
        };
        Ok(Self {
            wire: Wire {
                http: http::Http::new(
                    user_agent,
                    config.insecure,
                    config.secure,
                    config.proxies,
                    config.certificates,
                )?,
                auth: auth::Auth::new(config.credentials, config.token_hosts),
                retry: config.retry,
                throttled: AtomicU64::new(0),
            },
            fallback: tokio::sync::Mutex::default(),
            uploads: config.uploads,
            profiles: config.profiles,
            registries: Mutex::default(),
        })
    }

    /// The profile of the registry at this address.
    fn known(&self, address: &str) -> Result<Arc<Known>, ProfileError> {
        let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = registries.get(address) {
            return Ok(Arc::clone(known));
        }
        let measured = match &self.profiles {
            Some(folder) => ProfileFile::read(folder, address)?,
            None => None,
        };
        let profile = measured.map(|file| file.profile).unwrap_or_default();
        let known = Arc::new(Known::new(Profile::known(address).overlaid(profile)));
        registries.insert(address.to_owned(), Arc::clone(&known));
        Ok(known)
    }
}

/// A repository of a registry.
#[derive(Clone, Debug)]
pub struct RemoteRepository {
    client: Arc<RemoteClient>,
    endpoint: Endpoint,
    known: Arc<Known>,
    mirrors: Arc<Vec<Mirror>>,
    siblings: Arc<Mutex<BTreeSet<Repository>>>,
    /// Blobs that were found to be absent, so that a push that follows need not ask again.
    absent: Arc<Mutex<BTreeSet<Digest>>>,
    /// The manifest that was pushed last: tagging it needs its bytes again.
    last: Arc<tokio::sync::Mutex<Option<(Digest, Bytes)>>>,
}

impl RemoteRepository {
    /// Sends a request until the answer is not a transient failure.
    async fn send(&self, call: &Call) -> Result<Response, StoreError> {
        self.client.wire.send(&self.endpoint, call).await
    }

    /// Sends a request once: with authentication and redirects, without retries.
    async fn attempt(&self, call: &Call) -> Result<Result<Response, RequestError>, StoreError> {
        self.client.wire.attempt(&self.endpoint, call).await
    }

    /// Names a repository; no request is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Address`] if the registry's name makes no address; [`ClientError::Profile`] if what was measured of it
    /// cannot be read.
    pub fn new(client: Arc<RemoteClient>, repository: Repository) -> Result<Self, ClientError> {
        let base = client
            .wire
            .http
            .base(&repository)
            .map_err(|why| ClientError::Address {
                repository: repository.clone(),
                why,
            })?;
        let known = client.known(&http::authority(&base))?;
        Ok(Self {
            endpoint: Endpoint {
                name: match client.wire.http.proxy(&base) {
                    None => repository.to_string(),
                    Some(proxy) => format!("{repository} (through the proxy {proxy})"),
                },
                repository,
                base,
            },
            client,
            known,
            mirrors: Arc::default(),
            siblings: Arc::default(),
            absent: Arc::default(),
            last: Arc::default(),
        })
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.endpoint.repository
    }

    /// The registry's address, `host` or `host:port`, which names its profile.
    pub fn address(&self) -> String {
        http::authority(&self.endpoint.base)
    }

    /// The same repository, with mirrors that are asked first for reads, in order.
    #[must_use]
    pub fn with_mirrors(mut self, mirrors: Vec<Mirror>) -> Self {
        self.mirrors = Arc::new(mirrors);
        self
    }

    /// The same repository, with this profile instead of what is known of its registry.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.known = Arc::new(Known::new(profile));
        self
    }

    /// Returns the descriptor of a digest, with size and media type, after its bytes were read and hashed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such manifest.
    pub async fn resolve_digest(&self, digest: &Digest) -> Result<Descriptor, StoreError> {
        let name = digest.to_string();
        let asked = self.ask_mirrors(By::Digest, |repository| {
            repository.read_manifest(&name, Some(digest)).boxed()
        });
        if let Some(read) = asked.await {
            return Ok(read.descriptor);
        }
        let read = self.read_manifest(&name, Some(digest)).await?;
        read.map(|read| read.descriptor)
            .ok_or_else(|| StoreError::NotFound {
                subject: digest.to_string(),
                place: self.endpoint.repository.to_string(),
            })
    }

    /// Names another repository with blobs that may be pushed here, so that they are mounted if it is on this registry.
    pub fn add_sibling(&self, repository: &Repository) {
        let here = &self.endpoint.repository;
        if repository.registry() == here.registry() && repository != here {
            let mut siblings = self.siblings.lock().unwrap_or_else(PoisonError::into_inner);
            siblings.insert(repository.clone());
        }
    }

    fn siblings(&self) -> BTreeSet<Repository> {
        self.siblings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn absent(&self) -> std::sync::MutexGuard<'_, BTreeSet<Digest>> {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether a push is superfluous: asks the registry, unless its last answer was "no".
    async fn has_already(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        if self.absent().remove(&descriptor.digest) {
            return Ok(false);
        }
        self.has(descriptor).await
    }

    /// Asks the mirrors, in order, until one has an answer.
    async fn ask_mirrors<'a, T>(
        &'a self,
        by: By,
        ask: impl Fn(&'a Self) -> BoxFuture<'a, Result<Option<T>, StoreError>>,
    ) -> Option<T> {
        for mirror in self.mirrors.iter() {
            let Some(repository) = mirror.repository(by) else {
                continue;
            };
            match ask(repository).await {
                Ok(Some(answer)) => return Some(answer),
                Ok(None) => {}
                Err(error) => mirror.failed(&error),
            }
        }
        None
    }

    fn not_there(&self, descriptor: &Descriptor) -> StoreError {
        StoreError::NotFound {
            subject: descriptor.digest.to_string(),
            place: self.endpoint.repository.to_string(),
        }
    }
}

#[async_trait]
impl Source for RemoteRepository {
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        let asked = self.ask_mirrors(By::Digest, |repository| {
            repository.fetch_unverified(descriptor, from).map_ok(Some).boxed()
        });
        if let Some(content) = asked.await {
            return Ok(content);
        }
        if descriptor.media_type.has_children() {
            self.fetch_manifest(descriptor, from).await
        } else {
            let pieces = self.read_blob(descriptor, from..descriptor.size).await?;
            Ok(Box::pin(StreamReader::new(pieces)))
        }
    }

    async fn fetch_range_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<ByteStream, StoreError> {
        let pieces = self.pieces_unverified(descriptor, range).await?;
        Ok(Box::pin(StreamReader::new(pieces)))
    }

    async fn pieces_unverified(
        &self,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<Pieces, StoreError> {
        let asked = self.ask_mirrors(By::Digest, |repository| {
            repository
                .pieces_unverified(descriptor, range.clone())
                .map_ok(Some)
                .boxed()
        });
        if let Some(pieces) = asked.await {
            return Ok(pieces);
        }
        if !descriptor.media_type.has_children() {
            return self.read_blob(descriptor, range).await;
        }
        let content = self.fetch_manifest(descriptor, range.start).await?;
        let length = range.end.saturating_sub(range.start);
        let part = tokio::io::AsyncReadExt::take(content, length);
        Ok(pieces_of(Box::pin(part)))
    }

    fn pace(&self) -> Pace {
        let ranges = self.known.serves_ranges();
        Pace {
            streams: if ranges { limits::RANGE_STREAMS } else { 1 },
            throttled: self.client.wire.throttled.load(Ordering::Relaxed),
            ranges,
        }
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let there = self.has(descriptor).await?;
        if !there {
            self.absent().insert(descriptor.digest);
        }
        Ok(there)
    }
}

#[async_trait]
impl Sink for RemoteRepository {
    async fn push(&self, descriptor: &Descriptor, content: ByteStream) -> Result<(), StoreError> {
        if descriptor.media_type.has_children() {
            self.push_manifest(descriptor, content, None).await
        } else {
            self.push_blob(descriptor, Supply::stream(content)).await
        }
    }

    async fn push_from(&self, descriptor: &Descriptor, source: &dyn Source) -> Result<(), StoreError> {
        if descriptor.media_type.has_children() {
            let content = source.fetch_unverified(descriptor, 0).await?;
            self.push_manifest(descriptor, content, Some(source)).await
        } else {
            self.push_blob(descriptor, Supply::Source(source)).await
        }
    }
}

#[async_trait]
impl Resolve for RemoteRepository {
    async fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let asked = self.ask_mirrors(By::Tag, |repository| repository.resolve(tag).map_ok(Some).boxed());
        if let Some(descriptor) = asked.await {
            return Ok(descriptor);
        }
        let read = self.read_tag(tag).await?;
        read.map(|read| read.descriptor)
            .ok_or_else(|| StoreError::NotFound {
                subject: format!("tag {tag}"),
                place: self.endpoint.repository.to_string(),
            })
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.list_tags().await
    }
}

#[async_trait]
impl Tags for RemoteRepository {
    async fn tag(&self, descriptor: &Descriptor, tag: &Tag) -> Result<(), StoreError> {
        self.put_tag(descriptor, tag).await
    }

    async fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        self.delete_tag(tag).await
    }
}

#[async_trait]
impl Referrers for RemoteRepository {
    async fn referrers(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let asked = self.ask_mirrors(By::Digest, |repository| {
            async move {
                let listed = repository.list_referrers(subject, artifact_type).await?;
                Ok(Some(listed).filter(|listed| !listed.is_empty()))
            }
            .boxed()
        });
        if let Some(listed) = asked.await {
            return Ok(listed);
        }
        self.list_referrers(subject, artifact_type).await
    }
}
