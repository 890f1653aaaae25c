//! The embedded driver: containers on Linux with nothing to install.
//!
//! Every container has a [helper process](helper_main) of its own, a sealed copy of this program, in which libcontainer
//! runs; the driver itself never makes namespaces. The helper ends when the driver does (their socket closes), the
//! container's first process ends when the helper does (parent-death signal), and everything in the container ends with
//! its first process (its own process namespace). Mounts are in the helper's namespace and vanish with it. So a kill of
//! the driver leaves only folders and an empty cgroup, which [`Driver::recover`] removes.
//!
//! Without root, the helper is root in a user namespace that has one user. Files of the image belong to that user,
//! whoever owned them in the image; an image that wants another user runs as that user, mapped to the same one.
//!
//! Layout: `HOME/layers/` (see [`crate::image`]), `HOME/scratch/RUN/NAME/` for one container: `root`, `upper`, `work`,
//! `l` (links to layers), `bundle`, `state`, `hosts`, `inputs`, `marks.json`.

mod cgroup;
mod helper;
mod hosts;
mod offers;
mod protocol;
mod scratch;
mod sealed;
mod streams;
mod supervisor;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use samebundle_registry::store::Source;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::attended::Unheard;
use super::{Bind, Driver, DriverError, LogSink, Offers, Operation, Outcome, Staging, Streams, refuse_gpus};
use crate::event::{Events, Silent};
use crate::image::{self, Image, ImageError, Layer, LayerOwner, Layers};
use crate::meter::Meter;
use cgroup::Cgroup;
use protocol::{Attended, Report, Run, Task};
use scratch::Scratch;
use sealed::Sealed;
use streams::Attending;
use supervisor::{End, Supervisor};

pub use helper::helper_main;

/// How to start the program whose `main` calls [`helper_main`].
#[derive(Clone, Debug)]
pub struct Helper {
    /// Absolute path of the program, usually this one's own.
    pub program: PathBuf,
    /// Arguments that make it call [`helper_main`].
    pub arguments: Vec<String>,
}

/// Runs containers through helper processes.
#[derive(Debug)]
pub struct EmbeddedDriver {
    home: PathBuf,
    source: Arc<dyn Source>,
    helper: Helper,
    /// The copy of the program from which the helpers of containers start.
    sealed: Arc<OnceCell<Sealed>>,
    layers: Layers,
    rootless: bool,
    events: Arc<dyn Events>,
}

const NAME: &str = "embedded";
/// How often this process asked what the driver can give.
static PROBES: AtomicU64 = AtomicU64::new(0);

impl EmbeddedDriver {
    /// A driver that keeps layers and scratch folders under `home` (an absolute path) and reads images from `source`.
    pub fn new(home: &Path, source: Arc<dyn Source>, helper: Helper) -> Self {
        let rootless = !is_real_root();
        let owner = if rootless {
            LayerOwner::User
        } else {
            LayerOwner::Root
        };
        Self {
            home: home.to_owned(),
            layers: Layers::new(home, owner, Arc::clone(&source)),
            source,
            helper,
            sealed: Arc::default(),
            rootless,
            events: Arc::new(Silent),
        }
    }

    /// Reports how far the unpacking of an image is.
    pub fn reporting(self, events: Arc<dyn Events>) -> Self {
        Self { events, ..self }
    }

    /// Starts the helper of a container.
    async fn start(&self, task: &Task, outputs: Option<(OwnedFd, OwnedFd)>) -> io::Result<Supervisor> {
        let sealed = seal(&self.sealed, &self.helper.program).await?;
        Supervisor::start(&sealed.path(), &self.helper.arguments, task, outputs).await
    }

    /// Starts a helper that tries what containers need. It executes no program of an image, so it needs no sealed copy.
    async fn probe_helper(&self, task: &Task) -> io::Result<Option<Report>> {
        let mut helper = Supervisor::start(&self.helper.program, &self.helper.arguments, task, None).await?;
        helper.report().await
    }

    /// Begins to make the sealed copy. It takes as long as the start of several containers, and who asks what a driver
    /// offers usually runs something next.
    fn seal_early(&self) {
        let (sealed, program) = (Arc::clone(&self.sealed), self.helper.program.clone());
        // The start of a container repeats an attempt that failed, and reports why.
        drop(tokio::spawn(async move { seal(&sealed, &program).await.is_ok() }));
    }

    async fn unpack(
        &self,
        image: &Image,
        operation: &Operation,
        staging: &Staging,
    ) -> Result<Vec<PathBuf>, DriverError> {
        let image_layers = image.layers.iter().map(|layer| (layer.clone(), None));
        let extra = operation.extra_layers.iter();
        let extra = extra.map(|layer| {
            (
                Layer::single(layer),
                staging.layer_folder(layer).map(Path::to_owned),
            )
        });
        let places: Vec<(Layer, Option<PathBuf>)> = image_layers.chain(extra).collect();
        let missing = places
            .iter()
            .filter(|(layer, folder)| folder.is_none() && !self.layers.has(layer));
        let sizes: Vec<u64> = missing.map(|(layer, _)| layer.blob.size).collect();
        let meter = Meter::new(
            "unpack the image",
            Some(sizes.len() as u64),
            Some(sizes.iter().sum()),
        );
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let work = stream::iter(places)
            .map(|(layer, folder)| {
                let meter = &meter;
                async move {
                    match folder {
                        Some(folder) => Ok(folder),
                        None => self.layers.ensure(&layer, meter).await,
                    }
                }
            })
            .buffered(cores)
            .try_collect();
        let folders: Result<Vec<PathBuf>, ImageError> = match sizes.is_empty() {
            true => work.await,
            false => meter.watch(&*self.events, work).await,
        };
        Ok(folders?)
    }

