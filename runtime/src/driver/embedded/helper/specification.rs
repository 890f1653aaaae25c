//! The OCI runtime specification of a container (runtime-spec 1.2, config.md).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::super::protocol::{Attended, Run};
use super::namespace;
use crate::driver::{Bind, HOSTNAME};
use crate::image::account::Account;

/// The capabilities of root in a container: those that package managers and servers need, and none that reaches beyond
/// the container. Without `MKNOD` nobody can make a device, so no device cgroup is needed.
const CAPABILITIES: [(&str, u32); 9] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_FSETID", 4),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_SYS_CHROOT", 18),
];

/// The paths in `/proc` and `/sys` that say too much about the machine.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// The paths in `/proc` through which the machine could be changed.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Writes the specification as JSON.
pub(super) fn specification(run: &Run, root: &Path, account: &Account) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if Path::new("/proc/self/ns/cgroup").exists() {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    json!({
        "ociVersion": "1.0.2",
        "hostname": HOSTNAME,
        "root": { "path": root, "readonly": false },
        "process": process(run, account),
        "mounts": mounts(run),
        "linux": {
            "cgroupsPath": namespace::CGROUP_PATH,
            "namespaces": namespaces,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    })
}

fn process(run: &Run, account: &Account) -> Value {
    let mut environment: BTreeMap<&str, &str> = BTreeMap::from([("HOME", account.home.as_str())]);
    environment.extend([
        ("HOSTNAME", HOSTNAME),
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
    ]);
    environment.extend(
        run.environment
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    );
    let environment: Vec<String> = environment
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    // Without root there is one user in the namespace; another one is mapped to it when the program starts.
    let user = if run.rootless {
        json!({ "uid": 0, "gid": 0 })
    } else {
        json!({ "uid": account.uid, "gid": account.gid, "additionalGids": account.groups })
    };
    let bounding = capabilities(run, account);
    let granted = if account.uid == 0 || run.rootless {
        bounding.clone()
    } else {
        Vec::new()
    };
    json!({
        "terminal": run.attended == Some(Attended::Terminal),
        "user": user,
        "args": run.command,
        "env": environment,
        "cwd": run.working_dir,
        "noNewPrivileges": true,
        "rlimits": rlimits(run),
        "capabilities": {
            "bounding": bounding, "effective": granted, "permitted": granted, "inheritable": [], "ambient": [],
        },
    })
}

fn capabilities(run: &Run, account: &Account) -> Vec<&'static str> {
    if run.rootless && account.uid != 0 {
        // The kernel demands these to map another user to the namespace's root. They are dropped when the program
        // starts.
        return vec!["CAP_SETFCAP"];
    }
    let held = held_capabilities();
    let may = CAPABILITIES.iter().filter(|(_, bit)| held & (1 << bit) != 0);
    may.map(|(name, _)| *name).collect()
}

/// The capabilities that this process has and could pass on.
fn held_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

/// Without root no cgroup may hold the number of processes, but since Linux 5.14 the kernel counts them for each user
/// namespace: the helper's own process is one of them. For root the kernel does not check this limit.
fn rlimits(run: &Run) -> Vec<Value> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nproc);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let wanted = (u64::from(run.pids) + 1).min(most);
    if run.rootless && run.pids > 0 && kernel_counts_by_namespace() {
        vec![json!({ "type": "RLIMIT_NPROC", "soft": wanted, "hard": wanted })]
    } else {
        Vec::new()
    }
}

fn kernel_counts_by_namespace() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 14)
}

fn mounts(run: &Run) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            &[
                "nosuid",
                "noexec",
                "nodev",
                "mode=1777",
                &format!("size={}", run.shm),
            ],
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    if run.rootless && run.network {
        // Only the owner of the network namespace may mount a new view of /sys.
        let bind = Bind {
            source: "/sys".into(),
            target: "/sys".to_owned(),
            writable: false,
        };
        mounts.push(bind_mount(&bind, "rbind"));
    } else {
        mounts.push(mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]));
    }
    mounts.extend(run.mounts.iter().map(|bind| bind_mount(bind, "bind")));
    mounts
}

fn bind_mount(bind: &Bind, kind: &str) -> Value {
    let access = if bind.writable { "rw" } else { "ro" };
    json!({
        "destination": bind.target,
        "type": "bind",
        "source": bind.source,
        "options": [kind, access, "nosuid", "nodev"],
    })
}
