//! `manual`: one page for each command, made from the command line's own description.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, Args, Command};
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
            clap_mangen::generate_to(command.clone(), pages).map_err(CliError::io("write", pages))?;
            let mut command = command.disable_help_subcommand(true);
            command.build();
            with_values(&command, pages).map_err(CliError::io("write", pages))?;
        }
        staged.commit()?;
        let dir = dir.display().to_string();
        Ok(Report::new(
            format!("wrote the manual pages to {dir}"),
            &json!({"dir": dir}),
        ))
    }
}

/// Names the values of options in the synopses, where the generator of the pages leaves them out.
fn with_values(command: &Command, pages: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let page = pages.join(format!("{name}.1"));
    if page.is_file() {
        let text = std::fs::read_to_string(&page)?;
        let text = command.get_arguments().fold(text, named);
        std::fs::write(&page, text)?;
    }
    command
        .get_subcommands()
        .try_for_each(|sub| with_values(sub, pages))
}

fn named(page: String, arg: &Arg) -> String {
    let (Some(long), true) = (arg.get_long(), arg.get_action().takes_values()) else {
        return page;
    };
    let names = arg.get_value_names().unwrap_or_default();
    let names = names
        .iter()
        .map(|name| name.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    let option = format!("\\fB\\-\\-{}\\fR", long.replace('-', "\\-"));
    let value = names.replace('-', "\\-");
    page.replacen(&format!("{option}]"), &format!("{option} \\fI{value}\\fR]"), 1)
}
