//! A tracking server of MLflow for one test.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::registry::{free_port, quiet};
use crate::sandbox::{Running, Sandbox};
use crate::tool::judges;

/// A tracking server on a free port of the loopback, over a database; ends with this value.
#[derive(Debug)]
pub struct MlflowServer {
    address: SocketAddr,
    folder: PathBuf,
    process: Option<Running>,
    _memory: Option<TempDir>,
}

impl MlflowServer {
    /// A server that is not started yet, with its address. Its files are in memory where that can be: its database syncs
    /// with each request, which takes minutes for hundreds of runs.
    pub fn planned(sandbox: &Sandbox) -> Self {
        let memory = tempfile::Builder::new()
            .prefix("samebundle-mlflow-")
            .tempdir_in("/dev/shm")
            .ok();
        let folder = memory.as_ref().map_or_else(|| sandbox.path(), TempDir::path);
        Self {
            address: free_port(),
            folder: folder.join("mlflow"),
            process: None,
            _memory: memory,
        }
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it is not installed or does not come up.
    pub fn start(&mut self) {
        let _ = std::fs::create_dir_all(&self.folder);
        let bin = judges().unwrap_or_default();
        let mut command = Command::new(bin.join("mlflow"));
        let port = self.address.port().to_string();
        command
            .args(["server", "--host", "127.0.0.1", "--workers", "1", "--port", &port])
            .arg("--backend-store-uri")
            .arg(format!("sqlite:///{}", self.folder.join("mlflow.db").display()))
            .arg("--artifacts-destination")
            .arg(self.folder.join("artifacts"));
        furnish(&mut command, &bin, &self.folder);
        // Its jobs want packages of language models.
        command.env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false");
        quiet(&mut command, &self.folder.join("log"));
        let mut process = Running::of(&mut command);
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(process.ended().is_none(), "MLflow ended at its start: {}", log());
            assert!(
                start.elapsed() < Duration::from_secs(180),
                "MLflow did not come up: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        self.process = Some(process);
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for MlflowServer {
    fn drop(&mut self) {
        // It has a process for each worker, which end with it only if it is asked.
        if let Some(process) = &mut self.process {
            process.end();
        }
    }
}

/// Gives a Python program a home of its own, and nothing of the caller's environment.
pub(crate) fn furnish(command: &mut Command, bin: &Path, home: &Path) {
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("LANG", "C.UTF-8")
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .current_dir(home)
        .stdin(Stdio::null());
}
