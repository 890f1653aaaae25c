//! Source at a tag or commit of a git repository, through the user's git.
//!
//! A bare repository in the cache of the home takes what is fetched; it has no work tree, no hooks and no configuration of
//! the remote, and the files are written by [`export`] from its objects, so nothing of the repository is ever executed by
//! git. The user's own configuration holds for how a host is reached: credential helpers, proxies, rewritten addresses.
//! Nobody is asked for a password, and none stands in an argument.

mod error;
mod export;
mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;

use samebundle_registry::{PathError, durable};
use samebundle_spec::bundle::parameter::nearest;
use samebundle_spec::git::{CommitId, GitPlace, GitReference, GitSource, HEAD};
use samebundle_spec::name::other_spellings;
use samebundle_spec::signing::{GitObject, KeyRing, SignatureFault, SignedSource, examine_source};
use samebundle_spec::{Digest, limits};

use super::BuildTools;
use crate::context::Context;
use crate::home::HomeLock;

pub use error::{GitError, GitFault};
pub(crate) use export::Exported;
use process::Git;

/// Where the cache has what a repository calls HEAD.
const KEPT_HEAD: &str = "refs/samebundle/HEAD";

/// A commit of a repository, in the cache.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Where it was found.
    pub place: GitPlace,
    /// The commit.
    pub commit: CommitId,
    /// The name of the tag that names it, if one was asked for.
    pub tag: Option<String>,
    git: Git,
    _lock: HomeLock,
}

/// The names of a repository, and the object of each. `refs/tags/X^{}` is the commit that a tag object names.
type Names = BTreeMap<String, String>;

/// What is to be fetched.
enum Wanted {
    /// A tag, a branch or HEAD, by its whole name.
    Name(String),
    /// A commit, by its whole id or the beginning of it.
    Commit(GitReference),
}

/// Finds the repository that a source names, and fetches the commit into the cache.
///
/// # Errors
/// If there is no such repository, tag or commit, or git cannot get at it.
pub(crate) async fn fetch(
    source: &GitSource,
    tools: &BuildTools,
    context: &Context,
) -> Result<Fetched, GitError> {
    let (place, names) = match context.offline {
        true => find_in_cache(source, tools, context).await?,
        false => find(source, tools, context).await?,
    };
    let (cache, lock) = open_cache(&place, context).await?;
    let git = Git::new(tools, context, &place.url).of(&cache);
    if !cache.join("HEAD").exists() {
        let folder = cache.as_os_str();
        git.run(
            "make a cache for",
            ["init", "--quiet", "--bare", "--template="],
            Some(folder),
        )
        .await?;
    }
    let wanted = choose(source, &place, &names, context)?;
    if !context.offline {
        git.fetch(&wanted).await?;
    }
    let (name, tag) = match &wanted {
        Wanted::Name(name) if name == HEAD => (KEPT_HEAD.to_owned(), None),
        Wanted::Name(name) => (name.clone(), name.strip_prefix("refs/tags/")),
        Wanted::Commit(commit) => (commit.to_string(), None),
    };
    let found = git
        .line(
            "read",
            ["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")],
        )
        .await;
    let found = match found {
        Err(GitError::Failed {
            fault: GitFault::Other,
            said,
            ..
        }) if said.is_empty() => {
            return Err(no_reference(&place, &name, &names));
        }
        found => found?,
    };
    let commit = found.parse().map_err(|_| git.answer("a commit"))?;
    let tag = tag.map(str::to_owned);
    Ok(Fetched {
        place,
        commit,
        tag,
        git,
        _lock: lock,
    })
}

impl Fetched {
    /// Looks for the signature of the tag, or else of the commit.
    ///
    /// # Errors
    /// If git cannot read them.
    pub(crate) async fn signature(
        &self,
        keys: &KeyRing,
    ) -> Result<Result<Option<SignedSource>, SignatureFault>, GitError> {
        if let Some(name) = &self.tag {
            let full = format!("refs/tags/{name}");
            if self.git.line("read", ["cat-file", "-t", &full]).await? == "tag" {
                let object = self.git.object(["cat-file", "tag", &full]).await?;
                let commit = self.commit.as_str();
                let of_tag = GitObject::Tag {
                    object: &object,
                    name,
                    commit,
                };
                match examine_source(of_tag, keys) {
                    Ok(None) => {}
                    examined => return Ok(examined),
                }
            }
        }
        let object = self
            .git
            .object(["cat-file", "commit", self.commit.as_str()])
            .await?;
        Ok(examine_source(GitObject::Commit(&object), keys))
    }

