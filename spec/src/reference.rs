//! References to manifests in a registry: `registry/repository[:tag][@digest]` (distribution-spec 1.1).

use std::fmt;
use std::str::FromStr;

use crate::name::text_type;
use crate::text::without_credentials;
use crate::{Digest, limits};

/// Why a text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reference {text:?} is not valid: {why}")]
pub struct ReferenceError {
    text: String,
    why: String,
}

fn fault(text: &str, why: impl Into<String>) -> ReferenceError {
    ReferenceError {
        text: without_credentials(text).chars().take(300).collect(),
        why: why.into(),
    }
}

/// Why nothing stands before a registry.
const CREDENTIALS: &str = "a user or password has no place in a reference, which is recorded and shown: leave it out, and \
     give it to `login` once";

/// Tells whether the first part of a reference has something before the registry; a digest may be all that follows it.
fn has_credentials(first: &str) -> bool {
    let after = first.rsplit_once('@').map(|(_, after)| after);
    after.is_some_and(|after| !after.starts_with("sha256:") && !after.starts_with("sha512:"))
}

/// A tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);
text_type!(Tag);

impl Tag {
    /// Other ways to write the same version, if the tag is a version of nothing but numbers.
    pub fn other_spellings(&self) -> impl Iterator<Item = Self> {
        crate::name::other_spellings(&self.0).into_iter().map(Self)
    }

    /// The fallback tag under which referrers of `subject` are listed where a registry has no referrers API.
    pub fn referrers(subject: &Digest) -> Self {
        Self(format!("{}-{}", subject.algorithm().name(), subject.hex()))
    }

    /// The tag under which cosign looks for a signature of `subject`.
    pub fn cosign(subject: &Digest) -> Self {
        let [signature, ..] = Self::cosign_all(subject);
        signature
    }

    /// The tags under which cosign looks for signatures, attestations and bills of materials of `subject`.
    pub fn cosign_all(subject: &Digest) -> [Self; 3] {
        ["sig", "att", "sbom"].map(|suffix| {
            Self(format!(
                "{}-{}.{suffix}",
                subject.algorithm().name(),
                subject.hex()
            ))
        })
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let valid = text.len() <= limits::TAG_BYTES
            && text.starts_with(word)
            && text.chars().all(|c| word(c) || c == '.' || c == '-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(fault(text, "the tag"))
        }
    }
}

/// A registry host and a repository in it, e.g. `registry.example:5000/team/digits`. Displays as that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    registry: String,
    path: String,
}

/// The registry of a reference that names none, as Docker has it.
pub const DOCKER_HUB: &str = "docker.io";

impl Repository {
    /// Joins a registry host (with port) and a repository path.
    ///
    /// # Errors
    /// If either part is not valid by distribution-spec 1.1.
    pub fn new(registry: &str, path: &str) -> Result<Self, ReferenceError> {
        let shown = format!("{registry}/{path}");
        if registry.contains('@') {
            return Err(fault(&shown, CREDENTIALS));
        }
        if !valid_registry(registry) {
            return Err(fault(&shown, format!("{registry:?} is not a host or host:port")));
        }
        if !path.split('/').all(valid_path_component) {
            return Err(fault(
                &shown,
                "the repository must be lower-case components separated by '/'",
            ));
        }
        if shown.len() > limits::REPOSITORY_BYTES {
            return Err(fault(&shown, "longer than 255 bytes"));
        }
        Ok(Self {
            registry: registry.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The registry, a host with an optional port.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path in the registry.
    pub fn path(&self) -> &str {
        &self.path
    }
}

fn valid_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, rest)) if v6.parse::<std::net::Ipv6Addr>().is_ok() => {
            return rest.is_empty()
                || rest
                    .strip_prefix(':')
                    .is_some_and(|port| port.parse::<u16>().is_ok());
        }
        Some(_) => return false,
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label)
        && port.is_none_or(|port| port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn valid_path_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = text.split(alphanumeric).filter(|run| !run.is_empty());
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && separators.all(|run| run == "." || run == "_" || run == "__" || run.chars().all(|c| c == '-'))
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        match text.split_once('/') {
            Some((registry, path)) => Self::new(registry, path),
            None => Err(fault(
                text,
                "it needs a registry and a repository, registry/repository",
            )),
        }
    }
}

