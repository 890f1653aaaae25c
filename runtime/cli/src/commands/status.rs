//! `status`.

use clap::Args;
use samebundle_runtime::verbs::{self, AtOrigin, InstallationStatus, StatusRequest};

use super::runs::ago;
use crate::args::{NAMED, WORDS, name_among};
use crate::error::CliError;
use crate::render::table::{Column, table};
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this installation
    #[arg(id = WORDS, value_name = "NAME", num_args = 0..=2)]
    words: Vec<String>,
    #[arg(short = 'n', id = NAMED, long = "name", value_name = "NAME", hide = true)]
    named: Option<String>,
    /// Ask the places that they came from whether `upgrade` would change anything
    #[arg(long)]
    check: bool,
}

impl Status {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let name = match name_among(&self.words, self.named.as_deref()) {
            (name, []) => name.map(str::parse).transpose(),
            (_, [more, ..]) => return Err(CliError::Usage(format!("{more:?} is one word too many"))),
        };
        let request = StatusRequest {
            name: name.map_err(verbs::VerbError::Name)?,
            check: self.check,
        };
        let report = verbs::status(&session.site, &request).await?;
        let rows: Vec<_> = report.installations.iter().map(|one| row(session, one)).collect();
        let mut columns = vec![
            Column::from("name"),
            Column::whole("version"),
            Column::whole("last run"),
            super::runs::status(),
            Column::whole("started"),
        ];
        if self.check {
            columns.push(Column::prose("where it came from"));
        }
        let text = match rows.is_empty() {
            true => "nothing is installed; `install BUNDLE` installs something".to_owned(),
            false => table(session.screen, columns, &rows),
        };
        Ok(Report::new(text, &report))
    }
}

fn row(session: &Session, one: &InstallationStatus) -> Vec<String> {
    let mut row = vec![one.name.to_string(), one.version.clone()];
    row.extend(match &one.last_run {
        Some(run) => [
            session.screen.id(&run.short, &run.id),
            run.status.word().to_owned(),
            ago(run.started),
        ],
        None => ["never ran", "", ""].map(str::to_owned),
    });
    row.extend(one.origin.as_ref().map(|origin| match origin {
        AtOrigin::Same => "has the same bundle".to_owned(),
        AtOrigin::Other { version, .. } if *version == one.version => {
            format!("has other content of {}: `upgrade {}`", safe(version), one.name)
        }
        AtOrigin::Other { version, .. } => format!("has {}: `upgrade {}`", safe(version), one.name),
        AtOrigin::Commit { commit } => {
            let commit = commit.get(..12).unwrap_or(commit);
            format!("is at another commit, {commit}: `upgrade {}`", one.name)
        }
        AtOrigin::Unknown { why } => safe(why.lines().next().unwrap_or_default()),
    }));
    row
}
