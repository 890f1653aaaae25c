//! `runs`.

use clap::Args;
use samebundle_runtime::verbs::{self, RunsRequest};
use samebundle_spec::BundleName;
use samebundle_spec::record::{Run, SetBy};

use crate::error::CliError;
use crate::render::{Report, safe, table::table};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// Only runs of this installation
    name: Option<BundleName>,
}

impl Runs {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = RunsRequest {
            installation: self.name,
        };
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
        let text = match report.runs.is_empty() {
            true => "there are no runs yet; `run NAME` makes one".to_owned(),
            false => table(&header, &report.runs.iter().map(row).collect::<Vec<_>>()),
        };
        Ok(Report::new(text, &report))
    }
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
