//! `build`.

use std::path::{Path, PathBuf};

use clap::Args;
use samebundle_runtime::verbs::{self, BuildRequest, LocalName};

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Folder with samebundle.yaml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Name in the local store [default: the name in samebundle.yaml]
    #[arg(short, long, value_name = "NAME")]
    tag: Option<LocalName>,
    /// Which pipeline, where a Python file has several
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
}

impl Build {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = BuildRequest {
            folder: session.at(&self.dir),
            tag: self.tag,
            pipeline: self.pipeline,
        };
        let report = verbs::build(&session.site, request).await?;
        let (program, dir) = (session.program(), self.dir.display());
        let text = format!(
            "built {} {}\n{}\nrun it with: {program} run {}\nrelease it with: {program} publish REGISTRY/REPOSITORY {dir}",
            report.name,
            report.version,
            report.digest,
            run_word(&self.dir)
        );
        Ok(Report::new(text, &report))
    }
}

/// A folder as `run` takes it: a plain word would be the name of an installation.
fn run_word(dir: &Path) -> String {
    let shown = dir.display();
    match dir.is_absolute() || dir.starts_with(".") || dir.components().count() > 1 {
        true => shown.to_string(),
        false => format!("./{shown}"),
    }
}
