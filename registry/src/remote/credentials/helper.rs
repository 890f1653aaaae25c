//! Credential helpers: programs `docker-credential-NAME` that are asked for the credentials of a server.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use samebundle_spec::limits;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::{Credential, CredentialError, too_large};

/// Asks a helper.
#[async_trait]
pub trait CredentialHelper: Debug + Send + Sync {
    /// Returns the credentials that the helper `name` has for `server`; `None` if it has none.
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

/// How much of a helper's message an error shows, characters.
const SHOWN: usize = 200;
/// How long the output of a helper that has ended is still read.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What every helper prints if it has nothing.
const NOTHING: &str = "credentials not found in native keychain";
/// The name that stands for "the secret is an identity token".
const TOKEN: &str = "<token>";

#[async_trait]
impl CredentialHelper for ProcessHelper {
    async fn get(&self, name: &str, server: &str) -> Result<Option<Credential>, CredentialError> {
        let program = program(name)?;
        ask_program(program.as_ref(), name, server, self.timeout).await
    }
}

impl ProcessHelper {
    /// Has a helper keep the credentials of a server.
    ///
    /// # Errors
    /// If it cannot be run or fails.
    pub async fn store(
        &self,
        name: &str,
        server: &str,
        username: &str,
        secret: &str,
    ) -> Result<(), CredentialError> {
        let kept = Kept {
            server_url: server,
            username,
            secret,
        };
        let input = serde_json::to_vec(&kept).map_err(|error| CredentialError::Helper {
            name: name.to_owned(),
            why: error.to_string(),
        })?;
        let input = Zeroizing::new(input);
        let program = program(name)?;
        run(program.as_ref(), name, "store", &input, self.timeout)
            .await
            .map(drop)
    }

    /// Has a helper forget the credentials of a server; it returns false if it has none.
    ///
    /// # Errors
    /// If it cannot be run or fails.
    pub async fn erase(&self, name: &str, server: &str) -> Result<bool, CredentialError> {
        let program = program(name)?;
        let erased = run(program.as_ref(), name, "erase", server.as_bytes(), self.timeout).await?;
        Ok(erased.is_some())
    }
}

/// What `store` reads.
#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Kept<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

fn program(name: &str) -> Result<String, CredentialError> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > limits::NAME_BYTES || !name.chars().all(valid) {
        return Err(CredentialError::HelperName {
            name: name.chars().take(40).collect(),
        });
    }
    Ok(format!("docker-credential-{name}"))
}

/// Runs a helper and waits for the credentials that it gives, no longer than `limit`.
pub(super) async fn ask_program(
    program: &OsStr,
    name: &str,
    server: &str,
    limit: Duration,
) -> Result<Option<Credential>, CredentialError> {
    let Some(output) = run(program, name, "get", server.as_bytes(), limit).await? else {
        return Ok(None);
    };
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| CredentialError::Helper {
        name: name.to_owned(),
        why: "it printed something else than credentials".to_owned(),
    })?;
    if answer.username.is_empty() && answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(if answer.username == TOKEN {
        Credential::Identity(answer.secret)
    } else {
        Credential::Basic {
            username: answer.username,
            password: answer.secret,
        }
    }))
}

/// Runs a helper and waits for what it prints, no longer than `limit`; none if it has no credentials.
async fn run(
    program: &OsStr,
    name: &str,
    action: &str,
    input: &[u8],
    limit: Duration,
) -> Result<Option<Zeroizing<Vec<u8>>>, CredentialError> {
    match tokio::time::timeout(limit, converse(program, name, action, input)).await {
        Ok(answer) => answer,
        Err(_) => Err(CredentialError::HelperTime {
            name: name.to_owned(),
            seconds: limit.as_secs(),
        }),
    }
}

async fn converse(
    program: &OsStr,
    name: &str,
    action: &str,
    input: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>, CredentialError> {
    let start = |source| CredentialError::HelperStart {
        name: name.to_owned(),
        source,
    };
    let failed = |why: String| CredentialError::Helper {
        name: name.to_owned(),
        why,
    };
    let mut child = Command::new(program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    if let Some(mut pipe) = child.stdin.take() {
        // A helper that does not read its input may still answer.
        let _ = pipe.write_all(input).await;
    }
    // Both pipes at once: a helper that fills one waits for its reader.
    let complaint = tokio::spawn(read(child.stderr.take()));
    let end = complaint.abort_handle();
    let output = read(child.stdout.take()).await.map_err(start)?;
    if output.len() as u64 > limits::CREDENTIALS_BYTES {
        return Err(failed(too_large()));
    }
    let status = child.wait().await.map_err(start)?;
    // What the helper left running, an agent for keys, may hold the pipe open for ever.
    let complaint = tokio::time::timeout(LAST_WORDS, complaint).await;
    end.abort();
    if !status.success() {
        let complaint = complaint.ok().and_then(Result::ok).and_then(Result::ok);
        let complaint = complaint.unwrap_or_default();
        let said = [&output, &complaint].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        if said.iter().any(|said| said == NOTHING) {
            return Ok(None);
        }
        let said = said.into_iter().find(|said| !said.is_empty());
        let said = said.unwrap_or_else(|| format!("it said nothing and ended with {status}"));
        return Err(failed(said.chars().take(SHOWN).collect()));
    }
    Ok(Some(output))
}

/// Reads what a helper prints, at most one byte more than is allowed; the rest is read and dropped, so that it can end.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut kept = Zeroizing::new(Vec::new());
    if let Some(mut pipe) = pipe {
        (&mut pipe)
            .take(limits::CREDENTIALS_BYTES + 1)
            .read_to_end(&mut kept)
            .await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}
