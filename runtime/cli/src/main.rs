//! The samebundle command: arguments in, one report or one error out, an exit code.
//!
//! The only room with a terminal, environment variables, a home directory and a clock.

mod args;
mod commands;
mod error;
mod flags;
mod meter;
mod place;
mod render;
mod seed;
mod session;
mod settings;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use samebundle_runtime::record::Installations;
use samebundle_spec::bundle::Bundle;
use samebundle_spec::{Classify, ErrorKind};

use args::{Cli, Command, Output, Registry};
use error::CliError;
use session::{Session, Threads};
use settings::Settings;

/// The hidden word under which the program is a container's helper process.
const CONTAINER_HELPER: &str = "internal-container";

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == CONTAINER_HELPER)
    {
        // A container is made by a process with one thread: nothing may run before this.
        return exit_code(samebundle_runtime::driver::embedded::helper_main());
    }
    let words = seed::rewrite(std::env::args_os().collect());
    let settings = match Settings::read(seed::home(&words)) {
        Ok(settings) => settings,
        Err(error) => return fail(&error.into(), Output::Text),
    };
    match parse(&words, &settings) {
        Ok((cli, matches)) => run(cli, &matches, settings),
        Err(NotParsed::Installation(error)) => fail(&error, seed::output(&words)),
        Err(NotParsed::Clap(error)) => {
            // Help and version are "errors" of clap that go to standard output with code 0.
            let code = error.exit_code();
            drop(error.print());
            exit_code(code)
        }
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(ErrorKind::Internal.exit_code()))
}

/// Why a command line was not understood.
enum NotParsed {
    /// clap says why; help and version are among it.
    Clap(Box<clap::Error>),
    /// It names an installation that is not there, or whose bundle cannot be read.
    Installation(Box<CliError>),
}

/// Reads the command line, with the named bundle's parameters as flags.
fn parse(words: &[OsString], settings: &Settings) -> Result<(Cli, ArgMatches), NotParsed> {
    let clap = |error: clap::Error| NotParsed::Clap(Box::new(error));
    let mut command = Cli::command()
        .name(settings.program.clone())
        .bin_name(settings.program.clone());
    if let Some((verb, name)) = seed::named_installation(words) {
        let helped = words.iter().any(|word| word == "--help" || word == "-h");
        match bundle_of(&name, settings) {
            Ok(bundle) => command = command.mut_subcommand(verb, |sub| flags::add(sub, bundle.view())),
            Err(_) if helped => {}
            Err(error) => return Err(NotParsed::Installation(Box::new(error))),
        }
    }
    let matches = command.try_get_matches_from(words).map_err(clap)?;
    Ok((Cli::from_arg_matches(&matches).map_err(clap)?, matches))
}

/// Reads the bundle that is installed under a name.
fn bundle_of(name: &str, settings: &Settings) -> Result<Bundle, CliError> {
    let home = samebundle_runtime::Home::open(&settings.home)?;
    let name = name
        .parse()
        .map_err(|error: samebundle_spec::name::NameError| CliError::Usage(error.to_string()))?;
    let installation = Installations::new(&home).get(&name)?;
    session::block_on(Threads::One, session::installed_bundle(&home, &installation))?
}

fn run(cli: Cli, matches: &ArgMatches, settings: Settings) -> ExitCode {
    let output = cli.global.output;
    let threads = match cli.command {
        Command::Registry(Registry::Serve(_)) => Threads::Cores,
        _ => Threads::One,
    };
    let work = async {
        let session = Session::open(settings, &cli.global)?;
        commands::dispatch(&session, cli.command, matches).await
    };
    match session::block_on(threads, work) {
        Ok(Ok(report)) => finish(&report, output),
        Ok(Err(error)) => fail(&error, output),
        Err(error) => fail(&error, output),
    }
}

fn finish(report: &render::Report, output: Output) -> ExitCode {
    match report.print(output) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads us has had enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(ErrorKind::Environment.exit_code()),
    }
}

fn fail(error: &CliError, output: Output) -> ExitCode {
    if let Some(report) = error.report() {
        // The error below says that it failed; a closed standard output must not hide that.
        drop(report.print(output));
    }
    render::error::print(error, None, output);
    ExitCode::from(error.kind().exit_code())
}
