//! `manual`: one page for each command, made from the command line's own description.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use serde_json::json;

use crate::args::Cli;
use crate::error::CliError;
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
        std::fs::create_dir_all(&dir).map_err(CliError::io("make", &dir))?;
        clap_mangen::generate_to(Cli::command(), &dir).map_err(CliError::io("write", &dir))?;
        let dir = dir.display().to_string();
        Ok(Report::new(
            format!("wrote the manual pages to {dir}"),
            &json!({"dir": dir}),
        ))
    }
}
