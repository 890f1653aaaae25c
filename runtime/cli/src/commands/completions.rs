//! `completions`, which are made from the command line's own description.

use clap::{Args, CommandFactory};
use serde_json::json;

use crate::args::Cli;
use crate::render::Report;
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(&self, settings: &Settings) -> Report {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), &settings.program, &mut script);
        let script = String::from_utf8_lossy(&script).trim_end().to_owned();
        let json = json!({"shell": self.shell.to_string(), "script": script});
        Report::new(script, &json)
    }
}
