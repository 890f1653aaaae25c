//! The last steps in the container's first process before its program takes over.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::default::DefaultExecutor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal};

use super::namespace;

/// The exit code of a shell that does not find a program.
const NOT_FOUND: i32 = 127;

/// Ties the program to the helper, changes the user where the namespace has only one, and executes.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    /// Becomes readable when the helper ends.
    helper: Arc<OwnedFd>,
    /// The user and group that the program sees, if not the namespace's root.
    seen_as: Option<(u32, u32)>,
}

impl Workload {
    /// Makes the workload. It must be called in the helper.
    pub(super) fn new(seen_as: Option<(u32, u32)>) -> rustix::io::Result<Self> {
        let this: Pid = rustix::process::getpid();
        Ok(Self {
            helper: Arc::new(rustix::process::pidfd_open(this, PidfdFlags::empty())?),
            seen_as,
        })
    }

    /// Lets the kernel kill this process when the helper ends. If the helper has ended before, this process ends:
    /// nobody would ever order it to start.
    fn die_with_helper(&self) -> std::io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let mut ended = [PollFd::new(&*self.helper, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut ended, Some(&now))? {
            0 => Ok(()),
            _ => Err(std::io::Error::other("the helper is gone")),
        }
    }
}

impl Executor for Workload {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let invalid = |why: String| ExecutorValidationError::ArgValidationError(why);
        self.die_with_helper()
            .map_err(|error| invalid(error.to_string()))?;
        match located(spec) {
            None => Err(invalid("there is no command".to_owned())),
            Some((program, Some(file))) if is_this_program(&file) => {
                Err(invalid(format!("{program:?} is no program of the image")))
            }
            Some(_) => Ok(()),
        }
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        if let Some((uid, gid)) = self.seen_as {
            let failed =
                |error: std::io::Error| ExecutorError::Other(format!("could not map the user: {error}"));
            unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| failed(error.into()))?;
            // The files that have to be written belong to root while a process is not dumpable.
            rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
                .map_err(|error| failed(error.into()))?;
            namespace::map_ids(uid, 0, gid, 0).map_err(failed)?;
        }
        if let Some((program, None)) = located(spec) {
            missing(program);
        }
        DefaultExecutor {}.exec(spec).inspect_err(|error| {
            // Only the exit code is left of this process, so the reason is printed where the program would print its
            // own.
            let error = error.to_string();
            let reason = error.split(" with args").next().unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "the program could not be started: {reason}");
        })
    }
}

/// Returns the program of a container, and its file in the image, if it has one.
fn located(spec: &Spec) -> Option<(&str, Option<PathBuf>)> {
    let process = spec.process().as_ref()?;
    let program = process.args().as_ref()?.first()?;
    let environment = process.env().iter().flatten();
    let path = environment
        .filter_map(|variable| variable.strip_prefix("PATH="))
        .next();
    Some((program, find(program, path.unwrap_or_default())))
}

/// Ends the process as a shell does that does not find a program.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "this is the container's own process, whose exit code stands for the program"
)]
fn missing(program: &str) -> ! {
    // Only the exit code is left of this process, so the reason is printed where the program would print its own.
    let _ = writeln!(std::io::stderr(), "the image has no program {program:?}");
    std::process::exit(NOT_FOUND)
}

fn find(program: &str, path: &str) -> Option<PathBuf> {
    let executable = |file: &PathBuf| {
        file.metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(executable);
    }
    path.split(':')
        .map(|folder| Path::new(folder).join(program))
        .find(executable)
}

/// Tells whether a file is the helper's own program, reached through `/proc`: no program of the image.
fn is_this_program(file: &Path) -> bool {
    let identity = |file: &Path| {
        file.metadata()
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .ok()
    };
    identity(file).is_some_and(|file| identity(Path::new("/proc/self/exe")) == Some(file))
}
