//! Why a verb failed: the errors of the functions that it calls, and its own.

use std::io;
use std::path::Path;

use samebundle_registry::layout::SelectError;
use samebundle_registry::remote::ClientError;
use samebundle_registry::remote::credentials::CredentialError;
use samebundle_registry::remote::profile::ProfileError;
use samebundle_registry::remote::registries::RegistriesError;
use samebundle_registry::trust::{KeyFileError, TrustError, TrustStoreError};
use samebundle_registry::{PathError, StoreError};
use samebundle_spec::approval::AnswerError;
use samebundle_spec::bundle::BundleError;
use samebundle_spec::bundle::definition::DefinitionError;
use samebundle_spec::bundle::parameter::nearest;
use samebundle_spec::name::NameError;
use samebundle_spec::record::Run;
use samebundle_spec::reference::ReferenceError;
use samebundle_spec::signing::{PolicyError, Refusal, Scope, ScopeError, SignatureFault};
use samebundle_spec::{BundleName, Classify, Digest, ErrorKind, Repository, Timestamp, Version};

use super::{LocationError, PassphraseError};
use crate::build::{BuildError, GitError};
use crate::driver::DriverError;
use crate::engine::AfreshError;
use crate::lifecycle::LifecycleError;
use crate::metadata::MetadataError;
use crate::opened::OpenError;
use crate::plan::PlanError;
use crate::portable::PortableError;
use crate::record::{RecordError, did_you_mean};
use crate::secret::SecretError;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerbError {
    /// A text is no location of a bundle.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// A text is no reference, or no part of one.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A text is no name or version.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A text is no scope of a rule.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// Content could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A `bundle.json`.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The record of an installation or a run.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A driver.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// Installing, planning or running.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// Planning.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Reading a bundle.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Building.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Exporting or importing.
    #[error(transparent)]
    Portable(#[from] PortableError),
    /// Sending a run to others, or describing it for them.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A registry client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A profile of a registry could not be read or written.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// registries.conf.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// Credential files or helpers.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Verifying or signing.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The trust store.
    #[error(transparent)]
    TrustStore(#[from] TrustStoreError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A policy file.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A passphrase was not given.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// A file that should hold a bundle was altered or is damaged.
    #[error("the file is altered or damaged: nothing of it was taken")]
    Damaged(#[source] StoreError),
    /// A receipt was not signed by a known site.
    #[error("the receipt {file} does not count")]
    Receipt {
        /// The file.
        file: String,
        /// Why.
        #[source]
        fault: SignatureFault,
    },
    /// The signature of a file is not that of a known key, or not about this file.
    #[error("{file} is not what was signed: the signature {signature} does not count")]
    FileSignature {
        /// The file.
        file: String,
        /// Its signature.
        signature: String,
        /// Why.
        #[source]
        fault: SignatureFault,
    },
    /// There is no private key of that name.
    #[error("there is no key {name}; `key generate --name {name}` makes one")]
    NoKey {
        /// The key.
        name: String,
    },
    /// The run was imported, and its outputs stayed where it ran.
    #[error(
        "the files of run {run} are not here: they stayed where it ran; run it again with `run {installation}`"
    )]
    NoFiles {
        /// The run.
        run: String,
        /// The installation that it ran.
        installation: String,
    },
    /// The files of a run's outputs were removed.
    #[error(
        "the files of run {run} were removed at {removed} to free space; `outputs {run}` shows what they were, and `run \
         {installation}` with the parameters that `runs {run}` shows makes them again"
    )]
    FilesRemoved {
        /// The run.
        run: String,
        /// When.
        removed: Timestamp,
        /// The installation that it ran.
        installation: String,
    },
    /// The process of a run is out of sight.
    #[error(
        "run {run} goes on in a process that cannot be seen from here: on another machine, in another container, or begun by an \
         earlier version; end it where it runs"
    )]
    RunElsewhere {
        /// The run.
        run: String,
    },
    /// The process of a run does not end, or gets no signal.
    #[error(
        "run {run} could not be cancelled: its process could not be ended; do it as the user who began the run"
    )]
    NotEnded {
        /// The run.
        run: String,
        /// Why.
        source: io::Error,
    },
    /// A run that goes on cannot be removed or looked into.
    #[error("run {run} goes on; stop it, or wait until it has ended")]
    RunGoesOn {
        /// The run.
        run: String,
    },
    /// A text is neither the name of an installation nor a run.
    #[error(
        "there is neither an installation nor a run {text}{}; `list` shows installations and `runs` shows runs",
        did_you_mean(.near.as_ref())
    )]
    NothingOf {
        /// The text.
        text: String,
        /// The nearest one that exists.
        near: Option<String>,
    },
    /// The run has no such task.
    #[error("run {run} has no task {task:?}{}; its tasks are {tasks}", did_you_mean(.near.as_ref()))]
    NoTask {
        /// The run.
        run: String,
        /// The name that was asked for.
        task: String,
        /// The nearest name that exists.
        near: Option<String>,
        /// The names of all, as text.
        tasks: String,
    },
    /// A key may not decide.
    #[error("{}", may_not(.key, .scope.as_ref(), .may))]
    NoApprover {
        /// Name of the key.
        key: BundleName,
        /// The scope whose rule says who may; none: no rule does.
        scope: Option<Scope>,
        /// The keys that may.
        may: Vec<String>,
    },
    /// A decision that does not fit what is there.
    #[error("task {task} of run {run}: {why}")]
    Undecidable {
        /// The run.
        run: String,
        /// The task.
        task: String,
        /// Why.
        why: String,
    },
    /// Answers that do not fit the question.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The run waits for persons who have not decided.
    #[error(
        "run {run} waits for a person: decide with `approve {run} {task}` or `reject {run} {task}`; `runs {run}` shows what it asks"
    )]
    StillWaits {
        /// The run.
        run: String,
        /// A task that waits.
        task: String,
    },
    /// The bundle has no such parameter.
    #[error("the bundle has no parameter {name:?}{}", .nearest.as_ref().map_or_else(String::new, |near| format!("; did you mean {near:?}?")))]
    UnknownParameter {
        /// The name.
        name: String,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    /// The text of a parameter is no value of its type.
    #[error("the value of parameter {name} does not fit")]
    ParameterValue {
        /// The parameter.
        name: String,
        /// Why.
        #[source]
        source: DefinitionError,
    },
    /// A version is released with other content.
    #[error(
        "{reference} is released with other content ({released}): a version never changes; raise `version` in samebundle.yaml, or push \
         to a tag that is no version"
    )]
    Released {
        /// The reference.
        reference: String,
        /// What is there.
        released: Digest,
    },
    /// A version is signed with other content.
    #[error(
        "{name} {version} is signed with other content ({other}): a version never changes; raise `version` in samebundle.yaml \
         and build again, or sign with --replace if nobody has the other"
    )]
    SignedOtherwise {
        /// The bundle's name.
        name: BundleName,
        /// Its version.
        version: Version,
        /// What was signed before.
        other: Digest,
    },
    /// The trust store has no rule for a scope.
    #[error("there is no rule for {scope}; `trust list` shows those that there are")]
    NoRule {
        /// The scope.
        scope: Scope,
    },
    /// The bundle of a run is not that of its installation any more.
    #[error(
        "run {run} began with version {version} of {name}, which has another bundle by now: `rollback {name} {version}` brings \
         that back; or run it again, which takes unchanged tasks over"
    )]
    OtherBundle {
        /// The run.
        run: String,
        /// The installation.
        name: BundleName,
        /// The version of the run.
        version: Version,
    },
    /// There is no one task of a name.
    #[error(transparent)]
    Afresh(#[from] AfreshError),
    /// A credential has no value.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// There is no volume of that name.
    #[error("there is no volume {name}; see them with `samebundle volume list`")]
    NoVolume {
        /// The name.
        name: String,
    },
    /// The name is that of a working copy, of which there is no release.
    #[error(
        "{name} is a working copy, which runs from its folder only: `build DIR` and `sign {name}` make a release of it, or \
         `publish REGISTRY/REPOSITORY DIR`"
    )]
    WorkingCopy {
        /// The name.
        name: BundleName,
    },
    /// An installation is a working copy, which no other place has.
    #[error("{name} is a working copy: `run {folder}` builds it again")]
    FromFolder {
        /// The installation.
        name: BundleName,
        /// Its folder.
        folder: String,
    },
    /// A registry does not take a name and a password.
    #[error(
        "{registry} does not take this name and password: the name or the password is wrong, or this user may not log in \
         there ({why})"
    )]
    LoginRefused {
        /// The registry.
        registry: String,
        /// Its answer.
        why: String,
    },
    /// The policy refuses source in a git repository.
    #[error(
        "{text} is not trusted: {refusal}; building it would execute its code here: read it first, and --allow-unsigned takes \
         it, which is recorded"
    )]
    SourceRefused {
        /// The source, with its commit.
        text: String,
        /// Why.
        refusal: Refusal,
    },
    /// Source is named where a bundle is wanted.
    #[error(
        "{text} is source in a git repository, which `install`, `create`, `run` and `upgrade` take: install it, and name the \
         installation; if it is a registry, leave https:// out"
    )]
    OnlySource {
        /// The source.
        text: String,
    },
    /// An installation has another version than the one that was named.
    #[error(
        "{name} is installed with version {installed}, not {wanted}: `upgrade {name} {bundle}:{wanted}` changes that if the local \
         store has it, and {name} alone names what is installed"
    )]
    OtherVersion {
        /// The installation.
        name: BundleName,
        /// Its bundle.
        bundle: String,
        /// The version that it has.
        installed: String,
        /// The version that was asked for.
        wanted: Version,
    },
    /// An installation had no other bundle before, or not this one.
    #[error("{}", nothing_earlier(.name, .wanted.as_ref(), .there))]
    NothingEarlier {
        /// The installation.
        name: BundleName,
        /// The version that was asked for.
        wanted: Option<Version>,
        /// The versions that it had.
        there: Vec<String>,
    },
    /// The local store has no bundle of that name.
    #[error("{}", no_bundle(.name, .installed.as_deref(), .near.as_ref()))]
    NoBundle {
        /// The name.
        name: BundleName,
        /// The bundle of an installation of that name.
        installed: Option<String>,
        /// The nearest name that the store has.
        near: Option<String>,
    },
    /// The local store does not have this version.
    #[error("there is no {text} in the local store{}", versions(.name, .there))]
    NoVersion {
        /// The name and the version.
        text: String,
        /// The name.
        name: BundleName,
        /// The versions that are there.
        there: Vec<String>,
    },
    /// Source could not be fetched.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A registry does not list its repositories.
    #[error(
        "{registry} does not list its repositories, as many registries do not: `registry tags {registry}/REPOSITORY` lists the \
         tags of one that you know"
    )]
    NoCatalog {
        /// The registry.
        registry: String,
    },
    /// A registry has no such repository.
    #[error("there is no repository {repository}; `registry ls {}` lists those that there are", .repository.registry())]
    NoRepository {
        /// The repository.
        repository: Repository,
    },
    /// A bundle's signatures carry no key, or not this one.
    #[error(
        "no signature of {bundle} carries a key, so that there is none to be trusted: ask its publisher for the public key \
         (`key export`), and add it with `trust add NAME FILE`"
    )]
    NoKeyOffered {
        /// The bundle.
        bundle: String,
    },
    /// A run uses a volume.
    #[error("volume {name} is used by a run; wait until it has ended, or stop it")]
    VolumeInUse {
        /// The name.
        name: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The verb was cancelled before it changed anything.
    #[error("interrupted; nothing was {undone}")]
    Cancelled {
        /// What was not done, as a participle.
        undone: &'static str,
    },
    /// An archive or a layout has no bundle or several bundles that could be meant.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
}

