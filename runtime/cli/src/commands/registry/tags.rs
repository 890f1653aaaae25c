//! `registry tags`.

use clap::Args;
use samebundle_runtime::verbs::{self, ListTagsRequest};
use samebundle_spec::Repository;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Tags {
    /// Registry and repository
    #[arg(value_name = "REPOSITORY", value_parser = values::repository)]
    repository: Repository,
}

impl Tags {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let repository = self.repository;
        let report = verbs::registry_tags(&session.site, ListTagsRequest { repository }).await?;
        let lines = report.tags.iter();
        let lines = lines.map(|tag| format!("{}:{tag}", report.repository));
        let lines: Vec<_> = lines.collect();
        Ok(Report::new(lines.join("\n"), &report))
    }
}
