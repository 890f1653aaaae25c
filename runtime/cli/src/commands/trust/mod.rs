//! `trust`: whose bundles are trusted.

mod add;
mod explain;
mod list;
mod remove;

use clap::Subcommand;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Trust a public key for a scope
    Add(add::Add),
    /// Stop trusting a key
    Remove(remove::Remove),
    /// List what is trusted
    List(list::List),
    /// Say which rule decides about a bundle, and why
    Explain(explain::Explain),
}

impl Trust {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        match self {
            Self::Add(args) => args.run(session).await,
            Self::Remove(args) => args.run(session),
            Self::List(args) => args.run(session),
            Self::Explain(args) => args.run(session).await,
        }
    }
}
