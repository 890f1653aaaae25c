//! The arguments of every command, and groups of arguments that several commands share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};
use samebundle_runtime::metadata::Destination;
use samebundle_runtime::secret::CredentialSource;
use samebundle_runtime::verbs::{self, CredentialsGiven, Given, LocalName, MetadataGiven};
use samebundle_spec::{BundleName, signing};

use crate::commands::Command;
use crate::error::CliError;
use crate::session::Session;
use crate::{flags, values};

/// Pack, sign, move and run machine-learning programs as one bundle.
///
/// A bundle holds a pipeline with its images, packages, parameters and past results. Install one by reference from a
/// registry or from a file, run it with other parameters, and export it again with its new history.
#[derive(Debug, Parser)]
#[command(name = "samebundle", version, max_term_width = 100, propagate_version = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Keep everything in this folder [default: SAMEBUNDLE_HOME, or samebundle in the user's data folder]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) home: Option<PathBuf>,
    /// How to print: table or wide for people, json or yaml for programs
    #[arg(
        short = 'o',
        long,
        global = true,
        value_enum,
        default_value_t,
        help_heading = "Global options"
    )]
    pub(crate) output: Output,
    /// Open no socket
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) offline: bool,
    /// Print more about what is done, up to three times; SAMEBUNDLE_LOG says more exactly what is logged
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
}

/// The form of what a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people, as wide as the terminal.
    #[default]
    #[value(alias = "text")]
    Table,
    /// For people, with everything that a table leaves out, however long its lines are.
    Wide,
    /// One JSON object on standard output, events as JSON lines on standard error.
    Json,
    /// The same object as YAML, events as plain lines on standard error.
    Yaml,
}

impl Output {
    /// Tells whether standard output holds one document for programs.
    pub(crate) const fn is_document(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }
}

/// The id of the words that name an installation.
pub(crate) const WORDS: &str = "words";
/// The id of the option that names one.
pub(crate) const NAMED: &str = "named";

/// Names an installation: NAME, NAME:VERSION, the long spelling `program NAME`, or -n NAME.
#[derive(Clone, Debug, Args)]
pub(crate) struct Named {
    /// The installation; `program NAME` and -n NAME say the same
    #[arg(id = WORDS, value_name = "NAME", num_args = 1..=2, required_unless_present = NAMED)]
    words: Vec<String>,
    #[arg(short = 'n', id = NAMED, long = "name", value_name = "NAME", hide = true)]
    named: Option<String>,
}

impl Named {
    /// The installation, and the version that may follow it.
    ///
    /// # Errors
    /// If several are named, or it is no name.
    pub(crate) fn installation(&self) -> Result<LocalName, CliError> {
        Ok(self.text()?.parse().map_err(verbs::VerbError::Name)?)
    }

    /// The name as it was written.
    ///
    /// # Errors
    /// If none or several are given.
    pub(crate) fn text(&self) -> Result<&str, CliError> {
        match name_among(&self.words, self.named.as_deref()) {
            (Some(name), []) => Ok(name),
            (Some(_), [more, ..]) => Err(CliError::Usage(format!(
                "{more:?} is one word too many: one installation is named"
            ))),
            (None, _) => Err(CliError::Usage("name an installation".to_owned())),
        }
    }
}

/// Finds the name among words, which may begin with the noun of the long spelling, and returns the words after it.
pub(crate) fn name_among<'a>(words: &'a [String], named: Option<&'a str>) -> (Option<&'a str>, &'a [String]) {
    let noun = |word: &String| word == "program" || word == "environment";
    let rest = match words {
        [first, rest @ ..] if noun(first) && (named.is_some() || !rest.is_empty()) => rest,
        all => all,
    };
    match (named, rest) {
        (Some(name), rest) => (Some(name), rest),
        (None, [name, rest @ ..]) => (Some(name), rest),
        (None, []) => (None, &[]),
    }
}

