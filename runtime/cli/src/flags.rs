//! A bundle's parameters as typed flags of `run` and `plan`: `--epochs=1000`.
//!
//! The installation is named on the command line, so its bundle is known before the line is read whole; clap then checks
//! flags, names the nearest one for a wrong one, and shows them in `run NAME --help`.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};
use samebundle_spec::bundle::definition::Definition;
use samebundle_spec::bundle::view::{Parameter, View};
use samebundle_spec::reference::ReferenceError;
use samebundle_spec::{Reference, Repository};
use serde_json::Value;

/// Prefix of the ids of flags that are parameters.
const ID: &str = "parameter:";

/// Adds the parameters of a bundle to a command. A parameter whose name is an option of the command stays with `-p`.
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

/// Reads a size in bytes as people write it: `4GB`, `700Mi`, `1.5GiB`, `65536`.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let amount: samebundle_spec::bundle::quantity::Quantity = text
        .strip_suffix('B')
        .unwrap_or(text)
        .parse()
        .map_err(|_| format!("{text:?} is no size such as 4GB, 700MiB or 65536"))?;
    u64::try_from(amount.thousandths() / 1_000).map_err(|_| "it is too large".to_owned())
}

/// Reads a time: a number and its unit.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn time(text: &str) -> Result<std::time::Duration, String> {
    let seconds = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err("give a number and a unit: s, m, h or d".to_owned()),
    };
    let count = text[..text.len() - 1].parse::<u64>();
    let count = count.map_err(|error| error.to_string())?;
    let seconds = count.checked_mul(seconds).ok_or("it is too long")?;
    Ok(std::time::Duration::from_secs(seconds))
}

/// Reads a repository; a tag or digest after it is passed over.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn repository(text: &str) -> Result<Repository, ReferenceError> {
    Ok(text.parse::<Reference>()?.repository)
}

/// Flags are words; anything else is still reachable with `-p`.
fn is_flag(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
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

/// Why a parameter on the command line is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlagError {
    /// Not `NAME=VALUE`.
    #[error("{text:?} is not NAME=VALUE")]
    Form {
        /// The text.
        text: String,
    },
    /// No such parameter.
    #[error("the bundle has no parameter {name:?}{}", .nearest.as_ref().map_or_else(String::new, |near| format!("; did you mean {near:?}?")))]
    Unknown {
        /// The name.
        name: String,
        /// The nearest one that there is.
        nearest: Option<String>,
    },
    /// The value is not of the parameter's type.
    #[error("the value of parameter {name} does not fit")]
    Value {
        /// The parameter.
        name: String,
        /// Why.
        #[source]
        source: samebundle_spec::bundle::definition::DefinitionError,
    },
}

/// Splits `NAME=VALUE`.
///
/// # Errors
/// If there is no `=`.
pub(crate) fn assignment(text: &str) -> Result<(String, String), FlagError> {
    let split = text
        .split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    split.ok_or_else(|| FlagError::Form {
        text: text.to_owned(),
    })
}

/// Reads texts as values of the types that the bundle declares.
///
/// # Errors
/// If a parameter is unknown or its value is of another type.
pub(crate) fn typed(
    texts: BTreeMap<String, String>,
    view: &View,
) -> Result<BTreeMap<String, Value>, FlagError> {
    let one = |(name, text): (String, String)| {
        let parameter = view.parameters.get(&name).ok_or_else(|| FlagError::Unknown {
            nearest: samebundle_spec::bundle::parameter::nearest(&name, view.parameters.keys()),
            name: name.clone(),
        })?;
        let any = Value::Bool(true);
        let schema = view.definitions.get(&parameter.definition).unwrap_or(&any);
        let value =
            Definition::new(schema, &view.definitions).and_then(|definition| definition.from_text(&text));
        Ok((
            name.clone(),
            value.map_err(|source| FlagError::Value { name, source })?,
        ))
    };
    texts.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("4GB", 4_000_000_000),
            ("700MiB", 700 << 20),
            ("1.5G", 1_500_000_000),
            ("65536", 65_536),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "B", "GB", "-1", "4 GB", "lots"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
