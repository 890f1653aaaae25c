//! `debug`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, DebugRequest, Debugged};

use crate::args::{CredentialOptions, Environment, Params};
use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;
use crate::terminal;

/// The exit code of a shell, and of a driver, for a program that is not there.
const NO_PROGRAM: i32 = 127;

#[derive(Debug, Args)]
pub(crate) struct Debug {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run
    #[arg(value_name = "RUN|NAME")]
    run: String,
    /// The task: its name as `runs RUN` shows it, or the end of it
    task: String,
    /// What runs there [default: a shell]
    #[arg(last = true)]
    command: Vec<String>,
    /// Keep what is written in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    params: Params,
    #[command(flatten)]
    credentials: CredentialOptions,
    #[command(flatten)]
    environment: Environment,
}

impl Debug {
    /// Runs the command. What the inner command prints is its own, so that everything else goes to standard error.
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        if session.output.is_document() {
            return Err(CliError::Usage(
                "debug prints what the command in the container prints, and no document: leave -o out"
                    .to_owned(),
            ));
        }
        let shell = self.command.is_empty();
        let kept = self.keep.is_some();
        let request = DebugRequest {
            run: self.run,
            task: self.task,
            command: self.command,
            parameters: self.params.given(session)?,
            credentials: self.credentials.given(session)?,
            environment: self.environment.env,
            keep: self.keep.map(|folder| session.at(&folder)),
        };
        let mut raw = None;
        let begin = |debugged: &Debugged| {
            // A closed standard error does not stop the container.
            drop(write!(std::io::stderr().lock(), "{}", text(debugged, kept)));
            let (streams, terminal) = terminal::streams()?;
            raw = terminal;
            Ok(streams)
        };
        let report = verbs::debug(&session.site, request, begin).await;
        drop(raw);
        let report = report?;
        if shell && report.exit_code == NO_PROGRAM {
            let text = "if the image has no shell, name a program that it has after --, e.g. -- python3";
            drop(writeln!(std::io::stderr().lock(), "{text}"));
        }
        if report.out_of_memory {
            drop(writeln!(
                std::io::stderr().lock(),
                "the memory limit of the task was reached"
            ));
        }
        Ok(Report::new("", &report).exiting(report.exit_code))
    }
}

fn text(debugged: &Debugged, kept: bool) -> String {
    let Debugged {
        run,
        task,
        image,
        driver,
        command,
        script,
        executor_input,
        folder,
    } = debugged;
    let after = if kept { "stays" } else { "is removed afterwards" };
    let command = safe(command);
    let task = safe(task);
    format!(
        "task {task} of run {run}, in its image {image}, with the {driver} driver\n\
         its command: {command}\n\
         again: sh {script}; the executor input: {executor_input}\n\
         what it writes is in {}, which {after}; the run stays as it is\n",
        safe(folder)
    )
}
