//! `registries.conf`, version 2 (containers-registries.conf(5)): the real location of a registry, its mirrors, and
//! which registries are blocked.
//!
//! The entry with the longest prefix counts. `insecure` means plain http here; certificates are never skipped. Short
//! names, aliases and credential helpers of the file are not looked at: a reference names its registry, and helpers
//! come from the files that hold credentials.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use samebundle_spec::reference::ReferenceError;
use samebundle_spec::{Classify, ErrorKind, Repository, limits};
use serde::Deserialize;

use crate::durable;

#[derive(Debug, Default, Deserialize)]
struct RegistriesFile {
    #[serde(default)]
    registry: Vec<RegistryEntry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryEntry {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorEntry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorEntry {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Pull,
}

/// The requests that a mirror receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Pull {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// Why a repository is not contacted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistriesError {
    /// A file cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file does not have the expected format.
    #[error("{path} is no registries.conf of version 2: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file blocks the registry.
    #[error("registries.conf blocks {prefix}, so {repository} is not contacted")]
    Blocked {
        /// What is blocked.
        prefix: String,
        /// The requested repository.
        repository: Repository,
    },
    /// A prefix that is replaced by its location gives no valid repository.
    #[error("registries.conf gives {repository} a location that is not valid")]
    Location {
        /// The requested repository.
        repository: Repository,
        /// What is wrong.
        #[source]
        source: ReferenceError,
    },
}

impl Classify for RegistriesError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } => ErrorKind::Environment,
            Self::Format { .. } | Self::Location { .. } => ErrorKind::Input,
            Self::Blocked { .. } => ErrorKind::Denied,
        }
    }
}

/// A mirror of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorLocation {
    /// Where it is.
    pub repository: Repository,
    /// Plain http.
    pub insecure: bool,
    /// Whether it is used for requests by digest.
    pub digests: bool,
    /// Whether it is used for requests by tag.
    pub tags: bool,
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryLocation {
    /// The repository itself; it receives pushes, and reads that no mirror answers.
    pub repository: Repository,
    /// Plain http.
    pub insecure: bool,
    /// The mirrors that are asked first, in order, for reads.
    pub mirrors: Vec<MirrorLocation>,
}

/// The entries of the files, by prefix.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    entries: BTreeMap<String, RegistryEntry>,
}

impl Registries {
    /// Reads files in order; a later one replaces entries of the same prefix. Files that do not exist are skipped.
    ///
    /// # Errors
    /// [`RegistriesError::Read`], [`RegistriesError::Format`].
    pub fn load(files: &[PathBuf]) -> Result<Self, RegistriesError> {
        let mut entries = BTreeMap::new();
        for path in files {
            let Some(text) = read(path)? else { continue };
            let form = |why: String| RegistriesError::Format {
                path: path.clone(),
                why,
            };
            let text: RegistriesFile =
                toml::from_str(&text).map_err(|error| form(error.message().to_owned()))?;
            for entry in text.registry {
                let prefix = entry.prefix.clone().or_else(|| entry.location.clone());
                let prefix =
                    prefix.ok_or_else(|| form("a [[registry]] has no prefix and no location".to_owned()))?;
                entries.insert(prefix, entry);
            }
        }
        Ok(Self { entries })
    }

    /// Returns the location of a repository.
    ///
    /// # Errors
    /// [`RegistriesError::Blocked`], [`RegistriesError::Location`].
    pub fn locate(&self, repository: &Repository) -> Result<RepositoryLocation, RegistriesError> {
        let name = repository.to_string();
        let fitting = self
            .entries
            .iter()
            .filter_map(|(prefix, entry)| Some((prefix, rest(prefix, &name)?, entry)));
        let Some((prefix, rest, entry)) = fitting.max_by_key(|(prefix, _, _)| prefix.len()) else {
            return Ok(RepositoryLocation {
                repository: repository.clone(),
                insecure: false,
                mirrors: Vec::new(),
            });
        };
        if entry.blocked {
            return Err(RegistriesError::Blocked {
                prefix: prefix.clone(),
                repository: repository.clone(),
            });
        }
        let at = |location: &str| {
            format!("{location}{rest}")
                .parse::<Repository>()
                .map_err(|source| RegistriesError::Location {
                    repository: repository.clone(),
                    source,
                })
        };
        let mirrors = entry.mirror.iter().map(|mirror| {
            Ok(MirrorLocation {
                repository: at(&mirror.location)?,
                insecure: mirror.insecure,
                digests: mirror.pull_from_mirror != Pull::TagOnly,
                tags: mirror.pull_from_mirror != Pull::DigestOnly && !entry.mirror_by_digest_only,
            })
        });
        Ok(RepositoryLocation {
            mirrors: mirrors.collect::<Result<_, _>>()?,
            // A wildcard has no location of its own.
            repository: match &entry.location {
                Some(location) => at(location)?,
                None => repository.clone(),
            },
            insecure: entry.insecure,
        })
    }
}

