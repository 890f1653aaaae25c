//! `export`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, ExportReport, ExportRequest};
use samebundle_spec::authoring::{RunFiles, RunMetadata, Runs};

use super::copy::files;
use crate::args::{Named, VolumeOptions};
use crate::error::CliError;
use crate::render::{Report, safe, size};
use crate::session::Session;

/// The most files that are named which stay here.
const LEFT: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The installation, and the version to name the export by: NAME[:VERSION]
    #[command(flatten)]
    named: Named,
    /// File to write [default: NAME-VERSION.tgz]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Which runs go along: all, none, or last:N
    #[arg(long, default_value = "last:5")]
    runs: Runs,
    /// What goes along of each of these runs: all, or its records without what its tasks printed and without its RO-Crate
    #[arg(long, value_name = "all|records", default_value_t)]
    metadata: RunMetadata,
    /// Which files of these runs go along: all, none, or as many as fit into SIZE, of the newest runs first
    #[arg(long, value_name = "all|none|SIZE", default_value_t)]
    outputs: RunFiles,
    /// Leave out what the other side has: an earlier export that it has imported, or the receipt that its import wrote
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    #[command(flatten)]
    volumes: VolumeOptions,
    /// The other side's public key, which signed the receipt [default: any key in the trust store]
    #[arg(long, value_name = "FILE", requires = "since")]
    since_key: Option<PathBuf>,
}

impl Export {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let at = |path: PathBuf| session.at(&path);
        let request = ExportRequest {
            name: self.named.installation()?,
            file: self.file,
            folder: session.settings.current_dir.clone(),
            runs: self.runs,
            metadata: self.metadata,
            outputs: self.outputs,
            since: self.since.map(at),
            since_key: self.since_key.map(at),
            volumes: self.volumes.request(),
        };
        let report = verbs::export(&session.site, request).await?;
        Ok(Report::new(what(&report), &report))
    }
}

/// What was exported, in a sentence, and what stayed here.
pub(super) fn what(report: &ExportReport) -> String {
    let omitted = match report.omitted.bytes {
        0 => String::new(),
        bytes => format!("; {} that the other side has are left out", size::bytes(bytes)),
    };
    format!(
        "exported {} as {} with {} to {}{omitted}{}",
        report.installation,
        report.version,
        runs(report),
        files(&report.file, &report.written),
        stayed(report)
    )
}

/// The runs that went along, and their files.
fn runs(report: &ExportReport) -> String {
    let runs = size::count(report.runs.len(), "run");
    match report.outputs.artifacts {
        0 => runs,
        artifacts => format!(
            "{runs} and {} of outputs ({})",
            size::count(artifacts, "file"),
            size::bytes(report.outputs.bytes)
        ),
    }
}

/// Says which files of the runs stayed here.
fn stayed(report: &ExportReport) -> String {
    let left = &report.outputs.left;
    let lines = left.iter().take(LEFT).map(|left| {
        let why = match left.why.as_str() {
            "absent" => ", which is not here any more",
            "altered" => ", which is not what the run left",
            _ => "",
        };
        let (run, output) = (&left.run, safe(&left.output));
        format!(
            "\n  {output} of run {run}, {}, {}{why}",
            size::bytes(left.size),
            left.digest
        )
    });
    let lines: String = lines.collect();
    match left.len() {
        0 => String::new(),
        count => {
            let more = count.saturating_sub(LEFT);
            let more = if more > 0 {
                format!("\n  … and {more} more")
            } else {
                String::new()
            };
            let hint = match left.iter().any(|left| left.why == "size") {
                true => "; --outputs all takes all along",
                false => "",
            };
            format!("\nthese files of runs stay here, only their digests go along{hint}:{lines}{more}")
        }
    }
}
