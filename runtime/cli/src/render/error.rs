//! Errors: `error: what`, the causes below it, a hint what to do, and the exit code.

use std::io::{self, Write};

use samebundle_spec::{Classify, ErrorKind};
use serde_json::json;

use super::safe;
use crate::args::Output;

/// Prints an error on standard error, and as an object on standard output with `--output json`.
pub(crate) fn print(error: &dyn Classify, hint: Option<&str>, output: Output) {
    let kind = error.kind();
    let hint = hint.or_else(|| general_hint(kind));
    let chain = causes(error);
    let result = match output {
        Output::Text => print_text(&chain, hint),
        Output::Json => print_json(&chain, hint, kind),
    };
    // Nothing is left to tell it to when the streams themselves are closed.
    drop(result);
}

/// Every message of the chain, outermost first; a cause whose text the one above it already ends with is left out.
fn causes(error: &dyn Classify) -> Vec<String> {
    let mut chain = vec![safe(&error.to_string())];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = safe(&cause.to_string());
        if !chain.iter().any(|above| above.ends_with(&text)) {
            chain.push(text);
        }
        next = cause.source();
    }
    chain
}

fn print_text(chain: &[String], hint: Option<&str>) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    for (depth, text) in chain.iter().enumerate() {
        let label = if depth == 0 { "error" } else { "  cause" };
        writeln!(stderr, "{label}: {text}")?;
    }
    if let Some(hint) = hint {
        writeln!(stderr, "hint: {hint}")?;
    }
    Ok(())
}

fn print_json(chain: &[String], hint: Option<&str>, kind: ErrorKind) -> io::Result<()> {
    let object = json!({"error": {
        "kind": kind.word(), "code": kind.exit_code(), "message": chain[0], "causes": chain[1..], "hint": hint,
    }});
    writeln!(io::stdout().lock(), "{object:#}")
}

fn general_hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Denied => {
            Some("log in with any tool that writes the Docker credential file, e.g. `docker login REGISTRY`")
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
        | ErrorKind::Environment
        | ErrorKind::Conflict
        | ErrorKind::CannotProvision
        | ErrorKind::Interrupted => None,
    }
}
