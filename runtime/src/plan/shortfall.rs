//! What cannot be had here: what, how much is missing, and what to do about it.

use std::fmt;

/// Something that a machine cannot give.
#[derive(Clone, Debug, PartialEq)]
pub enum Shortfall {
    /// Cores.
    Cpus {
        /// Who demands it.
        subject: String,
        /// Cores that are wanted.
        wanted: f64,
        /// Cores that the machine has.
        available: f64,
    },
    /// Memory.
    Memory {
        /// Who demands it.
        subject: String,
        /// Bytes that are wanted.
        wanted: u64,
        /// Bytes that the machine has.
        available: u64,
    },
    /// GPUs.
    Gpus {
        /// Who demands it.
        subject: String,
        /// The resource name, or `gpu` for any.
        kind: String,
        /// How many are wanted.
        wanted: u32,
        /// How many the machine has.
        available: u32,
    },
    /// Free disk.
    Disk {
        /// Who demands it.
        subject: String,
        /// Bytes that are wanted.
        wanted: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// A class of disk.
    DiskClass {
        /// Who demands it.
        subject: String,
        /// The class that is wanted.
        wanted: String,
        /// The classes that the machine has.
        available: Vec<String>,
    },
    /// A network.
    Network {
        /// Who demands it.
        subject: String,
    },
    /// An add-on of the environment.
    Addon {
        /// Who demands it.
        subject: String,
        /// The add-on.
        wanted: String,
    },
}

/// Formats bytes in the largest binary unit that fits: `5 GiB`, `1.5 MiB`.
pub(crate) fn binary_size(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.trim_end_matches(".0"), units[unit])
}

impl Shortfall {
    /// The stable name of the resource, for `--output json`.
    pub const fn resource(&self) -> &'static str {
        match self {
            Self::Cpus { .. } => "cpu",
            Self::Memory { .. } => "memory",
            Self::Gpus { .. } => "gpu",
            Self::Disk { .. } => "disk",
            Self::DiskClass { .. } => "disk-class",
            Self::Network { .. } => "network",
            Self::Addon { .. } => "addon",
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpus {
                subject,
                wanted,
                available,
            } => {
                write!(
                    f,
                    "{subject} wants {wanted} cores, there are {available}; a larger machine can run it"
                )
            }
            Self::Memory {
                subject,
                wanted,
                available,
            } => write!(
                f,
                "{subject} wants {} of memory, there is {}; a larger machine can run it",
                binary_size(*wanted),
                binary_size(*available)
            ),
            Self::Gpus {
                subject,
                kind,
                wanted,
                available,
            } => write!(
                f,
                "{subject} wants {wanted} of {kind}, there are {available}; a machine with GPUs can run it, and `doctor` shows what this one has"
            ),
            Self::Disk {
                subject,
                wanted,
                available,
            } => write!(
                f,
                "{subject} wants {} of free disk, there is {}; free some, or put --home on another disk",
                binary_size(*wanted),
                binary_size(*available)
            ),
            Self::DiskClass {
                subject,
                wanted,
                available,
            } => write!(
                f,
                "{subject} wants a disk of class {wanted}, there is {}; put --home on such a disk",
                available.join(", ")
            ),
            Self::Network { subject } => write!(
                f,
                "{subject} wants a network, and there is none for containers; choose an environment that has one with --env"
            ),
            Self::Addon { subject, wanted } => write!(
                f,
                "{subject} wants the add-on {wanted}, which no local environment has; choose an environment that has it with --env"
            ),
        }
    }
}
