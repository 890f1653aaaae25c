//! The docker driver: containers of a Docker engine behind a unix socket, API 1.41 (Docker 20.10) or newer.
//!
//! Images are streamed from the store into the engine (through no registry, and without unpacking them here). The
//! engine knows them by a tag that is made of their configuration's digest, so an image is loaded once. Every container
//! carries the label [`RUN_LABEL`], by which [`Driver::recover`] finds containers that outlived their process.
//!
//! Failure: the engine's answer is passed on word for word. A container is removed however it ended.

mod attend;
mod home;
mod keep;
mod load;
mod options;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures::StreamExt;
use samebundle_registry::store::Source;
use tokio_util::sync::CancellationToken;

use super::log::Lines;
use super::{Driver, DriverError, LogSink, Offers, Operation, Outcome, Staging, Streams, refuse_gpus};
use crate::event::{Events, Silent};
use crate::image;

/// The label that names the run a container belongs to.
pub const RUN_LABEL: &str = "dev.samebundle.run";

const NAME: &str = "docker";

/// The oldest API version that is supported, that of Docker 20.10.
const OLDEST_API: (usize, usize) = (1, 41);

/// How long one answer of the engine may take. The answer to a load comes when the whole image is unpacked.
const ANSWER: Duration = Duration::from_secs(600);

/// How long a container has to end by itself when it is cancelled. The trait promises two seconds in all, of which a busy
/// engine needs one to kill and remove it.
const GRACE: Duration = Duration::from_millis(500);

/// Who gets what a container prints.
enum Manner<'a> {
    Heard(&'a dyn LogSink),
    Attended(Streams),
}

/// Runs containers through a Docker engine.
#[derive(Debug)]
pub struct DockerDriver {
    engine: Docker,
    address: String,
    source: Arc<dyn Source>,
    scratch: PathBuf,
    /// Memory of the engine's machine, bytes.
    memory: u64,
    events: Arc<dyn Events>,
}

