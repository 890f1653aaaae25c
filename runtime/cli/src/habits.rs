//! Commands that people know from other tools, and what they are called here.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A word in the place of a command, and what says the same here. A word that would be a guess is not in the list: `rm` could
/// remove an installation as well as a run.
const HABITS: &[(&str, &str)] = &[
    ("abort", "`cancel RUN`"),
    ("apply", "`install BUNDLE` or `upgrade NAME BUNDLE`"),
    ("compare", "`diff RUN RUN`"),
    (
        "delete",
        "`uninstall NAME` forgets an installation, and `runs remove RUN` removes a run",
    ),
    (
        "env",
        "`doctor` says where programs can run here; `run NAME --env ENVIRONMENT` chooses",
    ),
    (
        "environment",
        "`doctor` says where programs can run here; `run NAME --env ENVIRONMENT` chooses",
    ),
    ("exec", "`run NAME`"),
    (
        "images",
        "`list` shows installations, and `store usage` what the local store has",
    ),
    ("info", "`explain BUNDLE`, or `doctor` for this machine"),
    (
        "follow",
        "`attach RUN` follows a run, and `logs RUN --follow` what its tasks print",
    ),
    ("kill", "`cancel RUN`"),
    ("load", "`import FILE`"),
    ("man", "`manual --dir DIR` writes the manual pages"),
    ("ps", "`runs` lists runs"),
    (
        "remove",
        "`uninstall NAME` forgets an installation, and `runs remove RUN` removes a run",
    ),
    (
        "rm",
        "`uninstall NAME` forgets an installation, and `runs remove RUN` removes a run",
    ),
    ("rmi", "`store forget NAME`, then `store gc`"),
    ("save", "`export NAME`"),
    (
        "search",
        "`registry ls HOST` lists repositories, and `registry tags REPOSITORY` the tags of one",
    ),
    ("start", "`run NAME`"),
    ("stop", "`cancel RUN`"),
    ("submit", "`run NAME --detach`"),
    ("tag", "`copy SRC DST`, whose DST has the new tag"),
    ("tags", "`registry tags REPOSITORY`"),
    ("template", "`plan NAME`"),
    ("terminate", "`cancel RUN`"),
    ("test", "`lint DIR` or `plan NAME`"),
    ("update", "`upgrade NAME`"),
    ("validate", "`lint DIR`, or `verify BUNDLE`"),
    ("wait", "`attach RUN` ends when the run does, with its exit code"),
    (
        "watch",
        "`attach RUN` follows a run, and `logs RUN --follow` what its tasks print",
    ),
];

/// What to type instead of what clap does not know, if people know it from elsewhere. `parameters` are those of the bundle that
/// is named.
pub(crate) fn answer(error: &clap::Error, parameters: &[String]) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = text(ContextKind::InvalidSubcommand)?;
            let (_, here) = HABITS.iter().find(|(habit, _)| *habit == word)?;
            Some(format!("there is no command {word:?} here: {here}"))
        }
        ErrorKind::InvalidValue => {
            let option = text(ContextKind::InvalidArg)?;
            let value = text(ContextKind::InvalidValue)?;
            let is_file = option.starts_with("--output") && value.contains(['.', '/']);
            is_file.then(|| {
                format!("{value:?} is no format: -o is the format of what is printed, and a file is named with --file {value}")
            })
        }
        ErrorKind::UnknownArgument => {
            let usage = match error.get(ContextKind::Usage) {
                Some(ContextValue::StyledStr(usage)) => usage.to_string(),
                _ => String::new(),
            };
            let is_near = error.get(ContextKind::SuggestedArg).is_some();
            argument(
                command(&usage),
                text(ContextKind::InvalidArg)?,
                is_near,
                parameters,
            )
        }
        _ => None,
    }
}

/// The words of a command, as its usage line has them after the program.
fn command(usage: &str) -> Vec<&str> {
    let line = usage.trim_start_matches("Usage:").trim().lines().next();
    let words = line.unwrap_or_default().split(' ').skip(1);
    words
        .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect()
}

/// What to type instead of a word or option that a command does not take.
fn argument(command: Vec<&str>, word: &str, is_near: bool, parameters: &[String]) -> Option<String> {
    let is_option = word.starts_with('-');
    match command.as_slice() {
        ["create", noun] if !is_option => Some(format!(
            "`create {noun}` takes the bundle with -f: `create {noun} -f {word}`, or `install {word}`"
        )),
        ["install"] if ["-f", "--file"].contains(&word) => {
            Some("`install` takes the bundle without an option: `install BUNDLE`".to_owned())
        }
        ["list"] if !is_option => Some(format!(
            "`list` lists all installations and takes no {word:?}; `show NAME` shows one"
        )),
        ["run" | "plan", ..] if is_option && !is_near => Some(format!(
            "there is no option {word}, and no parameter of that name{}: -p NAME=VALUE sets a parameter",
            match parameters {
                [] => String::new(),
                names => format!("; the bundle has {}", names.join(", ")),
            }
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn habits_are_answered_with_commands_that_there_are() {
        let error = |line: &str| Cli::command().try_get_matches_from(line.split(' ')).unwrap_err();
        let ps = answer(&error("same ps"), &[]).unwrap();
        assert_eq!(ps, "there is no command \"ps\" here: `runs` lists runs");
        assert!(answer(&error("same nonsense"), &[]).is_none());
        assert!(answer(&error("same run"), &[]).is_none());
        for (line, right) in [
            ("same export churn -o x.tgz", "--file x.tgz"),
            ("same create program churn", "`create program -f churn`"),
            ("same install -f churn", "`install BUNDLE`"),
            ("same list programs", "`show NAME`"),
            ("same run churn --set a=b", "-p NAME=VALUE"),
            ("same run churn --wholly-unknown 5", "the bundle has epochs"),
        ] {
            let said = answer(&error(line), &["epochs".to_owned()]).unwrap_or_default();
            assert!(said.contains(right), "{line}: {said}");
        }
        let command = Cli::command();
        for (habit, here) in HABITS {
            assert!(command.find_subcommand(habit).is_none(), "{habit} is a command");
            for line in here.split('`').skip(1).step_by(2) {
                let word = line.split(' ').next().unwrap();
                assert!(command.find_subcommand(word).is_some(), "{habit}: {line}");
            }
        }
    }
}
