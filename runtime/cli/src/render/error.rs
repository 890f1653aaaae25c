//! Errors: `error: MESSAGE`, the causes below it, a hint, and the exit code.

use std::io::{self, Write};

use samebundle_runtime::verbs::VerbError;
use samebundle_spec::{Classify, ErrorKind};
use serde_json::{Value, json};

use super::{document, safe_lines};
use crate::args::Output;
use crate::error::CliError;

/// Prints an error: with the report that belongs to it, on standard error and standard output for a person, as one object on
/// standard output for a program.
pub(crate) fn print(error: &CliError, output: Output) {
    let chain = causes(error);
    let hint = match (no_room(error.kind(), &chain), error) {
        (true, _) => Some(NO_ROOM),
        // Logging in is what has just failed.
        (_, CliError::Verb(VerbError::LoginRefused { .. })) => None,
        (false, _) => general_hint(error.kind()),
    };
    let result = match output {
        Output::Table | Output::Wide => print_text(error, &chain, hint),
        Output::Json | Output::Yaml => print_document(error, &chain, hint, output),
    };
    // If the streams are closed, the error cannot be printed.
    drop(result);
}

/// Returns every message of the chain, outermost first. A cause is left out if the message above it ends with its text.
fn causes(error: &dyn Classify) -> Vec<String> {
    let mut chain = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !chain.iter().any(|above| above.ends_with(&text)) {
            chain.push(text);
        }
        next = cause.source();
    }
    chain
}

fn print_text(error: &CliError, chain: &[String], hint: Option<&str>) -> io::Result<()> {
    if let Some(report) = error.report() {
        // The error below reports the failure, which a closed standard output must not hide.
        drop(report.print(Output::Table));
    }
    let mut stderr = io::stderr().lock();
    for (depth, text) in chain.iter().enumerate() {
        let label = if depth == 0 { "error" } else { "  cause" };
        writeln!(stderr, "{label}: {}", safe_lines(text))?;
    }
    if let Some(hint) = hint {
        writeln!(stderr, "hint: {hint}")?;
    }
    Ok(())
}

fn print_document(error: &CliError, chain: &[String], hint: Option<&str>, output: Output) -> io::Result<()> {
    let text = document(&as_json(error, chain, hint), output);
    write!(io::stdout().lock(), "{text}")
}

/// The report with the error in it, so that standard output holds one document.
fn as_json(error: &CliError, chain: &[String], hint: Option<&str>) -> Value {
    let kind = error.kind();
    let mut document = match error.report().map(|report| report.json.clone()) {
        Some(Value::Object(report)) => report,
        _ => serde_json::Map::new(),
    };
    let error = json!({
        "kind": kind.word(), "code": kind.exit_code(), "message": chain[0], "causes": chain[1..], "hint": hint,
    });
    document.insert("error".to_owned(), error);
    Value::Object(document)
}

/// What frees space, where there is none.
const NO_ROOM: &str = "the disk of that place is full: free space there; in the home, `runs remove` and `store gc` do that, and `store usage` \
     shows what takes it";

/// Tells whether an error is that a disk has no room. Some causes are only known as the text of the system's error.
fn no_room(kind: ErrorKind, chain: &[String]) -> bool {
    let texts = ["No space left on device", "Disk quota exceeded"];
    kind == ErrorKind::Environment
        && chain
            .iter()
            .any(|text| texts.iter().any(|full| text.contains(full)))
}

fn general_hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Denied => {
            Some("log in with `login REGISTRY`, or with any tool that writes the Docker credential file")
        }
        ErrorKind::Unavailable => {
            Some("nothing was changed; run the same command again, it continues where it stopped")
        }
        ErrorKind::Throttled => Some(
            "nothing was changed; wait, or log in (registries allow known users more), and run the same command again",
        ),
        ErrorKind::Broken => Some(
            "what answers may be no registry: check the address, the proxy and the network's login page; `registry doctor` tells more",
        ),
        ErrorKind::Internal => {
            Some("this is a defect of samebundle; please report it with the command that you ran")
        }
        ErrorKind::Input
        | ErrorKind::Usage
        | ErrorKind::Failed
        | ErrorKind::NotTrusted
        | ErrorKind::NotFound
        | ErrorKind::Unreachable
        | ErrorKind::Environment
        | ErrorKind::Conflict
        | ErrorKind::CannotProvision
        | ErrorKind::Interrupted => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Report;

    #[test]
    fn a_failed_run_is_one_document_with_its_error() {
        let report = Report::new("run 1 failed", &json!({"run": "1", "outputs": {}}));
        let message =
            "run 1 failed: task a failed: it exited with code 1\n    Traceback\n    ValueError: x".to_owned();
        let error = CliError::Failed {
            report: Box::new(report),
            message: message.clone(),
        };
        let document = as_json(&error, &causes(&error), None);
        assert_eq!(document["run"], "1");
        assert_eq!(document["error"]["kind"], "failed");
        assert_eq!(document["error"]["message"], message);
    }
}
