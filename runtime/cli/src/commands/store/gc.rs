//! `store gc`.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use samebundle_runtime::verbs::{self, StoreGcReport, StoreGcRequest};
use samebundle_spec::authoring::Runs;

use crate::error::CliError;
use crate::render::{
    Report, safe,
    screen::Screen,
    size,
    table::{Column, table},
};
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would be removed, and why
    #[arg(long)]
    dry_run: bool,
    /// Keep what was written or found in this last time: a number and s, m, h or d [default: 1d]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    grace: Option<Duration>,
    /// Which runs of each installation keep the bundle that they ran: all, none, or last:N
    #[arg(long, default_value = "all")]
    runs: Runs,
}

impl Gc {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = StoreGcRequest {
            dry_run: self.dry_run,
            grace_seconds: self.grace.map(|grace| grace.as_secs()),
            runs: self.runs,
        };
        let report = verbs::store_gc(&session.site, request).await?;
        let home = session.site.home().root();
        Ok(Report::new(text(&report, home, session.screen), &report))
    }
}

fn text(report: &StoreGcReport, home: &Path, screen: Screen) -> String {
    let contents = report.contents.iter().map(|one| {
        let why = format!("{}; untouched for {}", one.why, size::duration(one.age));
        vec![screen.digest(&one.digest), size::bytes(one.bytes), why]
    });
    let files = report.files.iter().map(|one| {
        let path = Path::new(&one.path);
        let path = path.strip_prefix(home).unwrap_or(path);
        vec![
            safe(&path.display().to_string()),
            size::bytes(one.bytes),
            one.why.clone(),
        ]
    });
    let rows: Vec<_> = contents.chain(files).collect();
    let listed = match rows.is_empty() {
        true => String::new(),
        false => format!(
            "{}\n",
            table(
                screen,
                [Column::path("what"), Column::number("size"), Column::prose("why")],
                &rows,
            )
        ),
    };
    let verb = if report.dry_run { "would remove" } else { "removed" };
    let young = match report.young.contents {
        0 => String::new(),
        count => format!(
            "; {count} contents, {}, are not needed but too young or in use",
            size::bytes(report.young.bytes)
        ),
    };
    format!(
        "{listed}{verb} {} things, {}{young}",
        rows.len(),
        size::bytes(report.bytes)
    )
}
