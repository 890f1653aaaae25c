//! Runs one container from its start to its end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::super::protocol::{self, Attended, Order, Report, Run, STREAMS};
use super::super::streams;
use super::failure::{HelperFailure, Step};
use super::rootfs::RootFs;
use super::specification::specification;
use super::workload::Workload;
use super::{Control, layer_owner, namespace};
use crate::image::account::{self, Account};
use crate::image::beneath::Root;
use crate::image::pack;

/// How long a container has to end by itself after it was asked to, seconds. A driver promises two.
const GRACE_SECONDS: i64 = 1;

/// Runs a container and returns the last report.
pub(super) fn run(run: &Run, control: &mut Control) -> Result<Report, HelperFailure> {
    namespace::enter(run.rootless, run.network)?;
    let root = RootFs::make(run)?;
    let mut container = create(run, &root)?;
    let pid = container.pid().and_then(|pid| Pid::from_raw(pid.as_raw()));
    let pid = pid.ok_or_else(|| HelperFailure::new("create the container", "it has no process"))?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).step("watch the container")?;
    let created = Report::Created {
        pid: pid.as_raw_nonzero().get(),
    };
    control.report(&created).step("tell the driver")?;
    let order: Option<Order> = protocol::read(&mut control.reader).step("wait for the order to start")?;
    if order == Some(Order::Start) {
        container.start().step("start the container")?;
    } else {
        kill(&process, Signal::KILL);
    }
    wait(&process, control)?;
    let code = exit_code(&process)?;
    if code == 0 {
        keep_upper(run, &root)?;
    }
    Ok(Report::Exited { code })
}

fn create(run: &Run, root: &RootFs) -> Result<Container, HelperFailure> {
    let folder = Root::open(&root.path).step("open the root")?;
    let account = account::resolve(&folder, &run.user).step("look up the user of the image")?;
    folder
        .make_folders(Path::new(&run.working_dir))
        .step("make the working folder")?;
    give_home(run, &folder, &account);
    let bundle = run.folder.join("bundle");
    fs::create_dir_all(&bundle).step("make the bundle folder")?;
    let text = specification(run, &root.path, &account).to_string();
    fs::write(bundle.join("config.json"), text).step("write the specification")?;
    let workload = Workload::new(seen_as(run, &account)).step("watch the helper")?;
    let builder = ContainerBuilder::new(run.name.clone(), SyscallType::default())
        .with_root_path(run.folder.join("state"))
        .step("create the container")?;
    let builder = match run.attended {
        None => builder.with_stdin(File::open("/dev/null").step("open /dev/null")?),
        Some(Attended::Pipes) => builder.with_stdin(streams::taken(&run.folder).step("take the input")?),
        Some(Attended::Terminal) => builder.with_console_socket(Some(run.folder.join(STREAMS))),
    };
    builder
        .with_executor(workload)
        .as_init(bundle)
        .with_systemd(false)
        .build()
        .step("create the container")
}

/// Makes the home of another user than root that user's own, as root could: without a home that they may write to, most
/// libraries fail. An image whose home is no folder stays as it is.
fn give_home(run: &Run, root: &Root, account: &Account) {
    let from_environment = run.environment.get("HOME").map(String::as_str);
    let Some(home) = account.own_home(from_environment) else {
        return;
    };
    let given = root.make_folders(Path::new(home)).and_then(|folder| {
        if !run.rootless {
            std::os::unix::fs::fchown(&folder, Some(account.uid), Some(account.gid))?;
        }
        let mode = rustix::fs::fstat(&folder)?.st_mode & 0o7777;
        Ok(rustix::fs::fchmod(&folder, (mode | 0o700).into())?)
    });
    if let Err(error) = given {
        tracing::debug!("the home {home} of {} stays as it is: {error}", run.name);
    }
}

fn seen_as(run: &Run, account: &Account) -> Option<(u32, u32)> {
    (run.rootless && (account.uid, account.gid) != (0, 0)).then_some((account.uid, account.gid))
}