crate::serde_as_text!(Repository);

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// A reference: a repository with a tag, a digest, or both (then the digest decides).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Registry and repository.
    pub repository: Repository,
    /// The tag, if one is given.
    pub tag: Option<Tag>,
    /// The digest, if one is given.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Parses an image reference the way Docker reads it: a first component without '.', ':' or `localhost` belongs to
    /// Docker Hub, and a single component to its `library`. Used for images named in pipelines and foreign bundles.
    ///
    /// # Errors
    /// If the text is not a reference.
    pub fn parse_docker(text: &str) -> Result<Self, ReferenceError> {
        let first = text.split('/').next().unwrap_or_default();
        let is_host = text.contains('/') && (first.contains(['.', ':']) || first == "localhost");
        if is_host {
            return text.parse();
        }
        let library = if text.contains('/') { "" } else { "library/" };
        format!("{DOCKER_HUB}/{library}{text}").parse()
    }

    /// Returns the same repository with this digest alone.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self {
            repository: self.repository.clone(),
            tag: None,
            digest: Some(digest),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.split('/').next().is_some_and(has_credentials) {
            return Err(fault(text, CREDENTIALS));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(
                    digest
                        .parse()
                        .map_err(|error: crate::digest::DigestError| fault(text, error.to_string()))?,
                ),
            ),
            None => (text, None),
        };
        let Some((registry, path)) = rest.split_once('/') else {
            return Err(fault(
                text,
                "it needs a registry and a repository, registry/repository:tag",
            ));
        };
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(tag.parse()?)),
            None => (path, None),
        };
        Ok(Self {
            repository: Repository::new(registry, path)?,
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

crate::serde_as_text!(Reference);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is a reference prints as what it was read from; nothing makes the reader panic.
        #[test]
        fn references_round_trip(
            host in "[a-z][a-z0-9-]{0,5}[a-z0-9](\\.[a-z]{1,5})?(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}){0,3}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"),
            bytes in proptest::option::of(any::<[u8; 8]>()),
        ) {
            let mut text = format!("{host}/{path}");
            if let Some(tag) = tag {
                text = format!("{text}:{tag}");
            }
            if let Some(bytes) = bytes {
                text = format!("{text}@{}", Digest::sha256(&bytes));
            }
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(reference.to_string(), text);
        }

        #[test]
        fn any_text_is_a_reference_or_refused(text in "\\PC{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }

    #[test]
    fn parses_and_prints() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "localhost:5000/x",
            "registry.example/team/digits:1.0",
            "[::1]:5000/a/b:t",
            &format!("r.io/x@{digest}"),
            &format!("r.io/x:1@{digest}"),
            "127.0.0.1:5000/a__b/c-d.e",
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        for (text, full) in [
            ("python:3.11", "docker.io/library/python:3.11"),
            ("team/x", "docker.io/team/x"),
            ("localhost/x:1", "localhost/x:1"),
            ("localhost:5000/x", "localhost:5000/x"),
        ] {
            assert_eq!(Reference::parse_docker(text).unwrap().to_string(), full);
        }
    }

    #[test]
    fn refuses_what_is_not_a_reference() {
        for text in [
            "",
            "x",
            "/x",
            "r.io/",
            "r.io/X",
            "r.io/a//b",
            "r.io/../x",
            "-r/x",
            "r.io/x:",
            "r.io/x:.a",
            "r.io/x@sha256:1",
            "r.io:99999/x",
            "http://r.io/x",
            "r.io/a_-b",
            "--upload-pack=x/y",
            "r.io/x:a b",
            "u:p@r.io/x",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
