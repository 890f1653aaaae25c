//! The protocol between driver and helper: one JSON object on each line, over one socket.
//!
//! Driver to helper: a [`Task`]; then, for a container, [`Order::Start`] once it is in its cgroup, and [`Order::Stop`] to
//! cancel. The end of the stream means that the driver is gone: the helper kills the container at once. Helper to driver:
//! [`Report`]s; the last one is `Exited` or `Failed`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use samebundle_spec::limits;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::driver::Bind;

/// The task of a helper.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Task {
    /// Find out, in an empty folder, what the driver may do on this machine.
    Probe { folder: PathBuf, rootless: bool },
    /// Run one container to its end.
    Run(Box<Run>),
}

/// One container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// Name for messages.
    pub(super) name: String,
    /// The folder of the container: root, upper, work, state.
    pub(super) folder: PathBuf,
    /// Unpacked layers, lowest first.
    pub(super) layers: Vec<PathBuf>,
    /// Whether a user namespace is needed.
    pub(super) rootless: bool,
    /// Entry point and arguments.
    pub(super) command: Vec<String>,
    /// Environment, complete but for `HOME`.
    pub(super) environment: BTreeMap<String, String>,
    /// Absolute path in the container.
    pub(super) working_dir: String,
    /// Whom it runs as, written as in an image.
    pub(super) user: String,
    /// What is bound into it.
    pub(super) mounts: Vec<Bind>,
    /// Whether the container stays in the machine's network namespace.
    pub(super) network: bool,
    /// Size of `/dev/shm`, bytes.
    pub(super) shm: u64,
    /// Limit of processes, for machines where no cgroup enforces it.
    pub(super) pids: u32,
    /// Where to write the upper folder as a layer if the container succeeds.
    pub(super) keep_upper: Option<PathBuf>,
    /// Whether somebody attends it.
    pub(super) attended: Option<Attended>,
}

/// What somebody attends a container with. A file descriptor goes through the socket [`STREAMS`] in the container's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Attended {
    /// Pipes or files: the driver gives the container's standard input.
    Pipes,
    /// A terminal: the container's process gives its other side.
    Terminal,
}

/// The socket for file descriptors, in the folder of a container.
pub(super) const STREAMS: &str = "streams";

/// An order of a driver to its helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// The container may begin.
    Start,
    /// The container is asked to end, and killed a second later.
    Stop,
}

/// A report of a helper to its driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Report {
    /// What the driver may do on this machine.
    Probed { overlay: bool },
    /// The container waits for the order to begin; its first process has this id.
    Created { pid: i32 },
    /// The container ended; 128 + n if signal n ended it.
    Exited { code: i32 },
    /// Something could not be done.
    Failed { operation: String, why: String },
}

/// Writes one message as a line.
pub(super) fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads one message; none at the end of the stream.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    from.take(limits::HELPER_MESSAGE_BYTES)
        .read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}
