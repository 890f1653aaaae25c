//! `run`, and the arguments that it shares with `plan`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgMatches, Args};
use samebundle_registry::durable;
use samebundle_runtime::verbs::{self, ReuseGiven, RunReport, RunRequest};
use samebundle_spec::limits;
use samebundle_spec::record::RunStatus;
use serde_json::Value;

use super::detach::{self, DetachOptions};
use super::{approve, outputs};
use crate::args::{CredentialOptions, Environment, MetadataOptions, Named, Params};
use crate::error::CliError;
use crate::flags;
use crate::render::{Report, safe, screen::Screen, size};
use crate::session::Session;

/// The most outputs that are listed after a run.
const OUTPUTS: usize = 30;

/// Arguments of `run` and `plan`; the bundle's own parameters are added as flags when the installation is known.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    params: Params,
    /// Read parameters from a JSON or YAML file
    #[arg(long, value_name = "FILE")]
    params_file: Option<PathBuf>,
    #[command(flatten)]
    credentials: CredentialOptions,
    #[command(flatten)]
    environment: Environment,
    /// Action of a foreign bundle
    #[arg(long, default_value = "run")]
    action: String,
    /// Of a folder or file with several pipelines: which one
    #[arg(long, value_name = "PIPELINE")]
    pipeline: Option<String>,
    /// Of a bundle's file or reference: accept it although nobody trusted has signed it; recorded
    #[arg(long)]
    allow_unsigned: bool,
}

impl RunArgs {
    /// Makes the request: parameters of a file, then of `-p`, then of flags, of which the later override the earlier.
    ///
    /// # Errors
    /// If a parameter is not NAME=VALUE, or the file cannot be read.
    pub(super) fn request(self, session: &Session, matches: &ArgMatches) -> Result<RunRequest, CliError> {
        if self.pipeline.is_some() || self.allow_unsigned {
            // What is brought is replaced by its name, without these, before the line is read whole.
            return Err(CliError::Usage(
                "--pipeline and --allow-unsigned are for a folder, file or reference, not for what is installed".to_owned(),
            ));
        }
        let mut parameters = self.params.given(session)?;
        if let Some(file) = &self.params_file {
            parameters.values = from_file(&session.at(file))?;
        }
        if let Some((_, matches)) = matches.subcommand() {
            parameters.texts.extend(flags::given(matches));
        }
        Ok(RunRequest {
            name: self.named.installation()?,
            parameters,
            credentials: self.credentials.given(session)?,
            environment: self.environment.env,
            action: self.action,
            metadata: verbs::MetadataGiven::default(),
            reuse: ReuseGiven::default(),
        })
    }
}

/// JSON is YAML, so one parser reads both.
fn from_file(path: &Path) -> Result<BTreeMap<String, Value>, CliError> {
    let bytes = durable::read_named(path, limits::PARAMETER_BYTES).map_err(CliError::io("read", path))?;
    let parsed = samebundle_spec::yaml::from_slice(&bytes, limits::PARAMETER_BYTES);
    parsed.map_err(|error| CliError::Usage(format!("{} is no map of parameters: {error}", path.display())))
}

/// What is taken over of earlier runs.
#[derive(Debug, Args)]
struct ReuseOptions {
    /// Run every task, also where an earlier run did the same
    #[arg(long)]
    no_cache: bool,
    /// Run this task and all that depends on it; take what else is unchanged from one run: its name, or the end of it
    #[arg(long, value_name = "TASK")]
    from: Option<String>,
    /// The run of which unchanged tasks are taken over [default with --from: the last one]
    #[arg(long, value_name = "RUN")]
    of: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    args: RunArgs,
    #[command(flatten)]
    reuse: ReuseOptions,
    #[command(flatten)]
    metadata: MetadataOptions,
    #[command(flatten)]
    detach: DetachOptions,
}

impl Run {
    pub(crate) async fn run(self, session: &Session, matches: &ArgMatches) -> Result<Report, CliError> {
        let metadata = self.metadata.given(session)?;
        let mut request = self.args.request(session, matches)?;
        request.metadata = metadata;
        request.reuse = ReuseGiven {
            no_cache: self.reuse.no_cache,
            from: self.reuse.from,
            of: self.reuse.of,
        };
        if self.detach.detach {
            return detach::run(session, request).await;
        }
        ended(session, verbs::run(&session.site, request).await?)
    }
}

/// What came of a run, as a report or an error.
pub(super) fn ended(session: &Session, run: RunReport) -> Result<Report, CliError> {
    let program = session.program();
    let report = Report::new(text(program, &run, session.screen)?.trim_end(), &run);
    match run.status {
        // A run that waits is no failure; its text says what to do next.
        RunStatus::Succeeded | RunStatus::Suspended => Ok(report),
        RunStatus::Cancelled => Err(CliError::Interrupted(format!(
            "run {id} was cancelled; it is recorded, and a run with `--of {id}` takes over what it had done",
            id = run.run
        ))),
        RunStatus::Interrupted => Err(interrupted(session, &run, report)),
        _ => {
            let why = run.message.as_deref().unwrap_or("the program failed");
            let id = &run.run;
            Err(CliError::Failed {
                message: format!(
                    "run {id} failed: {why}\n`{program} logs {id}` shows what its tasks printed"
                ),
                report: Box::new(report),
            })
        }
    }
}

/// The error of a run whose process was killed while it was followed, or before.
fn interrupted(session: &Session, run: &RunReport, report: Report) -> CliError {
    let (id, program) = (&run.run, session.program());
    CliError::Failed {
        message: format!(
            "run {id} was interrupted: its process is gone; `{program} resume {id}` goes on with it"
        ),
        report: Box::new(report),
    }
}

pub(super) fn text(program: &str, run: &RunReport, screen: Screen) -> Result<String, CliError> {
    let took = size::duration(Duration::from_secs_f64(run.seconds));
    let mut text = format!(
        "run {} {} in {took} with the {} driver\n",
        run.run,
        screen.status(run.status),
        run.driver
    );
    text.push_str(&approve::waiting(program, run));
    if run.taken_over > 0 {
        let taken = size::count(run.taken_over, "task");
        writeln!(
            text,
            "results of {taken} were taken over from earlier runs; --no-cache runs every task"
        )?;
    }
    if !run.results.shown.is_empty() {
        writeln!(text, "{}", outputs::left(&run.results, OUTPUTS, screen))?;
        if let Some(folder) = &run.results.folder {
            writeln!(text, "\nfiles are in {}", safe(folder))?;
        }
        writeln!(
            text,
            "to a folder of yours: {program} outputs {} --to DIR",
            run.run
        )?;
    }
    Ok(text)
}
