//! What this machine offers to containers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cgroup::{self, Cgroup, Controller};
use crate::driver::{Limits, Offers};

/// Looks at the machine. `cgroup` was made to find out what can be limited. No GPU is given to containers yet.
pub(super) fn offers(home: &Path, cgroup: &Cgroup, rootless: bool, overlay: bool) -> Offers {
    let mut disk_classes = vec!["standard".to_owned()];
    if is_solid_state(home) {
        disk_classes.push("ssd".to_owned());
    }
    let cpus = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    Offers {
        cpus,
        memory: memory(),
        disk: rustix::fs::statvfs(home).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        disk_classes,
        gpus: BTreeMap::new(),
        network: true,
        containers: Offers::containers_of(cpus),
        notices: notices(cgroup, rootless, overlay),
    }
}

/// Limits with every field set, to find out which can be enforced.
pub(super) const PROBE_LIMITS: Limits = Limits {
    cpus: Some(1.0),
    memory: Some(64 << 20),
    shm: None,
    pids: 16,
    network: false,
    gpus: BTreeMap::new(),
};

fn notices(cgroup: &Cgroup, rootless: bool, overlay: bool) -> Vec<String> {
    let mut notices = Vec::new();
    let mut missing = vec![Controller::Memory, Controller::Cpu];
    if !rootless {
        missing.push(Controller::Pids);
    }
    missing.retain(|controller| !cgroup.limits(*controller));
    if !missing.is_empty() {
        let names: Vec<&str> = missing.into_iter().map(Controller::name).collect();
        notices.push(format!(
            "limits of {} cannot be enforced here: no cgroup can be made for containers (run as root, or in a delegated cgroup)",
            names.join(", ")
        ));
    }
    if !overlay {
        notices.push(
            "this kernel lets us mount no overlay: every container gets a copy of its image, which is slow, and installed packages cannot be kept"
                .to_owned(),
        );
    }
    notices
}

/// Returns the memory that this process may use, bytes.
pub(super) fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let total = kibibytes.unwrap_or(0).saturating_mul(1_024);
    cgroup::own_memory_limit().map_or(total, |limit| limit.min(total))
}

/// Tells whether the device of a folder is a rotating disk; none for devices that do not say (network, overlay).
fn is_solid_state(folder: &Path) -> bool {
    let Ok(metadata) = fs::metadata(folder) else {
        return false;
    };
    let device = metadata.dev();
    let device = format!(
        "/sys/dev/block/{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let Ok(device) = fs::canonicalize(PathBuf::from(device)) else {
        return false;
    };
    // A partition's queue is its disk's.
    let files = [
        device.join("queue/rotational"),
        device.join("../queue/rotational"),
    ];
    files
        .iter()
        .any(|file| fs::read_to_string(file).is_ok_and(|text| text.trim() == "0"))
}
