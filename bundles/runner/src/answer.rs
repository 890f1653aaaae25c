//! What each action answers.

use std::fs;

use serde_json::{Value, json};

use crate::call::{Call, CallError};
use crate::describe;

/// The actions that this program answers or refuses by name.
pub(crate) const ACTIONS: [&str; 8] = [
    "install",
    "upgrade",
    "uninstall",
    "run",
    "io.cnab.help",
    "io.cnab.status",
    "io.cnab.status+json",
    "io.cnab.dry-run",
];

/// Answers a call with the text for standard output.
pub(crate) fn answer(call: &Call) -> Result<String, CallError> {
    match call.action.as_str() {
        "install" => Ok(recorded(call, "installed")),
        "upgrade" => Ok(recorded(call, "upgraded")),
        "uninstall" => Ok(removed(call)),
        "io.cnab.help" => Ok(describe::help(call)),
        "io.cnab.status" => status(call, false),
        "io.cnab.status+json" => status(call, true),
        "io.cnab.dry-run" => Ok(describe::dry_run(call)),
        "run" => Err(CallError::NeedsSamebundle {
            action: call.action.clone(),
            bundle: describe::title(&call.bundle),
            installation: call.installation.clone(),
        }),
        other => Err(CallError::Action {
            action: other.to_owned(),
        }),
    }
}

fn recorded(call: &Call, what: &str) -> String {
    let Call {
        installation, bundle, ..
    } = call;
    format!(
        "{what} {title} as {installation}\n\
         recorded: the bundle, its images by digest and the parameters given; this bundle makes nothing else here\n\
         to run its pipeline: samebundle install REFERENCE --name {installation}, then samebundle run {installation}\n\
         more: action io.cnab.help\n",
        title = describe::title(bundle),
    )
}

fn removed(call: &Call) -> String {
    format!(
        "uninstalled {} ({})\nnothing is left to remove: this bundle made nothing here\n",
        call.installation,
        describe::title(&call.bundle)
    )
}

/// Words the status, and writes the output `status` in the form of CNAB 804.
fn status(call: &Call, as_json: bool) -> Result<String, CallError> {
    let message = format!(
        "{} is recorded as {}; its runs are kept by samebundle: samebundle runs {}",
        describe::title(&call.bundle),
        call.installation,
        call.installation
    );
    let status = json!({"status": "Ready", "message": message});
    write_output(call, "status", &status)?;
    Ok(if as_json {
        format!("{status}\n")
    } else {
        format!("Ready: {message}\n")
    })
}

fn write_output(call: &Call, name: &str, value: &Value) -> Result<(), CallError> {
    let path = call.outputs.join(name);
    let refusal = |error: std::io::Error| CallError::Output {
        path: path.clone(),
        why: error.to_string(),
    };
    fs::create_dir_all(&call.outputs).map_err(refusal)?;
    fs::write(&path, value.to_string()).map_err(refusal)
}

#[cfg(test)]
mod tests;
