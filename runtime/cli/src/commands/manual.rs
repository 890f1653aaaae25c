//! `manual`: one page for each command, made from the command line's own description.

use std::path::PathBuf;

use clap::Args;
use samebundle_registry::staged::StagedFolder;
use serde_json::json;

use crate::error::CliError;
use crate::help;
use crate::render::Report;
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(crate) struct Manual {
    /// Folder to write to
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

impl Manual {
    pub(crate) fn run(&self, settings: &Settings) -> Result<Report, CliError> {
        let dir = settings.current_dir.join(&self.dir);
        let staged = StagedFolder::inside(&dir)?;
        let pages = staged.path();
        // Under both names by which the program is called.
        for name in ["samebundle", "same"] {
            let command = help::command().name(name).bin_name(name);
            clap_mangen::generate_to(command, pages).map_err(CliError::io("write", pages))?;
        }
        staged.commit()?;
        let dir = dir.display().to_string();
        Ok(Report::new(
            format!("wrote the manual pages to {dir}"),
            &json!({"dir": dir}),
        ))
    }
}
