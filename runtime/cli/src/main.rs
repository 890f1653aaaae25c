//! The samebundle command: it takes arguments, and gives one report or one error and an exit code.
//!
//! The only crate that uses a terminal, environment variables, a home directory and a clock.

mod answers;
mod args;
mod commands;
mod complete;
mod early;
mod error;
mod flags;
mod habits;
mod help;
mod log;
mod name_service;
mod passphrase;
mod render;
mod session;
mod settings;
mod signals;
mod spelling;
mod terminal;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, FromArgMatches};
use samebundle_runtime::Event;
use samebundle_runtime::record::Installations;
use samebundle_runtime::verbs::{
    self, BringRequest, Consent, Foreseen, LocalName, LocationError, RunSource, VerbError,
};
use samebundle_spec::BundleName;
use samebundle_spec::bundle::Bundle;
use samebundle_spec::{Classify, ErrorKind, text};

use args::{Cli, Output};
use early::Early;
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
        // A container is started by a process with one thread, so nothing may run before this.
        return exit_code(samebundle_runtime::driver::embedded::helper_main());
    }
    name_service::confine();
    let words: Vec<OsString> = std::env::args_os().collect();
    if complete::answer(&words) {
        return ExitCode::SUCCESS;
    }
    let early = early::read(&words);
    let words = match (early.output.is_document(), early.help_at) {
        // Clap takes no option after the word `help`.
        (true, Some(at)) => spelled_as_option(words, at),
        _ => words,
    };
    let mut settings = Settings::read();
    settings.set_home(early.home.clone());
    let new_home = early.home.is_some() && settings.home().is_ok_and(|home| !home.exists());
    let (words, early, foreseen) = match brought(words, early, &settings) {
        Ok(known) => known,
        Err((error, output)) => return fail(&error, output),
    };
    match parse(&words, &early, &settings, foreseen.as_ref()) {
        Ok((cli, matches)) => run(cli, &matches, settings, new_home, foreseen),
        Err(NotParsed::Installation(error)) => fail(&error, early.output),
        Err(NotParsed::Clap(error, parameters)) => {
            let error = without_credentials(*error);
            // Help and version are "errors" of clap that go to standard output with code 0.
            let code = error.exit_code();
            if let Some(answer) = habits::answer(&error, &parameters) {
                return fail(&CliError::Usage(answer), early.output);
            }
            match (early.output.is_document(), error.use_stderr()) {
                (false, _) => drop(error.print()),
                (true, true) => return fail(&CliError::Usage(usage(&error)), early.output),
                (true, false) => return finish(Ok(asked(&error)), early.output),
            }
            exit_code(code)
        }
    }
}

/// Makes `COMMAND --help` out of `help COMMAND`.
fn spelled_as_option(mut words: Vec<OsString>, help: usize) -> Vec<OsString> {
    words.remove(help);
    words.push("--help".into());
    words
}

/// The help or the version that was asked for.
fn asked(error: &clap::Error) -> render::Report {
    let text = error.to_string().trim_end().to_owned();
    let document = match error.kind() {
        clap::error::ErrorKind::DisplayVersion => serde_json::json!({"version": env!("CARGO_PKG_VERSION")}),
        _ => serde_json::json!({"help": text}),
    };
    render::Report::new(text, &document)
}

/// Takes users and passwords out of the words of the line that an error repeats.
fn without_credentials(mut error: clap::Error) -> clap::Error {
    use clap::error::ContextValue;
    let shown = |value: &ContextValue| match value {
        ContextValue::String(text) => Some(text::without_credentials(text).into_owned()),
        _ => None,
    };
    let texts = error
        .context()
        .filter_map(|(kind, value)| Some((kind, shown(value)?)));
    for (kind, text) in texts.collect::<Vec<_>>() {
        error.insert(kind, ContextValue::String(text));
    }
    error
}

