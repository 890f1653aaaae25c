//! `/cnab/app/run` of the invocation images that samebundle builds.
//!
//! A bundle's program is run by samebundle itself, which knows its pipeline. This program is what every *other* CNAB
//! runtime finds: it answers install, upgrade, uninstall, help, status and dry-run from the bundle's own description, and
//! says plainly that `run` needs samebundle. It opens no socket and starts no process; all it reads is `/cnab/bundle.json`
//! (mounted by the runtime) and the environment of CNAB 103, all it writes is its two streams and the output `status`.
//!
//! Layout: [`call`] reads the call, [`answer`] decides, [`describe`] describes a bundle.

mod answer;
mod call;
mod describe;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let reply = call::Call::read(Path::new("/"), environment).and_then(|call| answer::answer(&call));
    let (text, mut stream): (_, Box<dyn Write>) = match &reply {
        Ok(text) => (text.clone(), Box::new(io::stdout())),
        Err(refusal) => (format!("error: {refusal}\n"), Box::new(io::stderr())),
    };
    let written = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    match (reply, written) {
        (Ok(_), Ok(())) => ExitCode::SUCCESS,
        (Ok(_), Err(_)) => ExitCode::from(samebundle_spec::ErrorKind::Environment.exit_code()),
        (Err(refusal), _) => ExitCode::from(refusal.kind().exit_code()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a CNAB runtime hands a run tool its whole input in the environment (CNAB 103)"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
