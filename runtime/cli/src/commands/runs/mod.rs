//! `runs`: the list of runs, one run, and the removal of runs.

mod remove;

use clap::{Args, Subcommand};
use samebundle_runtime::verbs::{self, RunsRequest};
use samebundle_spec::record::{Run, SetBy, TaskRecord};

use crate::error::CliError;
use crate::render::{Report, safe, safe_lines, table::table};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Runs {
    /// Only runs of this installation; or one run with its tasks: its id, the beginning of it, or `last`
    #[arg(value_name = "NAME|RUN")]
    of: Option<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Remove runs with their outputs, logs and records
    ///
    /// A run that goes on stays. What bundles need is removed by `store gc`.
    #[command(visible_alias = "rm")]
    Remove(remove::Remove),
}

impl Runs {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        if let Some(Verb::Remove(args)) = self.verb {
            return args.run(session).await;
        }
        let request = RunsRequest { of: self.of };
        let report = verbs::runs(&session.site, &request)?;
        let header = [
            "run",
            "installation",
            "version",
            "action",
            "status",
            "started",
            "driver",
            "parameters",
        ];
        let text = match report.runs.as_slice() {
            [] => "there are no runs yet; `run NAME` makes one".to_owned(),
            runs => table(&header, &runs.iter().map(row).collect::<Vec<_>>()),
        };
        let one = match report.runs.as_slice() {
            [run] if request.of.is_some_and(|of| of != run.installation.as_str()) => details(run),
            _ => String::new(),
        };
        Ok(Report::new(format!("{text}{one}"), &report))
    }
}

/// The tasks of one run, and why it did not succeed.
fn details(run: &Run) -> String {
    let tasks = run.tasks.iter().map(|task: &TaskRecord| {
        let code = task.exit_code.map(|code| code.to_string());
        vec![
            safe(&task.name),
            task.status.word().to_owned(),
            task.attempts.to_string(),
            code.unwrap_or_default(),
        ]
    });
    let header = ["task", "status", "attempts", "exit code"];
    let mut text = match run.tasks.is_empty() {
        true => String::new(),
        false => format!("\n\n{}", table(&header, &tasks.collect::<Vec<_>>())),
    };
    if let Some(message) = &run.message {
        text.push_str(&format!("\n\n{}", safe_lines(message)));
    }
    if let Some(removed) = run.files_removed {
        text.push_str(&format!("\n\nthe files of its outputs were removed at {removed}"));
    }
    text
}

/// One line of the list; parameters are those that were set.
fn row(run: &Run) -> Vec<String> {
    let set = run
        .parameters
        .iter()
        .filter(|(_, parameter)| parameter.set_by != SetBy::Default);
    let set = set.map(|(name, parameter)| match &parameter.value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name}=***"),
    });
    vec![
        run.id.to_string(),
        run.installation.to_string(),
        run.version.to_string(),
        safe(&run.action),
        run.status.word().to_owned(),
        run.started.to_string(),
        run.driver.clone(),
        safe(&set.collect::<Vec<_>>().join(" ")),
    ]
}