/// Returns clap's message about a line that it cannot parse, without the label that every error gets.
fn usage(error: &clap::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("error: ")
        .unwrap_or(&text)
        .trim_end()
        .to_owned()
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(ErrorKind::Internal.exit_code()))
}

/// Why a command line was not understood.
enum NotParsed {
    /// The error of clap, and the parameters of the bundle that is named; help and version are such errors, too.
    Clap(Box<clap::Error>, Vec<String>),
    /// It names an installation that does not exist, or whose bundle cannot be read.
    Installation(Box<CliError>),
}

/// A line in which what is to run is called by its name; and that itself, if the line only plans and it is not installed.
type Known = (Vec<OsString>, Early, Option<Foreseen>);

/// Makes an installation of a folder, file or reference that is to run, and puts its name into the line, so that its
/// parameters are known like those of any other. A plan installs nothing.
fn brought(words: Vec<OsString>, early: Early, settings: &Settings) -> Result<Known, (CliError, Output)> {
    let named = early.named.as_ref();
    let named = named.and_then(|(verb, words)| Some((*verb, args::name_among(words, None).0?.to_owned())));
    let Some((verb, named)) = named else {
        return Ok((words, early, None));
    };
    let output = early.output;
    let failed = |error: CliError| (error, output);
    let source = RunSource::read(&named, &settings.current_dir);
    let Some(source) = source
        .map_err(VerbError::from)
        .map_err(|error| failed(error.into()))?
    else {
        return Ok((words, early, None));
    };
    let events = render::progress::events(settings, output, early.verbose);
    if let Some(text) = spelling::note(&named) {
        events.emit(Event::Notice { text });
    }
    let global = args::Global {
        home: early.home.clone(),
        output,
        offline: early.offline,
        verbose: early.verbose,
    };
    let request = bring_request(source, &early);
    let work = async {
        let session = Session::open(settings.clone(), &global, events)?;
        if verb == early::PLAN {
            let foreseen = verbs::foresee(&session.site, request).await?;
            return Ok((foreseen.name().clone(), Some(foreseen)));
        }
        Ok((verbs::bring(&session.site, request).await?.name, None))
    };
    let (name, foreseen) = session::block_on(Threads::One, work)
        .and_then(|result| result)
        .map_err(failed)?;
    let known = with_name(words, &named, &name);
    let early = early::read(&known);
    Ok((known, early, foreseen))
}

fn bring_request(source: RunSource, early: &Early) -> BringRequest {
    BringRequest {
        source,
        pipeline: early.pipeline.clone(),
        consent: Consent {
            allow_unsigned: early.allow_unsigned,
            allow_downgrade: false,
        },
    }
}

/// Puts the name of an installation into the place of what it was made of, without the options that said how.
fn with_name(words: Vec<OsString>, named: &str, name: &BundleName) -> Vec<OsString> {
    let mut known = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if *text == *named {
            known.push(name.to_string().into());
        } else if text == "--pipeline" {
            words.next();
        } else if !(text.starts_with("--pipeline=") || text == "--allow-unsigned") {
            known.push(word);
        }
    }
    known
}

/// Reads the command line, with the named bundle's parameters as flags.
fn parse(
    words: &[OsString],
    early: &Early,
    settings: &Settings,
    foreseen: Option<&Foreseen>,
) -> Result<(Cli, ArgMatches), NotParsed> {
    let mut parameters = Vec::new();
    let mut command = help::command()
        .name(settings.program.clone())
        .bin_name(settings.program.clone());
    if let Some((verb, words)) = &early.named {
        let bundle = match foreseen {
            Some(foreseen) => Ok(Some(foreseen.bundle().clone())),
            None => bundle_of(words, settings),
        };
        match bundle {
            Ok(Some(bundle)) => {
                parameters.extend(bundle.view().parameters.keys().cloned());
                command = command.mut_subcommand(verb, |sub| flags::add(sub, bundle.view()));
            }
            Ok(None) => {}
            Err(_) if early.help => {}
            Err(error) => return Err(NotParsed::Installation(Box::new(error))),
        }
    }
    let matches = command.try_get_matches_from(words).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    matches.map_err(|error| NotParsed::Clap(Box::new(error), parameters))
}

