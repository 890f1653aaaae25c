//! Which process holds the lock of a run. It stands in the lock's file, so that another process can ask it to end; whether the
//! lock is held at all, only the kernel says.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::Path;

use rustix::process::{Pid, getpid};
use samebundle_spec::{json, limits};
use serde::{Deserialize, Serialize};

use crate::process::ProcessId;

/// The process that holds the lock of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    process: ProcessId,
    /// The start of the machine.
    boot: String,
    /// Where the number of the process means it.
    namespace: String,
}

impl Holder {
    fn this() -> Option<Self> {
        let process = ProcessId::look(Pid::as_raw(Some(getpid())))?;
        Some(Self {
            process,
            boot: boot()?,
            namespace: namespace()?,
        })
    }

    /// Writes into a lock that this process holds that it does. A system that cannot say who a process is gets nothing.
    pub(super) fn write(lock: &File) -> io::Result<()> {
        let mut lock = lock;
        lock.set_len(0)?;
        lock.rewind()?;
        match Self::this() {
            Some(holder) => lock.write_all(&serde_json::to_vec(&holder)?),
            None => Ok(()),
        }
    }

    /// Reads who holds a lock that is held; none if its holder is not of this start of the machine, or is out of sight.
    pub(super) fn read(lock: &Path) -> io::Result<Option<Self>> {
        let bytes = fs::read(lock)?;
        let holder: Option<Self> = json::from_slice_wide(&bytes, limits::RUN_BYTES).ok();
        let near =
            |one: &Self| Some(&one.boot) == boot().as_ref() && Some(&one.namespace) == namespace().as_ref();
        Ok(holder.filter(near).filter(|one| one.process.is_alive()))
    }

    /// Asks the process to end its run in order, as an interrupt from its terminal does; false if it is gone.
    ///
    /// # Errors
    /// If the system refuses, as for the process of another user.
    pub fn ask_to_end(&self) -> io::Result<bool> {
        self.process.ask_to_end()
    }

    /// Tells whether the process is there.
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Kills the process; false if it does not end.
    pub fn end(&self) -> bool {
        self.process.end()
    }
}

fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

fn namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_str()?.to_owned())
}