impl DockerDriver {
    /// Connects to the engine at `address` (`unix:///path` or a path) and reads images from `source`. `scratch` is a
    /// folder for temporary files.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] if no engine answers there, or one that is too old.
    pub async fn connect(
        address: &str,
        source: Arc<dyn Source>,
        scratch: PathBuf,
    ) -> Result<Self, DriverError> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let unusable = |error: Error| DriverError::Unusable {
            driver: NAME,
            why: format!(
                "no Docker engine answers at {address}: {error}; start one, or name its socket in DOCKER_HOST"
            ),
        };
        let engine = Docker::connect_with_unix(path, ANSWER.as_secs(), bollard::API_DEFAULT_VERSION)
            .map_err(unusable)?
            .negotiate_version()
            .await
            .map_err(unusable)?;
        let version = engine.client_version();
        if (version.major_version, version.minor_version) < OLDEST_API {
            return Err(DriverError::Unusable {
                driver: NAME,
                why: format!("the engine at {address} speaks API {version}, older than Docker 20.10's 1.41"),
            });
        }
        let memory = options::memory(&engine.info().await.map_err(unusable)?);
        Ok(Self {
            engine,
            memory,
            address: address.to_owned(),
            source,
            scratch,
            events: Arc::new(Silent),
        })
    }

    /// Reports how far the loading of an image is.
    pub fn reporting(self, events: Arc<dyn Events>) -> Self {
        Self { events, ..self }
    }

    /// Runs a container, and removes it however it ended.
    async fn contained(
        &self,
        operation: &Operation,
        staging: &Staging,
        manner: Manner<'_>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        refuse_gpus(NAME, operation)?;
        std::fs::create_dir_all(&self.scratch).map_err(unstaged(operation))?;
        // The folder for inputs that are given as bytes. It is removed with the container.
        let folder = tempfile::tempdir_in(&self.scratch).map_err(unstaged(operation))?;
        let (image, mut body) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Outcome::Cancelled),
            prepared = self.prepare(operation, staging, folder.path()) => prepared?,
        };
        if let Manner::Attended(streams) = &manner {
            options::attend(&mut body, streams.terminal.is_some());
        }
        let container = self.create(operation, &image, body).await?;
        let result = match manner {
            Manner::Heard(log) => {
                self.see_through(&container, operation, staging, log, cancel)
                    .await
            }
            Manner::Attended(streams) => {
                self.attend_container(&container, operation, streams, cancel)
                    .await
            }
        };
        let removed = self.remove(&container).await;
        staging.open_up(operation).await;
        let outcome = result?;
        removed.map_err(failed("remove the container", &operation.name))?;
        Ok(outcome)
    }

    async fn see_through(
        &self,
        container: &str,
        operation: &Operation,
        staging: &Staging,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        let fail = |step: &'static str| failed(step, &operation.name);
        let attach = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdout(true)
            .stderr(true);
        let attached = self
            .engine
            .attach_container(container, Some(attach.build()))
            .await;
        let mut output = attached.map_err(fail("attach to the container"))?.output;
        let started = self.engine.start_container(container, None).await;
        if let Err(error) = started {
            // The engine tells so of a command that the image does not have.
            return match self.outcome(container, operation).await {
                Ok(outcome @ Outcome::Failed { code: 126 | 127, .. }) => {
                    log.line(&error.to_string(), true);
                    Ok(outcome)
                }
                _ => Err(fail("start the container")(error)),
            };
        }
        let pump = async {
            let (mut out, mut err) = (Lines::new(false), Lines::new(true));
            while let Some(Ok(message)) = output.next().await {
                match message {
                    LogOutput::StdErr { message } => err.take(&message, log),
                    other => out.take(&other.into_bytes(), log),
                }
            }
            out.end(log);
            err.end(log);
        };
        let ended = async {
            pump.await;
            self.wait(container).await
        };
        tokio::select! {
            ended = ended => ended.map_err(fail("wait for the container"))?,
            () = cancel.cancelled() => {
                self.ask_to_end(container).await;
                return Ok(Outcome::Cancelled);
            }
        }
        let outcome = self.outcome(container, operation).await?;
        if outcome == Outcome::Succeeded
            && let Some(path) = staging.root(operation).map_err(unstaged(operation))?
        {
            keep::keep_upper(&self.engine, container, operation, &path, &self.scratch).await?;
        }
        Ok(outcome)
    }

    /// Asks a container to end and gives it a moment. A container that does not end is killed by removing it.
    async fn ask_to_end(&self, container: &str) {
        let options = KillContainerOptionsBuilder::default().signal("SIGTERM").build();
        // An error means that it has ended by itself in the meantime.
        if self.engine.kill_container(container, Some(options)).await.is_ok() {
            let _ = tokio::time::timeout(GRACE, self.wait(container)).await;
        }
    }

    async fn wait(&self, container: &str) -> Result<(), Error> {
        let mut waiting = self.engine.wait_container(container, None);
        match waiting.next().await {
            Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) | None => Ok(()),
            Some(Err(error)) => Err(error),
        }
    }

    async fn outcome(&self, container: &str, operation: &Operation) -> Result<Outcome, DriverError> {
        let none: Option<InspectContainerOptions> = None;
        let inspected = self.engine.inspect_container(container, none).await;
        let lost = |why: String| DriverError::Lost {
            container: operation.name.clone(),
            why,
        };
        let state = inspected.map_err(|error| lost(error.to_string()))?.state;
        let state = state.ok_or_else(|| lost("the engine tells no state".to_owned()))?;
        match state.exit_code {
            Some(0) => Ok(Outcome::Succeeded),
            Some(code) => Ok(Outcome::Failed {
                code: i32::try_from(code).unwrap_or(i32::MAX),
                out_of_memory: state.oom_killed.unwrap_or(false),
            }),
            None => Err(lost("the engine tells no exit code".to_owned())),
        }
    }

    async fn remove(&self, container: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        match self.engine.remove_container(container, Some(options)).await {
            // The container is removed, or about to be removed.
            Err(Error::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => Ok(()),
            other => other,
        }
    }

    /// Loads the image and makes everything else that a container is created from.
    async fn prepare(
        &self,
        operation: &Operation,
        staging: &Staging,
        folder: &Path,
    ) -> Result<(image::Image, ContainerCreateBody), DriverError> {
        let image = image::read(&*self.source, &operation.image).await?;
        let asked = (operation, staging);
        let tag = load::ensure(
            &self.engine,
            &self.source,
            &image,
            asked,
            &self.scratch,
            &*self.events,
        )
        .await?;
        let binds = staging.bind(operation, folder).map_err(unstaged(operation))?;
        Ok((image, options::body(operation, &binds, &tag, self.memory)))
    }

    /// Creates a container whose user has a home.
    async fn create(
        &self,
        operation: &Operation,
        image: &image::Image,
        mut body: ContainerCreateBody,
    ) -> Result<String, DriverError> {
        loop {
            let created = self.engine.create_container(None, body.clone()).await;
            let container = created
                .map_err(failed("create the container", &operation.name))?
                .id;
            let housed = home::house(&self.engine, &container, &image.config.config, &mut body).await;
            if let Ok(true) = housed {
                return Ok(container);
            }
            let removed = self.remove(&container).await;
            housed.map_err(failed("give the user a home in the container", &operation.name))?;
            removed.map_err(failed("remove the container", &operation.name))?;
        }
    }
}

fn unstaged(operation: &Operation) -> impl FnOnce(io::Error) -> DriverError {
    let container = operation.name.clone();
    move |error| DriverError::Start {
        operation: "stage the contents",
        container,
        why: error.to_string(),
    }
}

fn failed(operation: &'static str, container: &str) -> impl FnOnce(Error) -> DriverError {
    let container = container.to_owned();
    move |error| DriverError::Start {
        operation,
        container,
        why: error.to_string(),
    }
}

#[async_trait]
impl Driver for DockerDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn offers(&self) -> Result<Offers, DriverError> {
        let info = self.engine.info().await.map_err(|error| DriverError::Unusable {
            driver: NAME,
            why: format!("the engine at {} does not answer: {error}", self.address),
        })?;
        if info.os_type.as_deref().is_some_and(|os| os != "linux") {
            return Err(DriverError::Unusable {
                driver: NAME,
                why: "the engine runs no Linux containers".to_owned(),
            });
        }
        Ok(options::offers(&info, &self.scratch))
    }

    async fn run(
        &self,
        operation: &Operation,
        staging: &Staging,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        self.contained(operation, staging, Manner::Heard(log), cancel)
            .await
    }

    async fn attend(
        &self,
        operation: &Operation,
        staging: &Staging,
        streams: Streams,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        self.contained(operation, staging, Manner::Attended(streams), cancel)
            .await
    }

    async fn recover(&self, run_id: &str) -> Result<usize, DriverError> {
        let label = format!("{RUN_LABEL}={run_id}");
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let found = self.engine.list_containers(Some(options)).await;
        let found = found.map_err(failed("list the containers of", run_id))?;
        for container in &found {
            let id = container.id.as_deref().unwrap_or_default();
            self.remove(id)
                .await
                .map_err(failed("remove a container of", run_id))?;
        }
        Ok(found.len())
    }
}
