//! `completions` and `manual`: what is made from the command line's own description.

use clap::CommandFactory;
use serde_json::json;

use crate::args::{self, Cli};
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

/// Prints a shell's completions.
pub(crate) fn completions(args: &args::Completions, program: &str) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), program, &mut script);
    let script = String::from_utf8_lossy(&script).trim_end().to_owned();
    let json = json!({"shell": args.shell.to_string(), "script": script});
    Report::new(script, json)
}

/// Writes a page a command.
pub(crate) fn manual(session: &Session, args: &args::Manual) -> Result<Report, CliError> {
    let dir = session.settings.current_dir.join(&args.dir);
    std::fs::create_dir_all(&dir).map_err(CliError::io("make", &dir))?;
    clap_mangen::generate_to(Cli::command(), &dir).map_err(CliError::io("write", &dir))?;
    Ok(Report::new(
        format!("wrote the manual pages to {}", dir.display()),
        json!({"dir": dir}),
    ))
}
