//! `config.json` and `auth.json`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use samebundle_spec::{Repository, limits};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Credential, CredentialError, hosts, server, too_large};

/// Entries of one file. Other fields of docker's file are settings of docker and not looked at.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<Zeroizing<String>>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    identitytoken: Option<Zeroizing<String>>,
    registrytoken: Option<Zeroizing<String>>,
}

/// A credentials file.
#[derive(Clone)]
pub(super) struct AuthFile {
    path: PathBuf,
    form: Form,
}

impl std::fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AuthFile").field(&self.path).finish()
    }
}

/// Where a file says that credentials are.
pub(super) enum Source {
    Own(Credential),
    Helper { name: String, server: String },
}

impl AuthFile {
    /// Reads a file; `None` if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, CredentialError> {
        let failed = |source| CredentialError::Read {
            path: path.to_owned(),
            source,
        };
        let form = |why: String| CredentialError::Form {
            path: path.to_owned(),
            why,
        };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(limits::CREDENTIALS_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > limits::CREDENTIALS_BYTES {
            return Err(form(too_large()));
        }
        // The position only: serde_json's words may quote a secret.
        let parsed = serde_json::from_slice(&bytes).map_err(|error| {
            form(format!(
                "not the expected JSON at line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        Ok(Some(Self {
            path: path.to_owned(),
            form: parsed,
        }))
    }

    /// Finds where the credentials for a repository are.
    pub(super) fn find(&self, repository: &Repository) -> Result<Option<Source>, CredentialError> {
        let hosts = hosts(repository);
        let helper = self
            .form
            .cred_helpers
            .iter()
            .find(|(key, _)| hosts.contains(&bare(key)));
        if let Some((key, name)) = helper {
            return Ok(Some(Source::Helper {
                name: name.clone(),
                server: key.clone(),
            }));
        }
        if let Some((key, entry)) = self.entry(&hosts, repository.path())
            && let Some(credential) = entry.credential().map_err(|why| CredentialError::Form {
                path: self.path.clone(),
                why: format!("auths[{key:?}]: {why}"),
            })?
        {
            return Ok(Some(Source::Own(credential)));
        }
        Ok(self.form.creds_store.as_ref().map(|name| Source::Helper {
            name: name.clone(),
            server: server(repository).to_owned(),
        }))
    }

    /// The entry with the longest key that is the host, or the host and a leading part of the path.
    fn entry(&self, hosts: &[&str], path: &str) -> Option<(&String, &Entry)> {
        let matches = |key: &str| {
            hosts.iter().any(|host| match key.strip_prefix(host) {
                Some("") => true,
                Some(rest) => rest
                    .strip_prefix('/')
                    .and_then(|part| path.strip_prefix(part))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
                None => false,
            })
        };
        let entries = self.form.auths.iter();
        entries
            .filter(|(key, _)| matches(bare(key)))
            .max_by_key(|(key, _)| bare(key).len())
    }
}

/// A key without scheme and docker's version path.
fn bare(key: &str) -> &str {
    let key = key.strip_prefix("https://").unwrap_or(key);
    let key = key.strip_prefix("http://").unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key)
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, &'static str> {
        fn given(text: Option<&Zeroizing<String>>) -> Option<Zeroizing<String>> {
            text.filter(|text| !text.is_empty()).cloned()
        }
        if let Some(token) = given(self.identitytoken.as_ref()) {
            return Ok(Some(Credential::Identity(token)));
        }
        if let Some(token) = given(self.registrytoken.as_ref()) {
            return Ok(Some(Credential::Bearer(token)));
        }
        if let (Some(username), Some(password)) = (&self.username, given(self.password.as_ref())) {
            return Ok(Some(Credential::Basic {
                username: username.clone(),
                password,
            }));
        }
        let Some(auth) = given(self.auth.as_ref()) else {
            return Ok(None);
        };
        let bytes = Zeroizing::new(
            STANDARD
                .decode(auth.as_bytes())
                .map_err(|_| "auth is not base64")?,
        );
        let text = std::str::from_utf8(&bytes).map_err(|_| "auth is not UTF-8")?;
        let (username, password) = text.split_once(':').ok_or("auth is not user:password")?;
        Ok(Some(Credential::Basic {
            username: username.to_owned(),
            password: Zeroizing::new(password.trim_end_matches('\0').to_owned()),
        }))
    }
}
