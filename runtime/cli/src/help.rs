//! The help: commands grouped by who needs them, and examples.

use clap::{Command, CommandFactory};

use crate::args::Cli;

/// Who needs which commands. A test finds each command in exactly one group.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Author",
        &["init", "lint", "build", "key", "sign", "publish", "push", "copy"],
    ),
    (
        "Whoever runs a program again",
        &[
            "explain", "verify", "trust", "install", "create", "import", "plan", "run", "resume", "approve",
            "reject", "attach", "cancel", "debug", "runs", "logs", "outputs", "diff", "export",
        ],
    ),
    (
        "Installations",
        &[
            "list",
            "show",
            "status",
            "upgrade",
            "rollback",
            "history",
            "uninstall",
        ],
    ),
    (
        "Platform engineer",
        &[
            "doctor", "login", "logout", "registry", "pull", "inspect", "receipt", "file", "store", "volume",
        ],
    ),
    ("Shell", &["completions", "manual", "version"]),
];

/// How many characters have room beside a command's name.
const ROOM: usize = 63;

/// The template of the first page: the groups stand in `after-help`, before the options.
const TEMPLATE: &str =
    "{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}Options:\n{options}{after-help}";

/// The words of a command, and lines with what each of them does.
type Examples = (&'static [&'static str], &'static [(&'static str, &'static str)]);

/// Examples of commands, each a line that can be typed, and what it does. A test parses each.
const EXAMPLES: &[Examples] = &[
    (
        &["approve"],
        &[
            (
                "same approve last --set decision=YES",
                "answer the task that waits, and go on",
            ),
            (
                "same approve digits gate --key alice --reason checked",
                "one of several approvals",
            ),
        ],
    ),
    (
        &["reject"],
        &[(
            "same reject last gate --reason late",
            "the task fails, and what depends on it is skipped",
        )],
    ),
    (
        &[],
        &[
            ("same run .", "run the pipeline of this folder"),
            (
                "same publish registry.example/team/digits .",
                "build, sign and push it",
            ),
            (
                "same install registry.example/team/digits:1.0.0",
                "install what others published",
            ),
            ("same run digits -p epochs=30", "run it with another parameter"),
            (
                "same export digits",
                "one file with the program and its past results",
            ),
        ],
    ),
    (
        &["attach"],
        &[("same attach last", "what the newest run does, until it ends")],
    ),
    (
        &["build"],
        &[("same build .", "build the folder's bundle into the local store")],
    ),
    (
        &["cancel"],
        &[(
            "same cancel last",
            "stop the tasks of the newest run, and record that",
        )],
    ),
    (
        &["copy"],
        &[
            (
                "same copy registry.example/team/digits:1.0.0 digits.tgz",
                "to one file, with its signatures",
            ),
            (
                "same copy digits.tgz mirror.example/team/digits",
                "from the file to another registry",
            ),
        ],
    ),
    (
        &["diff"],
        &[(
            "same diff 01M8FCR3 last",
            "what differs between two runs, and whether their outputs are equal",
        )],
    ),
    (
        &["export"],
        &[
            ("same export digits", "digits-VERSION.tgz in this folder"),
            (
                "same export digits:1.1 --file out.tgz --runs last:1",
                "as version 1.1.0, with the newest run",
            ),
        ],
    ),
    (
        &["history"],
        &[("same history digits", "what was installed as digits, and when")],
    ),
    (
        &["import"],
        &[(
            "same import digits-1.0.0.tgz",
            "install what is in the file, with its past runs",
        )],
    ),
    (
        &["install"],
        &[
            (
                "same install registry.example/team/digits:1.0.0",
                "from a registry",
            ),
            (
                "same install digits-1.0.0.tgz --name mine",
                "from a file, under another name",
            ),
        ],
    ),
    (
        &["login"],
        &[
            ("same login registry.example", "ask for name and password"),
            (
                "same login registry.example -u ann --password-stdin",
                "in a script: the password comes by a pipe",
            ),
        ],
    ),
    (
        &["logs"],
        &[(
            "same logs last --task train --tail 20",
            "the end of what a task of the newest run printed",
        )],
    ),
    (
        &["outputs"],
        &[(
            "same outputs last --to results",
            "write what the newest run gave to a folder",
        )],
    ),
    (
        &["publish"],
        &[(
            "same publish registry.example/team/digits .",
            "build, sign and push this folder",
        )],
    ),
    (
        &["registry", "tags"],
        &[(
            "same registry tags registry.example/team/digits",
            "one reference a line",
        )],
    ),
    (
        &["debug"],
        &[
            (
                "same debug last train",
                "a shell in the environment of the task train",
            ),
            (
                "same debug last train --keep DIR -- python3",
                "a program there; what it writes stays in DIR",
            ),
        ],
    ),
    (
        &["resume"],
        &[("same resume last", "go on with the run that was interrupted")],
    ),
    (
        &["rollback"],
        &[
            (
                "same rollback digits",
                "back to the bundle before the last upgrade; once more undoes it",
            ),
            ("same rollback digits 1.0.0", "back to that version"),
        ],
    ),
    (
        &["run"],
        &[
            (
                "same run digits -p epochs=30",
                "an installation; its parameters are flags as well, --epochs=30",
            ),
            ("same run .", "the pipeline of this folder, built first"),
            ("same run digits --env docker", "in a Docker engine"),
        ],
    ),
    (
        &["runs"],
        &[(
            "same runs digits --sort metrics.accuracy --last 10",
            "the newest ten, by a metric",
        )],
    ),
    (
        &["sign"],
        &[(
            "same sign digits:1.0.0",
            "sign what was built, with the key default",
        )],
    ),
    (
        &["status"],
        &[(
            "same status --check",
            "installations, their last runs, and what `upgrade` would bring",
        )],
    ),
    (
        &["trust", "add"],
        &[
            (
                "same trust add ann ann.pub --scope registry.example/ann",
                "a key that ann sent",
            ),
            (
                "same trust add ann --from registry.example/ann/digits:1.0.0",
                "the key that travels with the bundle",
            ),
        ],
    ),
    (
        &["upgrade"],
        &[
            ("same upgrade digits", "take what is now where it came from"),
            (
                "same upgrade digits registry.example/team/digits:1.1.0",
                "take that bundle",
            ),
        ],
    ),
];

