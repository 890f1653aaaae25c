//! `registry`: serving one, its users, what one has, and finding out what one can do.

mod doctor;
mod ls;
mod serve;
mod tags;
mod user;

use clap::Subcommand;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Registry {
    /// Serve the OCI distribution API over a folder, or over one file or layout
    ///
    /// A file or a layout is shown as it is, read-only and as one repository.
    /// By default everybody on this machine may do everything, over plain HTTP. `--htpasswd` asks for a name and a password,
    /// `--access` says what each may do, `--tls-certificate` and `--tls-key` turn on TLS. These files are read again when they
    /// change. GET /metrics gives figures in the form of Prometheus.
    Serve(Box<serve::Serve>),
    /// Set a user's password in a file for `registry serve --htpasswd`
    User(user::User),
    /// List the repositories of a registry
    Ls(ls::Ls),
    /// List the tags of a repository
    Tags(tags::Tags),
    /// Find out what a registry can and cannot do, and keep that for all commands
    ///
    /// Pushes scratch content of up to 25 MiB to the repository, without a tag, and removes it where the registry allows that;
    /// what stays is named. Without the right to push only reading is examined.
    Doctor(doctor::Doctor),
}

impl Registry {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        match self {
            Self::Serve(args) => args.run(session).await,
            Self::User(args) => args.run(session),
            Self::Ls(args) => args.run(session).await,
            Self::Tags(args) => args.run(session).await,
            Self::Doctor(args) => args.run(session).await,
        }
    }
}