    async fn task(
        &self,
        operation: &Operation,
        staging: &Staging,
        folder: &Path,
        attended: Option<Attended>,
    ) -> Result<Task, DriverError> {
        let image = image::read(&*self.source, &operation.image).await?;
        let layers = self.unpack(&image, operation, staging).await?;
        let command = command(&image, operation)?;
        let mut environment: BTreeMap<String, String> = BTreeMap::new();
        for variable in &image.config.config.env {
            if let Some((key, value)) = variable.split_once('=') {
                environment.insert(key.to_owned(), value.to_owned());
            }
        }
        environment.extend(operation.environment.clone());
        let working_dir = operation
            .working_dir
            .clone()
            .unwrap_or(image.config.config.working_dir);
        Ok(Task::Run(Box::new(Run {
            name: operation.name.clone(),
            folder: folder.to_owned(),
            layers,
            rootless: self.rootless,
            command,
            environment,
            working_dir: format!("/{}", working_dir.trim_start_matches('/')),
            user: operation.user.clone().unwrap_or(image.config.config.user),
            mounts: binds(operation, staging, folder)
                .map_err(failed("stage the contents", &operation.name))?,
            network: operation.limits.network,
            pids: operation.limits.pids,
            shm: operation.limits.shared_memory(offers::memory()),
            keep_upper: staging
                .root(operation)
                .map_err(failed("stage the contents", &operation.name))?,
            attended,
        })))
    }

    /// Runs a container in a folder of its own.
    async fn contained(
        &self,
        operation: &Operation,
        staging: &Staging,
        heard: (&dyn LogSink, Option<Streams>),
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        refuse_gpus(NAME, operation)?;
        let mut scratch = Scratch::make(&self.home, &operation.run_id, &operation.name)
            .map_err(failed("make the scratch folder", &operation.name))?;
        let result = self
            .see_through(operation, staging, &mut scratch, heard, cancel)
            .await;
        staging.open_up(operation).await;
        let removed = tokio::task::spawn_blocking(move || scratch.remove())
            .await
            .map_err(io::Error::other)
            .and_then(std::convert::identity)
            .map_err(failed("clean up", &operation.name));
        result.and_then(|outcome| removed.map(|()| outcome))
    }

    async fn see_through(
        &self,
        operation: &Operation,
        staging: &Staging,
        scratch: &mut Scratch,
        (log, streams): (&dyn LogSink, Option<Streams>),
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        let attended = streams.as_ref().map(streams::attended);
        let task = tokio::select! {
            task = self.task(operation, staging, scratch.folder(), attended) => task?,
            () = cancel.cancelled() => return Ok(Outcome::Cancelled),
        };
        let attending = streams.map(|streams| Attending::prepare(scratch.folder(), streams));
        let mut attending = attending
            .transpose()
            .map_err(failed("make the streams", &operation.name))?;
        scratch.marks.cgroup = Cgroup::make(&cgroup_name(operation), &operation.limits);
        scratch
            .mark()
            .map_err(failed("write the marks", &operation.name))?;
        let supervisor = self
            .start(&task, attending.as_mut().and_then(Attending::outputs))
            .await
            .map_err(failed("start the helper", &operation.name))?;
        scratch.marks.helper = supervisor.seen();
        scratch
            .mark()
            .map_err(failed("write the marks", &operation.name))?;
        let run = supervisor.run(scratch, log, cancel);
        let end = match attending {
            Some(attending) => attending.during(run).await,
            None => run.await,
        };
        let end = end.map_err(failed("follow the helper", &operation.name))?;
        outcome(end, operation, &scratch.marks.cgroup)
    }
}

/// Returns the sealed copy of a program; makes it if that is not done yet.
async fn seal<'a>(sealed: &'a OnceCell<Sealed>, program: &Path) -> io::Result<&'a Sealed> {
    let copy = || async {
        let program = program.to_owned();
        let copied = tokio::task::spawn_blocking(move || Sealed::copy(&program)).await;
        copied.map_err(io::Error::other).and_then(std::convert::identity)
    };
    sealed.get_or_try_init(copy).await
}

/// Root of the machine, not of a user namespace.
fn is_real_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Why nothing more comes from a helper process.
fn last_words(report: Option<&Report>) -> String {
    match report {
        None => "the process that watches over it was killed".to_owned(),
        Some(report) => format!("the process that watches over it ended after it had said {report:?}"),
    }
}

