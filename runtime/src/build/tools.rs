//! Runs a tool of the build machine (Python, pip, the kfp compiler) to its end. A time limit holds, only the last part
//! of its output is kept, and the tool and all its children are ended when the user cancels.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use samebundle_spec::{Classify, ErrorKind, limits};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::meter::Meter;

/// Why a tool failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// The program could not be started.
    #[error("could not start {tool}: {source}; {remedy}")]
    Start {
        /// The program.
        tool: String,
        /// The system's answer.
        source: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The tool ended with an error.
    #[error("{purpose} failed ({status}):\n{output}")]
    Failed {
        /// The purpose of the call, as a noun.
        purpose: String,
        /// Exit code or signal.
        status: ExitStatus,
        /// The last of what it printed.
        output: String,
    },
    /// The tool did not end in time.
    #[error("{purpose} did not end within {seconds} s; the last of its output:\n{output}")]
    Slow {
        /// The purpose of the call, as a noun.
        purpose: String,
        /// The limit, seconds.
        seconds: u64,
        /// The last of what it printed.
        output: String,
    },
    /// The user interrupted.
    #[error("cancelled")]
    Cancelled,
}

impl Classify for ToolError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Start { .. } => ErrorKind::Environment,
            // A tool that refuses its input is the usual failure: a pipeline that does not compile, a package that does
            // not exist.
            Self::Failed { .. } => ErrorKind::Input,
            Self::Slow { .. } => ErrorKind::Unavailable,
            Self::Cancelled => ErrorKind::Interrupted,
        }
    }
}

/// Makes a command that ends with this process and reads nothing from the terminal.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0);
    command
}

/// Makes a command of pip that asks nothing. [`run_pip`] runs it.
pub(super) fn pip(python: &Path, verb: &str) -> Command {
    let mut command = command(python);
    command.args(["-m", "pip", verb, "--no-input", "--disable-pip-version-check"]);
    command
}

/// Runs a command to its end and returns what it printed last (standard output, then standard error).
pub(super) async fn run(
    command: Command,
    purpose: &str,
    remedy: &'static str,
    cancel: &CancellationToken,
) -> Result<String, ToolError> {
    run_listening(command, purpose, remedy, cancel, None).await
}

/// How pip begins what it says of a conflict, on standard output.
pub(super) const CONFLICT: &str = "The conflict is caused by:";

/// Runs pip to its end, and shows how many of the packages it has got, if their number is known, and of how many bytes.
/// What pip says of its progress is no part of an error; what it says of a conflict is.
pub(super) async fn run_pip(
    command: Command,
    (step, packages): (&str, Option<usize>),
    purpose: &str,
    remedy: &'static str,
    context: &Context,
) -> Result<String, ToolError> {
    let meter = Meter::new(step, packages.map(|count| count as u64), None);
    let mut conflict = String::new();
    let mut listen = |line: &str| {
        if let Some(bytes) = got(line) {
            meter.add_parts(1);
            meter.add_bytes(bytes);
        }
        let is_conflict = line.starts_with(CONFLICT) || !conflict.is_empty();
        if is_conflict && conflict.len() < limits::TOOL_OUTPUT_BYTES {
            conflict.push_str(line);
        }
    };
    let work = run_listening(command, purpose, remedy, &context.cancel, Some(&mut listen));
    match meter.watch(&*context.events, work).await {
        Err(ToolError::Failed {
            purpose,
            status,
            output,
        }) if !conflict.is_empty() => Err(ToolError::Failed {
            purpose,
            status,
            output: format!("{output}\n{}", conflict.trim_end()),
        }),
        outcome => outcome,
    }
}

/// Reads a line in which pip says that it has got a file, and returns the size of the file, bytes: `Downloading
/// numpy-2.0-cp311-none-any.whl (18.2 MB)`, or `Using cached …`. None if it is about something else.
fn got(line: &str) -> Option<u64> {
    let (verb, rest) = line.trim().split_once(' ')?;
    let rest = match verb {
        "Downloading" => rest,
        "Using" => rest.strip_prefix("cached ")?,
        // A local file, whose size pip does not say.
        "Processing" => return Some(0),
        _ => return None,
    };
    let (file, size) = rest.split_once(" (").unwrap_or((rest, ""));
    if file.ends_with(".metadata") {
        return None;
    }
    let (number, unit) = size.trim_end_matches(')').split_once(' ').unwrap_or_default();
    let factor = match unit {
        "MB" => 1e6,
        "kB" => 1e3,
        _ => 1.0,
    };
    Some((number.parse::<f64>().unwrap_or_default() * factor) as u64)
}

/// How long the output of a tool that has ended is read on.
const DRAIN: Duration = Duration::from_millis(500);

