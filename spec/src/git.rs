//! Source in a git repository, as a user writes it: `https://HOST/ORG/REPO/PATH:TAG`, or as pip writes it,
//! `git+https://HOST/ORG/REPO@REF#PATH`.
//!
//! The first form does not say where the repository ends and the path in it begins, so it names several places, of which
//! one is there: [`GitSource::places`].

use std::fmt;
use std::str::FromStr;

use crate::signing::BundleOrigin;
use crate::text::without_credentials;
use crate::{Digest, EntryPath, Repository, limits};

/// Why a text names no source in a git repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no source in a git repository: {why}")]
pub struct GitSourceError {
    text: String,
    why: &'static str,
}

/// Source in a git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    /// Scheme and host: `https://host:port`, `ssh://user@host`, or `file://`.
    root: String,
    /// The parts of the address behind the host.
    parts: Vec<String>,
    /// How many parts the repository's address has; none: that is not known.
    repository: Option<usize>,
    /// The folder or file in the repository, where the address is the repository's alone.
    path: Option<EntryPath>,
    /// A tag, a branch or a commit; none: what the repository calls HEAD.
    pub reference: Option<GitReference>,
    /// The commit to which it is pinned.
    pub commit: Option<CommitId>,
}

/// A repository, and a folder or file in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitPlace {
    /// The repository's address.
    pub url: String,
    /// The folder or file; none: the repository's root.
    pub path: Option<EntryPath>,
    /// How many parts of the address are the repository's.
    length: usize,
}

/// The name of a tag or branch, or a commit. It is safe as an argument and as a part of a reference's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitReference(String);
crate::name::text_type!(GitReference);

/// The whole id of a commit: 40 hexadecimal digits, or 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitId(String);
crate::name::text_type!(CommitId);

/// What a repository calls the newest commit of its main branch.
pub const HEAD: &str = "HEAD";

fn fault(text: &str, why: &'static str) -> GitSourceError {
    GitSourceError {
        text: without_credentials(text).chars().take(300).collect(),
        why,
    }
}

impl FromStr for CommitId {
    type Err = GitSourceError;

    fn from_str(text: &str) -> Result<Self, GitSourceError> {
        let digits = text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        match digits && matches!(text.len(), 40 | 64) {
            true => Ok(Self(text.to_owned())),
            false => Err(fault(text, "a commit has 40 or 64 hexadecimal digits")),
        }
    }
}

impl FromStr for GitReference {
    type Err = GitSourceError;

    /// Reads it by the rules of git-check-ref-format.
    fn from_str(text: &str) -> Result<Self, GitSourceError> {
        let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
        let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
        let valid = text.len() <= limits::TAG_BYTES
            && !text.starts_with('-')
            && !text.ends_with('.')
            && !text.contains("..")
            && !text.contains("@{")
            && text != "@"
            && !text.contains(odd)
            && text.split('/').all(part);
        match valid {
            true => Ok(Self(text.to_owned())),
            false => Err(fault(text, "this is no name of a tag, branch or commit")),
        }
    }
}

impl GitReference {
    /// Tells whether it may be the beginning of a commit's id.
    pub fn may_be_commit(&self) -> bool {
        let digits = self.0.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        digits && (7..=64).contains(&self.0.len())
    }
}

impl GitPlace {
    /// The place as the policy sees it: host and path of the repository, in lower case. A path that no scope can name is
    /// replaced by its digest, so that only rules for the whole host are about it.
    pub fn origin(&self) -> BundleOrigin {
        let (_, rest) = self.url.split_once("://").unwrap_or_default();
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let (host, path) = rest
            .strip_suffix(".git")
            .unwrap_or(rest)
            .split_once('/')
            .unwrap_or_default();
        let digest = Digest::sha256(path.as_bytes()).hex();
        // Only the address of a file has no host.
        let repository =
            Repository::new(host, &path.to_ascii_lowercase()).or_else(|_| Repository::new(host, &digest));
        repository.map_or(BundleOrigin::Local, BundleOrigin::Registry)
    }
}

