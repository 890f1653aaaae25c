//! One file for each command: its arguments, the request that they make, and the text of the report.

mod approve;
mod attach;
mod build;
mod cancel;
mod completions;
mod copy;
mod create;
mod debug;
pub(crate) mod detach;
mod diff;
mod doctor;
mod explain;
mod export;
mod file;
mod history;
mod import;
mod init;
mod inspect;
mod install;
mod key;
mod lint;
mod list;
mod login;
mod logout;
mod logs;
mod manual;
mod outputs;
mod plan;
mod publish;
mod pull;
mod push;
mod receipt;
mod registry;
mod resume;
mod rollback;
mod run;
mod runs;
mod show;
mod sign;
mod status;
mod store;
mod trust;
mod uninstall;
mod upgrade;
mod verify;
mod version;
mod volume;

#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::{ArgMatches, Subcommand};

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::settings::Settings;

/// How long a server may continue after an interrupt, to end the requests that it has.
const SERVED: Duration = Duration::from_secs(60);
/// How long a command may continue after an interrupt, to stop containers and record the run.
const ORDERLY: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a bundle: write a samebundle.yaml
    Init(init::Init),
    /// Check a bundle's sources without building
    Lint(lint::Lint),
    /// Build a bundle into the local store and print its digest
    Build(build::Build),
    /// Make, list, export, import and remove signing keys
    #[command(subcommand)]
    Key(key::Key),
    /// Decide whose bundles are trusted
    #[command(subcommand)]
    Trust(trust::Trust),
    /// Sign a bundle
    Sign(sign::Sign),
    /// Sign a file that is no bundle, and check such a signature
    #[command(subcommand)]
    File(file::File),
    /// Check who signed a bundle and what the signature covers
    Verify(verify::Verify),
    /// Build, sign and push a folder: a release in one command
    Publish(publish::Publish),
    /// Copy a bundle from the local store elsewhere, with its signatures
    Push(push::Push),
    /// Copy a bundle into the local store, with its signatures
    Pull(pull::Pull),
    /// Copy a bundle from any place to any place, with its signatures
    Copy(copy::Copy),
    /// Show the content of a bundle: its graph, digests and sizes
    Inspect(inspect::Inspect),
    /// Explain a bundle to a person: parameters, credentials, outputs, rights and requirements
    Explain(explain::Explain),
    /// Install a bundle: fetch, verify, check what it needs, and remember it by name
    Install(install::Install),
    /// Install a program or environment: the same as `install`
    #[command(subcommand)]
    Create(create::Create),
    /// Replace an installation's bundle by another version
    Upgrade(upgrade::Upgrade),
    /// Give an installation the bundle back that it had before
    Rollback(rollback::Rollback),
    /// Show what was installed under a name, and when
    History(history::History),
    /// Show installations with their last run, and whether there is something newer
    Status(status::Status),
    /// Forget an installation; its runs stay
    Uninstall(uninstall::Uninstall),
    /// List installations
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Show an installation or a run, or write a page about a run
    Show(show::Show),
    /// Say what a run would do, and what this machine cannot give
    Plan(plan::Plan),
    /// Run a program: an installed one, or what a folder, a pipeline's file, a bundle's file or a reference has
    Run(run::Run),
    /// Go on with a run whose process was killed or that waited for a person; tasks that had ended are not run again
    Resume(resume::Resume),
    /// Follow a run that goes on in another process; Ctrl-C leaves it alone
    Attach(attach::Attach),
    /// End a run that goes on: its tasks are stopped, and it is recorded as cancelled
    Cancel(cancel::Cancel),
    /// Do a run that another process has prepared
    #[command(name = detach::HIDDEN, hide = true)]
    Detached(detach::Detached),
    /// Look into a task of a run: open a shell, or run a command, in its environment with its inputs
    Debug(debug::Debug),
    /// Approve a task that waits for a person; the run goes on
    Approve(approve::Approve),
    /// Reject a task that waits for a person; it fails
    Reject(approve::Reject),
    /// List runs, newest first, or remove some
    Runs(runs::Runs),
    /// Say in what runs differ, and whether their outputs are equal
    Diff(diff::Diff),
    /// Print what a run's tasks printed
    Logs(logs::Logs),
    /// List a run's outputs, or write them to a folder
    Outputs(outputs::Outputs),
    /// Write an installation with its history to one file
    Export(export::Export),
    /// Read an exported file: verify it and install what is in it
    Import(import::Import),
    /// Check a receipt that a site signed, and show what it says
    Receipt(receipt::Receipt),
    /// Log in to a registry: check a name and password, and keep them where docker and podman find them
    Login(login::Login),
    /// Forget the name and password of a registry
    Logout(logout::Logout),
    /// Serve a registry; list what one has
    #[command(subcommand)]
    Registry(registry::Registry),
    /// Check and measure the local store
    #[command(subcommand)]
    Store(store::Store),
    /// List and remove volumes, folders that tasks share and that outlive their runs
    #[command(subcommand)]
    Volume(volume::Volume),
    /// Say what works on this machine and what does not
    Doctor(doctor::Doctor),
    /// Print the script by which a shell completes names and parameters
    Completions(completions::Completions),
    /// Write the manual pages
    Manual(manual::Manual),
    /// Print the version
    Version(version::Version),
}

