//! `list`.

use clap::Args;
use samebundle_runtime::verbs;
use samebundle_spec::record::Verification;

use super::install::trusted_by;
use crate::error::CliError;
use crate::render::{
    Report,
    table::{Column, table},
};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct List {}

impl List {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let report = verbs::list(&session.site)?;
        let trust = session.site.trust()?;
        let rows = report.installations.iter().map(|one| {
            let mut by = trusted_by(&one.verification);
            if let Verification::Signature { keys, .. } = &one.verification {
                let known = |key: &String| trust.keys().keys().any(|name| name.as_str() == key);
                if !keys.is_empty() && !keys.iter().any(known) {
                    by.push_str(", no longer trusted");
                }
            }
            vec![one.name.to_string(), one.known_version(), by, one.source.clone()]
        });
        let rows: Vec<_> = rows.collect();
        let text = match rows.is_empty() {
            true => "nothing is installed; `install BUNDLE` installs something".to_owned(),
            false => table(
                session.screen,
                [
                    Column::from("name"),
                    Column::whole("version"),
                    "trusted by".into(),
                    Column::path("from"),
                ],
                &rows,
            ),
        };
        Ok(Report::new(text, &report))
    }
}
