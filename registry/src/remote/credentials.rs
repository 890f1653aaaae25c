//! Credentials for registries: files that docker and podman write, and their credential helpers.
//!
//! Files are `config.json` (docker) and `auth.json` (containers-auth.json(5)); the caller gives them in the order in
//! which they are read. In one file a helper for the registry goes before the longest matching entry of `auths`, and
//! that before the helper for all registries. Nothing is looked up before a registry wants credentials, and secrets are
//! wiped from memory when they are dropped, never printed, and given only to the registry that they belong to (`auth`).

mod file;
mod helper;
mod login;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use samebundle_spec::{Classify, ErrorKind, Repository, limits, reference};
use zeroize::Zeroizing;

pub use helper::{CredentialHelper, ProcessHelper};
pub use login::{KeptBy, forget, keep};

use file::{AuthFile, Source};

/// The credentials of a user at a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// A refresh token, to be changed for access tokens (`identitytoken`).
    Identity(Zeroizing<String>),
    /// An access token, sent as it is (`registrytoken`).
    Bearer(Zeroizing<String>),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(***)",
            Self::Identity(_) => "Identity(***)",
            Self::Bearer(_) => "Bearer(***)",
        })
    }
}

/// Why credentials cannot be read. Their absence is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// A file cannot be read.
    #[error("could not read the credentials file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("could not write the credentials file {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file does not have the expected format.
    #[error("the credentials file {path} is not valid: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, without its content.
        why: String,
    },
    /// A helper's name is not one.
    #[error("{name:?} is not the name of a credential helper")]
    HelperName {
        /// The name, shortened.
        name: String,
    },
    /// A helper cannot be started or contacted.
    #[error("could not run the credential helper docker-credential-{name}; is it installed and on PATH?")]
    HelperStart {
        /// The name.
        name: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A helper failed or returned something other than credentials.
    #[error("the credential helper docker-credential-{name} failed: {why}")]
    Helper {
        /// The name.
        name: String,
        /// What it said, shortened.
        why: String,
    },
    /// A helper took too long: most often a locked keychain.
    #[error(
        "the credential helper docker-credential-{name} gave no answer in {seconds} s; is its keychain locked?"
    )]
    HelperTime {
        /// The name.
        name: String,
        /// The limit, seconds.
        seconds: u64,
    },
}

impl Classify for CredentialError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Write { .. } | Self::HelperStart { .. } => ErrorKind::Environment,
            Self::Format { .. } | Self::HelperName { .. } => ErrorKind::Input,
            Self::Helper { .. } | Self::HelperTime { .. } => ErrorKind::Denied,
        }
    }
}

/// The files in which credentials are looked for.
#[derive(Clone, Debug, Default)]
pub struct CredentialPaths {
    /// The files. The first that has an entry for a registry wins; files that do not exist are skipped. The order of
    /// containers is `$REGISTRY_AUTH_FILE`, `$XDG_RUNTIME_DIR/containers/auth.json`, `~/.config/containers/auth.json`,
    /// `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
    pub files: Vec<PathBuf>,
}

/// Credentials of any number of registries.
#[derive(Clone, Debug)]
pub struct Credentials {
    given: BTreeMap<String, Credential>,
    files: Vec<AuthFile>,
    helper: Arc<dyn CredentialHelper>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            given: BTreeMap::new(),
            files: Vec::new(),
            helper: Arc::new(ProcessHelper::default()),
        }
    }
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file exists and cannot be read, or does not have the expected format.
    pub fn load(paths: &CredentialPaths) -> Result<Self, CredentialError> {
        let mut files = Vec::new();
        for path in &paths.files {
            files.extend(AuthFile::read(path)?);
        }
        Ok(Self {
            files,
            ..Self::default()
        })
    }

    /// Adds what the user gave for a registry (`host` or `host:port`); it goes before all files.
    #[must_use]
    pub fn with(mut self, registry: &str, credential: Credential) -> Self {
        self.given.insert(registry.to_owned(), credential);
        self
    }

    /// Replaces the processes by another way to ask helpers.
    #[must_use]
    pub fn with_helper(mut self, helper: Arc<dyn CredentialHelper>) -> Self {
        self.helper = helper;
        self
    }

    /// Finds the credentials for a repository; `None` if there are none.
    ///
    /// # Errors
    /// If a helper fails: that is not "none".
    pub async fn get(&self, repository: &Repository) -> Result<Option<Credential>, CredentialError> {
        if let Some(credential) = self.given.get(repository.registry()) {
            return Ok(Some(credential.clone()));
        }
        for file in &self.files {
            let found = match file.find(repository)? {
                Some(Source::Own(credential)) => Some(credential),
                Some(Source::Helper { name, server }) => self.helper.get(&name, &server).await?,
                None => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The names under which the credentials of a registry may stand.
fn hosts(repository: &Repository) -> Vec<&str> {
    match repository.registry() {
        reference::DOCKER_HUB => vec!["docker.io", "index.docker.io", "registry-1.docker.io"],
        other => vec![other],
    }
}

/// The server name that helpers are asked for: docker's own name for its hub, else the host.
fn server(repository: &Repository) -> &str {
    match repository.registry() {
        reference::DOCKER_HUB => "https://index.docker.io/v1/",
        other => other,
    }
}

fn too_large() -> String {
    format!("it is larger than {} bytes", limits::CREDENTIALS_BYTES)
}

#[cfg(test)]
mod tests;
