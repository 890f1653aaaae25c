//! The command line. What stands here is the help, the man pages and the completions.

mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use samebundle_spec::signing::{self, KeyAlgorithm};
use samebundle_spec::{BundleName, Repository, authoring};

use crate::flags;
use crate::place::{LocalName, Place};

pub(crate) use serve::{Login, Serve, User};

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
    /// How to print: text for people, json for programs
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, help_heading = "Global options")]
    pub(crate) output: Output,
    /// Open no socket
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) offline: bool,
    /// Print more about what is done; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
}

/// The form of what a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON object on standard output, events as JSON lines on standard error.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a bundle: write a samebundle.yaml
    Init(Init),
    /// Check a bundle's sources without building
    Lint(Lint),
    /// Build a bundle into the local store and print its digest
    Build(Build),
    /// Make, list, export and import signing keys
    #[command(subcommand)]
    Key(Key),
    /// Decide whose bundles are trusted
    #[command(subcommand)]
    Trust(Trust),
    /// Sign a bundle
    Sign(Sign),
    /// Check who signed a bundle and what the signature covers
    Verify(Verify),
    /// Copy a bundle from the local store to a registry, file or folder, with its signatures
    Push(Push),
    /// Copy a bundle into the local store, with its signatures
    Pull(Pull),
    /// Copy a bundle from any place to any place, with its signatures
    Copy(Copy),
    /// Show the content of a bundle: its graph, digests and sizes
    Inspect(Inspect),
    /// Explain a bundle to a person: parameters, credentials, outputs, rights and requirements
    Explain(Explain),
    /// Install a bundle: fetch, verify, check what it needs, and remember it by name
    Install(Install),
    /// Install a program or environment: the same as `install`
    #[command(subcommand)]
    Create(Create),
    /// Replace an installation's bundle by another version
    Upgrade(Upgrade),
    /// Forget an installation; its runs stay
    Uninstall(Uninstall),
    /// List installations
    List,
    /// Show one installation
    Show(Show),
    /// Say what a run would do, and what this machine cannot give
    Plan(RunArgs),
    /// Run an installed program
    Run(RunArgs),
    /// List runs, newest first
    Runs(Runs),
    /// Print what a run's tasks printed
    Logs(Logs),
    /// List a run's outputs, or write them to a folder
    Outputs(Outputs),
    /// Write an installation with its history to one file
    Export(Export),
    /// Read an exported file: verify it and install what is in it
    Import(Import),
    /// Check a receipt that a site signed, and show what it says
    Receipt(Receipt),
    /// Serve a registry
    #[command(subcommand)]
    Registry(Registry),
    /// Check and measure the local store
    #[command(subcommand)]
    Store(Store),
    /// Say what works on this machine and what does not
    Doctor,
    /// Print a shell's completions
    Completions(Completions),
    /// Write the manual pages
    Manual(Manual),
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

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Folder to start in
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Pipeline to start from: a .py or a compiled .yaml
    #[arg(long)]
    pub(crate) from: Option<PathBuf>,
    /// Name of the bundle [default: the folder's name]
    #[arg(long)]
    pub(crate) name: Option<BundleName>,
}

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// Folder with samebundle.yaml
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Folder with samebundle.yaml
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Name in the local store [default: the name in samebundle.yaml]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Option<LocalName>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a new key pair
    Generate(KeyGenerate),
    /// List keys that can sign and keys that are trusted
    List,
    /// Print a public key
    Export(KeyExport),
    /// Take over a key made by cosign, OpenSSH, OpenSSL or minisign
    Import(KeyImport),
}

