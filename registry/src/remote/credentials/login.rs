//! Keeps and forgets credentials as `docker login` and `docker logout` do: in the file itself, or with the helper that the
//! file names. Everything else in the file stays.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use samebundle_spec::{Repository, limits};
use serde::Serialize as _;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::helper::ProcessHelper;
use super::{CredentialError, hosts, server};
use crate::durable;

/// What keeps credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptBy {
    /// The file, in which they can be read by whoever can read it.
    File,
    /// The helper of this name.
    Helper(String),
}

/// Keeps the credentials of a user at a repository's registry.
///
/// # Errors
/// If the file cannot be read or written, does not have the expected format, or its helper fails.
pub async fn keep(
    path: &Path,
    repository: &Repository,
    username: &str,
    password: &str,
) -> Result<KeptBy, CredentialError> {
    let mut document = read(path)?;
    let (kept, entry) = match helper_of(&document, repository) {
        Some(name) => {
            let helper = ProcessHelper::default();
            helper
                .store(&name, server(repository), username, password)
                .await?;
            (KeptBy::Helper(name), json!({}))
        }
        None => {
            let plain = Zeroizing::new(format!("{username}:{password}"));
            (KeptBy::File, json!({ "auth": STANDARD.encode(plain.as_bytes()) }))
        }
    };
    let auths = document.entry("auths").or_insert_with(|| json!({}));
    let Value::Object(auths) = auths else {
        return Err(format(path, "auths is no object"));
    };
    auths.retain(|key, _| !is_of(key, repository));
    auths.insert(server(repository).to_owned(), entry);
    write(path, &document)?;
    Ok(kept)
}

/// Forgets the credentials at a repository's registry; returns whether there were any.
///
/// # Errors
/// As [`keep`].
pub async fn forget(path: &Path, repository: &Repository) -> Result<bool, CredentialError> {
    let mut document = read(path)?;
    let mut found = match helper_of(&document, repository) {
        Some(name) => ProcessHelper::default().erase(&name, server(repository)).await?,
        None => false,
    };
    if let Some(Value::Object(auths)) = document.get_mut("auths") {
        let before = auths.len();
        auths.retain(|key, _| !is_of(key, repository));
        if auths.len() < before {
            found = true;
            write(path, &document)?;
        }
    }
    Ok(found)
}

/// Tells whether a key of `auths` is the registry.
fn is_of(key: &str, repository: &Repository) -> bool {
    hosts(repository).contains(&super::file::bare(key))
}

/// The helper that keeps credentials of the registry: its own, or the one for all.
fn helper_of(document: &Map<String, Value>, repository: &Repository) -> Option<String> {
    let helpers = document.get("credHelpers").and_then(Value::as_object);
    let own = helpers
        .into_iter()
        .flatten()
        .find(|(key, name)| name.is_string() && is_of(key, repository));
    let name = match own {
        Some((_, name)) => name.as_str(),
        None => document.get("credsStore").and_then(Value::as_str),
    };
    name.filter(|name| !name.is_empty()).map(str::to_owned)
}

fn format(path: &Path, why: &str) -> CredentialError {
    CredentialError::Format {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

fn read(path: &Path) -> Result<Map<String, Value>, CredentialError> {
    let bytes = durable::read(path, limits::CREDENTIALS_BYTES).map_err(|source| CredentialError::Read {
        path: path.to_owned(),
        source,
    })?;
    let bytes = Zeroizing::new(bytes.unwrap_or_default());
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    // The words of the parser may quote a secret.
    serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format(
            path,
            &format!("not the expected JSON at line {line}, column {column}"),
        )
    })
}

/// Writes the file with tabs, as docker does, so that a person can compare the two.
fn write(path: &Path, document: &Map<String, Value>) -> Result<(), CredentialError> {
    let failed = |source| CredentialError::Write {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut *bytes, tabs);
    document
        .serialize(&mut writer)
        .map_err(|error| failed(error.into()))?;
    let folder = durable::folder_of(path);
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(failed)?;
    durable::write(path, &bytes, 0o600).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(text: &str) -> Repository {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn credentials_are_kept_and_forgotten_as_docker_does_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker/config.json");
        let own = repository("r.example:5000/x");
        assert_eq!(keep(&path, &own, "ann", "p:w").await.unwrap(), KeptBy::File);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\n\t\"auths\": {\n\t\t\"r.example:5000\": {\n\t\t\t\"auth\": \"YW5uOnA6dw==\"\n\t\t}\n\t}\n}"
        );
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        let hub = repository("docker.io/library/x");
        keep(&path, &hub, "ann", "q").await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("https://index.docker.io/v1/"), "{text}");
        assert!(forget(&path, &own).await.unwrap());
        assert!(!forget(&path, &own).await.unwrap());
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .contains("index.docker.io")
        );
    }

    #[tokio::test]
    async fn what_is_no_credentials_file_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let own = repository("r.example/x");
        for text in ["[]", "{\"auths\": 3}", "{"] {
            std::fs::write(&path, text).unwrap();
            assert!(keep(&path, &own, "a", "b").await.is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::write(&path, "{\"psFormat\": \"x\"}").unwrap();
        keep(&path, &own, "a", "b").await.unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("psFormat"));
    }
}
