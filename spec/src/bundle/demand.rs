//! What a bundle or a task of its pipeline demands of the machine on which it runs.

use std::collections::BTreeMap;

use super::program::{Gpu, Resources};
use super::quantity::Quantity;

/// The kind of GPU that any GPU satisfies.
pub const ANY_GPU: &str = "gpu";

/// What a bundle or one of its tasks demands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// Who demands it, for messages: `the bundle`, `task train`.
    pub subject: String,
    /// Cores.
    pub cpus: Option<f64>,
    /// Memory, bytes.
    pub memory: Option<u64>,
    /// GPUs by resource name ([`ANY_GPU`] for any), and how many of each.
    pub gpus: BTreeMap<String, u32>,
    /// Free disk, bytes.
    pub disk: Option<u64>,
    /// Class of the disk.
    pub disk_class: Option<String>,
}

impl Resources {
    /// Returns what these resources demand of one machine.
    pub fn demand(&self) -> Demand {
        let disk = self.disk.as_ref();
        let gpu = |gpu: &Gpu| {
            let kind = gpu.kind.clone().unwrap_or_else(|| ANY_GPU.to_owned());
            (kind, gpu.count)
        };
        Demand {
            subject: "the bundle".to_owned(),
            cpus: self.cpu.as_ref().map(Quantity::as_f64),
            // Shared memory is memory.
            memory: [&self.memory, &self.shm]
                .into_iter()
                .flatten()
                .map(Quantity::units)
                .max(),
            gpus: self.gpu.iter().map(gpu).collect(),
            disk: disk.and_then(|disk| disk.size.as_ref()).map(Quantity::units),
            disk_class: disk.and_then(|disk| disk.class.clone()),
        }
    }
}
