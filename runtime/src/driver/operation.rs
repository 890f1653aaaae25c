//! What a driver is asked to do: to run one container with inputs and outputs. Nothing here is a path of a machine, so
//! a driver may run it on another one. [`Staging`](super::Staging) knows where inputs and outputs are on this machine.

use std::collections::BTreeMap;
use std::fmt;

use samebundle_spec::{Descriptor, Digest};

/// One container to run.
#[derive(Clone)]
pub struct Operation {
    /// The run that it belongs to, a ULID. It labels everything that is made for the run.
    pub run_id: String,
    /// Name of the container within the run, unique there: `[a-z0-9-]`, at most 63 bytes.
    pub name: String,
    /// Manifest of the image (one platform), in the store that the driver was made with.
    pub image: Descriptor,
    /// More layers over the image: manifests' layer descriptors in the same store (installed packages).
    pub extra_layers: Vec<Descriptor>,
    /// Entry point and arguments; empty: the image's own.
    pub command: Vec<String>,
    /// Variables that are added to the image's environment.
    pub environment: BTreeMap<String, String>,
    /// Whom it runs as, written as in an image: `user`, `uid`, `user:group`; none: as the image says. Other users than root
    /// find a home folder that they may write to.
    pub user: Option<String>,
    /// What the container reads. It cannot write to any of it.
    pub inputs: Vec<Input>,
    /// What the container writes and the driver returns.
    pub outputs: Vec<Output>,
    /// Folders that the container reads and writes, and that are there before it begins or after it ended.
    pub volumes: Vec<Volume>,
    /// What it may use and do.
    pub limits: Limits,
    /// Working directory; none: the image's own.
    pub working_dir: Option<String>,
}

impl Operation {
    /// Returns the paths of all inputs and outputs in the container.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        let inputs = self.inputs.iter().map(|input| input.target.as_str());
        let volumes = self.volumes.iter().map(|volume| volume.target.as_str());
        inputs
            .chain(volumes)
            .chain(self.outputs.iter().filter_map(|output| match output {
                Output::Folder { target, .. } => Some(target.as_str()),
                Output::Root => None,
            }))
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A variable may hold a credential.
        let variables: Vec<&String> = self.environment.keys().collect();
        f.debug_struct("Operation")
            .field("run_id", &self.run_id)
            .field("name", &self.name)
            .field("image", &self.image)
            .field("extra_layers", &self.extra_layers)
            .field("command", &self.command)
            .field("environment", &variables)
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .field("volumes", &self.volumes)
            .field("limits", &self.limits)
            .field("working_dir", &self.working_dir)
            .finish()
    }
}

/// A folder that a container reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Absolute path in the container.
    pub target: String,
    /// The name of what is mounted; none: an empty folder that ends with the container. The same name means the same
    /// content, before and after the container. A driver of another machine sends the content and receives it again, and
    /// runs no two containers with the same name meanwhile; or it keeps the content under that name where it runs them.
    pub name: Option<String>,
}

/// A file or folder that a container reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Absolute path in the container.
    pub target: String,
    /// Its content.
    pub content: Content,
}

/// The content of an input.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A small file.
    Bytes(Vec<u8>),
    /// A folder of small files by name, with the mode of each.
    Files {
        /// The files.
        files: BTreeMap<String, Vec<u8>>,
        /// Their mode: 0400 if they are secret and the container's user is the only one, 0444 otherwise.
        mode: u32,
    },
    /// A file or folder, by the digest and size that records have of it.
    Artifact {
        /// Of a file: of its bytes. Of a folder: of its listing.
        digest: Digest,
        /// Bytes in all.
        size: u64,
    },
    /// A folder with the files of a layer.
    Layer(Box<Descriptor>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The bytes may be a credential.
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Files { files, .. } => write!(f, "{} files", files.len()),
            Self::Artifact { digest, size } => write!(f, "{digest}, {size} bytes"),
            Self::Layer(layer) => write!(f, "layer {}", layer.digest),
        }
    }
}

/// An output of a container, returned whatever its exit code; nothing is returned if it was cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A folder that it may write to, as any user.
    Folder {
        /// Absolute path in the container.
        target: String,
        /// Folders to make in it before the container starts, parents first.
        folders: Vec<String>,
    },
    /// What it wrote into its root, as an uncompressed layer; only if it succeeds.
    Root,
}

/// What a container may use and do. Everything is off unless granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Cores; none: no limit.
    pub cpus: Option<f64>,
    /// Memory, bytes; none: no limit.
    pub memory: Option<u64>,
    /// Shared memory (`/dev/shm`), bytes; none: half of the memory that it may use, see [`Limits::shared_memory`].
    pub shm: Option<u64>,
    /// Processes and threads.
    pub pids: u32,
    /// Whether it has a network (that of the machine).
    pub network: bool,
    /// GPUs by resource name, e.g. `nvidia.com/gpu`.
    pub gpus: BTreeMap<String, u32>,
}

impl Limits {
    /// Returns the size of `/dev/shm`, on a machine with so much memory: what is asked for, else half of the memory that
    /// the container may use, and at least 64 MiB. It is memory that counts as the container's when it is written to.
    pub fn shared_memory(&self, machine: u64) -> u64 {
        /// What container engines give, and programs expect.
        const LEAST: u64 = 64 << 20;
        let half = self.memory.unwrap_or(machine).min(machine) / 2;
        self.shm.unwrap_or(half.max(LEAST))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpus: None,
            memory: None,
            shm: None,
            pids: 4_096,
            network: false,
            gpus: BTreeMap::new(),
        }
    }
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with 0.
    Succeeded,
    /// It exited with another code; 128 + n if a signal ended it.
    Failed {
        /// The exit code.
        code: i32,
        /// Whether the memory limit ended it.
        out_of_memory: bool,
    },
    /// It was stopped because the run was cancelled.
    Cancelled,
}