#[derive(Debug, Args)]
pub(crate) struct KeyGenerate {
    /// Name of the key
    #[arg(long, default_value = "default")]
    pub(crate) name: BundleName,
    /// What it signs with; notation reads only p256
    #[arg(long, value_enum, default_value_t)]
    pub(crate) algorithm: Algorithm,
    /// Store the private key without a passphrase
    #[arg(long)]
    pub(crate) no_passphrase: bool,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

/// What a key signs with.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Algorithm {
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

#[derive(Clone, Debug, Args)]
pub(crate) struct Passphrase {
    /// Read the passphrase from this file [default: SAMEBUNDLE_PASSPHRASE_FILE, or ask on the terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct KeyExport {
    /// Name of the key
    #[arg(default_value = "default")]
    pub(crate) name: BundleName,
    /// Write to this file instead of standard output
    #[arg(short, long)]
    pub(crate) file: Option<PathBuf>,
    /// The certificate that stands for the key in notation's trust store, instead of the key (p256 only; needs the secret key)
    #[arg(long)]
    pub(crate) certificate: bool,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

#[derive(Debug, Args)]
pub(crate) struct KeyImport {
    /// Name of the key
    #[arg(long, default_value = "default")]
    pub(crate) name: BundleName,
    /// The private key
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "a command line is read once")]
pub(crate) enum Trust {
    /// Trust a public key for a scope
    Add(TrustAdd),
    /// Stop trusting a key
    Remove(TrustRemove),
    /// List what is trusted
    List,
    /// Say which rule decides about a bundle, and why
    Explain(TrustExplain),
}

#[derive(Debug, Args)]
pub(crate) struct TrustAdd {
    /// Name to know the key by
    pub(crate) name: BundleName,
    /// The public key: PEM, OpenSSH or minisign
    pub(crate) file: PathBuf,
    /// Registry or repository that the key may sign for, e.g. registry.example/team [default: everything]
    #[arg(long)]
    pub(crate) scope: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TrustRemove {
    /// Name of the key
    pub(crate) name: BundleName,
}

#[derive(Debug, Args)]
pub(crate) struct TrustExplain {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The bundle, in the local store or a registry
    #[arg(value_name = "BUNDLE")]
    pub(crate) place: Place,
    /// Name of the key
    #[arg(long, default_value = "default")]
    pub(crate) key: BundleName,
    /// Sequence number; a later one replaces an earlier one [default: seconds since 1970]
    #[arg(long)]
    pub(crate) sequence: Option<u64>,
    /// Days until the signature expires [default: never]
    #[arg(long, value_name = "DAYS")]
    pub(crate) expires_in: Option<u32>,
    /// Bind the signature to this repository; may be given several times
    #[arg(long = "repository", value_name = "REGISTRY/REPO")]
    pub(crate) repositories: Vec<String>,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

/// What is attested of a bundle.
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

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) place: Place,
    /// Decide by this policy instead of the home's
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Ask for a signed attestation of this kind as well; may be given several times
    #[arg(long = "predicate", value_enum, value_name = "KIND")]
    pub(crate) predicates: Vec<Predicate>,
    /// Print what is attested, not only who attested it
    #[arg(long, requires = "predicates")]
    pub(crate) show: bool,
    #[command(flatten)]
    pub(crate) receipt: ReceiptOptions,
    #[command(flatten)]
    pub(crate) consent: Consent,
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

#[derive(Debug, Args)]
pub(crate) struct Receipt {
    /// The receipt
    pub(crate) file: PathBuf,
    /// The site's public key [default: any key in the trust store]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The bundle in the local store
    #[arg(value_name = "BUNDLE")]
    pub(crate) from: Place,
    /// Where to
    #[arg(value_name = "DST")]
    pub(crate) to: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Where from
    #[arg(value_name = "SRC")]
    pub(crate) from: Place,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// Where from
    #[arg(value_name = "SRC")]
    pub(crate) from: Place,
    /// Where to
    #[arg(value_name = "DST")]
    pub(crate) to: Place,
    #[command(flatten)]
    pub(crate) volumes: VolumeOptions,
}

/// How an archive is cut into several files.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumeOptions {
    /// Cut the file into volumes of at most this size, e.g. 4GB: FILE.v001, FILE.v002 …
    #[arg(long, value_name = "SIZE", value_parser = flags::size)]
    pub(crate) volume_size: Option<u64>,
    /// Add so many parity volumes, FILE.p001 …: any so many volumes may then be lost or damaged
    #[arg(long, value_name = "N", default_value_t = 0, requires = "volume_size")]
    pub(crate) parity: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) options: InstallOptions,
}

#[derive(Debug, Args)]
pub(crate) struct InstallOptions {
    /// Name of the installation [default: the bundle's name]
    #[arg(long)]
    pub(crate) name: Option<BundleName>,
    /// Set a parameter for all runs, NAME=VALUE; may be given several times
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
    /// Where a foreign bundle's install action runs, and what is checked: embedded, docker [default: what works]
    #[arg(long, env = "SAME_ENVIRONMENT")]
    pub(crate) env: Option<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Create {
    /// Install a program
    Program(CreateFrom),
    /// Install an environment
    Environment(CreateFrom),
}

#[derive(Debug, Args)]
pub(crate) struct CreateFrom {
    /// The bundle: a reference, or a file
    #[arg(short, long = "file", value_name = "BUNDLE")]
    pub(crate) file: Place,
    #[command(flatten)]
    pub(crate) options: InstallOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The installation
    pub(crate) name: BundleName,
    /// The new bundle [default: the same place again]
    #[arg(value_name = "BUNDLE")]
    pub(crate) place: Option<Place>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// The installation
    pub(crate) name: BundleName,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The installation
    pub(crate) name: BundleName,
}

/// Arguments of `run` and `plan`; the bundle's own parameters are added as flags when the installation is known.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The installation
    pub(crate) name: BundleName,
    /// Set a parameter, NAME=VALUE; may be given several times
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
    /// Read parameters from a JSON or YAML file
    #[arg(long, value_name = "FILE")]
    pub(crate) params_file: Option<PathBuf>,
    /// Where it runs: embedded, docker [default: what works]
    #[arg(long, env = "SAME_ENVIRONMENT")]
    pub(crate) env: Option<String>,
    /// Action of a foreign bundle
    #[arg(long, default_value = "run")]
    pub(crate) action: String,
}

