//! A process, identified by its number and the time of its start, because the kernel reuses numbers.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// The identity of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pid: i32,
    /// Ticks since the machine started (`/proc/pid/stat`, field 22).
    started: u64,
}

impl ProcessId {
    /// Identifies the process of a number; none if there is no such process.
    pub(super) fn look(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; fields are counted after it, from the third on.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self { pid, started })
    }

    fn is_alive(self) -> bool {
        Self::look(self.pid) == Some(self)
    }

    /// Kills the process if it is still the same, and waits until it has ended; false if it has not after a while.
    pub(super) fn end(self) -> bool {
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
        assert!(seen.is_alive(), "and it was not killed");
        assert!(seen.end());
        child.wait().unwrap();
    }
}