/// Reads the bundle of the installation that is named: the first word that names one. None if no word is a name; then
/// the command reports the error.
fn bundle_of(words: &[String], settings: &Settings) -> Result<Option<Bundle>, CliError> {
    let (name, rest) = args::name_among(words, None);
    let words = name.into_iter().chain(rest.iter().map(String::as_str));
    let names = words.filter_map(|word| word.parse::<LocalName>().ok());
    let names: Vec<BundleName> = names.map(|local| local.name).collect();
    let home = samebundle_runtime::Home::open(settings.home()?)?;
    let installations = Installations::new(&home);
    for name in &names {
        if let Some(installation) = installations.find(name).map_err(VerbError::from)? {
            let bundle = verbs::installed_bundle(&home, &installation);
            return Ok(Some(session::block_on(Threads::One, bundle)??));
        }
    }
    match names.first() {
        Some(name) if settings.current_dir.join(name.as_str()).is_dir() => {
            let name = name.clone();
            Err(VerbError::from(LocationError::IsFolder { name }).into())
        }
        Some(name) => {
            // The error says that there is no installation of this name.
            installations.get(name).map_err(VerbError::from)?;
            Ok(None)
        }
        None => Ok(None),
    }
}

fn run(
    cli: Cli,
    matches: &ArgMatches,
    settings: Settings,
    new_home: bool,
    foreseen: Option<Foreseen>,
) -> ExitCode {
    let output = cli.global.output;
    if let Some(result) = cli.command.run_anywhere(&settings) {
        return finish(result, output);
    }
    let serves = cli.command.serves();
    let filter = log::filter(settings.variable(log::VARIABLE), cli.global.verbose, serves);
    let filter = match filter {
        Ok(filter) => filter,
        Err(source) => return fail(&CliError::LogFilter { source }, output),
    };
    let events = render::progress::events(&settings, output, cli.global.verbose);
    let reader = match serves {
        true => log::Reader::Operator,
        false => log::Reader::User(Arc::clone(&events)),
    };
    log::show(filter, reader);
    if let (true, Ok(home)) = (new_home, settings.home()) {
        // The name may have a slip in it, and then nothing is found in it.
        let text = format!("{} did not exist: it is a new, empty home", home.display());
        events.emit(Event::Notice { text });
    }
    for text in spelling::notes(matches) {
        events.emit(Event::Notice { text });
    }
    let work = async {
        let session = Session::open(settings, &cli.global, events)?.with_foreseen(foreseen);
        let cancel = session.site.context.cancel.clone();
        let orderly = cli.command.orderly();
        let interrupted = async {
            cancel.cancelled().await;
            session.answered.cancel();
            tokio::time::sleep(orderly).await;
        };
        tokio::select! {
            // First, so that a signal is answered before the command does what it still has to do.
            biased;
            () = interrupted => Err(CliError::Interrupted("interrupted".to_owned())),
            result = cli.command.run(&session, matches) => result,
        }
    };
    let threads = if serves { Threads::Cores } else { Threads::One };
    finish(session::block_on(threads, work).and_then(|result| result), output)
}

fn finish(result: Result<render::Report, CliError>, output: Output) -> ExitCode {
    let report = match result {
        Ok(report) => report,
        Err(error) => return fail(&error, output),
    };
    match report.print(output) {
        Ok(()) => exit_code(report.exit_code),
        // The reader of the output has closed it, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(ErrorKind::Environment.exit_code()),
    }
}

fn fail(error: &CliError, output: Output) -> ExitCode {
    render::error::print(error, output);
    ExitCode::from(error.kind().exit_code())
}
