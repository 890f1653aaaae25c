//! `registry ls`, `registry tags`, `login` and `logout`: what a registry has, and who one is there.

use std::path::PathBuf;

use samebundle_registry::StoreError;
use samebundle_registry::remote::RemoteRepository;
use samebundle_registry::remote::credentials::{self, Credential, KeptBy};
use samebundle_registry::trust::keys::Passphrase;
use samebundle_spec::text::without_credentials;
use samebundle_spec::{Repository, Tag, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Site, VerbError};

/// Asks which repositories a registry has.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListRepositoriesRequest {
    /// The registry, `host` or `host:port`.
    pub registry: String,
}

/// The repositories of a registry.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RepositoriesReport {
    /// The registry.
    pub registry: String,
    /// Their names without the registry, sorted: those that the user may see.
    pub repositories: Vec<String>,
}

/// Asks which tags a repository has.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListTagsRequest {
    /// The repository.
    pub repository: Repository,
}

/// The tags of a repository.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TagsReport {
    /// The repository.
    pub repository: Repository,
    /// Its tags, versions in their order and then the others, without those that only hold signatures and other referrers.
    pub tags: Vec<Tag>,
}

/// A user of a registry. It is never written, because it holds a password.
#[derive(Debug)]
pub struct LoginRequest {
    /// The registry, `host` or `host:port`.
    pub registry: String,
    /// The name.
    pub username: String,
    /// The password or token.
    pub password: Passphrase,
    /// The credentials file that is written.
    pub file: PathBuf,
}

/// Who one is at a registry now.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoginReport {
    /// The registry.
    pub registry: String,
    /// The name.
    pub username: String,
    /// The credentials file.
    pub file: String,
    /// The helper that keeps the password; none: the file does, in the open.
    pub helper: Option<String>,
    /// Whether the registry asked for the credentials, and took them.
    pub checked: bool,
}

/// Asks to forget who one is at a registry.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogoutRequest {
    /// The registry, `host` or `host:port`.
    pub registry: String,
}

/// What was forgotten.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LogoutReport {
    /// The registry.
    pub registry: String,
    /// The files in which there were credentials of it.
    pub files: Vec<String>,
}

/// Any repository of a registry that a person names, with or without a scheme before it.
fn registry(text: &str) -> Result<Repository, VerbError> {
    let schemes = ["https://", "http://", "oci://", "docker://"];
    let host = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    let host = host.unwrap_or(text).trim_end_matches('/');
    let repository = format!("{host}/repository").parse::<Repository>();
    match repository {
        Ok(repository) if !host.contains('/') => Ok(repository),
        _ => Err(VerbError::Usage(format!(
            "{:?} is no registry: give HOST or HOST:PORT, without a repository",
            without_credentials(text)
        ))),
    }
}

/// Lists the repositories of a registry that the user may see.
///
/// # Errors
/// If it cannot be asked, denies it, or does not list them.
pub async fn registry_ls(
    site: &Site,
    request: &ListRepositoriesRequest,
) -> Result<RepositoriesReport, VerbError> {
    let any = registry(&request.registry)?;
    let registry = any.registry().to_owned();
    let repositories = site.remote(&any)?.list_repositories().await?;
    let repositories = repositories.ok_or_else(|| VerbError::NoCatalog {
        registry: registry.clone(),
    })?;
    Ok(RepositoriesReport {
        registry,
        repositories,
    })
}

/// Lists the tags of a repository.
///
/// # Errors
/// If the registry cannot be asked, denies it, or has no such repository.
pub async fn registry_tags(site: &Site, request: ListTagsRequest) -> Result<TagsReport, VerbError> {
    let repository = request.repository;
    match tags_of(&site.remote(&repository)?).await? {
        Some(tags) => Ok(TagsReport { repository, tags }),
        None => Err(VerbError::NoRepository { repository }),
    }
}

/// Returns the tags of a repository as people read them: versions in their order, then the others. `None` if there is no
/// such repository.
pub(super) async fn tags_of(remote: &RemoteRepository) -> Result<Option<Vec<Tag>>, StoreError> {
    let Some(mut tags) = remote.tags_if_any().await? else {
        return Ok(None);
    };
    tags.retain(|tag| !is_of_referrer(tag));
    tags.sort_by_cached_key(order);
    Ok(Some(tags))
}