/// Where something runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Environment {
    /// Where it runs: local (what works on this machine), embedded, docker [default: local]
    #[arg(long, env = "SAME_ENVIRONMENT", value_name = "ENVIRONMENT")]
    pub(crate) env: Option<String>,
}

/// Parameters as `-p NAME=VALUE`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Params {
    /// Set a parameter, NAME=VALUE; may be given several times
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
}

impl Params {
    /// The parameters as text, which is read by the bundle's types.
    ///
    /// # Errors
    /// If one is not NAME=VALUE.
    pub(crate) fn given(&self, session: &Session) -> Result<Given, CliError> {
        let texts = self.params.iter().map(|text| flags::assignment(text));
        Ok(Given {
            values: BTreeMap::new(),
            texts: texts.collect::<Result<_, CliError>>()?,
            folder: Some(session.settings.current_dir.clone()),
        })
    }
}

/// Where credentials come from.
#[derive(Clone, Debug, Args)]
pub(crate) struct CredentialOptions {
    /// Say where a credential comes from, NAME=SOURCE; may be given several times
    ///
    /// A source is env:VARIABLE, file:PATH, prompt:, pass:ENTRY, age:FILE, vault:PATH#FIELD or
    /// kubernetes:NAMESPACE/SECRET#KEY. A file, or a folder with a file for each key, gives all keys of a secret.
    #[arg(long = "credential", value_name = "NAME=SOURCE")]
    credentials: Vec<String>,
    /// Read the sources of credentials from a CNAB credential set, JSON or YAML; may be given several times
    #[arg(long = "credentials", value_name = "FILE")]
    sets: Vec<PathBuf>,
}

impl CredentialOptions {
    /// The sources of credentials.
    ///
    /// # Errors
    /// If one is not NAME=SOURCE.
    pub(crate) fn given(&self, session: &Session) -> Result<CredentialsGiven, CliError> {
        let mut sources = BTreeMap::new();
        for text in &self.credentials {
            // What stands there may be the value itself, so it is not repeated.
            let (name, source) = text
                .split_once('=')
                .ok_or_else(|| CliError::Usage("--credential needs NAME=SOURCE".to_owned()))?;
            let source: CredentialSource = source.parse().map_err(|_| {
                CliError::Usage(format!(
                    "--credential {name}: what follows the = names no source; give env:VARIABLE, file:PATH, prompt:, \
                     pass:ENTRY, age:FILE, vault:PATH#FIELD or kubernetes:NAMESPACE/SECRET#KEY, never the value itself"
                ))
            })?;
            let source = source.below(&session.settings.current_dir);
            sources.insert(name.to_owned(), source);
        }
        let sets = self.sets.iter().map(|file| session.at(file));
        Ok(CredentialsGiven {
            sources,
            sets: sets.collect(),
        })
    }
}

/// Where runs are sent to.
#[derive(Clone, Debug, Args)]
pub(crate) struct MetadataOptions {
    /// Send the run to mlflow=URL, openlineage=URL or openlineage=file:PATH; may be given several times
    ///
    /// Names and passwords come from the variables that the clients of these services read: MLFLOW_TRACKING_TOKEN, or
    /// MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; OPENLINEAGE_API_KEY.
    #[arg(long, env = "SAME_METADATA", value_name = "KIND=PLACE")]
    metadata: Vec<String>,
    /// Take the token for it from env:VARIABLE, file:PATH, prompt:, pass:ENTRY, age:FILE, vault:PATH#FIELD or
    /// kubernetes:NAMESPACE/SECRET#KEY
    #[arg(long, value_name = "SOURCE")]
    metadata_token: Option<String>,
}

