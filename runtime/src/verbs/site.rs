//! What every verb works on: a home with its store and trust, the outside world (registries, drivers, tools), and a
//! context.
//!
//! A site is cheap to clone and may be used by many requests at a time. It reads no environment variable and uses no
//! terminal: its maker sets the files of credentials, the drivers, and how passphrases are asked for.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use samebundle_registry::NotAFile;
use samebundle_registry::Source;
use samebundle_registry::layout::Layout;
use samebundle_registry::remote::credentials::{Credential, CredentialPaths, Credentials};
use samebundle_registry::remote::network::Proxies;
use samebundle_registry::remote::registries::Registries;
use samebundle_registry::remote::{Mirror, RemoteClient, RemoteConfig, RemoteRepository, RetryPolicy};
use samebundle_registry::trust::keys::Passphrase;
use samebundle_registry::trust::{Marks, TrustStore};
use samebundle_spec::time::Timestamp;
use samebundle_spec::{Classify, ErrorKind, Repository};

use super::VerbError;
use super::progress::WaitReporter;
use crate::build::BuildTools;
use crate::driver::{self, Candidate};
use crate::home::Home;
use crate::lifecycle::{Machine, resolve_interrupted};
use crate::secret::{Answers, NoAnswers};
use crate::{Context, Event, Events};

/// What every verb works on.
#[derive(Clone, Debug)]
pub struct Site {
    /// Time, ids, home, events, cancellation.
    pub context: Context,
    reach: Arc<Reach>,
    passphrases: Arc<dyn Passphrases>,
    answers: Arc<dyn Answers>,
}

/// What a site uses outside its home.
#[derive(Debug)]
pub struct Reach {
    /// How registries are reached.
    pub network: Network,
    /// What starts containers.
    pub drivers: Box<dyn Drivers>,
    /// The tools that a build calls.
    pub tools: BuildTools,
    /// The static program inside invocation images, an executable of Linux.
    pub runner: &'static [u8],
}

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct Network {
    /// Files of credentials in the order in which they are read; missing ones are skipped.
    pub credentials: Vec<PathBuf>,
    /// Files of registries.conf in the order in which they are read.
    pub registries: Vec<PathBuf>,
    /// `HOST[:PORT]` of registries that speak plain HTTP.
    pub insecure: BTreeSet<String>,
    /// `HOST[:PORT]` of registries on this machine that speak TLS.
    pub secure: BTreeSet<String>,
    /// Proxies.
    pub proxies: Proxies,
    /// Folders with certificates for single registries, `HOST[:PORT]/` in each.
    pub certificates: Vec<PathBuf>,
    /// The time, to which the waits that servers demand refer.
    pub clock: fn() -> SystemTime,
}

/// Names the drivers of a site.
pub trait Drivers: Debug + Send + Sync {
    /// All drivers, in order of preference; images are read from `images`, and `events` gets how far their unpacking is.
    fn candidates(&self, home: &Home, events: Arc<dyn Events>, images: Arc<dyn Source>) -> Vec<Candidate>;
}

/// Asks for passphrases of private keys.
pub trait Passphrases: Debug + Send + Sync {
    /// Asks for `what`, e.g. "the passphrase of key default"; for a new one, twice.
    ///
    /// # Errors
    /// If nobody can be asked, or the two answers differ.
    fn ask(&self, what: &str, new: bool) -> Result<Passphrase, PassphraseError>;

    /// Tells whether [`Passphrases::ask`] answers without asking a person.
    fn is_ready(&self) -> bool;
}

/// A passphrase was not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// Nobody can be asked.
    #[error("there is no terminal to ask for {what}: give --passphrase-file FILE or --no-passphrase")]
    NoTerminal {
        /// What was asked for.
        what: String,
    },
    /// The two answers differ.
    #[error("the two are not the same")]
    Differ,
    /// The file or the terminal could not be read.
    #[error("could not read the passphrase from {place}")]
    Read {
        /// The file, or the terminal.
        place: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl Classify for PassphraseError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTerminal { .. } | Self::Differ => ErrorKind::Usage,
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Read { source, .. } => match source.get_ref() {
                Some(why) if why.is::<NotAFile>() => ErrorKind::Input,
                _ => ErrorKind::Environment,
            },
        }
    }
}