    /// Where the cache keeps the choice of packages of a commit that has no `samebundle.lock`, so that a home makes the same
    /// bundle of it again, without a network as well.
    pub(crate) fn kept_lock(&self) -> PathBuf {
        let path = self.place.path.as_ref().map_or("", |path| path.as_str());
        let name = Digest::sha256(format!("{} {path}", self.commit).as_bytes()).short();
        self.git.folder().join(format!("{name}.lock"))
    }

    /// Writes the files of the commit into a folder.
    ///
    /// # Errors
    /// If the folder or file that is asked for is not there, the source is too large, or it cannot be written.
    pub(crate) async fn export(&self, folder: &std::path::Path) -> Result<Exported, GitError> {
        export::export(&self.git, &self.place, &self.commit, folder).await
    }
}

/// Asks each place that the address may mean, and returns the first that is a repository, with its names. What denies an
/// answer may be no repository at all: some hosts say that of everything that they do not have.
async fn find(
    source: &GitSource,
    tools: &BuildTools,
    context: &Context,
) -> Result<(GitPlace, Names), GitError> {
    let (mut tried, mut denied) = (Vec::new(), None);
    for place in source.places() {
        let git = Git::new(tools, context, &place.url);
        match git.names().await {
            Ok(names) => return Ok((place, names)),
            Err(GitError::Failed {
                fault: GitFault::Missing,
                ..
            }) => tried.push(place.url),
            Err(
                error @ GitError::Failed {
                    fault: GitFault::Denied,
                    ..
                },
            ) => {
                tried.push(place.url);
                denied.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(denied.unwrap_or(GitError::NoRepository { tried }))
}

/// The same without a socket: the place is one that was fetched from before.
async fn find_in_cache(
    source: &GitSource,
    tools: &BuildTools,
    context: &Context,
) -> Result<(GitPlace, Names), GitError> {
    for place in source.places() {
        let cache = cache_of(&place, context);
        if !cache.join("HEAD").exists() {
            continue;
        }
        let git = Git::new(tools, context, &place.url).of(&cache);
        let names = git.kept_names().await?;
        let is_there = match choose(source, &place, &names, context) {
            Ok(Wanted::Name(_)) => true,
            Ok(Wanted::Commit(commit)) => git
                .line("read", ["cat-file", "-e", &format!("{commit}^{{commit}}")])
                .await
                .is_ok(),
            Err(_) => false,
        };
        if is_there {
            return Ok((place, names));
        }
    }
    Err(GitError::Offline {
        text: source.to_string(),
    })
}

/// Chooses what is meant among the names of a repository: what is named exactly goes before another way to write the same
/// version, with which git's habit to put a `v` before it belongs.
fn choose(
    source: &GitSource,
    place: &GitPlace,
    names: &Names,
    context: &Context,
) -> Result<Wanted, GitError> {
    if let Some(commit) = &source.commit {
        let reference = commit
            .as_str()
            .parse()
            .map_err(|_| no_reference(place, commit.as_str(), names))?;
        return Ok(Wanted::Commit(reference));
    }
    let Some(reference) = source
        .reference
        .as_ref()
        .filter(|reference| reference.as_str() != HEAD)
    else {
        return match names.contains_key(HEAD) {
            true => Ok(Wanted::Name(HEAD.to_owned())),
            false => Err(no_reference(place, HEAD, names)),
        };
    };
    let text = reference.as_str();
    for full in [format!("refs/tags/{text}"), format!("refs/heads/{text}")] {
        if names.contains_key(&full) {
            return Ok(Wanted::Name(full));
        }
    }
    let number = text.strip_prefix('v').unwrap_or(text);
    let spellings = other_spellings(number).into_iter().chain([number.to_owned()]);
    for other in spellings.flat_map(|number| [number.clone(), format!("v{number}")]) {
        let full = format!("refs/tags/{other}");
        if names.contains_key(&full) {
            super::notice(
                context,
                format!("{} has no tag {text}: {other} is taken", place.url),
            );
            return Ok(Wanted::Name(full));
        }
    }
    match reference.may_be_commit() {
        true => Ok(Wanted::Commit(reference.clone())),
        false => Err(no_reference(place, text, names)),
    }
}

fn no_reference(place: &GitPlace, reference: &str, names: &Names) -> GitError {
    let short = |name: &String| {
        let name = name
            .strip_prefix("refs/tags/")
            .or_else(|| name.strip_prefix("refs/heads/"))?;
        (!name.ends_with("^{}")).then(|| name.to_owned())
    };
    let known: Vec<String> = names.keys().filter_map(short).collect();
    let last = || {
        let last = &known[known.len().saturating_sub(5)..];
        (!last.is_empty()).then(|| last.join(", "))
    };
    GitError::NoReference {
        url: place.url.clone(),
        near: nearest(reference, &known).or_else(last),
        reference: reference.to_owned(),
    }
}

fn cache_of(place: &GitPlace, context: &Context) -> PathBuf {
    let name = Digest::sha256(place.url.as_bytes()).hex();
    context.home.cache().join("git").join(name)
}

/// Makes the folder of a repository in the cache, and locks it.
async fn open_cache(place: &GitPlace, context: &Context) -> Result<(PathBuf, HomeLock), GitError> {
    let cache = cache_of(place, context);
    durable::make_folder(&cache, 0o700).map_err(PathError::into::<GitError>("make", &cache))?;
    let name = Digest::sha256(place.url.as_bytes()).short();
    let lock = context.home.lock(&format!("git-{name}")).await;
    let lock = lock.map_err(PathError::into::<GitError>("lock", &cache))?;
    Ok((cache, lock))
}

impl Git {
    /// Asks a repository for its names.
    async fn names(&self) -> Result<Names, GitError> {
        let words = [
            "ls-remote",
            "--quiet",
            "--",
            self.url(),
            HEAD,
            "refs/tags/*",
            "refs/heads/*",
        ];
        let printed = self.output("ask", &words, limits::GIT_LISTING_BYTES).await?;
        Ok(read_names(&printed, "\t"))
    }

    /// Lists the names that were fetched before.
    async fn kept_names(&self) -> Result<Names, GitError> {
        let words = ["for-each-ref", "--format=%(objectname) %(refname)"];
        let printed = self.output("read", &words, limits::GIT_LISTING_BYTES).await?;
        let mut names = read_names(&printed, " ");
        if let Some(head) = names.remove(KEPT_HEAD) {
            names.insert(HEAD.to_owned(), head);
        }
        Ok(names)
    }

    /// Fetches one commit, without those before it where that is possible. A server may refuse to give a commit by its id;
    /// then all that it has is fetched.
    async fn fetch(&self, wanted: &Wanted) -> Result<(), GitError> {
        let (only, is_commit) = match wanted {
            Wanted::Name(name) if name == HEAD => (format!("+HEAD:{KEPT_HEAD}"), false),
            Wanted::Name(name) => (format!("+{name}:{name}"), false),
            Wanted::Commit(commit) => (format!("+{commit}:refs/samebundle/{commit}"), true),
        };
        let whole = !is_commit
            || matches!(wanted, Wanted::Commit(commit) if matches!(commit.as_str().len(), 40 | 64));
        let (tags, heads) = ("+refs/tags/*:refs/tags/*", "+refs/heads/*:refs/heads/*");
        let shallow = match whole {
            true => self.fetch_some(&["--depth=1"], &[&only]).await,
            false => return self.fetch_some(&["--depth=2147483647"], &[tags, heads]).await,
        };
        match shallow {
            Err(GitError::Failed { said, .. }) if said.contains("shallow") => {
                self.fetch_some(&[], &[&only]).await
            }
            Err(GitError::Failed {
                fault: GitFault::Other | GitFault::Missing,
                ..
            }) if is_commit => self.fetch_some(&["--depth=2147483647"], &[tags, heads]).await,
            fetched => fetched,
        }
    }

    async fn fetch_some(&self, options: &[&str], what: &[&str]) -> Result<(), GitError> {
        let always = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--force",
        ];
        let words = [&always[..], options, &["--", self.url()], what].concat();
        self.output("fetch from", &words, limits::GIT_LISTING_BYTES)
            .await?;
        Ok(())
    }
}

fn read_names(printed: &[u8], between: &str) -> Names {
    let text = String::from_utf8_lossy(printed);
    let pairs = text.lines().filter_map(|line| line.split_once(between));
    pairs
        .map(|(object, name)| (name.to_owned(), object.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests;
