//! The context of one command: the settings of the process, and the site of its verb.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use samebundle_registry::Source;
use samebundle_runtime::build::BuildTools;
use samebundle_runtime::driver::docker::DockerDriver;
use samebundle_runtime::driver::embedded::{EmbeddedDriver, Helper};
use samebundle_runtime::driver::{Candidate, Driver};
use samebundle_runtime::verbs::{Drivers, Foreseen, Location, Network, Reach, Site};
use samebundle_runtime::{Clock, Context, Events, Home, upkeep};
use tokio_util::sync::CancellationToken;

use crate::answers::EnvironmentAndTerminal;
use crate::args::{Global, Output, Passphrase};
use crate::error::CliError;
use crate::passphrase::FileOrTerminal;
use crate::render::screen::Screen;
use crate::settings::{Settings, SystemClock};
use crate::signals;

/// Where a Docker engine listens unless `DOCKER_HOST` says otherwise.
const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";

/// The static program inside invocation images, made by `build.rs`.
const RUNNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/samebundle-runner"));

/// The context of a command.
#[derive(Debug)]
pub(crate) struct Session {
    /// Environment and directories.
    pub(crate) settings: Settings,
    /// The site of its verb.
    pub(crate) site: Site,
    /// What standard output is.
    pub(crate) screen: Screen,
    /// How standard output is printed.
    pub(crate) output: Output,
    /// Whether more is printed about what is done.
    pub(crate) verbose: bool,
    /// Is cancelled by the thread that runs the command when it sees that the command is cancelled.
    pub(crate) answered: CancellationToken,
    /// What the command plans, if that is not installed.
    foreseen: Mutex<Option<Foreseen>>,
}

/// The threads that wait for the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One thread. Work that hashes, writes or compresses much has threads of its own; a second thread here would only
    /// pass every piece from one to the other.
    One,
    /// One thread for each core, for a server.
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
    let runtime = runtime.map_err(CliError::io("start", Path::new("worker threads")))?;
    let result = runtime.block_on(work);
    // Blocking reads of standard input must not keep the process.
    runtime.shutdown_background();
    Ok(result)
}

impl Session {
    /// Opens the home.
    ///
    /// # Errors
    /// If it cannot be used.
    pub(crate) fn open(
        settings: Settings,
        global: &Global,
        events: Arc<dyn Events>,
    ) -> Result<Self, CliError> {
        let home = Home::open(settings.home()?)?;
        if let Err(error) = upkeep::sweep_process_scratch(&home, false) {
            // A failure costs only space; `store gc` reports it.
            tracing::debug!(%error, "what killed processes left was not removed");
        }
        let cancel = CancellationToken::new();
        let answered = CancellationToken::new();
        signals::watch(cancel.clone(), answered.clone());
        let context = Context {
            clock: Arc::new(SystemClock),
            home,
            cancel,
            events,
            offline: global.offline,
        };
        let answers = EnvironmentAndTerminal {
            settings: settings.clone(),
        };
        let site = Site::new(context, reach(&settings)?).with_answers(Arc::new(answers));
        Ok(Self {
            screen: Screen::output(&settings, global.output),
            output: global.output,
            verbose: global.verbose > 0,
            settings,
            site,
            answered,
            foreseen: Mutex::default(),
        })
    }

    /// The same for a command that plans what is not installed.
    pub(crate) fn with_foreseen(mut self, foreseen: Option<Foreseen>) -> Self {
        self.foreseen = Mutex::new(foreseen);
        self
    }

    /// Takes what is planned, if that is not installed.
    pub(crate) fn foreseen(&self) -> Option<Foreseen> {
        self.foreseen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The site, asking for passphrases as the arguments say.
    pub(crate) fn site_asking(&self, from: &Passphrase) -> Site {
        let file = from.passphrase_file.clone();
        let file = file.or_else(|| self.settings.path("SAMEBUNDLE_PASSPHRASE_FILE"));
        let file = file.map(|file| self.at(&file));
        self.site
            .clone()
            .with_passphrases(Arc::new(FileOrTerminal { file }))
    }

    /// A path of the command line, below the folder that the process was started in.
    pub(crate) fn at(&self, path: &Path) -> PathBuf {
        // The components leave out each `.`, which people write and nobody wants to read in a message.
        self.settings.current_dir.join(path).components().collect()
    }

    /// A location of the command line, resolved in the same way.
    pub(crate) fn location(&self, location: Location) -> Location {
        location.below(&self.settings.current_dir)
    }

    /// The name by which the user called the program.
    pub(crate) fn program(&self) -> &str {
        &self.settings.program
    }
}

fn reach(settings: &Settings) -> Result<Reach, CliError> {
    let hosts = |name| -> BTreeSet<String> {
        let hosts = settings.variable(name).unwrap_or_default().split(',');
        hosts.filter(|host| !host.is_empty()).map(str::to_owned).collect()
    };
    let program = std::env::current_exe();
    let program = program.map_err(CliError::io("find", Path::new("this program")))?;
    let tools = BuildTools::default();
    Ok(Reach {
        network: Network {
            credentials: settings.credential_files(),
            registries: settings.registries_conf(),
            insecure: hosts("SAMEBUNDLE_INSECURE_REGISTRIES"),
            secure: hosts("SAMEBUNDLE_SECURE_REGISTRIES"),
            proxies: settings.proxies(),
            certificates: settings.certificates(),
            clock: || SystemClock.now(),
        },
        drivers: Box::new(ThisMachine {
            program,
            docker: settings
                .variable("DOCKER_HOST")
                .unwrap_or(DOCKER_SOCKET)
                .to_owned(),
        }),
        tools: BuildTools {
            python: settings.path("SAMEBUNDLE_PYTHON").unwrap_or(tools.python),
            kfp_python: settings.path("SAMEBUNDLE_KFP_PYTHON"),
            pip_arguments: tools.pip_arguments,
            git: settings.path("SAMEBUNDLE_GIT").unwrap_or(tools.git),
            // Git may work in another folder.
            git_certificates: settings
                .path("GIT_SSL_CAINFO")
                .or_else(|| settings.path("SSL_CERT_FILE"))
                .map(|file| settings.current_dir.join(file)),
        },
        runner: RUNNER,
    })
}

/// The drivers of this machine: embedded, then Docker.
#[derive(Debug)]
struct ThisMachine {
    /// This program, which is also a container's helper process.
    program: PathBuf,
    /// Address of the Docker engine.
    docker: String,
}

impl Drivers for ThisMachine {
    fn candidates(&self, home: &Home, events: Arc<dyn Events>, images: Arc<dyn Source>) -> Vec<Candidate> {
        let helper = Helper {
            program: self.program.clone(),
            arguments: vec![crate::CONTAINER_HELPER.to_owned()],
        };
        let embedded: Arc<dyn Driver> = Arc::new(
            EmbeddedDriver::new(home.root(), Arc::clone(&images), helper).reporting(Arc::clone(&events)),
        );
        let (address, home) = (self.docker.clone(), home.clone());
        let docker = move || {
            let (address, images, scratch) = (address.clone(), Arc::clone(&images), home.scratch());
            let events = Arc::clone(&events);
            async move {
                let docker = DockerDriver::connect(&address, images, scratch).await?;
                Ok(Arc::new(docker.reporting(events)) as Arc<dyn Driver>)
            }
        };
        vec![
            Candidate::new("embedded", move || {
                let embedded = Arc::clone(&embedded);
                async move { Ok(embedded) }
            }),
            Candidate::new("docker", docker),
        ]
    }
}
