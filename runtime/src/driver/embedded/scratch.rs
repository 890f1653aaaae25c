//! What a container leaves on disk while it runs: `HOME/scratch/RUN/NAME/`, with `marks.json`, which names its
//! processes and cgroup for the recovery after a crash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use crate::image::beneath;
use crate::process::ProcessId;

/// The processes to end and the cgroup to remove, besides the folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Leftovers {
    pub(super) helper: Option<ProcessId>,
    pub(super) container: Option<ProcessId>,
    pub(super) cgroup: Cgroup,
}

/// The folder of one container.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    pub(super) marks: Leftovers,
}

/// The folder of a run.
pub(super) fn of_run(home: &Path, run_id: &str) -> PathBuf {
    home.join("scratch").join(run_id)
}

impl Scratch {
    /// Makes the folder of a container; what an earlier container of that name left is removed first.
    pub(super) fn make(home: &Path, run_id: &str, name: &str) -> io::Result<Self> {
        let folder = of_run(home, run_id).join(name);
        if folder.exists() {
            Self::found(folder.clone()).remove()?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            marks: Leftovers::default(),
        })
    }

    /// Takes over a folder that a killed process left.
    pub(super) fn found(folder: PathBuf) -> Self {
        let text = fs::read(folder.join("marks.json")).unwrap_or_default();
        Self {
            marks: serde_json::from_slice(&text).unwrap_or_default(),
            folder,
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the processes and the cgroup down. A process is not known before it is started; a helper whose driver
    /// ends in that moment ends by itself.
    pub(super) fn mark(&self) -> io::Result<()> {
        let new = self.folder.join("marks.json.new");
        fs::write(&new, serde_json::to_vec(&self.marks)?)?;
        fs::rename(new, self.folder.join("marks.json"))
    }

    /// Ends the processes and removes cgroup and folder.
    pub(super) fn remove(&self) -> io::Result<()> {
        let Leftovers {
            helper,
            container,
            cgroup,
        } = &self.marks;
        for process in [helper, container].into_iter().flatten() {
            if !process.end() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{process:?} does not end"),
                ));
            }
        }
        cgroup.remove()?;
        beneath::remove_path(&self.folder)
    }
}
