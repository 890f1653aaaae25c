//! One command's view of the world: settings, home, store, registries, trust, drivers.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use samebundle_registry::remote::credentials::{CredentialPaths, Credentials};
use samebundle_registry::remote::registries::Registries;
use samebundle_registry::remote::{Mirror, RemoteClient, RemoteConfig, RemoteRepository, RetryPolicy};
use samebundle_registry::store::Layout;
use samebundle_registry::trust::{Marks, TrustStore};
use samebundle_runtime::driver::docker::DockerDriver;
use samebundle_runtime::driver::embedded::{EmbeddedDriver, Helper};
use samebundle_runtime::driver::{self, Candidate, Driver};
use samebundle_runtime::lifecycle::{Machine, resolve_interrupted};
use samebundle_runtime::opened::OpenedBundle;
use samebundle_runtime::{Clock, Context, Event, Home, upkeep};
use samebundle_spec::Repository;
use samebundle_spec::bundle::Bundle;
use samebundle_spec::record::Installation;
use samebundle_spec::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::args::Global;
use crate::error::CliError;
use crate::meter::Told;
use crate::render::progress;
use crate::settings::{Settings, SystemClock};

/// Where a Docker engine listens unless `DOCKER_HOST` says otherwise.
const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";

/// What a command is given.
#[derive(Debug)]
pub(crate) struct Session {
    /// Environment and directories.
    pub(crate) settings: Settings,
    /// Where everything is kept.
    pub(crate) home: Home,
    /// Time, ids, events, cancellation.
    pub(crate) context: Context,
    /// No socket may be opened.
    pub(crate) offline: bool,
}

/// What waits for the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One thread. What hashes, writes or compresses much has threads of its own; a second one here would only have every
    /// piece handed from one to the other.
    One,
    /// One a core, for a server.
    Cores,
}

/// Runs a future to its end on a runtime of its own.
///
/// # Errors
/// If the system gives no threads.
pub(crate) fn block_on<T>(threads: Threads, work: impl Future<Output = T>) -> Result<T, CliError> {
    use tokio::runtime::Builder;
    let mut builder = match threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Cores => Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|source| CliError::Io {
        operation: "start",
        path: "worker threads".to_owned(),
        source,
    })?;
    let result = runtime.block_on(work);
    // Blocking reads of standard input must not keep the process.
    runtime.shutdown_background();
    Ok(result)
}

/// Reads the bundle of an installation from the local store.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn installed_bundle(home: &Home, installation: &Installation) -> Result<Bundle, CliError> {
    let store = Layout::open(&home.store()).await?;
    Ok(OpenedBundle::open(&store, &installation.index)
        .await
        .map_err(CliError::from)?
        .bundle)
}

impl Session {
    /// Opens the home.
    ///
    /// # Errors
    /// If it cannot be used.
    pub(crate) fn open(settings: Settings, global: &Global) -> Result<Self, CliError> {
        let home = Home::open(&settings.home)?;
        if let Err(error) = upkeep::sweep_rooms(&home, false) {
            // Space only; who needs it is told by `store gc`.
            tracing::debug!(%error, "what killed processes left was not removed");
        }
        let context = Context {
            clock: Arc::new(SystemClock),
            home: home.clone(),
            cancel: cancelled_by_signals(),
            events: progress::events(global.output, global.verbose),
            offline: global.offline,
        };
        Ok(Self {
            settings,
            home,
            context,
            offline: global.offline,
        })
    }

    /// Tells the user something that is no error.
    pub(crate) fn notice(&self, text: impl Into<String>) {
        self.context.events.emit(Event::Notice { text: text.into() });
    }

    /// Tells the user what is done now.
    pub(crate) fn step(&self, name: impl Into<String>) {
        self.context.events.emit(Event::Step { name: name.into() });
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.context.clock.now().into()
    }

