//! `copy`, and the text of the reports of `copy`, `push` and `pull`.

use clap::Args;
use samebundle_runtime::verbs::{self, CopyReport, CopyRequest, CopyResult, Location, Moved, Written};

use crate::args::VolumeOptions;
use crate::error::CliError;
use crate::render::{Report, size};
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// Where from
    #[arg(value_name = "SRC", value_parser = values::location())]
    from: Location,
    /// Where to
    #[arg(value_name = "DST", value_parser = values::location())]
    to: Location,
    #[command(flatten)]
    volumes: VolumeOptions,
}

impl Copy {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = CopyRequest {
            from: session.location(self.from),
            to: session.location(self.to),
            volumes: self.volumes.request(),
        };
        let report = verbs::copy(&session.site, request).await?;
        Ok(Report::new(text(&report), &report))
    }
}

/// What was copied, in words.
pub(super) fn text(report: &CopyReport) -> String {
    match &report.result {
        CopyResult::Moved(moved) => moved_text(report, moved),
        CopyResult::Written(written) => {
            format!("wrote {}{}", files(&report.to, written), with_runs(report))
        }
    }
}

fn moved_text(report: &CopyReport, moved: &Moved) -> String {
    let mut text = format!(
        "copied {} to {}: {} contents, {} sent, {} were there",
        report.digest,
        report.to,
        moved.sent.contents,
        size::bytes(moved.sent.bytes),
        moved.present
    );
    if moved.reused.bytes > 0 {
        let bytes = size::bytes(moved.reused.bytes);
        text.push_str(&format!(", {bytes} taken from older versions there"));
    }
    text + &with_runs(report)
}

/// The runs that went along, in words: nobody publishes them unawares.
pub(super) fn with_runs(report: &CopyReport) -> String {
    match report.runs {
        0 => String::new(),
        runs => format!(", with {}", size::count(runs, "run")),
    }
}

/// The files that an archive was written to, in words.
pub(super) fn files(path: &str, written: &Written) -> String {
    let bytes = size::bytes(written.size);
    match (written.volumes.first(), written.volumes.last()) {
        (Some(first), Some(last)) => format!(
            "{} to {} ({} volumes, {bytes})",
            first.file,
            last.file,
            written.volumes.len()
        ),
        _ => format!("{path} ({bytes})"),
    }
}