/// Never gives a passphrase, for sites of programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPassphrases;

impl Passphrases for NoPassphrases {
    fn ask(&self, what: &str, _: bool) -> Result<Passphrase, PassphraseError> {
        Err(PassphraseError::NoTerminal {
            what: what.to_owned(),
        })
    }

    fn is_ready(&self) -> bool {
        false
    }
}

/// Whose credentials a registry gets.
enum Login {
    /// Those of the files.
    Files,
    /// These.
    As(Credential),
    /// None.
    Nobody,
}

impl Site {
    /// Makes a site that asks nobody for a passphrase.
    pub fn new(context: Context, reach: Reach) -> Self {
        Self {
            context,
            reach: Arc::new(reach),
            passphrases: Arc::new(NoPassphrases),
            answers: Arc::new(NoAnswers),
        }
    }

    /// The same site, asking `passphrases`.
    #[must_use]
    pub fn with_passphrases(mut self, passphrases: Arc<dyn Passphrases>) -> Self {
        self.passphrases = passphrases;
        self
    }

    /// The same site, taking credentials from the environment and a person that `answers` knows.
    #[must_use]
    pub fn with_answers(mut self, answers: Arc<dyn Answers>) -> Self {
        self.answers = answers;
        self
    }

    pub(super) fn answers(&self) -> &dyn Answers {
        self.answers.as_ref()
    }

    /// Where everything is kept.
    pub fn home(&self) -> &Home {
        &self.context.home
    }

