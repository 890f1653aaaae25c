//! `store usage`.

use clap::Args;
use samebundle_runtime::verbs::{self, StoreUsageReport};

use crate::error::CliError;
use crate::render::{
    Report, safe,
    screen::Screen,
    size,
    table::{Column, table},
};
use crate::session::Session;

/// Folders of a home in the order in which they are shown.
const FOLDERS: [&str; 5] = ["store", "layers", "cache", "runs", "scratch"];

#[derive(Debug, Args)]
pub(crate) struct Usage {}

impl Usage {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let report = verbs::store_usage(&session.site).await?;
        Ok(Report::new(text(&report, session.screen), &report))
    }
}

fn text(report: &StoreUsageReport, screen: Screen) -> String {
    let bundles = report.bundles.iter().map(|bundle| {
        vec![
            safe(&short(&bundle.names, screen)),
            screen.digest(&bundle.digest),
            size::bytes(bundle.own),
            size::bytes(bundle.shared),
        ]
    });
    let folders = FOLDERS.iter().filter_map(|name| {
        let bytes = report.folders.get(*name)?;
        Some(vec![(*name).to_owned(), size::bytes(*bytes)])
    });
    let total = vec!["total".to_owned(), size::bytes(report.total)];
    format!(
        "{}\n\n{}\n\nstore gc would free {} of the store; {} are not needed but younger than a day",
        table(
            screen,
            [
                Column::from("bundle"),
                Column::whole("digest"),
                Column::number("own"),
                Column::number("shared"),
            ],
            &bundles.collect::<Vec<_>>()
        ),
        table(
            screen,
            [Column::from("folder"), Column::number("size")],
            &folders.chain([total]).collect::<Vec<_>>()
        ),
        size::bytes(report.reclaimable),
        size::bytes(report.young),
    )
}

/// A bundle that many runs ran has many names.
fn short(names: &[String], screen: Screen) -> String {
    const FEW: usize = 4;
    let most = if screen.wide { usize::MAX } else { FEW };
    let text = names.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{text} and {more} more"),
        _ => text,
    }
}
