//! What can go wrong with a command: the libraries' errors, and the command line's own.

use std::io;
use std::path::Path;

use samebundle_registry::StoreError;
use samebundle_registry::remote::ClientError;
use samebundle_registry::remote::credentials::CredentialError;
use samebundle_registry::remote::profile::ProfileError;
use samebundle_registry::remote::registries::RegistriesError;
use samebundle_registry::trust::{KeyFileError, TrustError, TrustStoreError};
use samebundle_runtime::build::BuildError;
use samebundle_runtime::driver::DriverError;
use samebundle_runtime::home::HomeError;
use samebundle_runtime::lifecycle::LifecycleError;
use samebundle_runtime::opened::OpenError;
use samebundle_runtime::portable::PortableError;
use samebundle_runtime::record::RecordError;
use samebundle_spec::bundle::BundleError;
use samebundle_spec::signing::{Fault, PolicyError};
use samebundle_spec::{Classify, ErrorKind};

use crate::flags::FlagError;
use crate::place::PlaceError;
use crate::render::Report;
use crate::settings::SettingsError;

/// An error of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Environment or home directory.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A place on the command line.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A parameter on the command line.
    #[error(transparent)]
    Flag(#[from] FlagError),
    /// Content.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A `bundle.json`.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// History.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A driver.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// Installing, planning or running.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// Reading a bundle.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Building.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Exporting or importing.
    #[error(transparent)]
    Portable(#[from] PortableError),
    /// A registry client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was found out of a registry.
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
    /// A file that should hold a bundle was altered or is damaged.
    #[error("the file is altered or damaged: nothing of it was taken")]
    Damaged(#[source] StoreError),
    /// A receipt is not what a known site signed.
    #[error("the receipt {file} does not count")]
    Receipt {
        /// The file.
        file: String,
        /// Why.
        #[source]
        fault: Fault,
    },
    /// No private key of that name.
    #[error("there is no key {name}; `key generate --name {name}` makes one")]
    NoKey {
        /// The key.
        name: String,
    },
    /// No driver works.
    #[error("nothing on this machine can run containers")]
    NothingRuns {
        /// What was found.
        report: Box<Report>,
    },
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
    /// A program ran and failed; it was recorded.
    #[error("{message}")]
    Failed {
        /// The run as far as it came.
        report: Box<Report>,
        /// What failed.
        message: String,
    },
    /// The user interrupted.
    #[error("{0}")]
    Interrupted(String),
    /// A check found faults, which are in the report.
    #[error("{message}")]
    Faulty {
        /// The faults.
        report: Box<Report>,
        /// How many.
        message: String,
    },
    /// A file could not be read or written.
    #[error("could not {operation} {path}")]
    Io {
        /// What was tried, as an infinitive.
        operation: &'static str,
        /// The file.
        path: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The output could not be laid out or printed.
    #[error("the output could not be written")]
    Output(#[from] std::fmt::Error),
}

impl CliError {
    /// What there is to say besides, on standard output.
    pub(crate) fn report(&self) -> Option<&Report> {
        match self {
            Self::Failed { report, .. } | Self::Faulty { report, .. } | Self::NothingRuns { report } => {
                Some(report)
            }
            _ => None,
        }
    }

    /// Makes the error of a failed file operation.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}

impl Classify for CliError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NothingRuns { .. }
            | Self::Settings(_)
            | Self::Home(_)
            | Self::Io { .. }
            | Self::Output(_) => ErrorKind::Environment,
            Self::Place(_)
            | Self::Flag(FlagError::Form { .. } | FlagError::Unknown { .. })
            | Self::Usage(_) => ErrorKind::Usage,
            Self::Flag(FlagError::Value { .. }) | Self::Faulty { .. } => ErrorKind::Input,
            Self::Store(error) => error.kind(),
            Self::Bundle(error) => error.kind(),
            Self::Record(error) => error.kind(),
            Self::Driver(error) => error.kind(),
            Self::Lifecycle(error) => error.kind(),
            Self::Open(error) => error.kind(),
            Self::Client(error) => error.kind(),
            Self::Profile(error) => error.kind(),
            Self::Registries(error) => error.kind(),
            Self::Credential(error) => error.kind(),
            Self::Trust(error) => error.kind(),
            Self::TrustStore(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Policy(_) => ErrorKind::Input,
            Self::Portable(error) => error.kind(),
            Self::Build(error) => error.kind(),
            Self::Damaged(_) | Self::Receipt { .. } => ErrorKind::NotTrusted,
            Self::NoKey { .. } => ErrorKind::NotFound,
            Self::Failed { .. } => ErrorKind::Failed,
            Self::Interrupted(_) => ErrorKind::Interrupted,
        }
    }
}
