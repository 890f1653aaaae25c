//! `config.json` and `auth.json`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use samebundle_spec::{Repository, limits};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Credential, CredentialError, hosts, server, too_large};

/// With or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Entries of one file; `null` is an entry that does not exist. Other fields of docker's file are settings of docker and not
/// looked at.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Document {
    auths: Option<BTreeMap<String, Option<AuthEntry>>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, Option<String>>>,
}

impl Document {
    /// Reads a document; nothing but space is an empty one. An error tells the position only, because the words of the
    /// parser may quote a secret.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("not the expected JSON at line {line}, column {column}")
        })
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
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
    document: Document,
}

impl std::fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AuthFile").field(&self.path).finish()
    }
}

/// The source of credentials that a file names.
pub(super) enum Source {
    Own(Credential),
    Helper { name: String, server: String },
}

impl AuthFile {
    /// Reads a file; `None` if there is none, or if what has its name is a folder, as `docker run -v` makes of a file that
    /// does not exist. A file without text has no entries.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, CredentialError> {
        let failed = |source| CredentialError::Read {
            path: path.to_owned(),
            source,
        };
        let invalid = |why: String| CredentialError::Format {
            path: path.to_owned(),
            why,
        };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if file.metadata().map_err(failed)?.is_dir() {
            tracing::warn!(path = %path.display(), "a folder stands where credentials are looked for");
            return Ok(None);
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(limits::CREDENTIALS_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > limits::CREDENTIALS_BYTES {
            return Err(invalid(too_large()));
        }
        Ok(Some(Self {
            path: path.to_owned(),
            document: Document::parse(&bytes).map_err(invalid)?,
        }))
    }

    /// Finds where the credentials for a repository are. A helper without a name is none; named for one registry, it also
    /// turns the helper for all off there.
    pub(super) fn find(&self, repository: &Repository) -> Result<Option<Source>, CredentialError> {
        let hosts = hosts(repository);
        let helper = |name: &Option<String>, server: &str| {
            let name = name.clone().filter(|name| !name.is_empty())?;
            Some(Source::Helper {
                name,
                server: server.to_owned(),
            })
        };
        let mut helpers = self.document.cred_helpers.iter().flatten();
        let own = helpers.find(|(key, name)| name.is_some() && hosts.contains(&bare(key)));
        if let Some((key, name)) = own
            && let Some(helper) = helper(name, key)
        {
            return Ok(Some(helper));
        }
        if let Some(credential) = self.entry(&hosts, repository.path())? {
            return Ok(Some(Source::Own(credential)));
        }
        match own {
            Some(_) => Ok(None),
            None => Ok(helper(&self.document.creds_store, server(repository))),
        }
    }

    /// The credentials of the entry with the longest key that is the host, or the host and a leading part of the path. An
    /// entry without credentials is skipped.
    fn entry(&self, hosts: &[&str], path: &str) -> Result<Option<Credential>, CredentialError> {
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
        let entries = self.document.auths.iter().flatten();
        let mut fitting: Vec<_> = entries.filter(|(key, _)| matches(bare(key))).collect();
        fitting.sort_by_key(|(key, _)| std::cmp::Reverse(bare(key).len()));
        for (key, entry) in fitting {
            let Some(entry) = entry else { continue };
            let credential = entry.credential().map_err(|why| CredentialError::Format {
                path: self.path.clone(),
                why: format!("auths[{key:?}]: {why}"),
            })?;
            if credential.is_some() {
                return Ok(credential);
            }
        }
        Ok(None)
    }
}

/// A key without scheme and docker's version path.
pub(super) fn bare(key: &str) -> &str {
    let key = key.strip_prefix("https://").unwrap_or(key);
    let key = key.strip_prefix("http://").unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key)
}

impl AuthEntry {
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
        // Written by `base64`, it may have line breaks; written by hand, it may lack its padding.
        let auth: Zeroizing<Vec<u8>> =
            Zeroizing::new(auth.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
        let decoded = BASE64.decode(auth.as_slice());
        let bytes = Zeroizing::new(decoded.map_err(|_| "auth is not base64")?);
        let text = std::str::from_utf8(&bytes).map_err(|_| "auth is not UTF-8")?;
        let (username, password) = text.split_once(':').ok_or("auth is not user:password")?;
        Ok(Some(Credential::Basic {
            username: username.to_owned(),
            password: Zeroizing::new(password.trim_end_matches('\0').to_owned()),
        }))
    }
}
