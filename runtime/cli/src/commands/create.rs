//! `create program` and `create environment`: the long spelling of `install`.

use clap::{Args, Subcommand};
use samebundle_runtime::verbs::{Location, Wanted};

use super::install::InstallOptions;
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::values;

#[derive(Debug, Subcommand)]
pub(crate) enum Create {
    /// Install a program
    Program(CreateFrom),
    /// Install an environment
    Environment(CreateFrom),
}

#[derive(Debug, Args)]
pub(crate) struct CreateFrom {
    /// The bundle: a reference, or a file
    #[arg(short, long = "file", value_name = "BUNDLE", value_parser = values::location())]
    file: Location,
    #[command(flatten)]
    options: InstallOptions,
}

impl Create {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let (args, wanted) = match self {
            Self::Program(args) => (args, Wanted::Program),
            Self::Environment(args) => (args, Wanted::Environment),
        };
        args.options.install(session, args.file, Some(wanted)).await
    }
}