    /// The local store.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) async fn store(&self) -> Result<Layout, CliError> {
        Ok(Layout::create(&self.home.store()).await?)
    }

    /// Trusted keys and policy.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn trust(&self) -> Result<TrustStore, CliError> {
        Ok(TrustStore::open(&self.home.trust())?)
    }

    /// What was seen before.
    pub(crate) fn marks(&self) -> Marks {
        Marks::at(&self.home.trust())
    }

    /// A repository of a registry.
    ///
    /// # Errors
    /// If offline was asked for, or credentials cannot be read.
    pub(crate) fn remote(&self, repository: &Repository) -> Result<RemoteRepository, CliError> {
        self.remote_with(repository, Some(self.home.registries()))
    }

    /// A repository of a registry of which nothing is known but what is well known.
    ///
    /// # Errors
    /// As [`Session::remote`].
    pub(crate) fn remote_unprofiled(&self, repository: &Repository) -> Result<RemoteRepository, CliError> {
        self.remote_with(repository, None)
    }

    fn remote_with(
        &self,
        repository: &Repository,
        profiles: Option<PathBuf>,
    ) -> Result<RemoteRepository, CliError> {
        let paths = CredentialPaths {
            files: self.credential_files(),
        };
        let located = Registries::load(&self.settings.registries_conf())?.locate(repository)?;
        let listed = |name| -> BTreeSet<String> {
            let hosts = self.settings.variable(name).unwrap_or_default().split(',');
            hosts.filter(|host| !host.is_empty()).map(str::to_owned).collect()
        };
        let mirrors = located.mirrors.iter().filter(|mirror| mirror.insecure);
        let mut insecure = listed("SAMEBUNDLE_INSECURE_REGISTRIES");
        insecure.extend(mirrors.map(|mirror| mirror.repository.registry().to_owned()));
        if located.insecure {
            insecure.insert(located.repository.registry().to_owned());
        }
        let client = RemoteClient::new(RemoteConfig {
            credentials: Credentials::load(&paths)?,
            insecure,
            secure: listed("SAMEBUNDLE_SECURE_REGISTRIES"),
            proxies: self.settings.proxies(),
            certificates: self.settings.certificates(),
            offline: self.offline,
            uploads: Some(self.home.uploads()),
            profiles,
            retry: RetryPolicy {
                clock: || SystemClock.now(),
                waits: Some(Arc::new(Told(Arc::clone(&self.context.events)))),
                ..RetryPolicy::default()
            },
            ..RemoteConfig::default()
        })?;
        let client = Arc::new(client);
        let mirrors = located.mirrors.into_iter().map(|mirror| {
            let place = RemoteRepository::new(Arc::clone(&client), mirror.repository)?;
            Ok(Mirror::new(place, mirror.digests, mirror.tags))
        });
        let mirrors = mirrors.collect::<Result<Vec<_>, CliError>>()?;
        Ok(RemoteRepository::new(client, located.repository)?.with_mirrors(mirrors))
    }

    /// Where docker, podman and skopeo keep credentials, in their order.
    fn credential_files(&self) -> Vec<PathBuf> {
        let variable = |name| self.settings.variable(name).map(PathBuf::from);
        let user = self.settings.user_home.clone();
        let docker = variable("DOCKER_CONFIG").or_else(|| Some(user.clone()?.join(".docker")));
        [
            variable("REGISTRY_AUTH_FILE"),
            variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            user.map(|dir| dir.join(".config/containers/auth.json")),
            docker.map(|dir| dir.join("config.json")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// All drivers, in order of preference.
    ///
    /// # Errors
    /// If the program's own path is not known.
    pub(crate) fn drivers(&self, store: &Layout) -> Result<Vec<Candidate>, CliError> {
        let program = std::env::current_exe().map_err(|source| CliError::Io {
            operation: "find",
            path: "this program".to_owned(),
            source,
        })?;
        let helper = Helper {
            program,
            arguments: vec![crate::CONTAINER_HELPER.to_owned()],
        };
        let source: Arc<dyn samebundle_registry::Source> = Arc::new(store.clone());
        let embedded: Arc<dyn Driver> =
            Arc::new(EmbeddedDriver::new(self.home.root(), Arc::clone(&source), helper));
        let address = self.settings.variable("DOCKER_HOST").unwrap_or(DOCKER_SOCKET);
        let (address, scratch) = (address.to_owned(), self.home.scratch());
        let docker = move || {
            let (address, source, scratch) = (address.clone(), Arc::clone(&source), scratch.clone());
            async move {
                let docker = DockerDriver::connect(&address, source, scratch).await?;
                Ok(Arc::new(docker) as Arc<dyn Driver>)
            }
        };
        Ok(vec![
            Candidate::new("embedded", move || {
                let embedded = Arc::clone(&embedded);
                async move { Ok(embedded) }
            }),
            Candidate::new("docker", docker),
        ])
    }

    /// Resolves runs whose process was killed, with the drivers that ran them.
    ///
    /// # Errors
    /// If a record cannot be read, or something that is left cannot be ended.
    pub(crate) async fn resolve_interrupted(&self, candidates: &[Candidate]) -> Result<(), CliError> {
        resolve_interrupted(&self.context, candidates).await?;
        Ok(())
    }

    /// Chooses what containers run in, and resolves runs that were killed before.
    ///
    /// # Errors
    /// If the driver that was asked for does not work here, or none does.
    pub(crate) async fn machine(&self, store: &Layout, wanted: Option<&str>) -> Result<Machine, CliError> {
        let candidates = self.drivers(store)?;
        self.resolve_interrupted(&candidates).await?;
        let (driver, capacity) = driver::choose(&candidates, wanted).await?;
        for notice in &capacity.notices {
            self.notice(notice.clone());
        }
        self.step(format!("environment: {}", driver.name()));
        Ok(Machine { driver, capacity })
    }
}

/// Cancels on the first interrupt or termination signal; a second one ends the process as the system does.
fn cancelled_by_signals() -> CancellationToken {
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    tokio::spawn(async move {
        if interrupted().await.is_ok() {
            token.cancel();
        }
    });
    cancel
}

async fn interrupted() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}