    /// What a build calls, and the program inside invocation images.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(super) fn passphrases(&self) -> &dyn Passphrases {
        self.passphrases.as_ref()
    }

    pub(super) fn notice(&self, text: impl Into<String>) {
        self.context.events.emit(Event::Notice { text: text.into() });
    }

    pub(super) fn step(&self, name: impl Into<String>) {
        self.context.events.emit(Event::Step { name: name.into() });
    }

    pub(super) fn now(&self) -> Timestamp {
        self.context.clock.now().into()
    }

    /// The local store.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn store(&self) -> Result<Layout, VerbError> {
        Ok(Layout::create(&self.home().store()).await?)
    }

    /// The local store for a verb that frees space, or says where it is. On a full disk it is only read.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) async fn store_for_upkeep(&self) -> Result<Layout, VerbError> {
        match self.store().await {
            Err(_) if self.home().is_full() => Ok(Layout::open(&self.home().store()).await?),
            store => store,
        }
    }

    /// Trusted keys and policy.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn trust(&self) -> Result<TrustStore, VerbError> {
        Ok(TrustStore::open(&self.home().trust())?)
    }

    /// The marks: the newest releases that this home has accepted.
    pub(super) fn marks(&self) -> Marks {
        Marks::at(&self.home().trust())
    }

    /// A repository of a registry, with its profile from `registry doctor`.
    ///
    /// # Errors
    /// If the site is offline, or credentials or configuration cannot be read.
    pub fn remote(&self, repository: &Repository) -> Result<RemoteRepository, VerbError> {
        self.remote_with(repository, Some(self.home().registries()), Login::Files)
    }

    /// A repository of a registry, without a profile.
    ///
    /// # Errors
    /// As [`Site::remote`].
    pub(super) fn remote_unprofiled(&self, repository: &Repository) -> Result<RemoteRepository, VerbError> {
        self.remote_with(repository, None, Login::Files)
    }

    /// A repository of a registry, as a user whose credentials are given.
    ///
    /// # Errors
    /// As [`Site::remote`].
    pub(super) fn remote_as(
        &self,
        repository: &Repository,
        credential: Credential,
    ) -> Result<RemoteRepository, VerbError> {
        self.remote_with(repository, None, Login::As(credential))
    }

    /// A repository of a registry, without any credential.
    ///
    /// # Errors
    /// As [`Site::remote`].
    pub(super) fn remote_as_nobody(&self, repository: &Repository) -> Result<RemoteRepository, VerbError> {
        self.remote_with(repository, Some(self.home().registries()), Login::Nobody)
    }

    fn remote_with(
        &self,
        repository: &Repository,
        profiles: Option<PathBuf>,
        login: Login,
    ) -> Result<RemoteRepository, VerbError> {
        let network = &self.reach.network;
        let paths = CredentialPaths {
            files: network.credentials.clone(),
        };
        let located = Registries::load(&network.registries)?.locate(repository)?;
        let mirrors = located.mirrors.iter().filter(|mirror| mirror.insecure);
        let mut insecure = network.insecure.clone();
        insecure.extend(mirrors.map(|mirror| mirror.repository.registry().to_owned()));
        if located.insecure {
            insecure.insert(located.repository.registry().to_owned());
        }
        let credentials = match login {
            Login::As(given) => Credentials::default().with(located.repository.registry(), given),
            Login::Nobody => Credentials::default(),
            Login::Files => Credentials::load(&paths)?,
        };
        let client = RemoteClient::new(RemoteConfig {
            credentials,
            insecure,
            uploads: Some(self.home().uploads()),
            profiles,
            ..self.web_config()
        })?;
        let client = Arc::new(client);
        let mirrors = located.mirrors.into_iter().map(|mirror| {
            let place = RemoteRepository::new(Arc::clone(&client), mirror.repository)?;
            Ok(Mirror::new(place, mirror.digests, mirror.tags))
        });
        let mirrors = mirrors.collect::<Result<Vec<_>, VerbError>>()?;
        Ok(RemoteRepository::new(client, located.repository)?.with_mirrors(mirrors))
    }

    /// How services that are no registries are reached: as registries are, without their credentials.
    pub(super) fn web_config(&self) -> RemoteConfig {
        let network = &self.reach.network;
        RemoteConfig {
            insecure: network.insecure.clone(),
            secure: network.secure.clone(),
            proxies: network.proxies.clone(),
            certificates: network.certificates.clone(),
            offline: self.context.offline,
            retry: RetryPolicy {
                clock: network.clock,
                waits: Some(Arc::new(WaitReporter(Arc::clone(&self.context.events)))),
                ..RetryPolicy::default()
            },
            ..RemoteConfig::default()
        }
    }

    /// All drivers, in order of preference.
    pub(super) fn drivers(&self, store: &Layout) -> Vec<Candidate> {
        let images: Arc<dyn Source> = Arc::new(store.clone());
        self.reach
            .drivers
            .candidates(self.home(), Arc::clone(&self.context.events), images)
    }

    /// Resolves runs whose process was killed, with the drivers that ran them.
    ///
    /// # Errors
    /// If a record cannot be read, or a container that is left cannot be ended.
    pub(super) async fn resolve_interrupted(&self, candidates: &[Candidate]) -> Result<(), VerbError> {
        resolve_interrupted(&self.context, candidates).await?;
        Ok(())
    }

    /// Does the same for a verb that frees space. On a full disk the end of a run cannot be recorded; then such runs stay
    /// as they are, which takes nothing from anybody.
    ///
    /// # Errors
    /// As [`Site::resolve_interrupted`], unless the disk is full.
    pub(super) async fn resolve_or_make_room(&self, candidates: &[Candidate]) -> Result<(), VerbError> {
        match self.resolve_interrupted(candidates).await {
            Err(error) if self.home().is_full() => {
                self.notice(format!("runs that were interrupted are recorded later: {error}"));
                Ok(())
            }
            resolved => resolved,
        }
    }

    /// Chooses the driver, and resolves runs that were killed before.
    ///
    /// # Errors
    /// If the driver that was asked for does not work here, or none does.
    pub(super) async fn machine(&self, store: &Layout, wanted: Option<&str>) -> Result<Machine, VerbError> {
        let candidates = self.drivers(store);
        self.resolve_interrupted(&candidates).await?;
        let (driver, offers) = driver::choose(&candidates, wanted).await?;
        for notice in &offers.notices {
            self.notice(notice.clone());
        }
        Ok(Machine { driver, offers })
    }
}
