//! `key remove`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use clap::Args;
use samebundle_runtime::verbs::{self, RemoveKeyRequest};
use samebundle_spec::BundleName;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Name of the key
    #[arg(value_parser = BundleName::as_written)]
    name: BundleName,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Remove {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let name = self.name;
        // Nobody is asked about a key that there is not.
        verbs::check_key(&session.site, &name)?;
        if !self.yes && !confirmed(&name)? {
            return Err(CliError::Interrupted("nothing was removed".to_owned()));
        }
        let report = verbs::remove_key(&session.site, &RemoveKeyRequest { name })?;
        let key = &report.removed;
        let text = match report.trusted {
            true => format!(
                "removed key {key}: nothing can be signed with it any more. What it signed stays trusted here; `trust \
                 remove {key}` ends that"
            ),
            false => format!("removed key {key}: nothing can be signed with it any more"),
        };
        Ok(Report::new(text, &report))
    }
}

fn confirmed(name: &BundleName) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "the private key {name} cannot be made again; there is no terminal to ask, so confirm with --yes"
        )));
    }
    let failed = |error| CliError::io("read", Path::new("the terminal"))(error);
    write!(
        io::stderr(),
        "the private key {name} cannot be made again. Remove it? [y/N] "
    )
    .map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