fn may_not(key: &BundleName, scope: Option<&Scope>, may: &[String]) -> String {
    let may = match may {
        [] => "nobody".to_owned(),
        may => may.join(", "),
    };
    match scope {
        Some(scope) => {
            format!("key {key} may not decide about this run: the rule for {scope} lets {may} decide")
        }
        None => format!(
            "key {key} may not decide about this run: no rule says who may, so the keys of this home may: {may}"
        ),
    }
}

fn nothing_earlier(name: &BundleName, wanted: Option<&Version>, there: &[String]) -> String {
    match (wanted, there) {
        (_, []) => format!("{name} had no other bundle before: there is nothing to go back to"),
        (None, _) => format!("{name} has nothing to go back to"),
        (Some(wanted), there) => format!(
            "{name} never had version {wanted}, or so long ago that it is forgotten; it had {}, as `history {name}` shows",
            there.join(", ")
        ),
    }
}

fn no_bundle(name: &BundleName, installed: Option<&str>, near: Option<&String>) -> String {
    match installed {
        Some(bundle) => format!(
            "there is no bundle {name} in the local store; the installation {name} is of the bundle {bundle}, and `explain {name}` \
             shows it"
        ),
        None => format!(
            "there is no bundle {name} in the local store{}; `build DIR` makes one, and `pull` or `install` brings one",
            did_you_mean(near)
        ),
    }
}

