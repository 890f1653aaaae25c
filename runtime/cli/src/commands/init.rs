//! `init`.

use std::path::PathBuf;

use clap::Args;
use samebundle_runtime::verbs::{self, InitRequest};
use samebundle_spec::BundleName;

use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Folder to start in
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Pipeline to start from: a .py or a compiled .yaml
    #[arg(long)]
    from: Option<PathBuf>,
    /// Name of the bundle [default: the folder's name]
    #[arg(long, value_parser = BundleName::as_written)]
    name: Option<BundleName>,
}

impl Init {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = InitRequest {
            folder: session.at(&self.dir),
            pipeline: self.from,
            name: self.name,
        };
        let report = verbs::init(&session.site, request)?;
        let hint = match report.has_pipeline {
            true => String::new(),
            false => format!("; put your pipeline at {}", safe(&report.pipeline)),
        };
        let text = format!(
            "wrote {}{hint}\ncheck it with: {} lint {}",
            safe(&report.file),
            session.program(),
            self.dir.display()
        );
        Ok(Report::new(text, &report))
    }
}
