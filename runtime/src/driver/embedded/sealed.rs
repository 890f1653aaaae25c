//! A copy of the helper's program that nobody can change.
//!
//! In the moment in which the first process of a container executes the container's program, it still is the helper's
//! program, and a container can find that program as `/proc/self/exe` (CVE-2019-5736). So helpers are not started from
//! the file on this machine but from a copy in memory, which has no path and is sealed by the kernel: not even root can
//! write or truncate it. One copy serves all helpers of a driver.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// The name of the copy: all that a container can read of it.
const NAME: &str = "container-helper";

/// A sealed program.
#[derive(Debug)]
pub(super) struct Sealed(OwnedFd);

impl Sealed {
    /// Copies a program into memory and seals the copy.
    pub(super) fn copy(program: &Path) -> io::Result<Self> {
        let mut copy = File::from(executable_memory()?);
        io::copy(&mut File::open(program)?, &mut copy)?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&copy, seals)?;
        Ok(Self(copy.into()))
    }

    /// The path at which a child process that is about to be started finds the program. No other process can use it.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Kernels from 6.3 on need a flag for a file in memory that is to be executed; older ones do not know the flag.
fn executable_memory() -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(NAME, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(NAME, flags),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_copy_runs_and_cannot_be_changed() {
        let sealed = Sealed::copy(Path::new("/bin/echo")).unwrap();
        let output = Command::new(sealed.path()).arg("runs").output().unwrap();
        assert_eq!(output.stdout, b"runs\n");
        for change in [OpenOptions::new().write(true), OpenOptions::new().append(true)] {
            let changed = change
                .open(sealed.path())
                .and_then(|mut file| io::Write::write_all(&mut file, b"x"));
            assert!(changed.is_err(), "it was written to");
        }
        let cut = OpenOptions::new().write(true).truncate(true).open(sealed.path());
        assert!(cut.is_err(), "it was cut");
    }
}
