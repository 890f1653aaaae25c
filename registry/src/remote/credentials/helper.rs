//! Credential helpers: programs `docker-credential-NAME` that are asked for the credentials of a server.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use samebundle_spec::limits;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::{Credential, CredentialError, too_large};

/// Asks a helper.
#[async_trait]
pub trait CredentialHelper: Debug + Send + Sync {
    /// Returns what the helper `name` knows of `server`; `None` if it knows nothing.
    ///
    /// # Errors
    /// If it cannot be asked or fails.
    async fn get(&self, name: &str, server: &str) -> Result<Option<Credential>, CredentialError>;
}

/// Runs helpers as processes, found on the PATH of this process, for a limited time.
#[derive(Clone, Debug)]
pub struct ProcessHelper {
    /// How long a helper may take; then it is killed.
    pub timeout: Duration,
}

impl Default for ProcessHelper {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(limits::CREDENTIAL_HELPER_SECONDS),
        }
    }
}

/// What `get` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Zeroizing<String>,
}

/// What every helper prints if it has nothing.
const NOTHING: &str = "credentials not found in native keychain";
/// The name that stands for "the secret is an identity token".
const TOKEN: &str = "<token>";

#[async_trait]
impl CredentialHelper for ProcessHelper {
    async fn get(&self, name: &str, server: &str) -> Result<Option<Credential>, CredentialError> {
        let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > limits::NAME_BYTES || !name.chars().all(valid) {
            return Err(CredentialError::HelperName {
                name: name.chars().take(40).collect(),
            });
        }
        let program = format!("docker-credential-{name}");
        ask_program(program.as_ref(), name, server, self.timeout).await
    }
}

/// Runs a helper and waits for its answer, no longer than `limit`.
pub(super) async fn ask_program(
    program: &OsStr,
    name: &str,
    server: &str,
    limit: Duration,
) -> Result<Option<Credential>, CredentialError> {
    match tokio::time::timeout(limit, ask(program, name, server)).await {
        Ok(answer) => answer,
        Err(_) => Err(CredentialError::HelperTime {
            name: name.to_owned(),
            seconds: limit.as_secs(),
        }),
    }
}

async fn ask(program: &OsStr, name: &str, server: &str) -> Result<Option<Credential>, CredentialError> {
    let start = |source| CredentialError::HelperStart {
        name: name.to_owned(),
        source,
    };
    let failed = |why: String| CredentialError::Helper {
        name: name.to_owned(),
        why,
    };
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input may still answer.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let mut output = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.stdout.take() {
        stdout
            .take(limits::CREDENTIALS_BYTES + 1)
            .read_to_end(&mut output)
            .await
            .map_err(start)?;
    }
    if output.len() as u64 > limits::CREDENTIALS_BYTES {
        return Err(failed(too_large()));
    }
    let status = child.wait().await.map_err(start)?;
    if !status.success() {
        let said = String::from_utf8_lossy(&output);
        if said.trim() == NOTHING {
            return Ok(None);
        }
        return Err(failed(said.trim().chars().take(200).collect()));
    }
    let answer: Answer = serde_json::from_slice(&output)
        .map_err(|_| failed("it printed something else than credentials".to_owned()))?;
    Ok(Some(if answer.username == TOKEN {
        Credential::Identity(answer.secret)
    } else {
        Credential::Basic {
            username: answer.username,
            password: answer.secret,
        }
    }))
}
