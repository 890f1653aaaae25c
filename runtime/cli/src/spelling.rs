//! Names of a command line that are read otherwise than they are written.

use std::any::TypeId;

use clap::{ArgMatches, Command, CommandFactory};
use samebundle_runtime::verbs::{LocalName, Location};
use samebundle_spec::BundleName;

use crate::args::{Cli, NAMED, WORDS};

/// Says that a name is read with lower-case letters, if it is a name and has others.
pub(crate) fn note(text: &str) -> Option<String> {
    if may_be_run(text) {
        return None;
    }
    let written = text.split_once(':').map_or(text, |(name, _)| name);
    let name = text.parse::<LocalName>().ok()?.name;
    (name.as_str() != written)
        .then(|| format!("{written} is read as {name}: names have no upper-case letters"))
}

/// Tells whether a text may be the id of a run, or an end of one, which has no lower-case letters.
fn may_be_run(text: &str) -> bool {
    let of_id = |c: char| c.is_ascii_digit() || (c.is_ascii_uppercase() && !"ILOU".contains(c));
    text.len() >= 6 && text.chars().all(of_id)
}

/// Says so of all names in a line: those of installations, and those of bundles in the local store.
pub(crate) fn notes(matches: &ArgMatches) -> Vec<String> {
    let command = Cli::command();
    let (command, matches) = innermost(&command, matches);
    let mut notes = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let of = arg.get_value_parser().type_id();
        let is_name = [WORDS, NAMED].contains(&id)
            || of == TypeId::of::<Location>()
            || of == TypeId::of::<LocalName>()
            || of == TypeId::of::<BundleName>();
        let values = matches.try_get_raw(id).ok().flatten().filter(|_| is_name);
        notes.extend(
            values
                .into_iter()
                .flatten()
                .filter_map(|value| note(value.to_str()?)),
        );
    }
    notes.dedup();
    notes
}

/// Finds the command that is called, below which no other is.
fn innermost<'a>(command: &'a Command, matches: &'a ArgMatches) -> (&'a Command, &'a ArgMatches) {
    match matches.subcommand() {
        Some((name, below)) => match command.find_subcommand(name) {
            Some(command) => innermost(command, below),
            None => (command, matches),
        },
        None => (command, matches),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes_of(line: &str) -> Vec<String> {
        notes(&Cli::command().try_get_matches_from(line.split(' ')).unwrap())
    }

    #[test]
    fn names_with_upper_case_letters_are_noted() {
        for line in [
            "same export program -n Digits:1.1",
            "same run program Digits:1.0",
            "same inspect Digits",
            "same show Digits",
            "same install x.tgz --name Digits",
            "same build . -t Digits:1.0",
            "same upgrade Digits x.tgz",
        ] {
            let notes = notes_of(line);
            assert_eq!(
                notes,
                ["Digits is read as digits: names have no upper-case letters"],
                "{line}"
            );
        }
        for line in [
            "same run digits -p Name=Value",
            "same copy r.example/a/b:V1 ./X.tgz",
            "same create program -f https://h.example/Org/Repo/arXiv.1:1.0",
            "same logs 01M8FCR3",
            "same show 01M8H2ESAAAAAAAAAAAABCDEFG --html f",
            "same show HJKMNP",
        ] {
            assert_eq!(notes_of(line), [""; 0], "{line}");
        }
    }
}
