//! `key generate`.

use clap::{Args, ValueEnum};
use samebundle_runtime::verbs::{self, GenerateKeyRequest};
use samebundle_spec::BundleName;
use samebundle_spec::signing::KeyAlgorithm;

use crate::args::Passphrase;
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// Name of the key
    #[arg(long, default_value = "default", value_parser = BundleName::as_written)]
    name: BundleName,
    /// What it signs with; notation reads only p256
    #[arg(long, value_enum, default_value_t)]
    algorithm: Algorithm,
    /// Store the private key without a passphrase
    #[arg(long)]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// What a key signs with.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Algorithm {
    /// Ed25519: cosign reads it
    #[default]
    Ed25519,
    /// ECDSA over P-256: cosign and notation read it
    P256,
}

impl From<Algorithm> for KeyAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Ed25519 => Self::Ed25519,
            Algorithm::P256 => Self::P256,
        }
    }
}

impl Generate {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let site = session.site_asking(&self.passphrase);
        let request = GenerateKeyRequest {
            name: self.name,
            algorithm: self.algorithm.into(),
            no_passphrase: self.no_passphrase,
        };
        Ok(super::report(&verbs::generate_key(&site, request)?))
    }
}
