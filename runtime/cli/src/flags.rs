//! A bundle's parameters as typed flags of `run` and `plan`: `--epochs=1000`.
//!
//! The installation is named on the command line, so its bundle is known before the line is read whole; clap then checks
//! flags, names the nearest one for a wrong one, and shows them in `run NAME --help`.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};
use samebundle_spec::bundle::view::{Parameter, View};
use serde_json::Value;

use crate::error::CliError;

/// Prefix of the ids of flags that are parameters.
const ID: &str = "parameter:";

/// Adds the parameters of a bundle to a command. A parameter whose name is an option of the command can only be set
/// with `-p`.
pub(crate) fn add(mut command: Command, view: &View) -> Command {
    let taken: Vec<String> = command
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect();
    let globals = ["home", "output", "offline", "verbose", "help", "version"];
    for (name, parameter) in &view.parameters {
        let free = !taken.contains(name) && !globals.contains(&name.as_str());
        if free && is_flag(name) {
            command = command.arg(flag(name, parameter, view));
        }
    }
    command
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
    Arg::new(format!("{ID}{name}"))
        .long(name.to_owned())
        .value_name(kind)
        .help(help.trim().to_owned())
        .help_heading("Parameters of the bundle")
        .action(ArgAction::Set)
        .allow_hyphen_values(true)
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
