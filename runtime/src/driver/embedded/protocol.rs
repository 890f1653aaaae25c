//! What driver and helper say to each other: one JSON object a line, over one socket.
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

/// What a helper is started for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Task {
    /// Find out what this machine lets us do, in an empty folder.
    Probe { folder: PathBuf, rootless: bool },
    /// Run one container to its end.
    Run(Box<Run>),
}

/// One container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// Name for messages.
    pub(super) name: String,
    /// Folder of its own: root, upper, work, state.
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
    /// The image's `User`.
    pub(super) user: String,
    /// What to bind.
    pub(super) mounts: Vec<Bind>,
    /// Whether the container stays in the machine's network namespace.
    pub(super) network: bool,
    /// Limit of processes for where no cgroup holds it.
    pub(super) pids: u32,
    /// Where to write the upper folder as a layer if the container succeeds.
    pub(super) keep_upper: Option<PathBuf>,
}

/// What a driver tells its helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// The container may begin.
    Start,
    /// Ask it to end, and kill it a second later.
    Stop,
}

/// What a helper tells its driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Report {
    /// What a machine lets us do.
    Probed { overlay: bool },
    /// The container waits to begin; its first process has this id.
    Created { pid: i32 },
    /// The container ended; 128 + n if signal n ended it.
    Exited { code: i32 },
    /// Something could not be done.
    Failed { operation: String, why: String },
}

/// One message as a line.
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