impl Command {
    /// Tells whether the command serves until it is interrupted.
    pub(crate) fn serves(&self) -> bool {
        matches!(self, Self::Registry(registry::Registry::Serve(_)))
    }

    /// Returns how long the command may continue after an interrupt. A command that started nothing
    /// is ended at once.
    pub(crate) fn orderly(&self) -> Duration {
        match self {
            Self::Registry(registry::Registry::Serve(_)) => SERVED,
            Self::Run(_)
            | Self::Resume(_)
            | Self::Detached(_)
            | Self::Debug(_)
            | Self::Approve(_)
            | Self::Reject(_)
            | Self::Install(_)
            | Self::Create(_)
            | Self::Upgrade(_)
            | Self::Rollback(_)
            | Self::Uninstall(_) => ORDERLY,
            _ => Duration::from_secs(1),
        }
    }

    /// Runs a command that needs no home; `None` for all others.
    pub(crate) fn run_anywhere(&self, settings: &Settings) -> Option<Result<Report, CliError>> {
        match self {
            Self::Completions(args) => Some(args.run(settings)),
            Self::Manual(args) => Some(args.run(settings)),
            Self::Version(args) => Some(Ok(args.run(settings))),
            _ => None,
        }
    }

    /// Runs the command.
    ///
    /// # Errors
    /// The error of the command.
    pub(crate) async fn run(self, session: &Session, matches: &ArgMatches) -> Result<Report, CliError> {
        match self {
            Self::Init(args) => args.run(session),
            Self::Lint(args) => args.run(session).await,
            Self::Build(args) => args.run(session).await,
            Self::Key(key) => key.run(session),
            Self::Trust(trust) => trust.run(session).await,
            Self::Sign(args) => args.run(session).await,
            Self::File(file) => file.run(session),
            Self::Verify(args) => args.run(session).await,
            Self::Publish(args) => args.run(session).await,
            Self::Push(args) => args.run(session).await,
            Self::Pull(args) => args.run(session).await,
            Self::Copy(args) => args.run(session).await,
            Self::Inspect(args) => args.run(session).await,
            Self::Explain(args) => args.run(session).await,
            Self::Install(args) => args.run(session).await,
            Self::Create(args) => args.run(session).await,
            Self::Upgrade(args) => args.run(session).await,
            Self::Rollback(args) => args.run(session).await,
            Self::History(args) => args.run(session),
            Self::Status(args) => args.run(session).await,
            Self::Uninstall(args) => args.run(session).await,
            Self::List(args) => args.run(session),
            Self::Show(args) => args.run(session).await,
            Self::Plan(args) => args.run(session, matches).await,
            Self::Run(args) => args.run(session, matches).await,
            Self::Resume(args) => args.run(session).await,
            Self::Attach(args) => args.run(session).await,
            Self::Cancel(args) => args.run(session).await,
            Self::Detached(args) => args.run(session).await,
            Self::Debug(args) => args.run(session).await,
            Self::Approve(args) => args.run(session).await,
            Self::Reject(args) => args.run(session).await,
            Self::Runs(args) => args.run(session).await,
            Self::Diff(args) => args.run(session).await,
            Self::Logs(args) => args.run(session).await,
            Self::Outputs(args) => args.run(session).await,
            Self::Export(args) => args.run(session).await,
            Self::Import(args) => args.run(session).await,
            Self::Receipt(args) => args.run(session),
            Self::Login(args) => args.run(session).await,
            Self::Logout(args) => args.run(session).await,
            Self::Registry(registry) => registry.run(session).await,
            Self::Store(store) => store.run(session).await,
            Self::Volume(volume) => volume.run(session),
            Self::Doctor(args) => args.run(session).await,
            Self::Completions(args) => args.run(&session.settings),
            Self::Manual(args) => args.run(&session.settings),
            Self::Version(args) => Ok(args.run(&session.settings)),
        }
    }
}
