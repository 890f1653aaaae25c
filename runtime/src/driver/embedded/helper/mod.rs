//! The helper process: one thread, one container.
//!
//! libcontainer clones processes and runs ordinary code in them, which is only sound in a process with a single thread.
//! So the driver starts this program again and talks to it over a socket that is its standard input; standard output
//! and error are the container's own. The helper makes namespaces and mounts of its own, which the kernel removes when
//! it ends: nothing stays mounted, whatever happens.

mod container;
mod failure;
mod namespace;
mod rootfs;
mod specification;
mod workload;

use std::io::{self, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use failure::{HelperFailure, Step};

use super::protocol::{self, Report, Run, Task};
use crate::image::LayerOwner;

/// The socket to the driver.
struct Control {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Control {
    fn from_standard_input() -> io::Result<Self> {
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self {
            writer: socket.try_clone()?,
            reader: BufReader::new(socket),
        })
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.writer.write_all(&protocol::line(report)?)
    }
}

/// Runs a helper to its end and returns the process's exit code. The program that calls it must not have started a
/// thread, and must have a driver's socket as standard input. Exit code 0: the report was sent to the driver; 1: it
/// could not be sent.
pub fn helper_main() -> i32 {
    // The kernel named the process after the descriptor of the sealed copy. If the name cannot be changed, it does no
    // harm.
    let _ = rustix::thread::set_name(c"samebundle");
    let Ok(mut control) = Control::from_standard_input() else {
        return 1;
    };
    let last = perform(&mut control).unwrap_or_else(|failure| failure.report());
    i32::from(control.report(&last).is_err())
}

fn perform(control: &mut Control) -> Result<Report, HelperFailure> {
    let task = protocol::read(&mut control.reader).step("read the task")?;
    match task {
        Some(Task::Probe { folder, rootless }) => probe(&folder, rootless),
        Some(Task::Run(run)) => container::run(&run, control),
        None => Err(HelperFailure::new("read the task", "the driver is gone")),
    }
}

fn probe(folder: &Path, rootless: bool) -> Result<Report, HelperFailure> {
    namespace::enter(rootless, false)?;
    let layer = folder.join("layer");
    std::fs::create_dir_all(&layer).step("make a folder")?;
    let run = Run {
        name: "probe".to_owned(),
        folder: folder.to_owned(),
        layers: vec![layer],
        rootless,
        command: Vec::new(),
        environment: Default::default(),
        working_dir: "/".to_owned(),
        user: String::new(),
        mounts: Vec::new(),
        network: false,
        pids: 0,
        shm: 0,
        keep_upper: None,
        attended: None,
    };
    Ok(Report::Probed {
        overlay: rootfs::overlay(&run).is_ok(),
    })
}

fn layer_owner(run: &Run) -> LayerOwner {
    if run.rootless {
        LayerOwner::User
    } else {
        LayerOwner::Root
    }
}
