//! Control groups: cgroup v2, v1 (also hybrid), or none.
//!
//! A container gets a cgroup below the driver's own if one can be made there, so that it never escapes a limit of the
//! driver. A cgroup or limit that cannot be made is no error: it is left out, and the driver's probe reports that once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::driver::Limits;

/// Length of the time slices that the CPU limit is counted in, microseconds (the kernel's default).
const CPU_PERIOD: u64 = 100_000;

/// A controller: what a cgroup limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// One folder in a cgroup file system and what it limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CgroupFolder {
    folder: PathBuf,
    controllers: Vec<Controller>,
    unified: bool,
}

/// The cgroup of one container: one folder in v2, one for each controller in v1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cgroup {
    parts: Vec<CgroupFolder>,
}

/// A mounted cgroup hierarchy, and where this process is in it.
struct Hierarchy {
    unified: bool,
    /// v1: the controllers by name.
    controllers: Vec<String>,
    mount: PathBuf,
    own: PathBuf,
}

impl Cgroup {
    /// Makes the cgroup and sets those of the limits that can be set.
    pub(super) fn make(name: &str, limits: &Limits) -> Self {
        let mut cgroup = Self::default();
        for hierarchy in hierarchies() {
            let wanted: Vec<Controller> = Controller::ALL
                .into_iter()
                .filter(|controller| !cgroup.limits(*controller))
                .filter(|controller| hierarchy.unified || hierarchy.has(*controller))
                .collect();
            if let Some(part) = hierarchy.make(name, &wanted) {
                cgroup.parts.push(part);
            }
        }
        for part in &mut cgroup.parts {
            let CgroupFolder {
                folder,
                controllers,
                unified,
            } = part;
            controllers.retain(|controller| set(folder, *unified, *controller, limits).is_ok());
        }
        cgroup
    }

    /// Tells whether a limit holds.
    pub(super) fn limits(&self, controller: Controller) -> bool {
        self.parts
            .iter()
            .any(|part| part.controllers.contains(&controller))
    }

    /// Moves a process into the cgroup.
    pub(super) fn join(&self, pid: i32) -> io::Result<()> {
        let pid = pid.to_string();
        self.parts
            .iter()
            .try_for_each(|part| fs::write(part.folder.join("cgroup.procs"), &pid))
    }

    /// Tells whether the kernel killed a process because of the memory limit.
    pub(super) fn out_of_memory(&self) -> bool {
        self.parts.iter().any(|part| {
            let file = if part.unified {
                "memory.events"
            } else {
                "memory.oom_control"
            };
            let text = fs::read_to_string(part.folder.join(file)).unwrap_or_default();
            let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            count.is_some_and(|count| count.trim() != "0")
        })
    }

    /// Kills the processes that are left in the cgroup and removes it.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.parts.iter().try_for_each(|part| remove(&part.folder))
    }
}

impl Hierarchy {
    fn has(&self, controller: Controller) -> bool {
        self.controllers.iter().any(|name| name == controller.name())
    }

    /// Makes a cgroup in the first folder in which one can be made and which offers the controllers.
    fn make(&self, name: &str, wanted: &[Controller]) -> Option<CgroupFolder> {
        if wanted.is_empty() {
            return None;
        }
        let mut places = vec![self.own.clone()];
        if self.unified {
            // A cgroup that holds processes cannot delegate controllers (v2's "no internal processes"): go beside it.
            places.extend(
                self.own
                    .parent()
                    .filter(|above| above.starts_with(&self.mount))
                    .map(Path::to_owned),
            );
        }
        places.push(self.mount.clone());
        places.iter().find_map(|place| {
            let folder = place.join(name);
            if self.unified {
                for controller in wanted {
                    let offer = format!("+{}", controller.name());
                    // A failure means that they are delegated already, or may not be. The controllers of the new cgroup
                    // tell.
                    let _ = fs::write(place.join("cgroup.subtree_control"), offer);
                }
            }
            fs::create_dir(&folder).ok()?;
            let controllers = if self.unified {
                offered(&folder, wanted)
            } else {
                wanted.to_vec()
            };
            let joinable = fs::OpenOptions::new()
                .write(true)
                .open(folder.join("cgroup.procs"))
                .is_ok();
            if controllers.is_empty() || !joinable {
                let _ = fs::remove_dir(&folder);
                return None;
            }
            Some(CgroupFolder {
                folder,
                controllers,
                unified: self.unified,
            })
        })
    }
}