fn read(path: &Path) -> Result<Option<String>, RegistriesError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::FileTooLarge => RegistriesError::Format {
            path: path.to_owned(),
            why: source.to_string(),
        },
        _ => RegistriesError::Read {
            path: path.to_owned(),
            source,
        },
    };
    let bytes = durable::read(path, limits::REGISTRIES_CONF_BYTES).map_err(failed)?;
    let text = bytes.map(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    text.transpose().map_err(failed)
}

/// What follows a prefix in a name, beginning with `/` or empty; `*.host` fits any host below, and what follows is the path.
fn rest<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let (host, _) = name.split_once('/')?;
        return host.ends_with(domain).then(|| &name[host.len()..]);
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(texts: &[&str]) -> Result<Registries, RegistriesError> {
        let folder = tempfile::tempdir().unwrap();
        let mut files = vec![folder.path().join("absent")];
        for (number, text) in texts.iter().enumerate() {
            let path = folder.path().join(format!("{number}.conf"));
            std::fs::write(&path, text).unwrap();
            files.push(path);
        }
        Registries::load(&files)
    }

    const CONF: &str = r#"
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "a.example"
[[registry.mirror]]
location = "m.example/a"
insecure = true
[[registry.mirror]]
location = "n.example:5000"
pull-from-mirror = "digest-only"

[[registry]]
prefix = "a.example/team"
location = "b.example/moved/team"
insecure = true
mirror-by-digest-only = true
mirror = [{ location = "m.example/team" }]

[[registry]]
prefix = "*.evil.example"
blocked = true
"#;

    fn locate(registries: &Registries, name: &str) -> RepositoryLocation {
        registries.locate(&name.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_longest_prefix_counts_at_a_boundary() {
        let registries = load(&[CONF]).unwrap();
        let found = locate(&registries, "a.example/x/y");
        assert_eq!(found.repository.to_string(), "a.example/x/y");
        let mirrors: Vec<_> = found
            .mirrors
            .iter()
            .map(|mirror| {
                (
                    mirror.repository.to_string(),
                    mirror.insecure,
                    mirror.digests,
                    mirror.tags,
                )
            })
            .collect();
        let expected = [
            ("m.example/a/x/y".to_owned(), true, true, true),
            ("n.example:5000/x/y".to_owned(), false, true, false),
        ];
        assert_eq!(mirrors, expected);
        let found = locate(&registries, "a.example/team/z");
        assert_eq!(found.repository.to_string(), "b.example/moved/team/z");
        assert!(found.insecure && !found.mirrors[0].tags);
        assert_eq!(locate(&registries, "a.example/teamwork/z").mirrors.len(), 2);
        assert_eq!(locate(&registries, "c.example/x").mirrors, []);
        assert_eq!(locate(&registries, "a.example:5000/x").mirrors, []);
    }

    #[test]
    fn what_is_blocked_is_not_spoken_to() {
        let registries = load(&[CONF]).unwrap();
        let error = registries
            .locate(&"x.evil.example/a".parse().unwrap())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(registries.locate(&"notevil.example/a".parse().unwrap()).is_ok());
        // A later file takes it back.
        let later = "[[registry]]\nprefix = \"*.evil.example\"\nblocked = false\n";
        let registries = load(&[CONF, later]).unwrap();
        assert!(registries.locate(&"x.evil.example/a".parse().unwrap()).is_ok());
    }

    #[test]
    fn what_is_no_such_file_is_an_error() {
        for text in [
            "[[registry]]\nblocked = true\n",
            "registry = 5\n",
            "[[registry]\n",
            "[[registry]]\nlocation = 7\n",
        ] {
            assert!(
                matches!(load(&[text]), Err(RegistriesError::Format { .. })),
                "{text}"
            );
        }
    }
}
