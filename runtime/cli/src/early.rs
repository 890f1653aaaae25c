//! Reads the parts of a command line that are needed before the whole line can be parsed: the home, the form of output,
//! and the installation whose parameters become flags.
//!
//! It parses with the command line's own description and leaves out the words that this does not know, so the two
//! cannot differ.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::OsStringValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind as ClapErrorKind};
use clap::{ArgMatches, Command, CommandFactory, Error};

use crate::args::{Cli, NAMED, Output, WORDS};

/// The commands that take the parameters of an installation's bundle as flags.
const WITH_PARAMETERS: [&str; 2] = ["run", PLAN];

/// The one of them that changes nothing.
pub(crate) const PLAN: &str = "plan";

/// What is known of a command line before all of it is parsed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Early {
    /// The value of `--home`.
    pub(crate) home: Option<PathBuf>,
    /// The form of output.
    pub(crate) output: Output,
    /// The command whose flags are an installation's parameters, and the words that may name that installation.
    pub(crate) named: Option<(&'static str, Vec<String>)>,
    /// Whether help is asked for.
    pub(crate) help: bool,
    /// Which pipeline of a Python file is to run.
    pub(crate) pipeline: Option<String>,
    /// Whether a bundle that nobody trusted has signed is accepted.
    pub(crate) allow_unsigned: bool,
    /// The other global options.
    pub(crate) offline: bool,
    /// How much is printed.
    pub(crate) verbose: u8,
    /// Which word is `help` in the place of a command.
    pub(crate) help_at: Option<usize>,
}

/// Reads what can be read of a command line (with the program's name first).
pub(crate) fn read(words: &[OsString]) -> Early {
    let help = words.iter().any(|word| word == "--help" || word == "-h");
    let (matches, help_at) = matches(words);
    let Some(matches) = matches else {
        return Early {
            help,
            help_at,
            ..Early::default()
        };
    };
    Early {
        home: matches.get_one::<PathBuf>("home").cloned(),
        output: matches.get_one::<Output>("output").copied().unwrap_or_default(),
        named: named(&matches),
        help,
        pipeline: of_run(&matches).and_then(|run| run.get_one::<String>("pipeline").cloned()),
        allow_unsigned: of_run(&matches).is_some_and(|run| run.get_flag("allow_unsigned")),
        offline: matches.get_flag("offline"),
        verbose: matches.get_count("verbose"),
        help_at,
    }
}

/// Parses a line without its unknown options: these are parameters, or errors that are reported later. Returns also the
/// position of the word `help`, if it stands where a command is expected.
fn matches(words: &[OsString]) -> (Option<ArgMatches>, Option<usize>) {
    let mut command = lenient();
    let mut positions: Vec<usize> = (0..words.len()).collect();
    let mut words = words.to_vec();
    let mut help_at = None;
    loop {
        let error = match command.try_get_matches_from_mut(&words) {
            Ok(matches) => return (Some(matches), help_at),
            Err(error) => error,
        };
        let Some(at) = unknown(&error, &words) else {
            // What is wrong is told when the line is read whole; the rest of it is good until then.
            let matches = lenient().ignore_errors(true).try_get_matches_from(&words);
            return (matches.ok(), help_at);
        };
        if words.remove(at) == "help" && error.kind() == ClapErrorKind::InvalidSubcommand {
            help_at = help_at.or(Some(positions[at]));
        }
        positions.remove(at);
    }
}

/// The command line's description without what ends the reading early.
fn lenient() -> Command {
    let mut command = any_values(Cli::command())
        .disable_help_flag(true)
        .disable_version_flag(true)
        // Where the command itself is not known, the options before and behind it still are.
        .subcommand_required(false)
        .arg_required_else_help(false);
    for name in WITH_PARAMETERS {
        // Values of parameters stand among the words.
        command = command.mut_subcommand(name, |command| command.mut_arg(WORDS, |arg| arg.num_args(0..)));
    }
    command
}

/// Lets every option and argument of the subcommands take any text, because a value that is wrong must not end the reading
/// before the options behind it. A word `help` is passed over like any other that is no command.
fn any_values(command: Command) -> Command {
    let subcommands: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    let command = command.disable_help_subcommand(true);
    subcommands.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |sub| {
            let sub = sub.mut_args(|arg| {
                let is_text = arg.get_value_parser().type_id() == TypeId::of::<String>();
                let typed = arg.get_action().takes_values() && !is_text;
                match typed {
                    true => arg.value_parser(OsStringValueParser::new()),
                    false => arg,
                }
            });
            any_values(sub)
        })
    })
}

/// Finds the position of the word that is no option of the command, or no command.
fn unknown(error: &Error, words: &[OsString]) -> Option<usize> {
    let context = match error.kind() {
        ClapErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ClapErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => return None,
    };
    let ContextValue::String(name) = error.get(context)? else {
        return None;
    };
    let is = |word: &OsString| {
        let text = word.to_string_lossy();
        text == *name || text.split_once('=').is_some_and(|(option, _)| option == name)
    };
    words.iter().position(is).filter(|at| *at > 0)
}

/// The arguments of a command that runs something.
fn of_run(matches: &ArgMatches) -> Option<&ArgMatches> {
    let (verb, matches) = matches.subcommand()?;
    WITH_PARAMETERS.contains(&verb).then_some(matches)
}

fn named(matches: &ArgMatches) -> Option<(&'static str, Vec<String>)> {
    let (verb, matches) = matches.subcommand()?;
    let verb = WITH_PARAMETERS.into_iter().find(|name| *name == verb)?;
    let given = matches.get_one::<String>(NAMED).into_iter();
    let words = matches.get_many::<String>(WORDS).into_iter().flatten();
    let words = given.chain(words).filter(|word| !word.starts_with('-'));
    Some((verb, words.cloned().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early(line: &str) -> Early {
        read(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn finds_home_output_and_installation() {
        for line in [
            "same --home x run digits --epochs=3 --output json",
            "same run program digits --home=x --output=json --epochs 3",
            "same run --epochs=3 --home x -n digits --output json",
            "same --output json plan --env docker -p a=b digits --home x",
        ] {
            let early = early(line);
            assert_eq!(early.home, Some("x".into()), "{line}");
            assert_eq!(early.output, Output::Json, "{line}");
            let (_, words) = early.named.unwrap();
            assert!(words.contains(&"digits".to_owned()), "{line}: {words:?}");
        }
    }

    #[test]
    fn other_commands_name_nothing() {
        assert_eq!(early("same list"), Early::default());
        assert_eq!(early("same export digits:1.1 --file x").named, None);
        assert_eq!(early("same --nonsense"), Early::default());
        assert_eq!(early("same").named, None);
        assert_eq!(early("same nonsense --output json").output, Output::Json);
        assert_eq!(
            early("same registry user --nonsense --output json").output,
            Output::Json
        );
        for line in [
            "same copy greet x.zip",
            "same store gc --grace bogus",
            "same completions bogus",
            "same help run",
            "same --home x help run",
            "same registry help serve",
            "same run digits --help",
            "same --version",
        ] {
            assert_eq!(
                early(&format!("{line} --output json")).output,
                Output::Json,
                "{line}"
            );
        }
        let help = early("same run digits --help");
        assert!(help.help);
        assert_eq!(help.named.unwrap().1, ["digits"]);
    }
}
