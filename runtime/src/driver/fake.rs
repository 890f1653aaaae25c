//! A driver without containers, for tests: a closure takes the place of the program. It uses paths of the container,
//! and may only touch what is mounted.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Bind, Driver, DriverError, LogSink, Offers, Operation, Outcome, Staging};

type Program = dyn Fn(FakeContainer) -> BoxFuture<'static, Outcome> + Send + Sync;

/// Pretends to run containers. A clone shares its containers.
#[derive(Clone)]
pub struct Fake {
    program: Arc<Program>,
    operations: Arc<Mutex<Vec<Operation>>>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake")
            .field("operations", &self.operations)
            .finish()
    }
}

/// What the closure is given.
#[derive(Clone, Debug)]
pub struct FakeContainer {
    /// The operation.
    pub operation: Operation,
    /// What of this machine is bound into it.
    pub binds: Vec<Bind>,
    /// The file for the layer of what it writes into its root, if that is wanted.
    pub root: Option<PathBuf>,
    /// Cancelled when the container is to stop.
    pub cancel: CancellationToken,
    lines: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Fake {
    /// Makes a driver that calls `program` for each container.
    pub fn new(
        program: impl Fn(FakeContainer) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    ) -> Self {
        Self {
            program: Arc::new(program),
            operations: Arc::default(),
        }
    }

    /// Makes a driver that calls a closure without waits for each container.
    pub fn immediate(program: impl Fn(&FakeContainer) -> Outcome + Send + Sync + 'static) -> Self {
        Self::new(move |container| {
            let outcome = program(&container);
            Box::pin(std::future::ready(outcome))
        })
    }

    /// Returns all operations that were run, in the order in which they began.
    pub fn operations(&self) -> Vec<Operation> {
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl FakeContainer {
    /// Prints a line to standard output.
    pub fn print(&self, line: &str) {
        self.print_to(line, false);
    }

    /// Prints a line to standard error or to standard output.
    pub fn print_to(&self, line: &str, stderr: bool) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((line.to_owned(), stderr));
    }

    /// Returns the path on this machine of a path in the container; none if it is not mounted.
    pub fn host(&self, path: &str) -> Option<PathBuf> {
        let binds = self.binds.iter().filter_map(|bind| {
            let rest = path.strip_prefix(bind.target.as_str())?;
            let host = match rest.strip_prefix('/') {
                Some(below) => bind.source.join(below),
                None if rest.is_empty() => bind.source.clone(),
                None => return None,
            };
            Some((bind.target.len(), host))
        });
        binds.max_by_key(|(length, _)| *length).map(|(_, host)| host)
    }

    /// Reads a file of the container; none if it does not exist.
    pub fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.host(path)?).ok()
    }

    /// Writes a file of the container, and tells whether it may.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> bool {
        let writable = |mount: &Bind| mount.writable && path.starts_with(&mount.target);
        let host = self.host(path).filter(|_| self.binds.iter().any(writable));
        host.is_some_and(|host| std::fs::write(host, content).is_ok())
    }

    /// Returns the executor input: the argument after `--executor_input`.
    pub fn executor_input(&self) -> Option<Value> {
        let command = &self.operation.command;
        let at = command.iter().position(|word| word == "--executor_input")?;
        serde_json::from_str(command.get(at + 1)?).ok()
    }
}

#[async_trait]
impl Driver for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn offers(&self) -> Result<Offers, DriverError> {
        Ok(Offers {
            cpus: 4.0,
            memory: 8 << 30,
            disk: 64 << 30,
            disk_classes: vec!["standard".to_owned()],
            gpus: [("nvidia.com/gpu".to_owned(), 8)].into(),
            network: true,
            containers: 4,
            notices: Vec::new(),
        })
    }

    async fn run(
        &self,
        operation: &Operation,
        staging: &Staging,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(operation.clone());
        if cancel.is_cancelled() {
            return Ok(Outcome::Cancelled);
        }
        let lines = Arc::<Mutex<Vec<(String, bool)>>>::default();
        let folder = tempfile::tempdir().map_err(failed(operation))?;
        let container = FakeContainer {
            binds: staging
                .bind(operation, folder.path())
                .map_err(failed(operation))?,
            root: staging.root(operation).map_err(failed(operation))?,
            operation: operation.clone(),
            cancel: cancel.clone(),
            lines: lines.clone(),
        };
        let outcome = (self.program)(container).await;
        for (line, stderr) in lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            log.line(line, *stderr);
        }
        Ok(outcome)
    }

    async fn recover(&self, _run_id: &str) -> Result<usize, DriverError> {
        Ok(0)
    }
}

fn failed(operation: &Operation) -> impl FnOnce(std::io::Error) -> DriverError {
    let container = operation.name.clone();
    move |error| DriverError::Start {
        operation: "stage the contents",
        container,
        why: error.to_string(),
    }
}
