//! `key import`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, ImportKeyRequest};
use samebundle_spec::BundleName;

use crate::args::Passphrase;
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Name of the key
    #[arg(long, default_value = "default", value_parser = BundleName::as_written)]
    name: BundleName,
    /// The private key
    file: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Import {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let site = session.site_asking(&self.passphrase);
        let request = ImportKeyRequest {
            name: self.name,
            file: session.at(&self.file),
        };
        Ok(super::report(&verbs::import_key(&site, request)?))
    }
}
