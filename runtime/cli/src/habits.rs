//! Commands that people know from other tools, and what they are called here.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A word in the place of a command, and what says the same here. A word that would be a guess is not in the list: `rm` could
/// remove an installation as well as a run.
const HABITS: &[(&str, &str)] = &[
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
    ("tag", "`copy SRC DST`, whose DST has the new tag"),
    ("tags", "`registry tags REPOSITORY`"),
    ("template", "`plan NAME`"),
    ("test", "`lint DIR` or `plan NAME`"),
    ("update", "`upgrade NAME`"),
    ("validate", "`lint DIR`, or `verify BUNDLE`"),
];

/// What to type instead of a command that there is not, if people know it from elsewhere.
pub(crate) fn answer(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let (_, here) = HABITS.iter().find(|(habit, _)| habit == word)?;
    Some(format!("there is no command {word:?} here: {here}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn habits_are_answered_with_commands_that_there_are() {
        let error = |line: &str| Cli::command().try_get_matches_from(line.split(' ')).unwrap_err();
        let ps = answer(&error("same ps")).unwrap();
        assert_eq!(ps, "there is no command \"ps\" here: `runs` lists runs");
        assert!(answer(&error("same nonsense")).is_none());
        assert!(answer(&error("same run")).is_none());
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
