//! `key`: signing keys.

mod export;
mod generate;
mod import;
mod list;
mod remove;

use clap::Subcommand;
use samebundle_runtime::verbs::KeyReport;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a new key pair
    Generate(generate::Generate),
    /// List keys that can sign
    List(list::List),
    /// Print a public key
    Export(export::Export),
    /// Take over a key made by cosign, OpenSSH, OpenSSL or minisign
    Import(import::Import),
    /// Remove a private key for ever
    Remove(remove::Remove),
}

impl Key {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        match self {
            Self::Generate(args) => args.run(session),
            Self::List(args) => args.run(session),
            Self::Export(args) => args.run(session),
            Self::Import(args) => args.run(session),
            Self::Remove(args) => args.run(session),
        }
    }
}

/// Reports a key that can sign from now on.
fn report(report: &KeyReport) -> Report {
    let (name, id) = (&report.key, &report.id);
    let text = format!("key {name} can sign, and is trusted in this home\nfingerprint {id}");
    Report::new(text, report)
}
