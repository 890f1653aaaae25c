//! The options of a container for the engine, and what the engine says of its machine.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, SystemInfo};

use super::RUN_LABEL;
use crate::driver::{Bind, HOSTNAME, Offers, Operation};

/// The capabilities of root in a container: the same as in the embedded driver.
const CAPABILITIES: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
];

/// The container to create.
pub(super) fn body(
    operation: &Operation,
    binds: &[Bind],
    image: &str,
    machine_memory: u64,
) -> ContainerCreateBody {
    let given = !operation.command.is_empty();
    let environment = operation
        .environment
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    ContainerCreateBody {
        image: Some(image.to_owned()),
        hostname: Some(HOSTNAME.to_owned()),
        entrypoint: given.then(|| operation.command.clone()),
        cmd: given.then(Vec::new),
        env: Some(environment.collect()),
        user: operation.user.clone(),
        working_dir: operation.working_dir.clone(),
        labels: Some(HashMap::from([(RUN_LABEL.to_owned(), operation.run_id.clone())])),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        host_config: Some(host(operation, binds, machine_memory)),
        ..ContainerCreateBody::default()
    }
}

/// Gives a container an input, which ends when the caller's does, and a terminal if the caller has one.
pub(super) fn attend(body: &mut ContainerCreateBody, terminal: bool) {
    body.attach_stdin = Some(true);
    body.open_stdin = Some(true);
    body.stdin_once = Some(true);
    body.tty = Some(terminal);
}

fn host(operation: &Operation, binds: &[Bind], machine_memory: u64) -> HostConfig {
    let limits = &operation.limits;
    let memory = limits
        .memory
        .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a number of cores is small; the engine takes billionths"
    )]
    let nano_cpus = limits.cpus.map(|cpus| (cpus * 1e9) as i64);
    HostConfig {
        network_mode: Some(if limits.network { "host" } else { "none" }.to_owned()),
        // The engine writes no host name for a container that has no network.
        extra_hosts: Some(vec![format!("{HOSTNAME}:127.0.0.1")]),
        memory,
        shm_size: Some(i64::try_from(limits.shared_memory(machine_memory)).unwrap_or(i64::MAX)),
        // The limit of memory and swap together, so there is no swap.
        memory_swap: memory,
        nano_cpus,
        pids_limit: Some(i64::from(limits.pids)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        // Lines are streamed; the engine need not keep them.
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        mounts: Some(binds.iter().map(mount).collect()),
        ..HostConfig::default()
    }
}

fn mount(bind: &Bind) -> Mount {
    Mount {
        target: Some(bind.target.clone()),
        source: Some(bind.source.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(!bind.writable),
        ..Mount::default()
    }
}

/// Returns the memory of the engine's machine, bytes.
pub(super) fn memory(info: &SystemInfo) -> u64 {
    info.mem_total
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(0)
}

/// What the engine's machine offers to containers. No GPU is given to them yet.
pub(super) fn offers(info: &SystemInfo, scratch: &Path) -> Offers {
    let limits = [
        ("memory", info.memory_limit),
        ("cpu", info.cpu_cfs_quota),
        ("pids", info.pids_limit),
    ];
    let missing: Vec<&str> = limits
        .iter()
        .filter(|(_, is)| *is == Some(false))
        .map(|(name, _)| *name)
        .collect();
    let mut notices = Vec::new();
    if !missing.is_empty() {
        notices.push(format!(
            "limits of {} cannot be enforced: the Docker engine has no cgroup for them",
            missing.join(", ")
        ));
    }
    // The engine's own folder, if it is on this machine and may be seen.
    let root = info.docker_root_dir.as_deref().map(Path::new);
    let disk = root
        .into_iter()
        .chain([scratch])
        .find_map(|folder| rustix::fs::statvfs(folder).ok())
        .map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    #[expect(clippy::cast_precision_loss, reason = "a number of cores is small")]
    let cpus = info.ncpu.unwrap_or(1) as f64;
    Offers {
        cpus,
        memory: memory(info),
        disk,
        disk_classes: vec!["standard".to_owned()],
        gpus: BTreeMap::new(),
        network: true,
        containers: Offers::containers_of(cpus),
        notices,
    }
}
