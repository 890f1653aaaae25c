//! The helper's own namespaces: mounts, network, and without root a user namespace in which it is root.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use libcontainer::network::link::LinkClient;
use libcontainer::network::wrapper::create_network_client;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::failure::{HelperFailure, Step};

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// The path of the container in the hierarchies that libcontainer sees.
pub(super) const CGROUP_PATH: &str = "/samebundle";

/// Enters new namespaces. Without `network` the new network namespace has nothing but a loopback device.
pub(super) fn enter(rootless: bool, network: bool) -> Result<(), HelperFailure> {
    let mut flags = CloneFlags::CLONE_NEWNS;
    if !network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    if rootless {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        unshare(CloneFlags::CLONE_NEWUSER | flags).step("make a user namespace")?;
        map_ids(0, uid.as_raw(), 0, gid.as_raw()).step("map the user of a namespace")?;
    } else {
        unshare(flags).step("make namespaces")?;
    }
    match make_private() {
        Err(Errno::EINVAL) => mount_the_root().step("make a mount point of the root of a change-root")?,
        other => other.step("make mounts private")?,
    }
    if !network {
        // Programs that connect to themselves over 127.0.0.1 expect the loopback device to be up.
        create_network_client_and_raise_loopback().step("bring up the loopback device")?;
    }
    veil_cgroups().step("hide the cgroups")
}

/// Makes all mounts private, so that none of them reaches another namespace.
fn make_private() -> nix::Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
}

/// Makes a mount point of this process's root, which is none in a change-root into a plain folder. It has to be one for
/// mounts to be private and for a container to take its place. The mounts above it, which nothing in the change-root can
/// name, are made private first, so that the new one is seen in this namespace alone.
fn mount_the_root() -> io::Result<()> {
    let root = File::open("/")?;
    // Entering a namespace of mounts, even one's own, leads to its topmost root.
    setns(File::open("/proc/self/ns/mnt")?, CloneFlags::CLONE_NEWNS)?;
    make_private()?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&root, "", flags | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &root, "", flags)?;
    rustix::process::fchdir(&tree)?;
    Ok(rustix::process::chroot(".")?)
}

/// Maps one user and one group of the process's new namespace to those outside. The kernel allows every user to map
/// themselves after `setgroups` is given up.
pub(super) fn map_ids(uid: u32, outer_uid: u32, gid: u32, outer_gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {outer_uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {outer_gid} 1"))
}

fn create_network_client_and_raise_loopback() -> Result<(), libcontainer::network::NetworkError> {
    /// The kernel gives the loopback device of every network namespace this number.
    const LOOPBACK: u32 = 1;
    LinkClient::new(create_network_client())?.set_up(LOOPBACK)
}

/// Hides the machine's cgroups from libcontainer, in the helper's own mount namespace.
///
/// The driver itself makes the cgroup and moves the container into it, because it can then do without one if the
/// machine does not allow it. libcontainer cannot: it makes a folder in every hierarchy that it finds, or fails. It
/// finds hierarchies by their mount points, so an empty file system with the files that libcontainer writes is mounted
/// over each of them.
fn veil_cgroups() -> io::Result<()> {
    veil(Path::new(CGROUP_ROOT))?;
    for point in cgroup_v1_mounts()? {
        if !point.starts_with(CGROUP_ROOT) {
            veil(&point)?;
        }
        let folder = point.join(CGROUP_PATH.trim_start_matches('/'));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("cgroup.procs"), "")?;
        // A cpuset takes what it lacks from its parent; an empty one is refused.
        for place in [point.as_path(), &folder] {
            fs::write(place.join("cpuset.cpus"), "0")?;
            fs::write(place.join("cpuset.mems"), "0")?;
        }
    }
    Ok(())
}

fn veil(point: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(
        Some("tmpfs"),
        point,
        Some("tmpfs"),
        flags,
        Some("mode=755,size=1m"),
    )?)
}

fn cgroup_v1_mounts() -> io::Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let mounts = text.lines().filter_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup ")
            .then(|| fields.split(' ').nth(4).map(PathBuf::from))?
    });
    Ok(mounts.collect())
}