impl MetadataOptions {
    /// Where runs are sent to, with files below the folder that the process was started in.
    ///
    /// # Errors
    /// If a place is none, or the token has no source.
    pub(crate) fn given(&self, session: &Session) -> Result<MetadataGiven, CliError> {
        let folder = &session.settings.current_dir;
        let token = self.metadata_token.as_ref().map(|text| {
            // What stands there may be the token itself, so it is not repeated.
            let source: CredentialSource = text.parse().map_err(|_| {
                CliError::Usage(
                    "--metadata-token names no source; give env:VARIABLE, file:PATH, prompt:, pass:ENTRY, age:FILE, \
                     vault:PATH#FIELD or kubernetes:NAMESPACE/SECRET#KEY, never the token itself"
                        .to_owned(),
                )
            })?;
            Ok::<_, CliError>(source.below(folder))
        });
        Ok(MetadataGiven {
            to: places(&self.metadata, session)?,
            token: token.transpose()?,
        })
    }
}

/// The places that texts name, with files below the folder that the process was started in. They are read here and not by
/// clap, which repeats what it refuses, with the password that may stand in it.
///
/// # Errors
/// If a text names no place.
pub(crate) fn places(texts: &[String], session: &Session) -> Result<Vec<Destination>, CliError> {
    let places = texts.iter().map(|text| {
        let place: Destination = text.parse().map_err(verbs::VerbError::Metadata)?;
        Ok(place.below(&session.settings.current_dir))
    });
    places.collect()
}

/// How an unsigned bundle is consented to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Consent {
    /// Accept a bundle that nobody trusted has signed; the consent is recorded
    #[arg(long)]
    pub(crate) allow_unsigned: bool,
    /// Accept a version older than one seen before; the consent is recorded
    #[arg(long)]
    pub(crate) allow_downgrade: bool,
}

impl From<Consent> for verbs::Consent {
    fn from(consent: Consent) -> Self {
        Self {
            allow_unsigned: consent.allow_unsigned,
            allow_downgrade: consent.allow_downgrade,
        }
    }
}

/// Where a passphrase comes from.
#[derive(Clone, Debug, Args)]
pub(crate) struct Passphrase {
    /// Read the passphrase from this file [default: SAMEBUNDLE_PASSPHRASE_FILE, or ask on the terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Where the receipt goes that says what was verified and what this site holds, and who signs it.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReceiptOptions {
    /// Write a signed receipt to this file, of a refusal too [default for import: receipts/DIGEST.json in the home, if there is a key]
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Option<PathBuf>,
    /// Name of the key that signs the receipt [default: default]
    #[arg(long, value_name = "KEY")]
    pub(crate) receipt_key: Option<BundleName>,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

impl ReceiptOptions {
    /// The receipt that is asked for.
    pub(crate) fn request(&self, session: &Session) -> verbs::ReceiptOptions {
        verbs::ReceiptOptions {
            file: self.receipt.as_ref().map(|file| session.at(file)),
            key: self.receipt_key.clone(),
        }
    }
}

/// What is attested of a bundle or a file.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Predicate {
    /// SLSA provenance: of what it was built
    Slsa,
    /// SPDX bill of materials: what is in it
    Spdx,
}

impl From<Predicate> for signing::Predicate {
    fn from(predicate: Predicate) -> Self {
        match predicate {
            Predicate::Slsa => Self::Slsa,
            Predicate::Spdx => Self::Spdx,
        }
    }
}

/// How an archive is cut into several files.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumeOptions {
    /// Cut the file into volumes of at most this size, e.g. 4GB: FILE.v001, FILE.v002 …
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) volume_size: Option<u64>,
    /// Add so many parity volumes, FILE.p001 …: any so many volumes may then be lost or damaged
    #[arg(long, value_name = "N", default_value_t = 0, requires = "volume_size")]
    pub(crate) parity: u32,
}

impl VolumeOptions {
    /// How the archive is cut; none: into one file.
    pub(crate) fn request(&self) -> Option<verbs::VolumeOptions> {
        let parity = self.parity;
        self.volume_size.map(|size| verbs::VolumeOptions { size, parity })
    }
}
