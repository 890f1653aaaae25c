//! `store`: the local store, and the space that a home takes.

mod check;
mod forget;
mod gc;
mod usage;

use clap::Subcommand;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Check that everything in the local store is whole
    Check(check::Check),
    /// Remove what no tag, installation or run needs
    ///
    /// What an installation had before its last upgrade stays as well, and what other commands that run now have written
    /// or found. It also removes unpacked layers of images that are gone, and what killed processes left.
    Gc(gc::Gc),
    /// Remove a bundle's name, of one version or of all; what nothing else needs goes with the next `store gc`
    Forget(forget::Forget),
    /// Say how much space every bundle and folder takes
    Usage(usage::Usage),
}

impl Store {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        match self {
            Self::Check(args) => args.run(session).await,
            Self::Gc(args) => args.run(session).await,
            Self::Forget(args) => args.run(session).await,
            Self::Usage(args) => args.run(session).await,
        }
    }
}
