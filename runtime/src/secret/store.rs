//! The secret stores of others, each through its own command. Only names stand in arguments; values come on standard
//! output.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::process::Stdio;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use samebundle_spec::limits;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::{SecretError, SecretValue};

/// A store of secrets.
#[async_trait]
pub trait SecretStore: Debug + Send + Sync {
    /// The word before the colon of a source.
    fn word(&self) -> &'static str;

    /// Reads a secret. `name` is the credential's, for errors.
    ///
    /// # Errors
    /// If the store's command is missing, fails, or has no such secret.
    async fn read(&self, name: &str, place: &str) -> Result<SecretValue, SecretError>;
}

/// Returns the store of this word.
pub(super) fn find(word: &str) -> Option<&'static dyn SecretStore> {
    let all: [&'static dyn SecretStore; 4] = [&Pass, &Age, &Vault, &Kubernetes];
    all.into_iter().find(|store| store.word() == word)
}

/// The standard Unix password manager: `pass:ENTRY`.
#[derive(Debug)]
struct Pass;

#[async_trait]
impl SecretStore for Pass {
    fn word(&self) -> &'static str {
        "pass"
    }

    async fn read(&self, name: &str, place: &str) -> Result<SecretValue, SecretError> {
        let bytes = output(name, "pass", &["show", place]).await?;
        Ok(SecretValue::One(without_line_end(bytes)))
    }
}

/// A file that age encrypted: `age:FILE`. age asks for the passphrase, or takes the identity `FILE.key` beside the file.
#[derive(Debug)]
struct Age;

#[async_trait]
impl SecretStore for Age {
    fn word(&self) -> &'static str {
        "age"
    }

    async fn read(&self, name: &str, place: &str) -> Result<SecretValue, SecretError> {
        let identity = format!("{place}.key");
        let bytes = if std::path::Path::new(&identity).is_file() {
            output(name, "age", &["--decrypt", "--identity", &identity, place]).await?
        } else {
            output(name, "age", &["--decrypt", place]).await?
        };
        Ok(SecretValue::One(without_line_end(bytes)))
    }
}

/// HashiCorp Vault and OpenBao: `vault:PATH#FIELD`, or `vault:PATH` for all fields.
#[derive(Debug)]
struct Vault;

#[async_trait]
impl SecretStore for Vault {
    fn word(&self) -> &'static str {
        "vault"
    }

    async fn read(&self, name: &str, place: &str) -> Result<SecretValue, SecretError> {
        let (path, field) = split(place);
        if let Some(field) = field {
            let field = format!("-field={field}");
            let bytes = output(name, "vault", &["kv", "get", &field, path]).await?;
            return Ok(SecretValue::One(without_line_end(bytes)));
        }
        let bytes = output(name, "vault", &["kv", "get", "-format=json", path]).await?;
        let document = document(name, "vault kv get", &bytes)?;
        let data = document
            .pointer("/data/data")
            .or_else(|| document.pointer("/data"));
        let fields = data.and_then(Value::as_object).into_iter().flatten();
        let text = |value: &Value| match value {
            Value::String(text) => text.clone().into_bytes(),
            other => other.to_string().into_bytes(),
        };
        let fields = fields.map(|(key, value)| (key.clone(), text(value)));
        Ok(SecretValue::Keys(fields.collect()))
    }
}

/// A secret of a cluster: `kubernetes:NAMESPACE/SECRET#KEY`, or without the key for all of them.
#[derive(Debug)]
struct Kubernetes;

#[async_trait]
impl SecretStore for Kubernetes {
    fn word(&self) -> &'static str {
        "kubernetes"
    }

    async fn read(&self, name: &str, place: &str) -> Result<SecretValue, SecretError> {
        let (path, key) = split(place);
        let (namespace, secret) = path.split_once('/').unwrap_or(("default", path));
        let namespace = format!("--namespace={namespace}");
        let arguments = ["get", "secret", &namespace, "--output=json", "--", secret];
        let bytes = output(name, "kubectl", &arguments).await?;
        let document = document(name, "kubectl get secret", &bytes)?;
        let mut keys = BTreeMap::new();
        let data = document.get("data").and_then(Value::as_object);
        for (key, value) in data.into_iter().flatten() {
            let value = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            keys.insert(key.clone(), value.unwrap_or_default());
        }
        let Some(key) = key else {
            return Ok(SecretValue::Keys(keys));
        };
        let found = keys.remove(key).ok_or_else(|| SecretError::NoKey {
            name: name.to_owned(),
            place: format!("kubernetes:{path}"),
            key: key.to_owned(),
        });
        found.map(SecretValue::One)
    }
}

fn split(place: &str) -> (&str, Option<&str>) {
    match place.rsplit_once('#') {
        Some((path, part)) => (path, Some(part)),
        None => (place, None),
    }
}

fn without_line_end(mut bytes: Vec<u8>) -> Vec<u8> {
    for end in [b'\n', b'\r'] {
        bytes.pop_if(|last| *last == end);
    }
    bytes
}

fn document(name: &str, command: &str, bytes: &[u8]) -> Result<Value, SecretError> {
    // The parser's own words may show a part of the text.
    serde_json::from_slice(bytes).map_err(|_| SecretError::Command {
        name: name.to_owned(),
        command: command.to_owned(),
        why: "it printed no JSON".to_owned(),
    })
}

/// Runs a command and returns what it prints. It may ask on the terminal.
async fn output(name: &str, program: &str, arguments: &[&str]) -> Result<Vec<u8>, SecretError> {
    let failed = |why: String| SecretError::Command {
        name: name.to_owned(),
        command: format!("{program} {}", arguments.join(" ")),
        why,
    };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed(format!("there is no command {program}; install it")),
        _ => failed(error.to_string()),
    })?;
    let (mut bytes, mut said) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read_out = async {
        let Some(stdout) = stdout else { return Ok(0) };
        stdout
            .take(limits::CREDENTIAL_BYTES + 1)
            .read_to_end(&mut bytes)
            .await
    };
    let read_err = async {
        let Some(stderr) = stderr else { return Ok(0) };
        stderr.take(limits::ERROR_BYTES).read_to_end(&mut said).await
    };
    let (out, err) = tokio::join!(read_out, read_err);
    out.and(err).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > limits::CREDENTIAL_BYTES {
        return Err(SecretError::TooLarge {
            name: name.to_owned(),
            place: program.to_owned(),
        });
    }
    let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
    match status.success() {
        true => Ok(bytes),
        false => {
            let said = String::from_utf8_lossy(&said);
            let last = said.lines().rev().find(|line| !line.trim().is_empty());
            Err(failed(format!(
                "{status}: {}",
                last.unwrap_or("it said nothing").trim()
            )))
        }
    }
}