fn kill(process: &OwnedFd, signal: Signal) {
    // The container may have ended in the meantime, as was wanted.
    let _ = rustix::process::pidfd_send_signal(process, signal);
}

/// Waits for the container's end. It stops the container when it is ordered to, or when the driver is gone.
fn wait(process: &OwnedFd, control: &mut Control) -> Result<(), HelperFailure> {
    let mut listening = true;
    let mut patience: Option<Timespec> = None;
    loop {
        let mut watched = [
            PollFd::new(process, PollFlags::IN),
            PollFd::new(&control.writer, PollFlags::IN),
        ];
        let count = if listening { 2 } else { 1 };
        // An order may have arrived together with the one before it.
        let mut spoken = listening && !control.reader.buffer().is_empty();
        if !spoken {
            let ready = poll(&mut watched[..count], patience.as_ref()).or_else(again);
            if ready.step("wait for the container")? == 0 && patience.take().is_some() {
                kill(process, Signal::KILL);
            }
            if !watched[0].revents().is_empty() {
                return Ok(());
            }
            spoken = !watched[1].revents().is_empty();
        }
        if listening && spoken {
            listening = false;
            match protocol::read::<Order>(&mut control.reader) {
                Ok(Some(_)) => {
                    kill(process, Signal::TERM);
                    patience = Some(Timespec {
                        tv_sec: GRACE_SECONDS,
                        tv_nsec: 0,
                    });
                }
                Ok(None) | Err(_) => kill(process, Signal::KILL),
            }
        }
    }
}

fn again(error: rustix::io::Errno) -> rustix::io::Result<usize> {
    if error == rustix::io::Errno::INTR {
        Ok(0)
    } else {
        Err(error)
    }
}

fn exit_code(process: &OwnedFd) -> Result<i32, HelperFailure> {
    let status = rustix::process::waitid(
        WaitId::PidFd(std::os::fd::AsFd::as_fd(process)),
        WaitIdOptions::EXITED,
    )
    .step("read the container's exit code")?;
    let code = status.and_then(|status| {
        status
            .exit_status()
            .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
    });
    code.ok_or_else(|| HelperFailure::new("read the container's exit code", "it has none"))
}

/// Writes the upper folder as a layer under another name, and renames it when it is complete.
fn keep_upper(run: &Run, root: &RootFs) -> Result<(), HelperFailure> {
    const STEP: &str = "keep what the container wrote";
    let Some(path) = &run.keep_upper else {
        return Ok(());
    };
    let Some(upper) = &root.upper else {
        return Err(HelperFailure::new(
            STEP,
            "this kernel lets us have no overlay, so it cannot be told from the image",
        ));
    };
    root.unmount()?;
    let mut partial = path.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = File::create(&partial).and_then(|file| {
        let mut file = BufWriter::new(file);
        pack(upper, layer_owner(run), &left_out(run, upper), &mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)
    });
    written.step(STEP)?;
    fs::rename(&partial, path).step(STEP)
}

/// Returns the folders and files that were made as mount points: the container did not write them.
fn left_out(run: &Run, upper: &Path) -> BTreeSet<PathBuf> {
    let fixed = ["/proc", "/dev", "/sys"].into_iter();
    let targets = fixed.chain(run.mounts.iter().map(|bind| bind.target.as_str()));
    let mut out: BTreeSet<PathBuf> = targets
        .map(|target| PathBuf::from(target.trim_start_matches('/')))
        .collect();
    // Their parents belong to them if they hold nothing else.
    let mut parents: Vec<PathBuf> = out
        .iter()
        .flat_map(|path| path.ancestors().skip(1).map(Path::to_owned))
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    parents.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for parent in parents {
        let Ok(entries) = fs::read_dir(upper.join(&parent)) else {
            continue;
        };
        let mut names = entries
            .filter_map(Result::ok)
            .map(|entry| parent.join(entry.file_name()));
        if names.all(|name| out.contains(&name)) {
            out.insert(parent);
        }
    }
    out
}
