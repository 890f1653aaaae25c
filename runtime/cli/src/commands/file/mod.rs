//! `file`: signatures of files that are no bundles.

mod sign;
mod verify;

use clap::Subcommand;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum File {
    /// Sign where a file comes from or what is in it, and write the signature beside it
    Sign(sign::Sign),
    /// Check who signed a file
    Verify(verify::Verify),
}

impl File {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        match self {
            Self::Sign(args) => args.run(session),
            Self::Verify(args) => args.run(session),
        }
    }
}