/// Sorts versions before words, and versions by what they say.
fn order(tag: &Tag) -> (bool, Option<Version>, String) {
    let text = tag.as_str();
    let version = Version::as_written(text.strip_prefix('v').unwrap_or(text)).ok();
    (version.is_none(), version, text.to_owned())
}

/// Tells whether a tag is one of cosign, or of a registry without a list of referrers: `sha256-HEX`, with or without more.
fn is_of_referrer(tag: &Tag) -> bool {
    let hex = tag
        .as_str()
        .strip_prefix("sha256-")
        .and_then(|rest| rest.get(..64));
    hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Checks a user's credentials at a registry, and keeps them where docker and podman find them as well.
///
/// # Errors
/// If the registry does not take them or cannot be asked, or they cannot be kept.
pub async fn login(site: &Site, request: LoginRequest) -> Result<LoginReport, VerbError> {
    let any = registry(&request.registry)?;
    usable(&request)?;
    let credential = Credential::Basic {
        username: request.username.clone(),
        password: request.password.clone(),
    };
    let checked = site.remote_as(&any, credential)?.log_in().await;
    let checked = checked.map_err(|error| match error {
        StoreError::Denied { why, .. } => VerbError::LoginRefused {
            registry: any.registry().to_owned(),
            why,
        },
        error => error.into(),
    })?;
    // What stands in a file that is read before this one would be taken instead.
    for earlier in site
        .reach()
        .network
        .credentials
        .iter()
        .take_while(|file| **file != request.file)
    {
        credentials::forget(earlier, &any).await?;
    }
    let kept = credentials::keep(&request.file, &any, &request.username, &request.password).await?;
    Ok(LoginReport {
        registry: any.registry().to_owned(),
        username: request.username,
        file: request.file.display().to_string(),
        helper: match kept {
            KeptBy::File => None,
            KeptBy::Helper(name) => Some(name),
        },
        checked,
    })
}

/// Refuses a name and a password that cannot be sent: Basic authentication joins them by a colon, in one line.
fn usable(request: &LoginRequest) -> Result<(), VerbError> {
    let why = match (request.username.as_str(), request.password.as_str()) {
        ("", _) => "the user's name is empty",
        (name, _) if name.contains(':') => {
            "the user's name has a ':' in it, behind which the password begins"
        }
        (name, _) if name.contains(char::is_control) => "the user's name has a character that cannot be seen",
        (_, "") => "the password is empty: give the one that the registry knows, or a token",
        (_, password) if password.contains(['\n', '\r', '\0']) => {
            "the password has several lines: give it alone, on one line"
        }
        _ => return Ok(()),
    };
    Err(VerbError::Usage(why.to_owned()))
}

/// Forgets a user's credentials of a registry, in all files in which they would be found.
///
/// # Errors
/// If a file cannot be read or written, or a helper fails.
pub async fn logout(site: &Site, request: &LogoutRequest) -> Result<LogoutReport, VerbError> {
    let any = registry(&request.registry)?;
    let mut files = Vec::new();
    for file in &site.reach().network.credentials {
        if credentials::forget(file, &any).await? {
            files.push(file.display().to_string());
        }
    }
    Ok(LogoutReport {
        registry: any.registry().to_owned(),
        files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_as_people_write_them() {
        for text in [
            "r.example:5000",
            "https://r.example:5000/",
            "oci://r.example:5000",
        ] {
            assert_eq!(registry(text).unwrap().registry(), "r.example:5000", "{text}");
        }
        assert_eq!(registry("docker.io").unwrap().registry(), "docker.io");
        for text in ["r.example/team", ""] {
            assert!(registry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tags_of_signatures_are_none_of_a_person() {
        let hex = "0".repeat(64);
        for tag in [format!("sha256-{hex}"), format!("sha256-{hex}.sig")] {
            assert!(is_of_referrer(&tag.parse().unwrap()), "{tag}");
        }
        assert!(!is_of_referrer(&"sha256-short".parse().unwrap()));
    }
}
