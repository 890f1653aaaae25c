//! `trust remove`.

use clap::Args;
use samebundle_runtime::verbs::{self, RemoveTrustReport, RemoveTrustRequest};
use samebundle_spec::BundleName;
use samebundle_spec::signing::Scope;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Name of the key [default: every key of the scope]
    #[arg(required_unless_present = "scope", value_parser = BundleName::as_written)]
    name: Option<BundleName>,
    /// Only where this is: the rule of exactly this scope [default: everywhere]
    #[arg(long, value_parser = values::scope)]
    scope: Option<Scope>,
}

impl Remove {
    pub(crate) fn run(self, session: &Session) -> Result<Report, CliError> {
        let request = RemoveTrustRequest {
            name: self.name,
            scope: self.scope,
        };
        let report = verbs::trust_remove(&session.site, request)?;
        Ok(Report::new(text(session.program(), &report), &report))
    }
}

fn text(program: &str, report: &RemoveTrustReport) -> String {
    let mut text = match (&report.key, &report.scope) {
        (Some(key), Some(scope)) => format!("key {key} is no longer trusted for {scope}"),
        (Some(key), None) => format!("key {key} is no longer trusted"),
        (None, Some(scope)) => {
            format!("there is no rule for {scope} any more; a wider one decides, if there is one")
        }
        (None, None) => String::new(),
    };
    for scope in &report.nobody {
        text.push_str(&format!(
            "\n{scope} accepts nobody now: {program} trust add NAME FILE --scope {scope}, or without a rule of its own: \
             {program} trust remove --scope {scope}"
        ));
    }
    text
}
