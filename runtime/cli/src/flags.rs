//! A bundle's parameters as typed flags of `run` and `plan`: `--epochs=1000`.
//!
//! The installation is named on the command line, so its bundle is known before the line is read whole; clap then checks
//! flags, names the nearest one for a wrong one, and shows them in `run NAME --help`.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, ArgAction, ArgMatches, Command};
use samebundle_spec::bundle::definition::takes_artifact;
use samebundle_spec::bundle::view::{Parameter, View};
use serde_json::Value;

use crate::error::CliError;

/// Prefix of the ids of flags that are parameters.
const ID: &str = "parameter:";

/// Adds the parameters of a bundle to a command. A parameter whose name is an option of the command can only be set
/// with `-p`; the help names those.
pub(crate) fn add(mut command: Command, view: &View) -> Command {
    let globals = ["home", "output", "offline", "verbose", "help", "version"].map(str::to_owned);
    let options = command
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(str::to_owned));
    let taken: BTreeSet<String> = options.chain(globals).collect();
    let mut others = Vec::new();
    for (name, parameter) in &view.parameters {
        if taken.contains(name) || !is_flag(name) {
            others.push(format!("  -p {name}=VALUE"));
            continue;
        }
        let mut arg = flag(name, parameter, view);
        let dashed = dashed(name);
        if dashed != *name && !taken.contains(&dashed) && !view.parameters.contains_key(&dashed) {
            arg = arg.alias(dashed);
        }
        command = command.arg(arg);
    }
    match others.is_empty() {
        true => command,
        false => {
            let text = format!("Other parameters of the bundle:\n{}", others.join("\n"));
            let examples = command
                .get_after_long_help()
                .map(|help| format!("{text}\n\n{help}"));
            command
                .after_long_help(examples.unwrap_or_else(|| text.clone()))
                .after_help(text)
        }
    }
}

/// A name with dashes, as flags usually are: `learning_rate` and `learningRate` are `learning-rate`.
fn dashed(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase()
            && text.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        {
            text.push('-');
        }
        text.push(if character == '_' {
            '-'
        } else {
            character.to_ascii_lowercase()
        });
    }
    text
}

/// Tells whether a name can be a flag. All others can still be set with `-p`.
fn is_flag(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn flag(name: &str, parameter: &Parameter, view: &View) -> Arg {
    let schema = view
        .definitions
        .get(&parameter.definition)
        .cloned()
        .unwrap_or(Value::Bool(true));
    let text = |key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = match schema.get("type").and_then(Value::as_str) {
        Some("integer") => "INTEGER",
        Some("number") => "NUMBER",
        Some("boolean") => "BOOLEAN",
        Some("string") if takes_artifact(&schema) => "PATH",
        Some("string") => "TEXT",
        _ => "JSON",
    };
    let mut help = parameter
        .description
        .clone()
        .or(text("description"))
        .or(text("title"))
        .unwrap_or_default();
    let default = schema
        .get("default")
        .filter(|_| schema.get("writeOnly").is_none());
    if let Some(default) = default {
        help = format!("{help} [default: {default}]");
    } else if parameter.required {
        help = format!("{help} [required]");
    }
    let arg = Arg::new(format!("{ID}{name}"))
        .long(name.to_owned())
        .value_name(kind)
        .help(help.trim().to_owned())
        .help_heading("Parameters of the bundle")
        .action(ArgAction::Set);
    match kind {
        // `--flag` alone is true, and what follows it may be the next option.
        "BOOLEAN" => arg.num_args(0..=1).default_missing_value("true"),
        _ => arg.allow_hyphen_values(true),
    }
}

/// Returns the parameters that were given as flags, as text.
pub(crate) fn given(matches: &ArgMatches) -> BTreeMap<String, String> {
    let ids = matches.ids().filter_map(|id| id.as_str().strip_prefix(ID));
    ids.filter_map(|name| {
        Some((
            name.to_owned(),
            matches.get_one::<String>(&format!("{ID}{name}"))?.clone(),
        ))
    })
    .collect()
}

/// Splits `NAME=VALUE`.
///
/// # Errors
/// If there is no `=`.
pub(crate) fn assignment(text: &str) -> Result<(String, String), CliError> {
    let split = text
        .split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    split.ok_or_else(|| CliError::Usage(format!("{text:?} is not NAME=VALUE")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let definition = |kind: &str| serde_json::json!({ "type": kind });
        let parameter =
            |name: &str| serde_json::json!({ "definition": name, "destination": { "env": name } });
        let names = ["learning_rate", "fast", "env", "a_b", "a-b"];
        let kinds = ["number", "boolean", "string", "string", "string"];
        let parameters: serde_json::Map<_, _> = names
            .iter()
            .map(|name| ((*name).to_owned(), parameter(name)))
            .collect();
        let definitions: serde_json::Map<_, _> = names
            .iter()
            .zip(kinds)
            .map(|(name, kind)| ((*name).to_owned(), definition(kind)))
            .collect();
        serde_json::from_value(serde_json::json!({
            "schemaVersion": "v1.2.0", "name": "x", "version": "1.0.0", "parameters": parameters, "definitions": definitions,
        }))
        .unwrap()
    }

    fn read(words: &[&str]) -> Result<BTreeMap<String, String>, clap::Error> {
        let command = add(Command::new("run").arg(Arg::new("env").long("env")), &view());
        command
            .try_get_matches_from([&["run"], words].concat())
            .map(|matches| given(&matches))
    }

    #[test]
    fn flags_are_taken_as_people_write_them() {
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        for spelling in ["--learning-rate=-1", "--learning_rate=-1"] {
            assert_eq!(read(&[spelling]).unwrap(), one("learning_rate", "-1"));
        }
        assert_eq!(dashed("maxDepth"), "max-depth");
        assert_eq!(read(&["--fast"]).unwrap(), one("fast", "true"));
        assert_eq!(read(&["--fast", "False"]).unwrap(), one("fast", "False"));
        let both = read(&["--fast", "--learning-rate=2"]).unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(
            read(&["--a-b=1"]).unwrap(),
            one("a-b", "1"),
            "its own name goes first"
        );
    }

    #[test]
    fn the_help_names_what_is_no_flag() {
        let mut command = add(Command::new("run").arg(Arg::new("env").long("env")), &view());
        let help = command.render_help().to_string();
        assert!(help.contains("-p env=VALUE"), "{help}");
    }
}
