//! Snapshots of the help of every command, and of the errors of wrong command lines.
//!
//! `INSTA_UPDATE=always cargo test -p samebundle-cli` writes them again.

use clap::{Command, CommandFactory};

use crate::args::Cli;
use crate::help;

/// Returns the help of a command and of its subcommands, each under its name.
fn helps(command: &mut Command, path: &str, into: &mut Vec<(String, String)>) {
    let path = format!("{path} {}", command.get_name()).trim_start().to_owned();
    into.push((path.replace(' ', "-"), command.render_long_help().to_string()));
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names.iter().filter(|name| *name != "help") {
        if let Some(sub) = command.find_subcommand_mut(name) {
            helps(sub, &path, into);
        }
    }
}

#[test]
fn help_of_every_command() {
    let mut all = Vec::new();
    let mut command = help::command().term_width(100);
    command.build();
    helps(&mut command, "", &mut all);
    assert!(all.len() > 40, "{}", all.len());
    for (name, help) in all {
        insta::assert_snapshot!(name, help);
    }
}

#[test]
fn answers_to_lines_that_are_wrong() {
    let lines = [
        "same",
        "same nonsense",
        "same run",
        "same run program",
        "same run digits more words",
        "same install",
        "same create program digits",
        "same copy greet out.tar.zst",
        "same copy greet -",
        "same copy greet ./out",
        "same copy greet layout:",
        "same push greet 127.0.0.1:5000",
        "same push greet team/greet",
        "same inspect Digits",
        "same inspect http://r.example/team/greet:1.0",
        "same install https://user:secret@h.example/org/repo:1.0",
        "same pull r.example/team/greet:1.0+build",
        "same store gc --grace 5",
        "same export greet --parity 2",
        "same registry serve",
        "same verify greet --show",
    ];
    let answers: Vec<String> = lines
        .iter()
        .map(|line| {
            let words = line.split(' ');
            let answer = match Cli::command()
                .name("same")
                .bin_name("same")
                .try_get_matches_from(words)
            {
                Ok(_) => "taken".to_owned(),
                Err(error) => error.to_string(),
            };
            let first = answer.split("\n\nUsage:").next().unwrap_or_default();
            format!("$ {line}\n{}\n", first.trim_end())
        })
        .collect();
    insta::assert_snapshot!("wrong-lines", answers.join("\n"));
}
