//! `volume`: folders that tasks share and that outlive their runs.

use clap::{Args, Subcommand};
use samebundle_runtime::verbs::{self, RemoveVolumeRequest, VolumesReport};

use crate::error::CliError;
use crate::render::{
    Report, safe,
    screen::Screen,
    size,
    table::{Column, table},
};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// List the volumes, with the space that each takes
    List(List),
    /// Remove a volume with everything in it; nothing else removes one
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct List {}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Name of the volume
    #[arg(value_name = "NAME")]
    name: String,
}

impl Volume {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        match self {
            Self::List(_) => {
                let report = verbs::volume_list(&session.site)?;
                Ok(Report::new(text(&report, session.screen), &report))
            }
            Self::Remove(Remove { name }) => {
                let report = verbs::volume_remove(&session.site, RemoveVolumeRequest { name })?;
                let text = format!("removed volume {}, {}", report.removed, size::bytes(report.size));
                Ok(Report::new(text, &report))
            }
        }
    }
}

fn text(report: &VolumesReport, screen: Screen) -> String {
    let rows = report.volumes.iter().map(|volume| {
        let changed = volume.changed.map(|time| time.to_string());
        vec![
            safe(&volume.name),
            size::bytes(volume.size),
            changed.unwrap_or_default(),
        ]
    });
    match report.volumes.as_slice() {
        [] => "there are no volumes".to_owned(),
        _ => table(
            screen,
            [
                Column::from("volume"),
                Column::number("size"),
                Column::whole("changed"),
            ],
            &rows.collect::<Vec<_>>(),
        ),
    }
}