/// Runs a command; `listen` gets the lines of its standard output, which are kept if nobody listens.
async fn run_listening(
    mut command: Command,
    purpose: &str,
    remedy: &'static str,
    cancel: &CancellationToken,
    listen: Option<&mut (dyn FnMut(&str) + Send)>,
) -> Result<String, ToolError> {
    let tool = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .map_err(|source| ToolError::Start { tool, source, remedy })?;
    let group = child.id();
    let (mut printed, mut complaints) = (Tail::default(), Tail::default());
    let ended = {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let hear = async {
                match listen {
                    Some(listen) => each_line(stdout, listen).await,
                    None => printed.read(stdout).await,
                }
            };
            let mut reading = std::pin::pin!(async { tokio::join!(hear, complaints.read(stderr)) });
            let status = tokio::select! {
                status = child.wait() => status,
                _ = &mut reading => return child.wait().await,
            };
            // What the tool has started may hold its output open for ever.
            let _ = tokio::time::timeout(DRAIN, reading).await;
            status
        };
        let limit = Duration::from_secs(limits::BUILD_TOOL_SECONDS);
        tokio::select! {
            status = work => Ok(status),
            () = cancel.cancelled() => Err(true),
            () = tokio::time::sleep(limit) => Err(false),
        }
    };
    let output = || {
        format!("{}{}", printed.text(), complaints.text())
            .trim_end()
            .to_owned()
    };
    if ended.is_ok() {
        end_group(group);
    }
    match ended {
        Ok(Ok(status)) if status.success() => Ok(output()),
        Ok(Ok(status)) => Err(ToolError::Failed {
            purpose: purpose.to_owned(),
            status,
            output: output(),
        }),
        Ok(Err(source)) => Err(ToolError::Start {
            tool: purpose.to_owned(),
            source,
            remedy,
        }),
        Err(cancelled) => {
            end_group(group);
            let _ = child.wait().await;
            Err(if cancelled {
                ToolError::Cancelled
            } else {
                let seconds = limits::BUILD_TOOL_SECONDS;
                ToolError::Slow {
                    purpose: purpose.to_owned(),
                    seconds,
                    output: output(),
                }
            })
        }
    }
}

/// Ends a process and everything that it started.
pub(super) fn end_group(leader: Option<u32>) {
    let leader = leader
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(leader) = leader {
        // It may have ended already, as is wanted.
        let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
    }
}

/// Reads a stream to its end, line by line. What it cannot read is no reason to stop the tool.
async fn each_line(stream: Option<impl AsyncRead + Unpin>, listen: &mut (dyn FnMut(&str) + Send)) {
    let Some(stream) = stream else { return };
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut stream).take(limits::TOOL_OUTPUT_BYTES as u64);
        match limited.read_until(b'\n', &mut line).await {
            Ok(1..) => listen(&String::from_utf8_lossy(&line)),
            _ => return,
        }
    }
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            self.0.extend_from_slice(&buffer[..count]);
            if self.0.len() > 2 * limits::TOOL_OUTPUT_BYTES {
                self.0.drain(..self.0.len() - limits::TOOL_OUTPUT_BYTES);
            }
        }
    }

    fn text(&self) -> String {
        let start = self.0.len().saturating_sub(limits::TOOL_OUTPUT_BYTES);
        let text = String::from_utf8_lossy(&self.0[start..]);
        if text.is_empty() || text.ends_with('\n') {
            text.into_owned()
        } else {
            format!("{text}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Command {
        let mut command = command("sh");
        command.args(["-c", text]);
        command
    }

    #[tokio::test]
    async fn shows_what_a_failing_tool_said_last() {
        let text = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo why >&2; exit 3";
        let error = run(shell(text), "the test", "", &CancellationToken::new())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        let text = error.to_string();
        assert!(
            text.contains("line 19999\nwhy") && !text.contains("line 0\n"),
            "{text}"
        );
        assert!(text.len() < 3 * limits::TOOL_OUTPUT_BYTES);
    }

    #[test]
    fn what_pip_has_got_is_counted() {
        assert_eq!(
            got("  Downloading numpy-2.0-cp311-none-any.whl (18.2 MB)\n"),
            Some(18_200_000)
        );
        assert_eq!(got("Using cached docopt-0.6.2.tar.gz (25 kB)"), Some(25_000));
        assert_eq!(got("Using cached idna-3.7-py3-none-any.whl"), Some(0));
        assert_eq!(got("Processing ./a-1-py3-none-any.whl"), Some(0));
        for other in [
            "  Downloading numpy-2.0.whl.metadata (60 kB)",
            "Collecting numpy",
            "Installing collected packages: numpy",
            "",
        ] {
            assert_eq!(got(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn cancelling_ends_the_tool_and_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("late");
        let cancel = CancellationToken::new();
        let text = format!("(sleep 1; touch {}) & wait", path.display());
        let stop = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            cancel.cancel();
        };
        let (outcome, ()) = tokio::join!(run(shell(&text), "the test", "", &cancel), stop);
        assert!(matches!(outcome, Err(ToolError::Cancelled)));
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(!path.exists(), "a child went on after the tool was ended");
    }

    #[tokio::test]
    async fn what_a_tool_leaves_running_does_not_hold_it() {
        let began = std::time::Instant::now();
        let command = shell("sleep 30 & echo done");
        let said = run(command, "the test", "", &CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(said, "done");
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn a_tool_that_is_not_there_is_the_machines_fault() {
        let error = run(
            command("/nonexistent/python"),
            "x",
            "install Python",
            &CancellationToken::new(),
        )
        .await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Environment);
        assert!(error.to_string().ends_with("install Python"), "{error}");
    }
}
