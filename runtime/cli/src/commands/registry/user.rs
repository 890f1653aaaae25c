//! `registry user`.

use std::path::PathBuf;

use clap::Args;
use samebundle_registry::server::set_password;
use samebundle_runtime::verbs::{PassphraseError, Passphrases};
use serde::Serialize;

use crate::error::CliError;
use crate::passphrase::FileOrTerminal;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct User {
    /// The user's name
    name: String,
    /// The file, made if absent; other users in it stay
    #[arg(long, value_name = "FILE")]
    htpasswd: PathBuf,
    /// Read the password from this file [default: ask on the terminal]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// A user whose password was set.
#[derive(Debug, Serialize)]
struct UserReport {
    user: String,
    file: String,
}

impl User {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let from = FileOrTerminal {
            file: self.password_file.map(|file| session.at(&file)),
        };
        let asked = from.ask(&format!("the password of {}", safe(&self.name)), true);
        let password = asked.map_err(|error| match error {
            PassphraseError::NoTerminal { what } => CliError::Usage(format!(
                "there is no terminal to ask for {what}: give --password-file FILE"
            )),
            other => other.into(),
        })?;
        let file = session.at(&self.htpasswd);
        set_password(&file, &self.name, &password)?;
        let report = UserReport {
            user: self.name,
            file: file.display().to_string(),
        };
        let text = format!("{} is in {}", safe(&report.user), safe(&report.file));
        Ok(Report::new(text, &report))
    }
}
