//! A Docker engine for one test.

use std::path::PathBuf;
use std::process::Command;

use crate::sandbox::{Ran, Sandbox};
use crate::tool::{peer, repository};

/// An engine with all of its state in the sandbox; ends with this value.
#[derive(Debug)]
pub struct DockerEngine {
    folder: PathBuf,
    address: String,
}

impl DockerEngine {
    /// Start one by `tests/cluster/docker-up`. The reason where it cannot be had here.
    ///
    /// # Errors
    /// Why there is no engine: not installed, no root, or what its log said.
    pub fn start(sandbox: &Sandbox) -> Result<Self, String> {
        if peer("dockerd").is_none() {
            return Err("dockerd is not installed (tests/setup/packages docker)".to_owned());
        }
        let folder = sandbox.path().join("docker");
        let ran = Ran::of(Command::new(repository().join("tests/cluster/docker-up")).arg(&folder));
        if ran.code != 0 {
            return Err(format!("no Docker engine: {}", ran.stderr.trim()));
        }
        Ok(Self {
            folder,
            address: ran.stdout.trim().to_owned(),
        })
    }

    /// Its address, as `DOCKER_HOST` takes it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The socket of the containerd that it brings.
    pub fn containerd(&self) -> PathBuf {
        self.folder.join("containerd/sock")
    }

    /// Call Docker's own client against it.
    pub fn client(&self, arguments: &[&str]) -> Ran {
        Ran::of(client().args(arguments).env("DOCKER_HOST", &self.address))
    }
}

/// A call of Docker's own client, of the same package as the engine where it is there.
pub(crate) fn client() -> Command {
    let packaged = Some(PathBuf::from("/usr/bin/docker")).filter(|path| path.is_file());
    Command::new(packaged.or_else(|| peer("docker")).unwrap_or_default())
}

impl Drop for DockerEngine {
    fn drop(&mut self) {
        let _ = Command::new(repository().join("tests/cluster/docker-down"))
            .arg(&self.folder)
            .output();
    }
}
