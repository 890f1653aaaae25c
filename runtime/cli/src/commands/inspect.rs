//! `inspect`.

use std::fmt::Write;

use clap::Args;
use samebundle_runtime::verbs::{self, GraphNode, InspectRequest, Location};
use samebundle_spec::bundle::index;

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
pub(crate) struct Inspect {
    /// The bundle
    #[arg(value_name = "BUNDLE", value_parser = values::location())]
    bundle: Location,
}

impl Inspect {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let bundle = session.location(self.bundle);
        let report = verbs::inspect(&session.site, InspectRequest { bundle }).await?;
        let rows: Vec<_> = report
            .nodes
            .iter()
            .map(|node| row(node, session.screen))
            .collect();
        let mut text = table(
            session.screen,
            [
                Column::from("content"),
                Column::whole("digest"),
                Column::number("size"),
            ],
            &rows,
        );
        for referrer in &report.referrers {
            let kind = referrer.artifact_type.as_ref().unwrap_or(&referrer.media_type);
            write!(
                text,
                "\nreferrer: {kind} {}",
                session.screen.digest(&referrer.digest)
            )?;
            // The annotations of a sigstore bundle are shown as its manifest has them, and not verified.
            if let Some(says) = referrer.annotations.get("dev.sigstore.bundle.predicateType") {
                write!(text, " {}", safe(says))?;
            }
        }
        match report.runs {
            0 => {}
            1 => text.push_str("\nwith 1 run"),
            many => write!(text, "\nwith {many} runs")?,
        }
        Ok(Report::new(text, &report))
    }
}

fn row(node: &GraphNode, screen: Screen) -> Vec<String> {
    let descriptor = &node.descriptor;
    let name = descriptor.annotations.get(index::COMPONENT);
    let kind = descriptor.annotations.get(index::TYPE);
    let label = match (kind, name) {
        (_, Some(name)) => format!("component {}", safe(name)),
        (Some(kind), None) => safe(kind),
        (None, None) => descriptor.media_type.to_string(),
    };
    vec![
        format!("{}{label}", "  ".repeat(node.depth)),
        screen.digest(&descriptor.digest),
        size::bytes(descriptor.size),
    ]
}