impl GitSource {
    /// Tells whether a text is meant as source in a git repository: it has `git+` before a scheme, or is an `https` address
    /// without a digest, which only registries have.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("git+") || (text.starts_with("https://") && !text.contains("@sha256:"))
    }

    /// The places that the text may mean, the longest repository first. There is always one.
    pub fn places(&self) -> Vec<GitPlace> {
        let count = self.parts.len();
        let lengths = match self.repository {
            Some(length) => length..=length,
            None => 1..=count,
        };
        let place = |length: usize| {
            let (repository, below) = self.parts.split_at(length);
            let path = match below {
                [] => self.path.clone(),
                below => Some(below.join("/").parse().ok()?),
            };
            let url = format!("{}/{}", self.root, repository.join("/"));
            Some(GitPlace { url, path, length })
        };
        lengths.rev().filter_map(place).collect()
    }

    /// The source at one place and one commit, as records have it.
    #[must_use]
    pub fn pinned(&self, place: &GitPlace, commit: CommitId) -> Self {
        let head = || GitReference(HEAD.to_owned());
        Self {
            root: self.root.clone(),
            parts: self.parts[..place.length].to_vec(),
            repository: Some(place.length),
            path: place.path.clone(),
            reference: Some(self.reference.clone().unwrap_or_else(head)),
            commit: Some(commit),
        }
    }

    /// The same source at what its tag or branch names now.
    #[must_use]
    pub fn unpinned(mut self) -> Self {
        self.commit = None;
        self
    }
}

impl FromStr for GitSource {
    type Err = GitSourceError;

    fn from_str(text: &str) -> Result<Self, GitSourceError> {
        let error = |why| fault(text, why);
        let plain = text.strip_prefix("git+").unwrap_or(text);
        let (address, path) = match plain.split_once('#') {
            Some((address, path)) => (address, Some(path.strip_prefix("subdirectory=").unwrap_or(path))),
            None => (plain, None),
        };
        if address.contains(|c: char| c.is_control() || c.is_whitespace() || "?\\\"".contains(c)) {
            return Err(error("an address has no spaces, and no '?', '\\' or '\"'"));
        }
        let (scheme, rest) = address
            .split_once("://")
            .ok_or_else(|| error("it has no scheme"))?;
        let (host, rest) = rest.split_once('/').unwrap_or((rest, ""));
        check_host(scheme, host).map_err(error)?;
        let (address, reference, commit) = split_reference(rest).map_err(error)?;
        let parts: Vec<String> = address
            .trim_end_matches('/')
            .split('/')
            .map(str::to_owned)
            .collect();
        if parts.iter().any(|part| matches!(part.as_str(), "" | "." | ".."))
            || parts.len() > limits::PATH_DEPTH
        {
            return Err(error("the address is not that of a repository"));
        }
        let ends = parts.iter().position(|part| part.ends_with(".git"));
        let said = path.is_some() || commit.is_some() || rest.contains('@');
        let repository = match (ends, said) {
            (Some(at), _) => Some(at + 1),
            (None, true) => Some(parts.len()),
            (None, false) => None,
        };
        let path = path
            .map(|path| path.trim_end_matches('/'))
            .filter(|path| !path.is_empty());
        if path.is_some() && repository.is_some_and(|length| length < parts.len()) {
            return Err(error("the path stands in it twice, behind .git and behind '#'"));
        }
        let path = path
            .map(str::parse)
            .transpose()
            .map_err(|_| error("the path in the repository is refused"))?;
        let found = Self {
            root: format!("{scheme}://{host}"),
            parts,
            repository,
            path,
            reference,
            commit,
        };
        match found.places().is_empty() {
            true => Err(error("the path in the repository is refused")),
            false => Ok(found),
        }
    }
}