/// The command line's description, with groups and examples.
pub(crate) fn command() -> Command {
    let command = Cli::command();
    let groups = groups(&command);
    let command = EXAMPLES.iter().fold(command, |command, (path, examples)| {
        with_examples(command, path, examples)
    });
    command.help_template(TEMPLATE).before_help(groups)
}

fn groups(command: &Command) -> String {
    let width = command
        .get_subcommands()
        .map(|sub| sub.get_name().len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (title, names) in GROUPS {
        text.push_str(&format!("{title}:\n"));
        for name in *names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let brief = brief(&about);
            text.push_str(&format!("  {name:<width$}  {brief}\n"));
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// The beginning of a sentence that has room beside a command's name on 80 columns.
fn brief(about: &str) -> &str {
    let about = about.split_once(": ").map_or(about, |(before, _)| before);
    let mut brief = about;
    while brief.len() > ROOM
        && let Some((before, _)) = brief.rsplit_once(", ")
    {
        brief = before;
    }
    brief
}

fn with_examples(command: Command, path: &[&str], examples: &[(&str, &str)]) -> Command {
    match path {
        [] => {
            let width = examples.iter().map(|(line, _)| line.len()).max().unwrap_or(0);
            let lines = examples
                .iter()
                .map(|(line, what)| format!("  {line:<width$}  {what}"));
            let text = format!("Examples:\n{}", lines.collect::<Vec<_>>().join("\n"));
            command.after_long_help(text)
        }
        [name, below @ ..] => command.mut_subcommand(name, |sub| with_examples(sub, below, examples)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_command_stands_in_one_group() {
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for name in GROUPS.iter().flat_map(|(_, names)| *names) {
            *found.entry(name).or_default() += 1;
        }
        let command = Cli::command();
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            assert_eq!(found.remove(sub.get_name()), Some(1), "{}", sub.get_name());
        }
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn examples_can_be_typed() {
        for (path, examples) in EXAMPLES {
            for (line, _) in *examples {
                let words: Vec<&str> = line.split(' ').collect();
                assert!(words[1..].starts_with(path), "{line} is no example of {path:?}");
                if let Err(error) = Cli::command().try_get_matches_from(words) {
                    panic!("{line}: {error}");
                }
            }
        }
    }
}
