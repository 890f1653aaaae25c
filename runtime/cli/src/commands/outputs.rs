//! `outputs`, and outputs as a table.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, ArtifactReport, OutputReport, OutputsRequest};

use samebundle_spec::record::RunStatus;

use crate::error::CliError;
use crate::render::{Report, safe, size, table::table};
use crate::session::Session;

const COLUMNS: &[&str] = &["output", "value", "size"];

#[derive(Debug, Args)]
pub(crate) struct Outputs {
    /// The run: its id, the beginning of it, or `last`
    #[arg(default_value = "last")]
    run: String,
    /// Write the outputs to this folder
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

impl Outputs {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = OutputsRequest {
            run: self.run,
            to: self.to.map(|to| session.at(&to)),
        };
        let report = verbs::outputs(&session.site, &request)?;
        let rows = rows(&report.outputs);
        let mut text = match rows.is_empty() {
            true => format!("run {} has no outputs", report.run),
            false if report.status == RunStatus::Succeeded => table(COLUMNS, &rows),
            false => format!(
                "run {} {}; its tasks left:\n{}",
                report.run,
                report.status.word(),
                table(COLUMNS, &rows)
            ),
        };
        if let Some(removed) = report.files_removed {
            text.push_str(&format!("\nthe files were removed at {removed} to free space"));
        }
        Ok(Report::new(text, &report))
    }
}

/// Makes one line for each output, or for each artifact of a list.
pub(super) fn rows(outputs: &BTreeMap<String, OutputReport>) -> Vec<Vec<String>> {
    let artifact = |name: &str, artifact: &ArtifactReport| {
        let digest = artifact.digest;
        let digest = digest.map_or_else(|| "only metadata".to_owned(), |digest| digest.to_string());
        vec![safe(name), digest, size::bytes(artifact.size)]
    };
    let of = |(name, output): (&String, &OutputReport)| match output {
        OutputReport::Value(value) => vec![vec![safe(name), safe(&value.to_string()), String::new()]],
        OutputReport::Artifact(one) => vec![artifact(name, one)],
        OutputReport::Artifacts(many) => many.iter().map(|one| artifact(name, one)).collect(),
    };
    outputs.iter().flat_map(of).collect()
}