/// Checks the host of an address. Whatever a user writes into it goes to git's arguments and into records, so no password
/// may stand there.
fn check_host(scheme: &str, host: &str) -> Result<(), &'static str> {
    let (user, host) = match host.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, host),
    };
    let is_host = Repository::new(host, "x").is_ok();
    let is_user = |user: &str| {
        !user.is_empty()
            && !user.starts_with('-')
            && user
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_here = name == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match (scheme, user) {
        ("file", None) if host.is_empty() => Ok(()),
        ("file", _) => Err("a repository of this machine is written git+file:///PATH"),
        ("https", None) | ("ssh", None) if is_host => Ok(()),
        ("http", None) if is_host && is_here => Ok(()),
        ("http", _) => Err("http is not protected: use https or git+ssh"),
        ("https", Some(_)) => Err(
            "credentials do not belong into an address, which is recorded and shown: git has helpers for them",
        ),
        ("ssh", Some(user)) if is_host && is_user(user) => Ok(()),
        ("ssh", Some(_)) => Err("before the host may stand a user's name and nothing else"),
        ("https" | "ssh", None) => Err("it names no host"),
        _ => Err("git+https, git+ssh and git+file are supported"),
    }
}

type Split<'a> = (&'a str, Option<GitReference>, Option<CommitId>);

/// Splits an address from what follows it: `@REF`, `:REF`, or `:REF@COMMIT`.
fn split_reference(text: &str) -> Result<Split<'_>, &'static str> {
    let read = |text: &str| {
        text.parse::<GitReference>()
            .map_err(|_| "what follows ':' or '@' is no tag, branch or commit")
    };
    let (text, at) = match text.rsplit_once('@') {
        Some((text, at)) => (text, Some(read(at)?)),
        None => (text, None),
    };
    let (text, colon) = match text.split_once(':') {
        Some((text, colon)) => (text, Some(read(colon)?)),
        None => (text, None),
    };
    match (colon, at) {
        (None, reference) | (reference, None) => Ok((text, reference, None)),
        (reference, Some(commit)) => match commit.as_str().parse() {
            Ok(commit) => Ok((text, reference, Some(commit))),
            Err(_) => Err("a tag stands in it twice, behind ':' and behind '@'"),
        },
    }
}

impl fmt::Display for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "git+{}/{}", self.root, self.parts.join("/"))?;
        let is_split = self.repository == Some(self.parts.len());
        match (&self.reference, &self.commit) {
            (Some(reference), Some(commit)) => write!(f, ":{reference}@{commit}")?,
            (Some(reference), None) if is_split => write!(f, "@{reference}")?,
            (Some(reference), None) => write!(f, ":{reference}")?,
            (None, Some(commit)) => write!(f, "@{commit}")?,
            (None, None) if is_split && self.path.is_none() => f.write_str("#")?,
            (None, None) => {}
        }
        self.path.iter().try_for_each(|path| write!(f, "#{path}"))
    }
}

