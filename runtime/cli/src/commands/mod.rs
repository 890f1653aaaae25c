//! One function a command. Each takes the session and its arguments and returns what there is to say.

mod author;
mod content;
mod examine;
mod history;
mod install;
mod key;
mod machine;
mod opened;
mod portable;
mod receipt;
mod run;
mod serve;
mod shell;
mod store;
mod transfer;
mod trust;

use clap::ArgMatches;

use crate::args::{Command, Create, Key, Registry, Store, Trust};
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

/// Does what was asked for.
///
/// # Errors
/// The command's.
pub(crate) async fn dispatch(
    session: &Session,
    command: Command,
    matches: &ArgMatches,
) -> Result<Report, CliError> {
    match command {
        Command::Init(args) => author::init(session, &args),
        Command::Lint(args) => author::lint(session, &args).await,
        Command::Build(args) => author::build(session, &args).await,
        Command::Key(Key::Generate(args)) => key::generate(session, &args),
        Command::Key(Key::List) => key::list(session),
        Command::Key(Key::Export(args)) => key::export(session, &args),
        Command::Key(Key::Import(args)) => key::import(session, &args),
        Command::Trust(Trust::Add(args)) => trust::add(session, &args),
        Command::Trust(Trust::Remove(args)) => trust::remove(session, &args),
        Command::Trust(Trust::List) => trust::list(session),
        Command::Trust(Trust::Explain(args)) => trust::explain(session, &args).await,
        Command::Sign(args) => trust::sign(session, &args).await,
        Command::Verify(args) => trust::verify(session, &args).await,
        Command::Push(args) => transfer::copy(session, &args.from, &args.to, None).await,
        Command::Pull(args) => transfer::pull(session, &args).await,
        Command::Copy(args) => {
            transfer::copy(session, &args.from, &args.to, transfer::cut(&args.volumes)).await
        }
        Command::Inspect(args) => content::inspect(session, &args.place).await,
        Command::Explain(args) => content::explain(session, &args.place).await,
        Command::Install(args) => install::install(session, &args.place, args.options).await,
        Command::Create(Create::Program(args) | Create::Environment(args)) => {
            install::install(session, &args.file, args.options).await
        }
        Command::Upgrade(args) => install::upgrade(session, &args).await,
        Command::Uninstall(args) => install::uninstall(session, &args.name).await,
        Command::List => history::list(session),
        Command::Show(args) => history::show(session, &args.name),
        Command::Plan(args) => run::plan(session, &args, matches).await,
        Command::Run(args) => run::run(session, &args, matches).await,
        Command::Runs(args) => history::runs(session, &args),
        Command::Logs(args) => history::logs(session, &args),
        Command::Outputs(args) => history::outputs(session, &args),
        Command::Export(args) => portable::export(session, &args).await,
        Command::Import(args) => portable::import(session, &args).await,
        Command::Receipt(args) => receipt::show(session, &args),
        Command::Registry(Registry::Serve(args)) => serve::serve(session, &args).await,
        Command::Registry(Registry::User(args)) => serve::user(session, &args),
        Command::Registry(Registry::Doctor(args)) => examine::doctor(session, &args).await,
        Command::Store(Store::Check(args)) => store::check(session, &args).await,
        Command::Store(Store::Gc(args)) => store::gc(session, &args).await,
        Command::Store(Store::Forget(args)) => store::forget(session, &args.name).await,
        Command::Store(Store::Usage) => store::usage(session).await,
        Command::Doctor => machine::doctor(session).await,
        Command::Completions(args) => Ok(shell::completions(&args, &session.settings.program)),
        Command::Manual(args) => shell::manual(session, &args),
    }
}
