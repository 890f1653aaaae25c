//! Paths: `/v2/<repository>/...` to a [`Route`] of parsed values.
//!
//! A repository may itself hold words such as `blobs`, so paths are read from their end. Nothing is percent-decoded: no
//! valid name, tag or digest needs it.

use axum::http::Uri;
use samebundle_spec::{Digest, Repository, Tag};

use super::refusal::Refusal;

/// The name of a repository in this registry, checked by the grammar of distribution-spec 1.1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name(Repository);

impl Name {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        Repository::new("localhost", text)
            .map(Self)
            .map_err(|error| Refusal::Name {
                name: text.chars().take(100).collect(),
                why: error.to_string(),
            })
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.path()
    }
}

/// The reference by which a manifest is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    Tag(Tag),
    Digest(Digest),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A resource of the registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Base,
    Manifest {
        repository: Name,
        at: At,
    },
    Blob {
        repository: Name,
        digest: Digest,
    },
    Uploads {
        repository: Name,
    },
    Upload {
        repository: Name,
        id: String,
    },
    Tags {
        repository: Name,
    },
    Referrers {
        repository: Name,
        subject: Digest,
    },
    /// The names of all repositories.
    Catalog,
    /// The token service.
    Token,
    /// The metrics of the server.
    Metrics,
}

fn digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|error: samebundle_spec::digest::DigestError| Refusal::Digest {
            why: error.to_string(),
        })
}

impl Route {
    /// A word for the kind of resource.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Uploads { .. } | Self::Upload { .. } => "upload",
            Self::Tags { .. } => "tags",
            Self::Referrers { .. } => "referrers",
            Self::Catalog => "catalog",
            Self::Token => "token",
            Self::Metrics => "metrics",
        }
    }

    pub(super) fn parse(uri: &Uri) -> Result<Self, Refusal> {
        let path = uri.path();
        if path == "/v2" || path == "/v2/" {
            return Ok(Self::Base);
        }
        match path {
            "/v2/_catalog" => return Ok(Self::Catalog),
            "/token" => return Ok(Self::Token),
            "/metrics" => return Ok(Self::Metrics),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or(Refusal::NoRoute)?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags {
                repository: Name::parse(name)?,
            });
        }
        let (front, last) = rest.rsplit_once('/').ok_or(Refusal::NoRoute)?;
        if let Some(name) = front.strip_suffix("/blobs/uploads") {
            let repository = Name::parse(name)?;
            return Ok(if last.is_empty() {
                Self::Uploads { repository }
            } else {
                Self::Upload {
                    repository,
                    id: last.to_owned(),
                }
            });
        }
        let (name, kind) = front.rsplit_once('/').ok_or(Refusal::NoRoute)?;
        match kind {
            "blobs" if last == "uploads" => Ok(Self::Uploads {
                repository: Name::parse(name)?,
            }),
            "blobs" => Ok(Self::Blob {
                repository: Name::parse(name)?,
                digest: digest(last)?,
            }),
            "manifests" => {
                let repository = Name::parse(name)?;
                let at = at(&repository, last)?;
                Ok(Self::Manifest { repository, at })
            }
            "referrers" => Ok(Self::Referrers {
                repository: Name::parse(name)?,
                subject: digest(last)?,
            }),
            _ => Err(Refusal::NoRoute),
        }
    }
}

fn at(repository: &Name, text: &str) -> Result<At, Refusal> {
    if text.contains(':') {
        return digest(text).map(At::Digest);
    }
    text.parse().map(At::Tag).map_err(|_| Refusal::ManifestUnknown {
        repository: repository.as_str().to_owned(),
        reference: text.chars().take(128).collect(),
    })
}

/// The first value of a query parameter, decoded.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    parameters(uri, name).next()
}

/// All values of a query parameter, decoded.
pub(super) fn parameters(uri: &Uri, name: &str) -> impl Iterator<Item = String> {
    let query = uri.query().unwrap_or_default().as_bytes();
    url::form_urlencoded::parse(query)
        .filter(move |(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<Route, Refusal> {
        Route::parse(&path.parse().unwrap())
    }

    #[test]
    fn reads_paths_from_their_end() {
        let hex = "a".repeat(64);
        assert!(matches!(parse("/v2/"), Ok(Route::Base)));
        assert!(
            matches!(parse("/v2/blobs/uploads/blobs/uploads/"), Ok(Route::Uploads { repository }) if repository.as_str() == "blobs/uploads")
        );
        assert!(
            matches!(parse("/v2/a/manifests/manifests/latest"), Ok(Route::Manifest { repository, at: At::Tag(tag) })
                if repository.as_str() == "a/manifests" && tag.as_str() == "latest")
        );
        assert!(matches!(
            parse(&format!("/v2/a/b/referrers/sha256:{hex}")),
            Ok(Route::Referrers { .. })
        ));
        assert!(matches!(parse("/v2/tags/list/tags/list"), Ok(Route::Tags { .. })));
    }

    #[test]
    fn refuses_names_that_could_escape() {
        for path in [
            "/v2/../../etc/blobs/uploads/",
            "/v2/%2e%2e/blobs/uploads/",
            "/v2/a%2fb/tags/list",
            "/v2/A/tags/list",
            "/v2//tags/list",
            "/v2/a/blobs/sha256:../../x",
            "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e",
            "/v2/a/manifests/..",
            "/v2/_blobs/manifests/x",
            "/v2/tags/list",
            "/",
            "/v2/a",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
    }
}