fn offered(folder: &Path, wanted: &[Controller]) -> Vec<Controller> {
    let text = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    let has = |controller: &Controller| text.split_whitespace().any(|name| name == controller.name());
    wanted.iter().copied().filter(has).collect()
}

fn set(folder: &Path, unified: bool, controller: Controller, limits: &Limits) -> io::Result<()> {
    let write = |file: &str, value: String| fs::write(folder.join(file), value);
    match controller {
        Controller::Pids => write("pids.max", limits.pids.to_string()),
        Controller::Memory => {
            let Some(bytes) = limits.memory else { return Ok(()) };
            if unified {
                write("memory.max", bytes.to_string())?;
                // Without swap accounting there is no such file; then there is nothing to forbid.
                let _ = write("memory.swap.max", "0".to_owned());
            } else {
                write("memory.limit_in_bytes", bytes.to_string())?;
                let _ = write("memory.memsw.limit_in_bytes", bytes.to_string());
            }
            Ok(())
        }
        Controller::Cpu => {
            let Some(cpus) = limits.cpus else { return Ok(()) };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a number of cores is small and positive; the kernel takes whole microseconds"
            )]
            let quota = (cpus.max(0.01) * CPU_PERIOD as f64) as u64;
            if unified {
                write("cpu.max", format!("{quota} {CPU_PERIOD}"))
            } else {
                write("cpu.cfs_period_us", CPU_PERIOD.to_string())?;
                write("cpu.cfs_quota_us", quota.to_string())
            }
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    /// How often, and with what pause, the removal of a cgroup is tried while its processes are ending.
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..TRIES {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => {}
        }
        for pid in fs::read_to_string(folder.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        std::thread::sleep(PAUSE);
    }
    fs::remove_dir(folder)
}

/// The hierarchies of this machine, v2 first if it is the only one (in hybrid mode it has no controllers).
fn hierarchies() -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| hierarchy(line, &cgroups))
        .collect()
}

fn hierarchy(line: &str, cgroups: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, mount) = (left.next()?, PathBuf::from(left.next()?));
    let mut right = right.split(' ');
    let unified = match right.next()? {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let controllers: Vec<String> = right.nth(1)?.split(',').map(str::to_owned).collect();
    let own = cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        let same = if unified {
            names.is_empty()
        } else {
            !names.is_empty()
                && names
                    .split(',')
                    .all(|name| controllers.iter().any(|has| has == name))
        };
        same.then_some(path)
    })?;
    // A container sees only a part of the hierarchy, by a mount whose root is not the hierarchy's.
    let below = own.strip_prefix(root.trim_end_matches('/')).unwrap_or("/");
    let own = mount.join(below.trim_start_matches('/'));
    Some(Hierarchy {
        unified,
        controllers,
        own: if own.is_dir() { own } else { mount.clone() },
        mount,
    })
}

/// The least memory limit of this process's own cgroups, bytes.
pub(super) fn own_memory_limit() -> Option<u64> {
    let mut least: Option<u64> = None;
    for hierarchy in hierarchies() {
        let file = if hierarchy.unified {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        for folder in hierarchy
            .own
            .ancestors()
            .take_while(|folder| folder.starts_with(&hierarchy.mount))
        {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            if let Ok(limit) = text.trim().parse::<u64>() {
                least = Some(least.map_or(limit, |least| least.min(limit)));
            }
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_v1_v2_and_a_containers_part() {
        let cgroups = "9:name=systemd:/\n4:memory:/docker/x/y\n2:cpu,cpuacct:/c\n0::/user.slice\n";
        let v1 = "36 25 0:31 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let found = hierarchy(v1, cgroups).unwrap();
        assert!(!found.unified && found.has(Controller::Memory) && !found.has(Controller::Cpu));
        let both = "36 25 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct";
        assert!(hierarchy(both, cgroups).unwrap().has(Controller::Cpu));
        let v2 = "36 25 0:31 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        let found = hierarchy(v2, cgroups).unwrap();
        assert!(found.unified && found.mount == Path::new("/sys/fs/cgroup"));
        assert!(hierarchy("22 1 0:20 / /proc rw - proc proc rw", cgroups).is_none());
    }
}