fn versions(name: &BundleName, there: &[String]) -> String {
    match there {
        [] => format!(", nor another version of {name}"),
        there => format!("; it has {name} in version {}", there.join(", ")),
    }
}

impl VerbError {
    /// Makes the error of a task that a run does not have.
    pub(super) fn no_task(run: &Run, name: &str) -> Self {
        let tasks: Vec<String> = run.tasks.iter().map(|task| task.name.clone()).collect();
        Self::NoTask {
            run: run.id.to_string(),
            task: name.to_owned(),
            near: nearest(name, &tasks),
            tasks: tasks.join(", "),
        }
    }

    /// Makes the error of a failed file operation.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        PathError::into(operation, path)
    }
}

impl Classify for VerbError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Location(LocationError::NoFile { .. } | LocationError::IsFolder { .. }) => {
                ErrorKind::NotFound
            }
            Self::Location(_)
            | Self::Reference(_)
            | Self::Name(_)
            | Self::Scope(_)
            | Self::UnknownParameter { .. }
            | Self::Answer(_)
            | Self::OnlySource { .. }
            | Self::FromFolder { .. }
            | Self::Usage(_) => ErrorKind::Usage,
            Self::ParameterValue { .. } | Self::Policy(_) => ErrorKind::Input,
            Self::Store(error) => error.kind(),
            Self::Bundle(error) => error.kind(),
            Self::Record(error) => error.kind(),
            Self::Driver(error) => error.kind(),
            Self::Lifecycle(error) => error.kind(),
            Self::Plan(error) => error.kind(),
            Self::Open(error) => error.kind(),
            Self::Build(error) => error.kind(),
            Self::Portable(error) => error.kind(),
            Self::Metadata(error) => error.kind(),
            Self::Client(error) => error.kind(),
            Self::Profile(error) => error.kind(),
            Self::Registries(error) => error.kind(),
            Self::Credential(error) => error.kind(),
            Self::Trust(error) => error.kind(),
            Self::TrustStore(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Secret(error) => error.kind(),
            Self::Git(error) => error.kind(),
            Self::SourceRefused { refusal, .. } => refusal.kind(),
            Self::Damaged(_)
            | Self::Receipt { .. }
            | Self::FileSignature { .. }
            | Self::NoApprover { .. } => ErrorKind::NotTrusted,
            Self::NoKey { .. }
            | Self::NoRule { .. }
            | Self::NoVolume { .. }
            | Self::WorkingCopy { .. }
            | Self::OtherVersion { .. }
            | Self::NoVersion { .. }
            | Self::NoBundle { .. }
            | Self::NothingEarlier { .. }
            | Self::NoCatalog { .. }
            | Self::NoKeyOffered { .. }
            | Self::NoRepository { .. }
            | Self::NoFiles { .. }
            | Self::FilesRemoved { .. }
            | Self::NothingOf { .. }
            | Self::NoTask { .. } => ErrorKind::NotFound,
            Self::Released { .. }
            | Self::SignedOtherwise { .. }
            | Self::VolumeInUse { .. }
            | Self::RunGoesOn { .. }
            | Self::RunElsewhere { .. }
            | Self::Undecidable { .. }
            | Self::StillWaits { .. }
            | Self::OtherBundle { .. } => ErrorKind::Conflict,
            Self::Afresh(error) => error.kind(),
            Self::LoginRefused { .. } => ErrorKind::Denied,
            Self::NotEnded { .. } => ErrorKind::Environment,
            Self::Cancelled { .. } => ErrorKind::Interrupted,
            Self::Select(error) => error.kind(),
            Self::Path(error) => error.kind(),
            Self::Passphrase(error) => error.kind(),
        }
    }
}
