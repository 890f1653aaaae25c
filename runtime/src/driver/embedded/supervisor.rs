//! The driver's side of one helper: starts it, passes its container's lines on, moves the container into its cgroup, stops
//! it, and takes its last report.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use samebundle_spec::limits;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::protocol::{self, Order, Report, Task};
use super::scratch::Scratch;
use crate::driver::LogSink;
use crate::driver::log::pump;
use crate::process::ProcessId;

/// How long the helper has to end a container before both are killed. The driver promises two seconds, of which the
/// helper gives one to the container.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The name of a helper in a list of processes.
const NAME: &str = "samebundle";

/// How a helper ended.
#[derive(Debug)]
pub(super) enum End {
    /// Its last report; none if it ended without one.
    Reported(Option<Report>),
    /// It was stopped because the run was cancelled.
    Cancelled,
}

/// A running helper.
#[derive(Debug)]
pub(super) struct Supervisor {
    child: Child,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Supervisor {
    /// Starts a helper and gives it its task. `outputs` are the container's; pipes to this process if there are none.
    pub(super) async fn start(
        program: &Path,
        arguments: &[String],
        task: &Task,
        outputs: Option<(OwnedFd, OwnedFd)>,
    ) -> io::Result<Self> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let (stdout, stderr) = match outputs {
            Some((output, errors)) => (Stdio::from(output), Stdio::from(errors)),
            // These are always pipes: with /dev/null, libcontainer leaves a container without a usable descriptor.
            None => (Stdio::piped(), Stdio::piped()),
        };
        let child = Command::new(program)
            .arg0(NAME)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()?;
        let (reader, mut writer) = UnixStream::from_std(ours)?.into_split();
        writer.write_all(&protocol::line(task)?).await?;
        Ok(Self {
            child,
            reader: BufReader::new(reader),
            writer,
        })
    }

    /// The helper's process.
    pub(super) fn seen(&self) -> Option<ProcessId> {
        self.child
            .id()
            .and_then(|pid| ProcessId::look(i32::try_from(pid).ok()?))
    }

    /// Waits for the next report; none if the helper has ended.
    pub(super) async fn report(&mut self) -> io::Result<Option<Report>> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(limits::HELPER_MESSAGE_BYTES);
        bounded.read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }

    /// Supervises a container to its end.
    pub(super) async fn run(
        mut self,
        scratch: &mut Scratch,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> io::Result<End> {
        let out = self.child.stdout.take().map(BufReader::new);
        let err = self.child.stderr.take().map(BufReader::new);
        let pumps = async {
            let out = async { pump_some(out, false, log).await };
            let err = async { pump_some(err, true, log).await };
            tokio::try_join!(out, err)
        };
        let (end, pumped) = tokio::join!(self.see_through(scratch, cancel), pumps);
        pumped?;
        end
    }

    async fn see_through(&mut self, scratch: &mut Scratch, cancel: &CancellationToken) -> io::Result<End> {
        let end = tokio::select! {
            end = self.follow(scratch) => end.map(End::Reported),
            () = cancel.cancelled() => Ok(End::Cancelled),
        };
        if matches!(end, Ok(End::Cancelled)) {
            self.stop().await;
        }
        if end.is_err() {
            // Nobody reads from the helper any more.
            let _ = self.child.start_kill();
        }
        self.child.wait().await?;
        end
    }

    /// Follows the reports up to the last one.
    async fn follow(&mut self, scratch: &mut Scratch) -> io::Result<Option<Report>> {
        loop {
            match self.report().await? {
                Some(Report::Created { pid }) => {
                    scratch.marks.container = ProcessId::look(pid);
                    scratch.mark()?;
                    scratch.marks.cgroup.join(pid)?;
                    self.writer.write_all(&protocol::line(&Order::Start)?).await?;
                }
                last => return Ok(last),
            }
        }
    }

    async fn stop(&mut self) {
        if let Ok(order) = protocol::line(&Order::Stop) {
            // A helper that no longer reads has ended or is about to be killed.
            let _ = self.writer.write_all(&order).await;
        }
        let _ = self.writer.shutdown().await;
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.start_kill();
        }
    }
}

async fn pump_some(
    from: Option<impl tokio::io::AsyncBufRead + Unpin>,
    stderr: bool,
    log: &dyn LogSink,
) -> io::Result<()> {
    match from {
        Some(from) => pump(from, stderr, log).await,
        None => Ok(()),
    }
}
