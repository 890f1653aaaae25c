//! A store that is served as one read-only repository: an archive, an OCI layout, any [`Origin`].
//!
//! A digest can be fetched if the tags of the store reach it, or if it is a referrer of something that they reach; an
//! unknown digest makes the server walk the store again, at most once a second, because a layout may grow while it is
//! served. Manifests are checked when they are read; blobs are streamed without a check, and clients check them as they
//! always do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use samebundle_spec::{Descriptor, Digest, MediaType, Tag, limits};
use tokio::sync::Mutex;
use tokio_util::io::ReaderStream;

use super::access::Admitted;
use super::refusal::Refusal;
use super::route::{At, Name, Route, parameter};
use super::{base, blobs, listing, manifests};
use crate::StoreError;
use crate::graph::{Follow, Graph};
use crate::store::{Origin, SourceExt};

const WALKED: Duration = Duration::from_secs(1);
/// Manifests that are read at one time.
const AT_ONCE: usize = 8;

/// A store, and the name of its repository. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exhibit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Arc<dyn Origin>,
    name: Name,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    graph: Graph,
    walked: Instant,
}

async fn walk(origin: &dyn Origin) -> Result<Known, StoreError> {
    let mut roots = Vec::new();
    for tag in origin.tags().await? {
        roots.push(origin.resolve(&tag).await?.bare());
    }
    Ok(Known {
        graph: Graph::walk(origin, &roots, Follow::Referrers, AT_ONCE).await?,
        walked: Instant::now(),
    })
}

impl Exhibit {
    /// Serves `origin` as the repository `name`.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if that is not a valid name; otherwise why the store cannot be read.
    pub async fn open(origin: Arc<dyn Origin>, name: &str) -> Result<Self, StoreError> {
        let name = Name::parse(name).map_err(|refusal| StoreError::Invalid {
            subject: "the repository".to_owned(),
            why: refusal.to_string(),
        })?;
        let known = Mutex::new(walk(origin.as_ref()).await?);
        Ok(Self(Arc::new(Inner { origin, name, known })))
    }

    /// Finds a blob or manifest by digest; `manifest` tells which of them is requested.
    async fn find(&self, digest: Digest, manifest: bool) -> Result<Option<Descriptor>, StoreError> {
        let mut known = self.0.known.lock().await;
        let found = |known: &Known| {
            known
                .graph
                .node(&(manifest, digest))
                .map(|node| node.descriptor.clone())
        };
        if let Some(descriptor) = found(&known) {
            return Ok(Some(descriptor));
        }
        if known.walked.elapsed() >= WALKED {
            *known = walk(self.0.origin.as_ref()).await?;
        }
        Ok(found(&known))
    }

    /// Answers a read request; the store is read-only, so no other request comes here.
    pub(super) async fn answer(
        &self,
        route: Route,
        parts: &Parts,
        admitted: &Admitted,
    ) -> Result<Response, Refusal> {
        match (route, parts.method.clone()) {
            (Route::Base, Method::GET | Method::HEAD) => Ok(base::get()),
            (Route::Manifest { repository, at }, Method::GET | Method::HEAD) => {
                self.manifest(parts, &repository, &at).await
            }
            (Route::Blob { repository, digest }, Method::GET | Method::HEAD) => {
                self.blob(parts, &repository, digest).await
            }
            (Route::Catalog, Method::GET) => {
                let seen = admitted.may_pull(&self.0.name).then_some(&self.0.name);
                listing::catalog_page(&parts.uri, seen.into_iter())
            }
            (Route::Tags { repository }, Method::GET) => {
                if repository != self.0.name {
                    return Err(Refusal::NameUnknown {
                        name: repository.as_str().to_owned(),
                    });
                }
                let tags: Vec<Tag> = self.0.origin.tags().await?;
                listing::tags_page(&parts.uri, repository.as_str(), &tags)
            }
            (Route::Referrers { repository, subject }, Method::GET) => {
                self.referrers(parts, &repository, subject).await
            }
            (Route::Token, _) => Err(Refusal::NoRoute),
            (_, method) => Err(Refusal::Unsupported { method }),
        }
    }

    async fn manifest(&self, parts: &Parts, repository: &Name, at: &At) -> Result<Response, Refusal> {
        let unknown = || Refusal::ManifestUnknown {
            repository: repository.as_str().to_owned(),
            reference: at.to_string(),
        };
        if *repository != self.0.name {
            return Err(unknown());
        }
        let found = match at {
            At::Digest(digest) => self.find(*digest, true).await?,
            At::Tag(tag) => match self.0.origin.resolve(tag).await {
                Ok(descriptor) => Some(descriptor),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            },
        };
        let descriptor = found.ok_or_else(unknown)?;
        let body = match parts.method {
            Method::HEAD => Body::empty(),
            _ => Body::from(
                self.0
                    .origin
                    .fetch_bytes(&descriptor, limits::MANIFEST_BYTES)
                    .await?,
            ),
        };
        Ok(manifests::found(&descriptor, body))
    }

    async fn blob(&self, parts: &Parts, repository: &Name, digest: Digest) -> Result<Response, Refusal> {
        let unknown = || Refusal::BlobUnknown {
            repository: repository.as_str().to_owned(),
            digest,
        };
        if *repository != self.0.name {
            return Err(unknown());
        }
        let descriptor = self.find(digest, false).await?.ok_or_else(unknown)?;
        let part = blobs::Part::wanted(parts, &digest, descriptor.size)?;
        let body = match parts.method {
            Method::HEAD => Body::empty(),
            _ => {
                let stream = self
                    .0
                    .origin
                    .fetch_range_unverified(&descriptor, part.range())
                    .await?;
                Body::from_stream(ReaderStream::with_capacity(stream, limits::STREAM_BUFFER))
            }
        };
        Ok(part.answer(&digest, body))
    }

    async fn referrers(
        &self,
        parts: &Parts,
        repository: &Name,
        subject: Digest,
    ) -> Result<Response, Refusal> {
        let wanted = parameter(&parts.uri, "artifactType");
        let known = match *repository == self.0.name {
            true => self.find(subject, true).await?,
            false => None,
        };
        let mut found = match &known {
            None => Vec::new(),
            Some(subject) => self.0.origin.referrers(subject, None).await?,
        };
        if let Some(wanted) = &wanted {
            found.retain(|entry| entry.artifact_type.as_ref().map(MediaType::as_str) == Some(wanted));
        }
        listing::referrers_page(&parts.uri, repository, &subject, found)
    }
}