#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// Only runs of this installation
    pub(crate) name: Option<BundleName>,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The run: its id, the beginning of it, or `last`
    #[arg(default_value = "last")]
    pub(crate) run: String,
    /// Only this task
    #[arg(long)]
    pub(crate) task: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Outputs {
    /// The run: its id, the beginning of it, or `last`
    #[arg(default_value = "last")]
    pub(crate) run: String,
    /// Write the outputs to this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The installation, and the version to name the export by
    #[arg(value_name = "NAME[:VERSION]")]
    pub(crate) name: LocalName,
    /// File to write [default: NAME-VERSION.tgz]
    #[arg(short = 'o', long = "file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Which runs go along: all, none, or last:N
    #[arg(long, default_value = "last:5")]
    pub(crate) runs: authoring::Runs,
    /// Leave out what the other side has: an earlier export that it has imported, or the receipt that its import wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) since: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) volumes: VolumeOptions,
    /// The other side's public key, which signed the receipt [default: any key in the trust store]
    #[arg(long, value_name = "FILE", requires = "since")]
    pub(crate) since_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file, or one of its volumes
    pub(crate) file: PathBuf,
    /// Name of the installation [default: the one it was exported as]
    #[arg(long)]
    pub(crate) name: Option<BundleName>,
    /// Bring it into this registry instead of this home, as it is; nothing is installed [default tag: the bundle's version]
    #[arg(long, value_name = "REGISTRY/REPO[:TAG]", conflicts_with = "name")]
    pub(crate) to: Option<Place>,
    #[command(flatten)]
    pub(crate) receipt: ReceiptOptions,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Registry {
    /// Serve the OCI distribution API over a folder, or over one file or layout
    ///
    /// A file or a layout is shown as it is, read-only and as one repository.
    /// By default everybody on this machine may do everything, over plain HTTP. `--htpasswd` asks for a name and a password,
    /// `--access` says what each may do, `--tls-certificate` and `--tls-key` turn on TLS. These files are read again when they
    /// change. GET /metrics gives figures in the form of Prometheus.
    Serve(Box<Serve>),
    /// Set a user's password in a file for `registry serve --htpasswd`
    User(User),
    /// Find out what a registry can and cannot do, and keep that for all commands
    ///
    /// Pushes scratch content of up to 25 MiB to the repository, without a tag, and removes it where the registry allows that;
    /// what stays is named. Without the right to push only reading is examined.
    Doctor(RegistryDoctor),
}

#[derive(Debug, Args)]
pub(crate) struct RegistryDoctor {
    /// Registry and repository to try things in
    #[arg(value_name = "DST", value_parser = flags::repository)]
    pub(crate) repository: Repository,
    /// Another host that uploads may go to when the registry sends them there, without credentials; may be given several times
    #[arg(long = "upload-host", value_name = "HOST[:PORT]")]
    pub(crate) upload_hosts: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Check that everything in the local store is whole
    Check(StoreCheck),
    /// Remove what no tag, installation or run needs
    ///
    /// What an installation had before its last upgrade stays as well, and what other commands that run now have written
    /// or found. It also removes unpacked layers of images that are gone, and what killed processes left.
    Gc(StoreGc),
    /// Remove a bundle's name, of one version or of all; what nothing else needs goes with the next `store gc`
    Forget(StoreForget),
    /// Say how much space every bundle and folder takes
    Usage,
}

#[derive(Debug, Args)]
pub(crate) struct StoreCheck {
    /// Only check what is there and how large it is, without hashing
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StoreForget {
    /// Name of the bundle, or NAME:VERSION
    #[arg(value_name = "NAME[:VERSION]")]
    pub(crate) name: LocalName,
}

#[derive(Debug, Args)]
pub(crate) struct StoreGc {
    /// Only say what would be removed, and why
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep what was written or found in this last time: a number and s, m, h or d [default: 1d]
    #[arg(long, value_name = "TIME", value_parser = flags::time)]
    pub(crate) grace: Option<std::time::Duration>,
    /// Which runs of each installation keep the bundle that they ran: all, none, or last:N
    #[arg(long, default_value = "all")]
    pub(crate) runs: samebundle_spec::authoring::Runs,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Manual {
    /// Folder to write to
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
}
