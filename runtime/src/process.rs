//! A process, identified by its number and the time of its start, because the kernel reuses numbers.

use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// The identity of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pid: i32,
    /// Ticks since the machine started (`/proc/pid/stat`, field 22).
    started: u64,
}

impl ProcessId {
    /// Identifies the process of a number; none if there is no such process.
    pub(crate) fn look(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; fields are counted after it, from the third on.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self { pid, started })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::look(self.pid) == Some(self)
    }

    /// Asks the process to end in order; false if there is no such process any more. No other process of the same number gets
    /// the signal.
    ///
    /// # Errors
    /// If the system refuses, as for the process of another user.
    pub(crate) fn ask_to_end(self) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(false);
        };
        let sent = pidfd_open(pid, PidfdFlags::empty()).and_then(|process| {
            // The descriptor stays with one process, so that the number is compared once.
            match self.is_alive() {
                true => pidfd_send_signal(&process, Signal::TERM).map(|()| true),
                false => Ok(false),
            }
        });
        match sent {
            Err(Errno::SRCH) => Ok(false),
            sent => Ok(sent?),
        }
    }

    /// Kills the process if it is still the same, and waits until it has ended; false if it has not after a while.
    pub(crate) fn end(self) -> bool {
        /// A killed process ends in milliseconds; one in an uninterruptible wait may never end.
        const PATIENCE: Duration = Duration::from_secs(5);
        let begun = Instant::now();
        while self.is_alive() {
            if let Some(pid) = Pid::from_raw(self.pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            if begun.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_until_it_ends() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let seen = ProcessId::look(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(seen.is_alive());
        let other = ProcessId {
            started: seen.started + 1,
            ..seen
        };
        assert!(!other.is_alive() && other.end(), "another process of that number");
        assert!(!other.ask_to_end().unwrap(), "nor is it asked");
        assert!(seen.is_alive(), "and it was not killed");
        assert!(seen.end());
        child.wait().unwrap();
    }
}
