//! `login`.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use samebundle_registry::trust::keys::Passphrase;
use samebundle_runtime::verbs::{self, LoginReport, LoginRequest, PassphraseError, Passphrases};
use samebundle_spec::limits;
use samebundle_spec::text::without_credentials;

use crate::error::CliError;
use crate::passphrase::FileOrTerminal;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The registry, HOST or HOST:PORT
    registry: String,
    /// The user's name [default: ask on the terminal]
    #[arg(short, long)]
    username: Option<String>,
    /// Read the password or token from standard input [default: ask on the terminal]
    #[arg(long)]
    password_stdin: bool,
    /// Read the password or token from this file
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,
}

impl Login {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let username = match self.username {
            Some(name) => name,
            None if self.password_stdin => {
                return Err(CliError::Usage(
                    "--password-stdin needs --username NAME".to_owned(),
                ));
            }
            None => asked_name(&self.registry)?,
        };
        let password = match self.password_stdin {
            true => from_stdin()?,
            false => {
                let file = self.password_file.map(|file| session.at(&file));
                password(file, &username, &self.registry)?
            }
        };
        let request = LoginRequest {
            registry: self.registry,
            username,
            password,
            file: session.settings.login_file().ok_or_else(|| {
                CliError::Usage("there is no home directory: set HOME or DOCKER_CONFIG".to_owned())
            })?,
        };
        let report = verbs::login(&session.site, request).await?;
        Ok(Report::new(text(&report), &report))
    }
}

fn text(report: &LoginReport) -> String {
    let (registry, user) = (safe(&report.registry), safe(&report.username));
    let kept = match &report.helper {
        Some(helper) => format!("docker-credential-{helper} keeps the password"),
        None => format!("the password is in {}, not encrypted", safe(&report.file)),
    };
    match report.checked {
        true => format!("logged in to {registry} as {user}; {kept}"),
        false => format!("{registry} asks for no password, so that of {user} was not checked; {kept}"),
    }
}

fn asked_name(registry: &str) -> Result<String, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(
            "there is no terminal to ask for the name: give --username NAME".to_owned(),
        ));
    }
    let failed = |error| CliError::io("read", Path::new("the terminal"))(error);
    let registry = without_credentials(registry);
    write!(io::stderr(), "user name at {}: ", safe(&registry)).map_err(failed)?;
    let mut name = String::new();
    io::stdin().lock().read_line(&mut name).map_err(failed)?;
    match name.trim() {
        "" => Err(CliError::Usage("no name was given".to_owned())),
        name => Ok(name.to_owned()),
    }
}

fn from_stdin() -> Result<Passphrase, CliError> {
    let mut text = Passphrase::new(String::new());
    let mut input = io::stdin().lock().take(limits::PASSPHRASE_FILE_BYTES + 1);
    input
        .read_to_string(&mut text)
        .map_err(CliError::io("read", Path::new("standard input")))?;
    if text.len() as u64 > limits::PASSPHRASE_FILE_BYTES {
        return Err(CliError::Usage(
            "standard input is too long for a password".to_owned(),
        ));
    }
    // The password ends where the line does, as with `docker login`.
    Ok(Passphrase::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn password(file: Option<PathBuf>, user: &str, registry: &str) -> Result<Passphrase, CliError> {
    let registry = without_credentials(registry);
    let what = format!("the password of {} at {}", safe(user), safe(&registry));
    FileOrTerminal { file }
        .ask(&what, false)
        .map_err(|error| match error {
            PassphraseError::NoTerminal { what } => CliError::Usage(format!(
                "there is no terminal to ask for {what}: give --password-stdin or --password-file FILE"
            )),
            other => other.into(),
        })
}