crate::serde_as_text!(GitSource);

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> GitSource {
        text.parse().unwrap()
    }

    fn places(text: &str) -> Vec<(String, String)> {
        let path = |place: &GitPlace| place.path.as_ref().map_or_else(String::new, ToString::to_string);
        let places = source(text).places();
        places
            .iter()
            .map(|place| (place.url.clone(), path(place)))
            .collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(url, path)| ((*url).to_owned(), (*path).to_owned()))
            .collect()
    }

    #[test]
    fn an_address_may_mean_several_places() {
        let seed = "https://github.com/uoftoronto/papers/arXiv.5778v1:1.0";
        assert_eq!(
            places(seed),
            pairs(&[
                ("https://github.com/uoftoronto/papers/arXiv.5778v1", ""),
                ("https://github.com/uoftoronto/papers", "arXiv.5778v1"),
                ("https://github.com/uoftoronto", "papers/arXiv.5778v1"),
            ])
        );
        assert_eq!(source(seed).reference.unwrap().as_str(), "1.0");
        for (text, url, path) in [
            (
                "https://h.example/o/r.git/a/b:v1",
                "https://h.example/o/r.git",
                "a/b",
            ),
            ("git+https://h.example/o/r@v1#a/b", "https://h.example/o/r", "a/b"),
            ("git+https://h.example/o/r@v1", "https://h.example/o/r", ""),
            (
                "git+https://h.example/o/r@v1#subdirectory=a",
                "https://h.example/o/r",
                "a",
            ),
            (
                "git+ssh://git@h.example:22/o/r.git:v1",
                "ssh://git@h.example:22/o/r.git",
                "",
            ),
            (
                "git+file:///srv/r@feature/x#pipeline.py",
                "file:///srv/r",
                "pipeline.py",
            ),
            ("git+http://127.0.0.1:8000/r#x", "http://127.0.0.1:8000/r", "x"),
        ] {
            assert_eq!(places(text), pairs(&[(url, path)]), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "https://h.example/o/r/a:v1",
            "https://h.example/o/r/a",
            "https://h.example/o/r.git/a:v1",
            "git+https://h.example/o/r#a",
            "git+file:///r@v1",
            "git+file:///r#",
        ] {
            let read = source(text);
            assert_eq!(source(&read.to_string()), read, "{text}");
        }
        let commit: CommitId = "0123456789012345678901234567890123456789".parse().unwrap();
        let seed = source("https://h.example/o/r/a:v1");
        let pinned = seed.pinned(&seed.places()[1], commit.clone());
        let text = format!("git+https://h.example/o/r:v1@{commit}#a");
        assert_eq!(pinned.to_string(), text);
        assert_eq!(source(&text), pinned);
        assert_eq!(pinned.unpinned().to_string(), "git+https://h.example/o/r@v1#a");
        let head = source("git+https://h.example/o/r#");
        let pinned = head.pinned(&head.places()[0], commit.clone());
        assert_eq!(
            pinned.to_string(),
            format!("git+https://h.example/o/r:HEAD@{commit}")
        );
    }

    #[test]
    fn refuses_what_git_could_misread() {
        for text in [
            "https://",
            "https://h.example",
            "https://h.example/",
            "https://h.example//r",
            "https://h.example/o/../r",
            "https://-h/r",
            "https://u:secret@h.example/r",
            "https://token@h.example/r",
            "git+ssh://-oProxyCommand=x/r",
            "git+ssh://u:secret@h.example/r",
            "git+ssh://-x@h.example/r",
            "git+http://h.example/r",
            "git+http://localhost.example/r",
            "git+http://127.0.0.1.example/r",
            "git+ext://sh -c x/r",
            "git+ext://sh/r",
            "git+file://host/r",
            "git+file:///r@--upload-pack=x",
            "git+file:///r:-x",
            "git+file:///r@a..b",
            "git+file:///r:a:b",
            "git+file:///r:a@b",
            "git+file:///r#../x",
            "git+file:///r#/x",
            "git+file:///r.git/a#b",
            "git+https://h.example/r?x=y",
            "git+https://h.example/r x",
            "git+r",
        ] {
            assert!(text.parse::<GitSource>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_place_has_the_scope_of_its_address() {
        for (text, origin) in [
            ("git+https://h.example/Org/Repo.git#", "h.example/org/repo"),
            ("git+ssh://git@h.example/o/r#", "h.example/o/r"),
            ("git+file:///srv/r#", "a local file or store"),
        ] {
            let places = source(text).places();
            assert_eq!(places[0].origin().to_string(), origin);
        }
        let odd = source("git+https://h.example/~u/r#").places()[0].origin();
        assert!(
            odd.to_string().starts_with("h.example/") && !odd.to_string().contains("/u"),
            "{odd}"
        );
    }
}
