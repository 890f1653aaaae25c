//! One call of git: its environment, its limits, and what it printed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use samebundle_spec::limits;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use super::super::BuildTools;
use super::super::tools;
use super::{GitError, GitFault};
use crate::context::Context;

/// Variables with which a caller's own work with git would reach into these calls.
const FOREIGN: [&str; 11] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_TRACE",
];

/// What holds in every call, whatever the user's configuration says: nothing is executed that a repository names, and
/// nothing is fetched that was not asked for. A host that says nothing for a minute is given up.
const SETTINGS: [&str; 9] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "fetch.recurseSubmodules=false",
    "fetch.prune=false",
    "gc.auto=0",
    "credential.interactive=never",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
];

/// The user's git, about one repository.
#[derive(Clone, Debug)]
pub(super) struct Git {
    program: PathBuf,
    certificates: Option<PathBuf>,
    url: String,
    folder: Option<PathBuf>,
    cancel: CancellationToken,
}

impl Git {
    pub(super) fn new(tools: &BuildTools, context: &Context, url: &str) -> Self {
        Self {
            program: tools.git.clone(),
            certificates: tools.git_certificates.clone(),
            url: url.to_owned(),
            folder: None,
            cancel: context.cancel.clone(),
        }
    }

    /// The same, working in a bare repository of this machine.
    pub(super) fn of(self, folder: &Path) -> Self {
        Self {
            folder: Some(folder.to_owned()),
            ..self
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The bare repository of this machine; the current folder if there is none.
    pub(super) fn folder(&self) -> &Path {
        self.folder.as_deref().unwrap_or(Path::new("."))
    }

    /// Makes the error of an answer that git never gives.
    pub(super) fn answer(&self, what: &'static str) -> GitError {
        let url = self.url.clone();
        GitError::Answer { url, what }
    }

    fn command(&self) -> Command {
        let mut command = tools::command(&self.program);
        for name in FOREIGN {
            command.env_remove(name);
        }
        let http = match self.url.starts_with("http://") {
            true => ":http",
            false => "",
        };
        command
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("SSH_ASKPASS", "false")
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("GIT_ALLOW_PROTOCOL", format!("https:ssh:file{http}"))
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_ATTR_NOSYSTEM", "1");
        if let Some(certificates) = &self.certificates {
            command.env("GIT_SSL_CAINFO", certificates);
        }
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        if let Some(folder) = &self.folder {
            command.arg("--git-dir").arg(folder);
        }
        command
    }

    /// Runs git, and returns what it printed.
    pub(super) async fn output(
        &self,
        purpose: &'static str,
        words: &[&str],
        limit: u64,
    ) -> Result<Vec<u8>, GitError> {
        let mut command = self.command();
        command.args(words);
        self.read(purpose, command, limit).await
    }

    /// Runs git for its effect; a path may stand at the end.
    pub(super) async fn run<const N: usize>(
        &self,
        purpose: &'static str,
        words: [&str; N],
        last: Option<&OsStr>,
    ) -> Result<(), GitError> {
        let mut command = self.command();
        command.args(words).args(last);
        self.read(purpose, command, limits::GIT_LISTING_BYTES).await?;
        Ok(())
    }

    /// Runs git, and returns the line that it printed.
    pub(super) async fn line<const N: usize>(
        &self,
        purpose: &'static str,
        words: [&str; N],
    ) -> Result<String, GitError> {
        let printed = self.output(purpose, &words, limits::GIT_LISTING_BYTES).await?;
        Ok(String::from_utf8_lossy(&printed).trim().to_owned())
    }

    /// Runs git, and returns the object that it printed.
    pub(super) async fn object<const N: usize>(&self, words: [&str; N]) -> Result<Vec<u8>, GitError> {
        self.output("read", &words, limits::SIGNATURE_BYTES).await
    }

    async fn read(&self, purpose: &'static str, command: Command, limit: u64) -> Result<Vec<u8>, GitError> {
        let printed = self.piped(purpose, command, Vec::new(), async |stdout| {
            let mut bytes = Vec::new();
            stdout
                .take(limit + 1)
                .read_to_end(&mut bytes)
                .await
                .map(|_| bytes)
        });
        let printed = printed.await?;
        let printed = printed.map_err(|_| self.answer("it was cut off"))?;
        match printed.len() as u64 > limit {
            true => Err(self.answer("it is too long")),
            false => Ok(printed),
        }
    }

    /// Runs git with its standard input and output connected, until it ends, the user cancels, or the time is over.
    pub(super) async fn piped<T>(
        &self,
        purpose: &'static str,
        mut command: Command,
        input: Vec<u8>,
        read: impl AsyncFnOnce(ChildStdout) -> T,
    ) -> Result<T, GitError> {
        command.stdin(std::process::Stdio::piped());
        let mut child = command.spawn().map_err(|source| GitError::Start {
            program: self.program.display().to_string(),
            source,
        })?;
        let group = child.id();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let work = async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // Git that ended early says why on standard error.
                    let _ = stdin.write_all(&input).await;
                }
            };
            let read = async {
                match stdout {
                    Some(stdout) => Some(read(stdout).await),
                    None => None,
                }
            };
            let ((), value, said) = tokio::join!(write, read, complaints(stderr));
            (value, said, child.wait().await)
        };
        let ended = tokio::select! {
            ended = work => Ok(ended),
            () = self.cancel.cancelled() => Err(GitError::Cancelled),
            () = tokio::time::sleep(Duration::from_secs(limits::BUILD_TOOL_SECONDS)) => Err(GitError::Slow {
                purpose,
                url: self.url.clone(),
                seconds: limits::BUILD_TOOL_SECONDS,
            }),
        };
        if ended.is_err() {
            tools::end_group(group);
        }
        let (value, said, status) = ended?;
        let is_good = status.as_ref().is_ok_and(std::process::ExitStatus::success);
        match value.filter(|_| is_good) {
            Some(value) => Ok(value),
            None => Err(GitError::Failed {
                purpose,
                url: self.url.clone(),
                fault: GitFault::of(&said),
                said: shortened(&said),
            }),
        }
    }

    /// A call whose standard input takes the names of objects.
    pub(super) fn batch(&self) -> Command {
        let mut command = self.command();
        command.args(["cat-file", "--batch"]);
        command
    }
}

/// Reads the last of what git says on standard error.
async fn complaints(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        let over = kept.len().saturating_sub(limits::TOOL_OUTPUT_BYTES);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Returns the lines of git's complaint that say something, without what begins each.
fn shortened(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let plain = |line: &str| {
        let line = line
            .strip_prefix("fatal: ")
            .or_else(|| line.strip_prefix("error: "))
            .unwrap_or(line);
        line.trim_end_matches('.').to_owned()
    };
    let lines: Vec<String> = lines.map(plain).collect();
    lines[lines.len().saturating_sub(4)..].join("; ")
}
