//! What a driver offers to containers.

use std::collections::BTreeMap;

use super::{DriverError, Operation};

/// What a driver and its machine offer. A plan compares what a program needs with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Offers {
    /// Cores.
    pub cpus: f64,
    /// Memory, bytes.
    pub memory: u64,
    /// Free disk where tasks write, bytes.
    pub disk: u64,
    /// Disk classes: `standard`, and `ssd` if the device says that it is one.
    pub disk_classes: Vec<String>,
    /// GPUs that containers can be given, by resource name, e.g. `nvidia.com/gpu`.
    pub gpus: BTreeMap<String, u32>,
    /// Whether containers can have a network.
    pub network: bool,
    /// Most containers at the same time.
    pub containers: usize,
    /// Limits that cannot be enforced here, as sentences that are shown once.
    pub notices: Vec<String>,
}

impl Offers {
    /// Returns how many containers at the same time suit a machine of so many cores: one for each core.
    pub(crate) fn containers_of(cpus: f64) -> usize {
        /// More would not be faster on any machine that was tried, and each costs memory.
        const MOST: usize = 16;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of cores is small and positive"
        )]
        let whole = cpus.floor() as usize;
        whole.clamp(1, MOST)
    }
}

/// Refuses an operation that asks for GPUs, for a driver that has none to give. A plan does so earlier, but the value
/// of a placeholder is known only now.
pub(crate) fn refuse_gpus(driver: &'static str, operation: &Operation) -> Result<(), DriverError> {
    match operation.limits.gpus.iter().find(|(_, count)| **count > 0) {
        None => Ok(()),
        Some((resource, count)) => Err(DriverError::NotOffered {
            driver,
            container: operation.name.clone(),
            what: format!("{count} x {resource}"),
        }),
    }
}
