//! Describes a bundle to a person. It reads `bundle.json` as JSON values, and leaves out a field that is missing.

use std::fmt::Write;

use serde_json::Value;

use crate::call::Call;

/// The custom extension that makes a bundle a samebundle program.
const PROGRAM: &str = "dev.samebundle.program";

/// Name and version.
pub(crate) fn title(bundle: &Value) -> String {
    let text = |key: &str| bundle[key].as_str().unwrap_or("?").to_owned();
    format!("{} {}", text("name"), text("version"))
}

/// The answer to `io.cnab.help`.
pub(crate) fn help(call: &Call) -> String {
    let bundle = &call.bundle;
    let mut text = format!("{}\n", title(bundle));
    if let Some(description) = bundle["description"].as_str().filter(|text| !text.is_empty()) {
        line(&mut text, format_args!("{description}"));
    }
    line(&mut text, format_args!(""));
    line(
        &mut text,
        format_args!("a program packed by samebundle: a pipeline whose tasks run in containers of their own"),
    );
    line(&mut text, format_args!("to run it:"));
    line(
        &mut text,
        format_args!("  samebundle install REFERENCE --name {}", call.installation),
    );
    line(
        &mut text,
        format_args!("  samebundle run {}{}", call.installation, example(bundle)),
    );
    section(&mut text, "parameters", rows(bundle, "parameters", parameter));
    section(&mut text, "outputs", rows(bundle, "outputs", output));
    section(
        &mut text,
        "images",
        rows(bundle, "images", |_, _, image| pinned(image)),
    );
    section(
        &mut text,
        "actions",
        rows(bundle, "actions", |_, _, action| said(&action["description"])),
    );
    text
}

/// The answer to `io.cnab.dry-run`.
pub(crate) fn dry_run(call: &Call) -> String {
    let bundle = &call.bundle;
    let mut text = format!(
        "dry run of {} as {}: nothing is run\n",
        title(bundle),
        call.installation
    );
    section(
        &mut text,
        "parameters that a run would use",
        rows(bundle, "parameters", |bundle, name, parameter| {
            effective(call, bundle, name, parameter)
        }),
    );
    section(
        &mut text,
        "images that a run would start",
        rows(bundle, "images", |_, _, image| pinned(image)),
    );
    let requires = &bundle["custom"][PROGRAM]["requires"];
    if !requires.is_null() {
        line(&mut text, format_args!("\nrequires: {requires}"));
    }
    line(
        &mut text,
        format_args!(
            "\nwhat this machine could give is said by: samebundle plan {}",
            call.installation
        ),
    );
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{words}");
}

fn section(text: &mut String, title: &str, rows: Vec<(String, String)>) {
    if rows.is_empty() {
        return;
    }
    line(text, format_args!("\n{title}:"));
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, words) in rows {
        line(
            text,
            format_args!("  {}", format!("{name:width$}  {words}").trim_end()),
        );
    }
}

fn rows(bundle: &Value, key: &str, words: impl Fn(&Value, &str, &Value) -> String) -> Vec<(String, String)> {
    let entries = bundle[key].as_object().into_iter().flatten();
    entries
        .map(|(name, value)| (name.clone(), words(bundle, name, value)))
        .collect()
}

fn definition<'a>(bundle: &'a Value, item: &Value) -> &'a Value {
    let name = item["definition"].as_str().unwrap_or_default();
    &bundle["definitions"][name]
}

/// Type, default and description of a parameter.
fn parameter(bundle: &Value, _name: &str, parameter: &Value) -> String {
    let schema = definition(bundle, parameter);
    let mut words = vec![type_of(schema)];
    match &schema["default"] {
        Value::Null if parameter["required"] == true => words.push("required".to_owned()),
        Value::Null => {}
        _ if secret(schema) => {}
        default => words.push(format!("default {default}")),
    }
    words.push(description(schema, parameter));
    words.retain(|word| !word.is_empty());
    words.join(", ")
}

fn output(bundle: &Value, _name: &str, output: &Value) -> String {
    let schema = definition(bundle, output);
    let mut words = vec![type_of(schema), description(schema, output)];
    words.retain(|word| !word.is_empty());
    words.join(", ")
}

/// The value that a run would use, and where it comes from. The value of a secret is never shown.
fn effective(call: &Call, bundle: &Value, name: &str, parameter: &Value) -> String {
    let schema = definition(bundle, parameter);
    let given = call.parameters.iter().find(|(given, _)| given == name);
    match (given, &schema["default"]) {
        (Some(_), _) if secret(schema) => "given, secret".to_owned(),
        // A runtime passes the default as well; only the value tells the two apart.
        (Some((_, value)), default) if *value == plain(default) => format!("{default} (default)"),
        (Some((_, value)), _) => value.clone(),
        (None, Value::Null) => "not given".to_owned(),
        (None, _) if secret(schema) => "default, secret".to_owned(),
        (None, default) => format!("{default} (default)"),
    }
}

/// A value as a runtime hands it over: strings as they are, the rest as JSON text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn secret(schema: &Value) -> bool {
    schema["writeOnly"] == true
}

fn type_of(schema: &Value) -> String {
    match &schema["type"] {
        Value::String(text) => text.clone(),
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" or "),
        _ => String::new(),
    }
}

fn description(schema: &Value, item: &Value) -> String {
    let own = said(&item["description"]);
    if own.is_empty() {
        said(&schema["description"])
    } else {
        own
    }
}

fn said(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn pinned(image: &Value) -> String {
    let mut words = vec![said(&image["image"]), said(&image["contentDigest"])];
    words.retain(|word| !word.is_empty());
    words.dedup();
    words.join("  ")
}

/// An example of a parameter flag, if there is a parameter with a default that may be shown.
fn example(bundle: &Value) -> String {
    let parameters = bundle["parameters"].as_object().into_iter().flatten();
    parameters
        .filter_map(|(name, parameter)| {
            let schema = definition(bundle, parameter);
            let default = &schema["default"];
            let simple = default.is_number() || default.is_boolean();
            (simple && !secret(schema)).then(|| format!(" --{name}={default}"))
        })
        .next()
        .unwrap_or_default()
}
