//! `version`.

use clap::Args;
use serde_json::json;

use crate::render::Report;
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(&self, settings: &Settings) -> Report {
        let version = env!("CARGO_PKG_VERSION");
        Report::new(
            format!("{} {version}", settings.program),
            &json!({ "version": version }),
        )
    }
}