fn cgroup_name(operation: &Operation) -> String {
    format!("samebundle-{}-{}", operation.run_id, operation.name)
}

fn failed(operation: &'static str, container: &str) -> impl FnOnce(io::Error) -> DriverError {
    let container = container.to_owned();
    move |error| DriverError::Start {
        operation,
        container,
        why: error.to_string(),
    }
}

fn command(image: &Image, operation: &Operation) -> Result<Vec<String>, DriverError> {
    let command = if operation.command.is_empty() {
        [
            image.config.config.entrypoint.as_slice(),
            &image.config.config.cmd,
        ]
        .concat()
    } else {
        operation.command.clone()
    };
    if command.is_empty() {
        return Err(DriverError::Image {
            image: operation.image.digest,
            why: "it names no command, and none was given".to_owned(),
        });
    }
    Ok(command)
}

/// Returns the binds: the operation's inputs and outputs first, then the file of host names, and with a network the
/// name servers.
fn binds(operation: &Operation, staging: &Staging, folder: &Path) -> io::Result<Vec<Bind>> {
    const RESOLVER: &str = "/etc/resolv.conf";
    let network = operation.limits.network;
    let mut more = vec![hosts::bind(network, folder)?];
    if network && Path::new(RESOLVER).is_file() {
        more.push(Bind {
            source: RESOLVER.into(),
            target: RESOLVER.to_owned(),
            writable: false,
        });
    }
    let mut binds = staging.bind(operation, folder)?;
    more.retain(|bind| binds.iter().all(|own| own.target != bind.target));
    binds.extend(more);
    Ok(binds)
}

fn outcome(end: End, operation: &Operation, cgroup: &Cgroup) -> Result<Outcome, DriverError> {
    let container = operation.name.clone();
    match end {
        End::Cancelled => Ok(Outcome::Cancelled),
        End::Reported(Some(Report::Exited { code: 0 })) => Ok(Outcome::Succeeded),
        End::Reported(Some(Report::Exited { code })) => Ok(Outcome::Failed {
            code,
            out_of_memory: cgroup.out_of_memory(),
        }),
        End::Reported(Some(Report::Failed { operation, why })) => Err(DriverError::Start {
            operation: "run it",
            container,
            why: format!("could not {operation}: {why}"),
        }),
        End::Reported(other) => Err(DriverError::Lost {
            container,
            why: last_words(other.as_ref()),
        }),
    }
}

#[async_trait]
impl Driver for EmbeddedDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn offers(&self) -> Result<Offers, DriverError> {
        let unusable = |why: String| DriverError::Unusable { driver: NAME, why };
        // Two requests of one process may ask at the same time.
        let number = PROBES.fetch_add(1, Ordering::Relaxed);
        let run_id = format!("probe-{}-{number}", std::process::id());
        let mut scratch = Scratch::make(&self.home, &run_id, "probe")
            .map_err(|error| unusable(format!("{} cannot be written: {error}", self.home.display())))?;
        scratch.marks.cgroup = Cgroup::make(&format!("samebundle-{run_id}"), &offers::PROBE_LIMITS);
        let task = Task::Probe {
            folder: scratch.folder().to_owned(),
            rootless: self.rootless,
        };
        self.seal_early();
        let report = self.probe_helper(&task).await;
        let offers = |overlay| offers::offers(&self.home, &scratch.marks.cgroup, self.rootless, overlay);
        let result = match report {
            Ok(Some(Report::Probed { overlay })) => Ok(offers(overlay)),
            Ok(Some(Report::Failed { operation, why })) => Err(unusable(format!(
                "could not {operation}: {why}; allow user namespaces (sysctl user.max_user_namespaces, \
                 kernel.unprivileged_userns_clone), run as root, or choose --env docker"
            ))),
            Ok(other) => Err(unusable(last_words(other.as_ref()))),
            Err(error) => Err(unusable(format!(
                "its helper {} cannot be started: {error}",
                self.helper.program.display()
            ))),
        };
        scratch
            .remove()
            .and_then(|()| image::beneath::remove_path(&scratch::of_run(&self.home, &run_id)))
            .map_err(|error| unusable(format!("could not clean up: {error}")))?;
        result
    }

    async fn run(
        &self,
        operation: &Operation,
        staging: &Staging,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        self.contained(operation, staging, (log, None), cancel).await
    }

    async fn attend(
        &self,
        operation: &Operation,
        staging: &Staging,
        streams: Streams,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        self.contained(operation, staging, (&Unheard, Some(streams)), cancel)
            .await
    }

    async fn recover(&self, run_id: &str) -> Result<usize, DriverError> {
        let folder = scratch::of_run(&self.home, run_id);
        let task = tokio::task::spawn_blocking(move || recover(&folder));
        task.await
            .map_err(io::Error::other)
            .and_then(std::convert::identity)
            .map_err(failed("end what is left", run_id))
    }
}

fn recover(folder: &Path) -> io::Result<usize> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut count = 0;
    for entry in entries {
        Scratch::found(entry?.path()).remove()?;
        count += 1;
    }
    image::beneath::remove_path(folder)?;
    Ok(count)
}
